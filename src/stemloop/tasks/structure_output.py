"""How results of folding are written: structure formats, JSON lines, and rows of Parquet."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop import __version__
from stemloop.errors import UsageError
from stemloop.formats.parquet import row_writer
from stemloop.formats.stream import atomic_output
from stemloop.formats.structure import format_structure
from stemloop.records import Result, Structure
from stemloop.tasks.structure_settings import FoldSettings

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of the table of pair probabilities.
PROBABILITY_COLUMNS = ("index", "id", "i", "j", "probability")


def render(result: Result, layout: str) -> str:
    """Text of one RNA in a layout of ``stemloop fold``; for ``parquet`` the row as a JSON line.

    Examples
    --------
    >>> from stemloop.tasks.structure import fold
    >>> print(render(fold("GGGGAAAACCCC", model="turner2004")[0], "dbn"), end="")
    >sequence1
    GGGGAAAACCCC
    ((((....)))) ( -5.40)
    """
    if layout in ("jsonl", "parquet"):
        return json.dumps(as_row(result)) + "\n"
    texts = []
    for structure in _sampled(result):
        text = format_structure(structure, layout)
        if "cut" in result.values:
            header, *lines = text.splitlines(keepends=True)
            text = header + "".join(_cut(line, result) for line in lines)
        texts.append(text)
    return "".join(texts)


def check_layout(path: str | os.PathLike[str], layout: str) -> None:
    """Refuse a name that does not fit the layout.

    Raises
    ------
    UsageError
        Parquet under another suffix, or text under that of Parquet.
    """
    if (layout == "parquet") != os.fspath(path).endswith(".parquet"):
        raise UsageError(
            f"{os.fspath(path)}: --format {layout} does not fit the suffix (NAME.parquet is "
            "--format parquet)"
        )


@contextmanager
def open_output(
    path: str | os.PathLike[str], layout: str, settings: FoldSettings, *, force: bool = False
) -> Iterator[Callable[[str], None]]:
    """Write results, whole or not at all: what is yielded is called with each RNA's `render`.

    Raises
    ------
    OutputExistsError, OutputError
        The file exists and `force` is false, or cannot be written.
    """
    if layout == "parquet":
        note = json.dumps({"stemloop": __version__, "fold": settings.facts()}, sort_keys=True)
        with row_writer(path, row_schema(), note=note, force=force) as write:
            yield lambda text: write(json.loads(text))
        return
    with atomic_output(path, force=force) as out:

        def write_text(text: str) -> None:
            out.write(text)
            if os.fspath(path) == "-":
                out.flush()

        yield write_text


def as_row(result: Result) -> dict[str, Any]:
    """Values of one RNA as JSON knows them; energies have two decimals, probabilities four."""
    structure, record, values = result.structure, result.record, result.values
    assert structure is not None
    row = {
        "index": record.index,
        "id": record.id,
        "description": record.description,
        "sequence": _cut(record.sequence, result),
        "structure": _cut(structure.dot_bracket, result),
        "energy": _number(values["energy"]),
        "ensemble_energy": _number(values["ensemble_energy"]),
        "confidence": [round(float(p), 4) for p in result.arrays["confidence"]],
        "ensemble_defect": round(float(values["ensemble_defect"]), 4),
    }
    for key in ("window", "longest_span", "homologs"):
        if key in values:
            row[key] = values[key]
    if "binding_energy" in values:
        row["binding_energy"] = _number(values["binding_energy"])
    if "samples" in result.arrays:
        drawn = zip(result.arrays["samples"], result.arrays["sample_energy"], strict=True)
        row["samples"] = [{"structure": str(s), "energy": _number(e)} for s, e in drawn]
    return row


def row_schema() -> pa.Schema:
    """Columns of `as_row` in Parquet; those that an RNA has no value for are null."""
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    drawn = pa.struct([("structure", text), ("energy", number)])
    return pa.schema(
        [
            ("index", whole), ("id", text), ("description", text), ("sequence", text),
            ("structure", text), ("energy", number), ("ensemble_energy", number),
            ("confidence", pa.list_(pa.float32())), ("ensemble_defect", number),
            ("window", whole), ("longest_span", whole), ("homologs", whole),
            ("binding_energy", number),
            ("samples", pa.list_(drawn)),
        ]
    )  # fmt: skip


def probability_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Pair probabilities of 0.001 and more, positions from 1."""
    matrix = result.arrays["pair_probability"]
    record = result.record
    rows, cols = np.nonzero(matrix >= 0.001)
    values = np.round(matrix[rows, cols], 6)
    for i, j, p in zip(rows.tolist(), cols.tolist(), values.tolist(), strict=True):
        cells = (record.index, record.id, i + 1, j + 1, p)
        yield dict(zip(PROBABILITY_COLUMNS, cells, strict=True))


def _cut(text: str, result: Result) -> str:
    """Put the sign between two strands into text that has a character a nucleotide."""
    at = int(result.values.get("cut", 0))
    return f"{text[:at]}&{text[at:]}" if at else text


def _sampled(result: Result) -> Iterator[Structure]:
    """The structures drawn, as records of their own; the predicted one where none were."""
    assert result.structure is not None
    if "samples" not in result.arrays:
        yield result.structure
        return
    drawn = zip(result.arrays["samples"], result.arrays["sample_energy"], strict=True)
    for number, (text, energy) in enumerate(drawn, 1):
        title = f"{result.record.description} sample={number}".lstrip()
        record = replace(result.record, description=title)
        yield Structure.from_dot_bracket(record, str(text), float(energy))


def _number(energy: Any) -> float | None:
    """Energy with two decimals; JSON knows no infinity, and a pair head no energy."""
    return round(float(energy), 2) if math.isfinite(energy) else None
