"""``stemloop rbm align``, ``bundle``, ``import`` and ``plot``: before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stemloop.cli.rbm_options import Age, Force, HiddenChain, Seed, Steps, hidden_mode


def align(
    source: Annotated[Path, typer.Argument(help="Unaligned RNA, FASTA.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Stockholm file.")],
    family: Annotated[
        str | None, typer.Option(help="Accession or name of the family in the file of --seed.")
    ] = None,
    seed: Annotated[
        Path | None, typer.Option(help="Stockholm file with the family's seed alignment.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Instead: the family's covariance model.")
    ] = None,
    save_model: Annotated[
        Path | None, typer.Option(help="Keep the covariance model in this file.")
    ] = None,
    calibrate: Annotated[
        float,
        typer.Option(min=0, help="Calibrate it for searches: Mb of random sequence, minutes."),
    ] = 0.0,
    force: Force = False,
) -> None:
    """Align RNA to a family's covariance model (Infernal's programs do it)."""
    from stemloop.data.covariance import align as align_records
    from stemloop.data.covariance import build, find_family, read_model
    from stemloop.errors import UsageError
    from stemloop.formats.alignment import read_stockholm, write_stockholm
    from stemloop.formats.fasta import read_sequences
    from stemloop.formats.stream import atomic_output

    if (model is None) == (seed is None):
        raise UsageError("give --model or --seed")
    if seed is not None:
        rows = find_family(seed, family) if family else read_stockholm(seed)
        found = build(rows, calibrate=calibrate)
    else:
        found = read_model(model or "")
    if save_model is not None:
        with atomic_output(save_model, force=force) as out:
            out.write(found.text)
    write_stockholm(output, [align_records(found, read_sequences(source))], force=force)


def bundle(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    name: Annotated[str, typer.Option(help="Name of the family.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the generator.")],
    family: Annotated[
        Path | None, typer.Option(help="Its covariance model: for bit scores and structure.")
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Another name; repeatable.")] = None,
    hidden_chain: HiddenChain = None,
    force: Force = False,
) -> None:
    """Make a generator for ``stemloop generate --model`` of a run."""
    from stemloop.data.covariance import read_model
    from stemloop.tasks.generators import write_generator

    path = write_generator(
        run, data, output, name=name, family=read_model(family) if family else None,
        aliases=tuple(alias or ()), hidden=hidden_mode(hidden_chain), force=force,
    )  # fmt: skip
    typer.echo(f"wrote {path}: stemloop generate --model {path} -n 100")


def take_over(
    source: Annotated[Path, typer.Argument(help="HDF5 file of FeF, rbms or annaDCA.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file, .safetensors.")],
    letters: Annotated[
        str | None, typer.Option(help="One letter a state, in the file's order, where it has none.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a label, in the file's order; repeatable.")
    ] = None,
    age: Annotated[int | None, typer.Option(help="Updates; the last by default.")] = None,
    force: Force = False,
) -> None:
    """Read a machine that another program has trained."""
    from stemloop.weights.rbm_import import import_rbm
    from stemloop.weights.rbm_store import save_rbm

    found = import_rbm(source, letters=letters, labels=label or (), age=age)
    config = found.machine.config
    save_rbm(output, found.machine, facts=found.facts, force=force)
    typer.echo(
        f"wrote {output}: {found.facts['imported']}, update {found.facts['update']}, "
        f"{config.visible} sites of {config.letters}, {config.hidden} hidden units, "
        f"labels {', '.join(config.labels) or '(none)'}"
    )


def plot(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Reports of evaluate, a column each; or one run."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help=".svg or .png.")],
    kind: Annotated[
        str, typer.Option(help="steps: reports; pca or logo: training rows and samples of a run.")
    ] = "steps",
    title: Annotated[
        list[str] | None, typer.Option(help="Title of a report's column; repeatable.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the run's data files.")] = None,
    steps: Steps = 10,
    count: Annotated[int, typer.Option("-n", "--count", min=4, help="Rows, at most.")] = 2000,
    seed: Seed = 0,
    age: Age = None,
    hidden_chain: HiddenChain = None,
    force: Force = False,
) -> None:
    """Draw scores against Gibbs steps, or training rows and samples by label."""
    from stemloop.errors import UsageError
    from stemloop.evaluation.generated_plots import components, curves, logos

    if kind == "steps":
        curves(output, _reports(sources, title or [path.stem for path in sources]), force=force)
        return
    if kind not in ("pca", "logo"):
        raise UsageError(f"--kind {kind!r}: write steps, pca or logo")
    if data is None or len(sources) != 1:
        raise UsageError(f"--kind {kind} needs the folder of one run, and --data")
    from stemloop.tasks.generate_quality import rows_by_label

    rows, letters = rows_by_label(
        sources[0], data, age=age, steps=steps, count=count, seed=seed,
        hidden=hidden_mode(hidden_chain),
    )  # fmt: skip
    (components if kind == "pca" else logos)(output, rows, letters, force=force)


def _reports(sources: list[Path], titles: list[str]) -> dict[str, dict[str, Any]]:
    """Reports by title."""
    import json

    from stemloop.errors import InputError, UsageError

    if len(set(titles)) != len(sources):
        raise UsageError(f"{len(set(titles))} different titles for {len(sources)} reports")
    found = {}
    for name, path in zip(titles, sources, strict=True):
        try:
            found[name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"no report: {error}", path=str(path)) from error
    return found
