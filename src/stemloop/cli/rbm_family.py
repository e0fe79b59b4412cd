"""``stemloop rbm align``, ``bundle`` and ``plot``: what goes into generators and comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemloop.cli.rbm_options import Force, HiddenChain, hidden_mode


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


def plot(
    reports: Annotated[list[Path], typer.Argument(help="Reports of evaluate, a column each.")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".svg or .png.")],
    title: Annotated[
        list[str] | None, typer.Option(help="Title of a column, in their order; repeatable.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw scores of samples against Gibbs steps, for every age in the reports."""
    import json

    from stemloop.errors import InputError, UsageError
    from stemloop.evaluation.generated_plots import curves

    titles = title or [path.stem for path in reports]
    if len(set(titles)) != len(reports):
        raise UsageError(f"{len(set(titles))} different titles for {len(reports)} reports")
    found = {}
    for name, path in zip(titles, reports, strict=True):
        try:
            found[name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"no report: {error}", path=str(path)) from error
    curves(output, found, force=force)
