"""``stemloop classify``, ``splice`` and ``ribosome-load``: one answer a sequence."""

from __future__ import annotations

from pathlib import Path
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
    output: OutputOption = "-",
    model: ModelOption = "splice",
    species: Annotated[
        str | None, typer.Option(help="Only sites of this species; the model names what it knows.")
    ] = None,
    leave_out: Annotated[
        str,
        typer.Option(help="Kinds of decoys that do not count, with commas; n1-n3: random letters."),
    ] = "n1,n2,n3",
    genome: Annotated[
        bool,
        typer.Option(
            "--genome",
            help="Slide over both strands of contigs; write .bed or .bedgraph (- prints BED).",
        ),
    ] = False,
    intervals: Annotated[
        Path | None,
        typer.Option("--bed", help="Only sites within these intervals, with --genome."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Lowest probability, with --genome.  [default: 0.99]")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Also without GT or AG, with --genome.")
    ] = False,
    device: DeviceOption = "auto",
    threads: ThreadsOption = 1,
    force: ForceOption = False,
) -> None:
    """Whether windows are centred on a donor, an acceptor or neither; or all sites of a genome.

    All windows have the length that the model was trained with, 42 nt for the one that ships.
    """
    from stemloop.errors import UsageError
    from stemloop.tasks.labels import splice_sites

    if not genome and (intervals or threshold is not None or everywhere):
        raise UsageError("--bed, --threshold and --everywhere go with --genome")
    labeller = _load(model, device, threads)
    kinds = leave_out.split(",")
    if not genome:
        _write(labeller, source, output, force, splice_sites(labeller.meaning, species, kinds))
        return
    from stemloop.cli.progress import count_progress
    from stemloop.formats.bed import read_bed
    from stemloop.tasks.splice_genome import scan, write_sites

    regions = None if intervals is None else list(read_bed(intervals))
    limit = 0.99 if threshold is None else threshold
    with count_progress("nt") as bar:
        sites = scan(
            labeller, source, species=species, leave_out=kinds, threshold=limit,
            intervals=regions, everywhere=everywhere, report=lambda done: bar(done, None),
        )  # fmt: skip
        count = write_sites(output, sites, force=force)
    if output != "-":
        typer.echo(f"wrote {count} sites to {output}", err=True)


def ribosome_load(
    source: SourceArgument,
    output: OutputOption = "-",
    model: ModelOption = "ribosome-load",
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
