"""``stemloop fold``: structures of RNAs."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from stemloop.errors import UsageError

if TYPE_CHECKING:
    from stemloop.records import Result


class Layout(StrEnum):
    """Output formats."""

    dbn = "dbn"
    ct = "ct"
    bpseq = "bpseq"
    jsonl = "jsonl"


#: Columns of the table of pair probabilities.
_COLUMNS = ("index", "id", "i", "j", "probability")


class DecoderName(StrEnum):
    """Decoders."""

    mea = "mea"
    centroid = "centroid"
    mfe = "mfe"


def sets_to_average(names: list[str] | None) -> tuple[str, ...] | None:
    """What ``--average`` says: nothing (the model's own choice), ``none``, or parameter sets."""
    if not names:
        return None
    return () if names == ["none"] else tuple(names)


def fold(
    source: Annotated[
        str,
        typer.Argument(metavar="[FASTA]", help="FASTA or FASTQ, plain or compressed; - = stdin."),
    ] = "-",
    sequence: Annotated[
        str | None, typer.Option("--sequence", "-s", help="Fold this sequence instead of a file.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("-"),
    layout: Annotated[Layout, typer.Option("--format", "-f", help="Output format.")] = Layout.dbn,
    model: Annotated[
        str,
        typer.Option(
            help="fold-crf, a model folder, or plain turner2004 (as RNAfold), turner1999, "
            "turner1999-measured, andronescu2007, langdon2018."
        ),
    ] = "fold-crf",
    decoder: Annotated[
        DecoderName, typer.Option("--decoder", "-d", help="From probabilities to one structure.")
    ] = DecoderName.mea,
    gamma: Annotated[
        float | None, typer.Option(help="Weight of pairs: mea 1, centroid 1.5 unless given.")
    ] = None,
    average: Annotated[
        list[str] | None,
        typer.Option(
            help="Average in the pair probabilities of this parameter set (repeatable) instead "
            "of the model's own choice; none: one set, twice as fast. "
            "andronescu2007 and langdon2018 were fitted to known structures of common families."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", "-T", help="Celsius.")] = 37.0,
    max_span: Annotated[int, typer.Option(help="Longest j - i + 1 of a pair, 0 = any.")] = 0,
    constraint: Annotated[
        bool,
        typer.Option(
            "--constraint", "-C", help="Each sequence is followed by a line of ( ) . x | < >."
        ),
    ] = False,
    bpp: Annotated[
        Path | None, typer.Option(help="Pair probabilities >= 0.001 to a .tsv, .csv or .parquet.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw each structure into this folder.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """Predict secondary structures: id, sequence, structure and energy of each RNA."""
    import torch

    from stemloop.alphabet import normalise
    from stemloop.cli.progress import counted
    from stemloop.errors import OutputError, OutputExistsError
    from stemloop.formats.stream import atomic_output
    from stemloop.formats.tables import write_table
    from stemloop.records import SequenceRecord
    from stemloop.tasks.structure import FoldSettings, fold_stream, read_jobs

    settings = FoldSettings(
        model=model,
        decoder=decoder.value,
        gamma=gamma,
        average=sets_to_average(average),  # type: ignore[arg-type]
        temperature=temperature,
        max_span=max_span,
        probabilities=bpp is not None,
    )
    # The network is tiny: more threads only wait for each other. Processes (-j) are what scales.
    torch.set_num_threads(1)
    if sequence is not None and (source != "-" or constraint):
        raise UsageError("--sequence goes without a file and without --constraint")
    for path in (output, bpp):
        # Devices and pipes are there already and are written to as they are.
        if path is not None and path.is_file() and not force:
            raise OutputExistsError(f"{path} exists already; --force replaces it")
    if svg is not None:
        try:
            svg.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{svg}: no folder for drawings: {error.strerror}") from error
    if sequence is not None:
        record = SequenceRecord("sequence", normalise(sequence, record="sequence"))
        work: Any = iter([(record, None)])
    else:
        work = read_jobs(source, constraints=constraint)
    with atomic_output(output, force=force) as out:

        def rows() -> Iterator[dict[str, Any]]:
            for result in counted(fold_stream(work, settings, processes=jobs), "RNAs"):
                _write(result, layout, out)
                if str(output) == "-":
                    out.flush()
                if svg is not None:
                    _draw(result, svg, force)
                if bpp is not None:
                    yield from _probabilities(result)

        if bpp is not None:
            write_table(bpp, rows(), columns=_COLUMNS, force=force)
        else:
            deque(rows(), maxlen=0)


def _write(result: Result, layout: Layout, out: TextIO) -> None:
    from stemloop.formats.structure import format_structure

    structure = result.structure
    assert structure is not None
    if layout is not Layout.jsonl:
        out.write(format_structure(structure, layout.value))
        return
    record = result.record
    line = {
        "index": record.index,
        "id": record.id,
        "description": record.description,
        "sequence": record.sequence,
        "structure": structure.dot_bracket,
        "energy": round(float(result.values["energy"]), 2),
        "ensemble_energy": round(float(result.values["ensemble_energy"]), 2),
        "confidence": [round(float(p), 4) for p in result.arrays["confidence"]],
    }
    out.write(json.dumps(line) + "\n")


def _probabilities(result: Result) -> Iterator[dict[str, Any]]:
    import numpy as np

    matrix = result.arrays["pair_probability"]
    record = result.record
    rows, cols = np.nonzero(matrix >= 0.001)
    values = np.round(matrix[rows, cols], 6)
    for i, j, p in zip(rows.tolist(), cols.tolist(), values.tolist(), strict=True):
        yield dict(zip(_COLUMNS, (record.index, record.id, i + 1, j + 1, p), strict=True))


def _draw(result: Result, folder: Path, force: bool) -> None:
    from stemloop.draw import draw
    from stemloop.folding.thermo import layout
    from stemloop.formats.fasta import safe_filename
    from stemloop.formats.stream import atomic_output

    structure, record = result.structure, result.record
    assert structure is not None
    picture = draw(structure, layout(structure.dot_bracket), result.arrays["confidence"])
    with atomic_output(
        folder / f"{safe_filename(record.id, record.index)}.svg", force=force
    ) as out:
        out.write(picture)
