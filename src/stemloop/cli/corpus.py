"""``stemloop corpus``: sequences for pre-training, from raw files to Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Build and inspect corpora for pre-training.", no_args_is_help=True)


@app.command("build")
def build(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="FASTA, Stockholm, EMBL files, tables, archives of them, or folders; - is "
            "standard input (FASTA)."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the corpus.")],
    sources: Annotated[
        Path | None,
        typer.Option(help="YAML file that names the sources, their licences and types."),
    ] = None,
    min_length: Annotated[int, typer.Option(help="Shortest sequence, nucleotides.")] = 16,
    max_length: Annotated[int, typer.Option(help="Longest sequence, nucleotides.")] = 8192,
    max_ambiguous: Annotated[
        float, typer.Option(help="Largest share of letters other than A, C, G, U, I.")
    ] = 0.1,
    clusterer: Annotated[
        str, typer.Option(help="mmseqs, or none: every sequence its own cluster.")
    ] = "mmseqs",
    identity: Annotated[float, typer.Option(help="Least identity within clusters.")] = 0.7,
    coverage: Annotated[float, typer.Option(help="Least coverage within clusters.")] = 0.8,
    hold_out_clusters: Annotated[
        float, typer.Option(help="Share of clusters kept for validation.")
    ] = 0.02,
    hold_out_families: Annotated[
        float, typer.Option(help="Share of Rfam families kept for validation, whole.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is held out.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the clustering.")] = 1,
    shard_size: Annotated[int, typer.Option(min=1, help="Sequences of a Parquet file.")] = 100_000,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the corpus; drop an interrupted build.")
    ] = False,
) -> None:
    """Clean, de-duplicate, label, cluster and split sequences.

    After an interruption, the same command goes on where it stopped and writes the same bytes.
    """
    from stemloop.cli.progress import stage_progress
    from stemloop.data.corpus_build import build_corpus
    from stemloop.data.corpus_clean import BuildOptions
    from stemloop.data.corpus_sources import load_sources
    from stemloop.data.corpus_table import counts_table

    options = BuildOptions(
        min_length=min_length,
        max_length=max_length,
        max_ambiguous=max_ambiguous,
        clusterer=clusterer,
        identity=identity,
        coverage=coverage,
        hold_out_clusters=hold_out_clusters,
        hold_out_families=hold_out_families,
        seed=seed,
        shard_size=shard_size,
    )
    with stage_progress() as progress:
        manifest = build_corpus(
            inputs,
            output,
            load_sources(sources) if sources else None,
            options,
            threads=threads,
            force=force,
            progress=progress,
        )
    print(counts_table(manifest), file=sys.stderr)


@app.command("show")
def show(
    folder: Annotated[Path, typer.Argument(help="Folder of a corpus.")],
) -> None:
    """Print what a corpus holds: by split, type, source and length."""
    from stemloop.data.corpus_table import counts_table
    from stemloop.data.manifest import read_manifest

    typer.echo(counts_table(read_manifest(folder)))
