"""``stemloop rbm``: machines that generate labelled sequences and tell labels of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stemloop.cli import rbm_family
from stemloop.cli.rbm_options import (
    Age,
    Device,
    Force,
    HiddenChain,
    Keep,
    Model,
    Seed,
    Sequences,
    Start,
    Steps,
    Threads,
    hidden_mode,
    sites_of,
)

app = typer.Typer(no_args_is_help=True, help="Label-conditional RBMs: train, sample, classify.")

app.command("align")(rbm_family.align)
app.command("bundle")(rbm_family.bundle)
app.command("import")(rbm_family.take_over)
app.command("plot")(rbm_family.plot)


@app.callback()
def options() -> None:
    """Label-conditional restricted Boltzmann machines."""


def show(line: dict[str, Any]) -> None:
    """Print a line of progress, for terminals and log files alike."""
    text = f"update {line['update']}/{line['updates']}: weights {line['weight_rms']:.4f}"
    text += f", free energy {line['train_free_energy']:.2f}"
    if "test_free_energy" in line:
        text += f" (held out {line['test_free_energy']:.2f})"
    if "test_label_accuracy" in line:
        text += f", label accuracy {line['test_label_accuracy']:.4f}"
    typer.echo(f"{text}, {line['updates_per_second']:.1f} updates/s", err=True)


@app.command("train")
def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/rbm-sam.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Instead of the recipe's: KEY=VALUE, as data.split.seed=3."),
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
) -> None:
    """Train a machine. Called again, it goes on where the last call stopped."""
    import torch

    from stemloop.tasks.base import pick_device
    from stemloop.training.rbm import train_rbm
    from stemloop.training.rbm_recipe import RBMRecipe
    from stemloop.training.recipe_base import read_recipe

    torch.set_num_threads(threads)
    parsed = read_recipe(recipe, RBMRecipe).changed(change or [])
    path = train_rbm(parsed, data, output, device=str(pick_device(device)), report=show)
    typer.echo(f"wrote {path}: stemloop rbm sample {path} ...")


@app.command("sample")
def sample(
    model: Model,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Sequences of each label.")],
    output: Sequences = "-",
    label: Annotated[
        list[str] | None, typer.Option(help="Label; repeatable. All by default.")
    ] = None,
    steps: Steps = 10,
    seed: Seed = 0,
    start: Start = None,
    keep: Keep = None,
    ungapped: Annotated[bool, typer.Option("--ungapped", help="Leave out gaps.")] = False,
    hidden_chain: HiddenChain = None,
    temperatures: Annotated[
        int, typer.Option(min=1, help="Parallel tempering with so many copies of a chain.")
    ] = 1,
    age: Age = None,
    device: Device = "cpu",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Draw sequences of labels, with their free energy and the exact probability of the label."""
    import torch

    from stemloop.tasks.base import pick_device
    from stemloop.tasks.generate import sample as draw
    from stemloop.tasks.generate_files import write_results
    from stemloop.weights.rbm_store import load_rbm

    torch.set_num_threads(threads)
    stored = load_rbm(model, age=age, device=pick_device(device))
    results = draw(
        stored, count, labels=label or (), steps=steps, seed=seed, start=start, keep=sites_of(keep),
        hidden=hidden_mode(hidden_chain), temperatures=temperatures,
    )  # fmt: skip
    facts = {"CC": f"{stored.facts.get('name', 'RBM')}, {steps} Gibbs steps, seed {seed}"}
    write_results(output, results, ungapped=ungapped, facts=facts, force=force)


Source = Annotated[Path, typer.Argument(help="Rows with the columns of the training data.")]
Table = Annotated[str, typer.Option("-o", "--output", help=".tsv, .csv, .parquet; - is TSV.")]


@app.command("classify")
def classify(
    model: Model,
    source: Source,
    output: Table = "-",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Guess by so many Gibbs steps; by default the exact posterior."),
    ] = None,
    seed: Seed = 0,
    age: Age = None,
    device: Device = "cpu",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Tell the label of aligned sequences."""
    import torch

    from stemloop.formats.tables import write_table
    from stemloop.tasks.base import pick_device
    from stemloop.tasks.generate import classify as tell
    from stemloop.tasks.generate_files import read_rows
    from stemloop.weights.rbm_store import load_rbm

    torch.set_num_threads(threads)
    stored = load_rbm(model, age=age, device=pick_device(device))
    results = tell(stored, read_rows(stored, source), steps=steps, seed=seed)
    write_table(output, ({"id": r.record.id, **r.values} for r in results), force=force)


@app.command("score")
def score(
    model: Model,
    source: Source,
    output: Table = "-",
    likelihood: Annotated[
        bool, typer.Option("--likelihood", help="Add log-likelihoods: log Z by annealing.")
    ] = False,
    temperatures: Annotated[int, typer.Option(min=2, help="Of the annealing.")] = 1000,
    chains: Annotated[int, typer.Option(min=2, help="Of the annealing.")] = 500,
    seed: Seed = 0,
    age: Age = None,
    device: Device = "cpu",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Free energy of aligned sequences (the lower the likelier) and their label posterior."""
    import torch

    from stemloop.formats.tables import write_table
    from stemloop.models.rbm_chains import annealed_log_partition
    from stemloop.tasks.base import pick_device
    from stemloop.tasks.generate import score as rate
    from stemloop.tasks.generate_files import read_rows
    from stemloop.weights.rbm_store import load_rbm

    torch.set_num_threads(threads)
    stored = load_rbm(model, age=age, device=pick_device(device))
    rows = read_rows(stored, source)
    log_z = None
    if likelihood:
        found = annealed_log_partition(
            stored.machine,
            torch.Generator(stored.machine.device).manual_seed(seed),
            visible_frequencies=stored.extra.get("visible_frequencies"),
            temperatures=temperatures,
            chains=chains,
        )
        log_z = found.value
        typer.echo(f"log Z {found.value:.3f}, relative error {found.error:.3f}", err=True)
    results = rate(stored, rows, log_partition=log_z)
    write_table(output, ({"id": r.record.id, **r.values} for r in results), force=force)


@app.command("evaluate")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file.")],
    age: Annotated[
        list[int] | None, typer.Option(help="Updates; repeatable. The final model by default.")
    ] = None,
    steps: Annotated[
        str, typer.Option(help="Gibbs steps to measure after.")
    ] = "1,2,5,10,20,50,100",
    count: Annotated[int, typer.Option("-n", "--count", min=4, help="Samples, at most.")] = 2000,
    temperatures: Annotated[
        int, typer.Option(min=0, help="Annealing for the log-likelihood; 0 leaves it out.")
    ] = 1000,
    chains: Annotated[int, typer.Option(min=2, help="Of the annealing.")] = 200,
    hidden_chain: HiddenChain = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Measure samples against data, and labels against held-out rows."""
    import json

    import torch

    from stemloop.errors import UsageError
    from stemloop.formats.stream import atomic_output
    from stemloop.tasks.base import pick_device
    from stemloop.tasks.generate_quality import evaluate_run

    torch.set_num_threads(threads)
    try:
        numbers = [int(part) for part in steps.split(",")]
    except ValueError:
        raise UsageError(f"--steps {steps!r}: write numbers with commas between them") from None
    found = evaluate_run(
        run, data, ages=age or (), steps=numbers, count=count, seed=seed,
        annealing=(temperatures, chains) if temperatures > 1 else None,
        hidden=hidden_mode(hidden_chain),
        device=str(pick_device(device)), report=lambda text: typer.echo(text, err=True),
    )  # fmt: skip
    with atomic_output(output, force=force) as out:
        out.write(json.dumps(found, indent=1) + "\n")
    for entry in found["ages"]:
        for number, scores in entry["generation"].items():
            label = scores.get("label_accuracy")
            typer.echo(
                f"update {entry['update']}, {number} steps: AAI truth {scores['aai_truth']:.3f}, "
                f"syn {scores['aai_syn']:.3f}, second moments r {scores['second_r']:.3f}"
                + (f", labels {label:.3f}" if label is not None else "")
            )


@app.command("inspect")
def inspect(model: Model, age: Age = None) -> None:
    """Show what a model is: sites, letters, labels, training, size of its weights, ages kept."""
    import torch

    from stemloop.weights.rbm_store import load_rbm, rbm_ages

    stored = load_rbm(model, age=age)
    machine, config = stored.machine, stored.machine.config
    typer.echo(f"file            {stored.path}")
    typer.echo(f"visible units   {config.visible} {config.kind}, letters {config.letters}")
    if config.columns:
        typer.echo(f"columns         {config.visible} of {config.width}")
    typer.echo(f"hidden units    {config.hidden}")
    typer.echo(f"labels          {', '.join(config.labels) or '(none)'}")
    for key in ("name", "update", "mode", "steps", "seed", "rows", "effective_rows", "data"):
        if key in stored.facts:
            typer.echo(f"{key:<15} {stored.facts[key]}")
    for name, tensor in machine.tensors().items():
        rms = float(tensor.square().mean().sqrt())
        typer.echo(f"{name:<15} rms {rms:.4g}, largest {float(tensor.abs().max()):.4g}")
    values = torch.linalg.svdvals(machine.weights.reshape(-1, config.hidden))[:8].tolist()
    typer.echo("singular values " + " ".join(f"{v:.3g}" for v in values))
    if model.is_dir() and (ages := rbm_ages(model)):
        typer.echo("ages            " + " ".join(map(str, ages)))
