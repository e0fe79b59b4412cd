"""``stemloop scan-mutations``: the effect of every substitution."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

COLUMNS = ("id", "position", "reference", "substitution", "score")


class Score(StrEnum):
    """How a substitution is scored."""

    masked = "masked"
    pseudo_likelihood = "pseudo-likelihood"


def scan_mutations(
    source: Annotated[
        str, typer.Argument(help="FASTA or FASTQ, plain or compressed; - is standard input.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help=".tsv, .csv or .parquet; - prints TSV.")
    ] = "-",
    score: Annotated[
        Score,
        typer.Option(
            help="masked: how much likelier than the nucleotide that is there; "
            "pseudo-likelihood: what becomes of the whole sequence (3 L times the work)."
        ),
    ] = Score.masked,
    every: Annotated[
        int,
        typer.Option(
            min=0,
            help="pseudo-likelihood: hide every so many nucleotides together; 0 hides one at a "
            "time, which is exact and slow.",
        ),
    ] = 7,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Language model: a folder, or a name.")
    ] = "stemloop-pico",
    rna_type: Annotated[
        str | None,
        typer.Option(help="What all sequences are (tRNA, miRNA, ...), for models with types."),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1, help="Windows for longer sequences; what the model saw in training by default."
        ),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(min=0, help="Of the windows; half a window by default.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw a heat map of each RNA into this folder.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace output that exists.")] = False,
) -> None:
    """Score every substitution of every RNA by a language model, without any training.

    One row a substitution: id, position (from 1), reference, substitution, score. Below zero: the
    model finds it less likely than what is there.
    """
    import torch

    from stemloop.cli.embed import keep_memory
    from stemloop.cli.progress import counted
    from stemloop.errors import OutputError, OutputExistsError
    from stemloop.formats.tables import write_table
    from stemloop.tasks.mutations import MutationScanner, ScanSettings, substitutions

    keep_memory()
    torch.set_num_threads(threads)
    if output != "-" and Path(output).is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    settings = ScanSettings(score.value, every, window, overlap, rna_type)
    scanner = MutationScanner.load(model, settings, device=device)
    if svg is not None:
        try:
            svg.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{svg}: no folder for drawings: {error.strerror}") from error

    def rows() -> Iterator[dict[str, Any]]:
        for result in counted(scanner.results(source), "RNAs"):
            if svg is not None:
                _draw(result, svg, score, force)
            yield from substitutions(result)

    write_table(output, rows(), columns=COLUMNS, force=force)


def _draw(result: Any, folder: Path, score: Score, force: bool) -> None:
    from stemloop.draw_heatmap import heatmap
    from stemloop.formats.fasta import safe_filename
    from stemloop.formats.stream import atomic_output
    from stemloop.tasks.mutations import LEGENDS

    record = result.record
    picture = heatmap(record, result.arrays["score"], legend=LEGENDS[score.value])
    path = folder / f"{safe_filename(record.id, record.index)}.svg"
    with atomic_output(path, force=force) as out:
        out.write(picture)
