"""``stemloop embed``: sequences in, vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemloop.cli.bulk import EngineOption, ShardOption, WorkersOption, is_bulk, run_bulk

#: Options of glibc's mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def embed(
    source: Annotated[
        str, typer.Argument(help="FASTA or FASTQ, plain or compressed; - is standard input.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".npz, .safetensors, .parquet or .h5")
    ],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Model directory, or a name.")
    ] = "stemloop-pico",
    pool: Annotated[
        list[str] | None,
        typer.Option(help="mean (default), cls, or tokens (a row a nucleotide); repeatable."),
    ] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(
            help="-1 (output, default), 0 (embedding) to the number of blocks; repeatable."
        ),
    ] = None,
    long: Annotated[
        str,
        typer.Option(
            help="Sequences longer than --max-length: error (default), window (overlapping "
            "windows, stitched) or allow (pass them whole)."
        ),
    ] = "error",
    max_length: Annotated[
        int | None, typer.Option(help="Nucleotides; by default what the model saw in training.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Nucleotides of a window; --max-length by default.")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(help="Nucleotides shared by windows; a quarter of the window by default."),
    ] = None,
    rna_type: Annotated[
        str | None,
        typer.Option(
            help="What all sequences are (tRNA, miRNA, lncRNA, ...), for encoders that were told "
            "the type in training."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16: faster, less exact.")] = (
        "float32"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    token_budget: Annotated[int | None, typer.Option(min=1, help="Tokens of a batch.")] = None,
    shard: ShardOption = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the output; drop an interrupted run.")
    ] = False,
) -> None:
    """Write one vector a sequence (or a nucleotide) for every sequence of a file.

    CLS and EOS are never among the nucleotides: L rows for L nucleotides. An embedding does not
    depend on the other sequences of the file. After an interruption, the same command with
    --resume computes what is missing and writes the same bytes.
    """
    import torch

    from stemloop.cli.progress import count_progress
    from stemloop.tasks.embed_file import check_suffix, embed_file

    keep_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    choices = {
        "pool": pool or "mean",
        "layers": layer or -1,
        "long": long,
        "max_length": max_length,
        "window": window,
        "overlap": overlap,
        "token_budget": token_budget,
        "dtype": dtype,
        "device": device,
        "rna_type": rna_type,
    }
    if is_bulk(shard, engine, workers):
        from stemloop.tasks.bulk_embed import plan_embed

        if engine is not None:
            check_suffix(output)
        count = torch.get_num_threads()
        run_bulk(
            lambda: plan_embed(
                source, model, threads=count, elsewhere=engine is not None, **choices
            ),
            output, shard=shard, workers=workers, force=force,
        )  # fmt: skip
        return
    with count_progress("tokens") as progress:
        embed_file(
            source,
            output,
            model,
            resume=resume,
            force=force,
            progress=progress,
            report=lambda text: typer.echo(text, err=True),
            **choices,
        )


def keep_memory() -> None:
    """Let glibc keep freed activations for the next layer instead of returning them each time.

    Mapping and clearing them anew cost about a tenth of the time of a CPU run. Other C libraries
    have no such switch and are left alone.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest it takes
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
