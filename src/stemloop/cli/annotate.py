"""``stemloop annotate``: all that the models that ship say of RNAs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemloop.cli.bulk import EngineOption, ShardOption, WorkersOption, is_bulk, run_bulk


def annotate(
    source: Annotated[
        str, typer.Argument(help="FASTA or FASTQ, plain or compressed; - is standard input.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder or table to write.")],
    mutations: Annotated[
        bool, typer.Option("--mutations", help="Score every substitution, with heat maps.")
    ] = False,
    splice: Annotated[
        str | None,
        typer.Option(help="Splice sites by this model, of sequences that are its windows."),
    ] = None,
    species: Annotated[str | None, typer.Option(help="Of --splice.")] = None,
    ribosome_load: Annotated[
        str | None, typer.Option(help="Ribosome load by this model, of sequences of 25-100 nt.")
    ] = None,
    shard: ShardOption = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder of an earlier call.")
    ] = False,
) -> None:
    """Fold, classify and draw RNAs: a folder with a table, drawings and a report to open.

    With -o NAME.parquet, NAME.tsv or NAME.csv, the table alone. The output appears when everything
    is in it.
    """
    import torch

    from stemloop.cli.embed import keep_memory
    from stemloop.cli.progress import count_progress
    from stemloop.errors import UsageError
    from stemloop.tasks.annotate import REPORT, AnnotateOptions, refuse_existing
    from stemloop.tasks.annotate import annotate as run
    from stemloop.tasks.annotate_table import annotate_table, check_table, is_table

    if species is not None and splice is None:
        raise UsageError("--species goes with --splice")
    keep_memory()
    torch.set_num_threads(threads)
    options = AnnotateOptions(mutations, splice, species, ribosome_load)
    if is_bulk(shard, engine, workers, (mutations, "--mutations")):
        from stemloop.tasks.bulk_records import plan_annotate

        if engine is not None:
            check_table(output)
        run_bulk(
            lambda: plan_annotate(source, options, threads),
            output, shard=shard, workers=workers, force=force,
        )  # fmt: skip
        return
    if is_table(output):
        with count_progress("RNAs") as progress:
            annotate_table(source, output, options, force=force, progress=progress)
        return
    refuse_existing(output, force)
    with count_progress("RNAs") as progress:
        rows = run(source, output, options, force=force, progress=progress)
    typer.echo(f"wrote {len(rows)} RNAs: open {output / REPORT}", err=True)
