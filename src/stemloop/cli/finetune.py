"""``stemloop finetune``: train heads and folding models by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stemloop.training import pair_head as pair_head_training
    from stemloop.training import sequence as sequence_training
    from stemloop.training.structure import Progress

app = typer.Typer(no_args_is_help=True, help="Train a model for a task by a recipe.")


@app.callback()
def options() -> None:
    """Train a model for a task by a recipe."""


def show(name: str, state: Progress) -> None:
    """Print a line of progress now and then, for terminals and log files alike."""
    if state.step % 20 == 0 or state.step == state.steps:
        typer.echo(
            f"{name}: stage {state.stage}, epoch {state.epoch}/{state.epochs}, "
            f"batch {state.step}/{state.steps}, soft F {state.soft_f:.4f}, {state.seconds:.0f} s",
            err=True,
        )


@app.command("structure")
def structure(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/fold-crf.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Leave out this ArchiveII class and its Rfam families (repeatable)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Language model instead of the recipe's."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
) -> None:
    """Train the thermodynamic CRF. Called again, it goes on where the last call stopped."""
    import torch

    from stemloop.evaluation.benchmark import read_archiveii
    from stemloop.folding.crf import save_crf
    from stemloop.training import structure as training
    from stemloop.training.recipes import LanguageModel, load_recipe
    from stemloop.training.structure_data import HoldOut
    from stemloop.training.structure_data import hold_out as leave_out

    torch.set_num_threads(1)
    parsed = load_recipe(recipe)
    if seed is not None:
        parsed = parsed.model_copy(update={"seed": seed})
    if model is not None:
        named = parsed.language_model or LanguageModel(model=model)
        named = named.model_copy(update={"model": model})
        parsed = parsed.model_copy(update={"language_model": named})
    held = leave_out(hold_out, read_archiveii(data)) if hold_out else HoldOut()
    trainer = training.StructureTrainer(parsed, data, output, hold_out=held, jobs=jobs)
    net = trainer.run(lambda state: show(parsed.name, state))
    card = {"recipe": parsed.name, "seed": parsed.seed, "held_out": held.names}
    save_crf(output / "model", net, card, parsed.average, trainer.evidence)
    typer.echo(f"wrote {output / 'model'}: stemloop fold --model {output / 'model'} ...")


def show_pair_head(name: str, state: pair_head_training.Progress) -> None:
    """Print a line of progress now and then, and one for every validation."""
    place = f"{name}: epoch {state.epoch}/{state.epochs}"
    if state.f1 is not None:
        typer.echo(
            f"{place}: validation F1 {state.f1:.4f} above {state.threshold:.2f}, "
            f"loss {state.loss:.5f}, {state.seconds:.0f} s",
            err=True,
        )
    elif state.step % 200 == 0:
        typer.echo(
            f"{place}, RNA {state.step}/{state.steps}, loss {state.loss:.5f}, "
            f"{state.seconds:.0f} s",
            err=True,
        )


@app.command("pair-head")
def pair_head(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/pair-head.yaml.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Encoder: a folder or a name.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Leave out this ArchiveII class and its Rfam families (repeatable)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the head alone, whatever the recipe says.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder for a frozen encoder's output, which runs may share."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads, on a CPU.")] = 1,
) -> None:
    """Train RiNALMo's pair head. Called again, it goes on where the last call stopped."""
    import torch

    from stemloop.cli.progress import count_progress
    from stemloop.errors import UsageError
    from stemloop.evaluation.benchmark import read_archiveii
    from stemloop.tasks.base import pick_device
    from stemloop.training.pair_head import PairHeadTrainer
    from stemloop.training.pair_head_recipe import PairHeadRecipe
    from stemloop.training.recipe_base import read_recipe, revise
    from stemloop.training.structure_data import HoldOut
    from stemloop.training.structure_data import hold_out as leave_out
    from stemloop.weights.store import load

    torch.set_num_threads(threads)
    parsed = read_recipe(recipe, PairHeadRecipe)
    changes = {} if seed is None else {"seed": seed}
    if frozen:
        changes["unfreeze"] = None
    parsed = revise(parsed, changes)
    if embeddings is not None and parsed.unfreeze is not None:
        raise UsageError("--embeddings is for a frozen encoder: give --frozen too")
    held = leave_out(hold_out, read_archiveii(data)) if hold_out else HoldOut()
    trainer = PairHeadTrainer(
        parsed,
        load(model),
        data,
        output,
        hold_out=held,
        device=str(pick_device(device)),
        embeddings=embeddings,
    )
    with count_progress("RNAs embedded") as progress:
        trainer.embed(progress)
    trainer.run(lambda state: show_pair_head(parsed.name, state))
    typer.echo(f"wrote {output / 'model'}: stemloop fold --model {output / 'model'} ...")


def show_sequence(name: str, state: sequence_training.Progress) -> None:
    """Print a line of progress now and then, and one for every validation."""
    place = f"{name}: epoch {state.epoch}/{state.epochs}"
    if state.score is not None:
        best = ", the best so far" if state.best else ""
        typer.echo(
            f"{place}: validation {state.metric} {state.score:.4f}{best}, loss {state.loss:.5f}, "
            f"{state.seconds:.0f} s",
            err=True,
        )
    elif state.step % 50 == 0:
        typer.echo(
            f"{place}, batch {state.step}/{state.steps}, loss {state.loss:.5f}, "
            f"{state.seconds:.0f} s",
            err=True,
        )


@app.command("sequence")
def sequence(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/ncrna-class.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Encoder: a folder or a name.")
    ] = "stemloop-pico",
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")] = Path(),
    table: Annotated[
        list[str] | None,
        typer.Option(
            help="Your own CSV, TSV or FASTA instead of the recipe's data; PART=FILE with PART "
            "train, validation or test leaves it out of the split (repeatable)."
        ),
    ] = None,
    sequence_column: Annotated[
        str, typer.Option("--sequence", help="Column of the sequence, with --table.")
    ] = "sequence",
    label: Annotated[
        str, typer.Option(help="Column of the label (FASTA: number of the word), with --table.")
    ] = "label",
    split: Annotated[
        str | None,
        typer.Option(help="random, cluster (MMseqs2), or column:NAME; instead of the recipe's."),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(help="Test on this group, such as a species, and train on the others."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="none, frozen, full, gradual or lora; instead of the recipe's."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Trained model whose head to start from, of the same shape.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder for a frozen encoder's output, which runs may share."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads, on a CPU.")] = 1,
) -> None:
    """Train a head that says a class or a number of whole sequences, or head and encoder.

    Called again, it goes on where the last call stopped.
    """
    import torch

    from stemloop.cli.embed import keep_memory
    from stemloop.cli.progress import count_progress
    from stemloop.errors import UsageError
    from stemloop.tasks.base import pick_device
    from stemloop.training.recipe_base import read_recipe, revise
    from stemloop.training.sequence import SequenceTrainer
    from stemloop.training.sequence_recipe import SequenceRecipe
    from stemloop.training.sequence_recipe import hold_out as leave_out
    from stemloop.weights.sequence_head import LETTERS, load_base

    keep_memory()
    torch.set_num_threads(threads)
    parsed = read_recipe(recipe, SequenceRecipe)
    changes: dict[str, Any] = {"seed": seed, "encoder": encoder, "start": start}
    if table:
        changes["data"] = [own_table(text, sequence_column, label) for text in table]
    if split is not None:
        by, _, column = split.partition(":")
        changes["split"] = parsed.split.model_dump() | {"by": by}
        changes["split"] |= {"column": column} if column else {}
    parsed = revise(parsed, {k: v for k, v in changes.items() if v is not None})
    if hold_out is not None:
        parsed = leave_out(parsed, hold_out)
    if embeddings is not None and parsed.encoder != "frozen":
        raise UsageError("--embeddings is for a frozen encoder")
    trainer = SequenceTrainer(
        parsed,
        load_base(LETTERS if parsed.encoder == "none" else model),
        data,
        output,
        device=str(pick_device(device)),
        embeddings=embeddings,
    )
    with count_progress("sequences embedded") as progress:
        trainer.prepare(progress)
    metrics = trainer.run(lambda state: show_sequence(parsed.name, state))
    for part in ("validation", "test"):
        if part in metrics:
            scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics[part].items())
            typer.echo(f"{part}: {scores}")
    typer.echo(f"wrote {output / 'model'}: stemloop classify seqs.fa --model {output / 'model'}")


def own_table(text: str, sequence: str, label: str) -> dict[str, Any]:
    """Entry of a recipe's data for a file given on the command line, PART=FILE or FILE."""
    part, equals, file = text.partition("=")
    if not equals or part not in ("train", "validation", "test"):
        part, file = "split", text
    # An absolute path stands by itself, whatever the folder of the data.
    path = str(Path(file).resolve())
    return {"file": path, "part": part, "sequence": sequence, "label": label}
