"""``stemloop classify``, ``splice`` and ``ribosome-load``: one answer a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stemloop.tasks.labels import Describe, Labeller

SourceArgument = Annotated[
    str, typer.Argument(help="FASTA or FASTQ, plain or compressed; - is standard input.")
]
OutputOption = Annotated[
    str,
    typer.Option("--output", "-o", help=".tsv, .csv, .parquet or .jsonl; - prints TSV."),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="Folder or name of a model with a head for this task."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]


def _load(model: str, device: str, threads: int) -> Labeller:
    import torch

    from stemloop.cli.embed import keep_memory
    from stemloop.tasks.base import pick_device
    from stemloop.tasks.labels import Labeller

    keep_memory()
    torch.set_num_threads(threads)
    return Labeller.load(model, device=str(pick_device(device)))


def _write(
    labeller: Labeller, source: str, output: str, force: bool, describe: Describe | None = None
) -> None:
    from stemloop.cli.progress import counted
    from stemloop.tasks.labels import write_results

    results = labeller.results(source, describe)
    count = write_results(output, counted(results, "sequences"), force=force)
    if output != "-":
        typer.echo(f"wrote {count} records to {output}", err=True)


def classify(
    source: SourceArgument,
    output: OutputOption = "-",
    model: ModelOption = "ncrna-class",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    force: ForceOption = False,
) -> None:
    """Class of each sequence with its probability, and the probabilities of all classes.

    With a model that gives a number, the number.
    """
    _write(_load(model, device, threads), source, output, force)


def splice(
    source: SourceArgument,
    model: ModelOption,
    output: OutputOption = "-",
    species: Annotated[
        str | None, typer.Option(help="Only sites of this species; the model names what it knows.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    force: ForceOption = False,
) -> None:
    """Whether windows are centred on a donor, an acceptor or neither.

    All windows have the length that the model was trained with.
    """
    from stemloop.tasks.labels import splice_sites

    labeller = _load(model, device, threads)
    _write(labeller, source, output, force, splice_sites(labeller.meaning, species))


def ribosome_load(
    source: SourceArgument,
    model: ModelOption,
    output: OutputOption = "-",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    force: ForceOption = False,
) -> None:
    """Mean ribosome load of 5' leaders (the nucleotides before the start codon)."""
    from stemloop.errors import UsageError

    labeller = _load(model, device, threads)
    if labeller.meaning.task != "regress":
        raise UsageError(f"{model} gives classes, not a number: use 'stemloop classify'")
    # A load below zero has no meaning.
    _write(
        labeller, source, output, force,
        lambda row: {"ribosome_load": round(max(float(row[0]), 0.0), 6)},
    )  # fmt: skip
