"""Alignments as rows of states: aligned FASTA, A2M, Stockholm, and tables with a sequence column.

Which columns become sites: for Stockholm the match columns by ``#=GC RF`` where there is such a
line; otherwise, where `max_gaps` is given, those with no more gaps than that; otherwise all. A
column with nothing but gaps is refused where all columns are taken.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from stemloop.data.labelled import MISSING, Labelled
from stemloop.errors import AlphabetError, FormatError, UsageError
from stemloop.formats.a2m import read_aligned_fasta
from stemloop.formats.alignment import read_stockholm
from stemloop.formats.stream import Source, open_text, source_name

#: Letters of the states by name of the alphabet.
LETTERS = {"rna": "-ACGU", "protein": "-ACDEFGHIKLMNPQRSTVWY"}
FORMATS = ("fasta", "a2m", "stockholm", "table")

Ambiguous = Literal["error", "gap", "drop"]

_BY_SUFFIX = {
    ".fa": "fasta", ".fasta": "fasta", ".afa": "fasta", ".fna": "fasta", ".aln": "fasta",
    ".a2m": "a2m", ".a3m": "a2m", ".sto": "stockholm", ".stk": "stockholm",
    ".stockholm": "stockholm", ".csv": "table", ".tsv": "table",
}  # fmt: skip
#: Codes for "one of several": no state of their own.
_AMBIGUOUS = {"rna": "RYKMSWBDHVNI", "protein": "BJOUXZ*"}


def format_of(path: str) -> str:
    """Format of a file by its suffix (before ``.gz`` and the like).

    Raises
    ------
    UsageError
        The suffix is unknown.

    Examples
    --------
    >>> format_of("RF00162.sto.gz")
    'stockholm'
    """
    suffixes = [s for s in Path(path).suffixes if s not in (".gz", ".zst", ".xz", ".bz2")]
    if not suffixes or suffixes[-1].lower() not in _BY_SUFFIX:
        raise UsageError(f"{path}: format unknown; say which: {', '.join(FORMATS)}")
    return _BY_SUFFIX[suffixes[-1].lower()]


def read_alignment(
    source: Source,
    *,
    format: str | None = None,
    alphabet: str = "rna",
    max_gaps: float | None = None,
    ambiguous: Ambiguous = "error",
    columns: tuple[str | None, str, str | None] = ("header", "sequence", None),
) -> Labelled:
    """Read an alignment as states.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed.
    format : str, optional
        ``fasta``, ``a2m``, ``stockholm`` or ``table`` (CSV or TSV with a header line); told by the
        suffix otherwise.
    alphabet : str
        ``rna`` (states ``-ACGU``) or ``protein`` (``-`` and 20 amino acids).
    max_gaps : float, optional
        Take the columns with at most this share of gaps.
    ambiguous : str
        Codes such as N: ``error``, read as ``gap``, or ``drop`` the row.
    columns : tuple
        For tables: columns of the name (None: rows are numbered), of the sequence, and of the
        label (None: no labels).

    Returns
    -------
    Labelled
        Not labelled yet; `given` has the labels of the table's column.

    Raises
    ------
    FormatError
        Rows differ in length, a column has nothing but gaps, no column is left, a table lacks a
        column.
    AlphabetError
        A letter is not of the alphabet, or ambiguous; row and column are named.
    UsageError
        Format or alphabet is unknown.

    Examples
    --------
    >>> import io
    >>> data = read_alignment(io.StringIO(">x\\nGG-A\\n>y\\nG-CA\\n"), format="fasta")
    >>> data.states.tolist(), data.letters
    ([[3, 3, 0, 1], [3, 0, 2, 1]], '-ACGU')
    """
    path = source_name(source)
    if alphabet not in LETTERS:
        raise UsageError(f"unknown alphabet {alphabet!r}; known: {', '.join(LETTERS)}")
    kind = format or format_of(path)
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}; known: {', '.join(FORMATS)}")
    given: tuple[str, ...] = ()
    match: npt.NDArray[np.bool_] | None = None
    if kind == "stockholm":
        alignment = read_stockholm(source)
        ids, rows = alignment.ids, list(alignment.rows)
        notes = tuple(" ".join(alignment.gs.get(n, {}).get("DE", ())) for n in ids)
        if "RF" in alignment.gc and max_gaps is None:
            match = np.array([c not in "-._~" for c in alignment.gc["RF"]])
    elif kind == "table":
        ids, rows, given = _table(source, columns, path)
        notes = ()
    else:
        records = read_aligned_fasta(source, a2m=kind == "a2m")
        ids, rows = tuple(r.id for r in records), [r.sequence for r in records]
        notes = tuple(r.description for r in records)
    width = len(rows[0])
    for name, row in zip(ids, rows, strict=True):
        if len(row) != width:
            raise FormatError(
                f"{len(row)} columns where {ids[0]!r} has {width}",
                path=path,
                record=name,
                expected="aligned rows: the same number of columns in each",
            )
    states, kept = encode_rows(rows, alphabet, ambiguous=ambiguous, ids=ids, path=path)
    chosen = _choose(states, match, max_gaps, path)
    data = Labelled(
        ids, notes, np.zeros((len(ids), 0), np.uint8), LETTERS[alphabet],
        np.full(len(ids), MISSING), width=width, given=given,
        columns=() if chosen.all() else tuple(int(c) for c in np.flatnonzero(chosen)),
    ).take(kept)  # fmt: skip
    object.__setattr__(data, "states", np.ascontiguousarray(states[:, chosen]))
    return data


def _choose(
    states: npt.NDArray[np.uint8],
    match: npt.NDArray[np.bool_] | None,
    max_gaps: float | None,
    path: str,
) -> npt.NDArray[np.bool_]:
    gaps = (states == 0).mean(0)
    if match is None and max_gaps is None:
        empty = np.flatnonzero(gaps == 1)
        if len(empty):
            more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
            raise FormatError(
                f"column {empty[0] + 1}{more} has nothing but gaps",
                path=path,
                expected="other columns, or a largest share of gaps (max_gaps)",
            )
        return np.ones(len(gaps), bool)
    chosen = gaps <= max_gaps if max_gaps is not None else match
    assert chosen is not None
    if not chosen.any():
        raise FormatError("no column is left", path=path, expected="match columns")
    return chosen


def encode_rows(
    rows: Sequence[str],
    alphabet: str,
    *,
    ambiguous: Ambiguous = "error",
    ids: Sequence[str] = (),
    path: str | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """States of rows of one length, and the numbers of the rows that were kept.

    Raises
    ------
    AlphabetError
        A letter that has no state; row and column (from 1) are named.
    """
    letters = LETTERS[alphabet]
    codes = np.full(256, 255, np.uint8)
    for state, letter in enumerate(letters):
        codes[ord(letter)] = codes[ord(letter.lower())] = state
    for letter in "-._~":
        codes[ord(letter)] = 0
    for letter in _AMBIGUOUS[alphabet]:
        codes[ord(letter)] = codes[ord(letter.lower())] = 254
    if alphabet == "rna":
        codes[ord("T")] = codes[ord("t")] = letters.index("U")
        codes[ord("X")] = codes[ord("x")] = 254
    text = "".join(rows).encode("latin-1", "replace")
    states = codes[np.frombuffer(text, np.uint8)].reshape(len(rows), -1)
    wrong = states >= 254 if ambiguous == "error" else states == 255
    if wrong.any():
        row, column = (int(x) for x in np.argwhere(wrong)[0])
        shown = rows[row][column]
        why = "is ambiguous" if states[row, column] == 254 else f"is no {alphabet} letter"
        hint = "one of " + letters
        if states[row, column] == 254:
            hint += "; ambiguous: gap reads it as a gap, ambiguous: drop leaves out the row"
        raise AlphabetError(
            f"{shown!r} in column {column + 1} {why}",
            path=path,
            record=ids[row] if ids else str(row + 1),
            expected=hint,
        )
    unclear = states == 254
    kept = np.arange(len(rows))
    if ambiguous == "drop":
        kept = np.flatnonzero(~unclear.any(1))
        if not len(kept):
            raise AlphabetError("every row has an ambiguous letter", path=path)
    return np.where(unclear, 0, states)[kept].astype(np.uint8), kept


def _table(
    source: Source, columns: tuple[str | None, str, str | None], path: str
) -> tuple[tuple[str, ...], list[str], tuple[str, ...]]:
    name, sequence, label = columns
    ids, rows, given = [], [], []
    with open_text(source) as handle:
        for number, row in _cells(handle, path, [c for c in columns if c]):
            ids.append(row[name] if name else f"row_{number}")
            rows.append(row[sequence].strip())
            given.append(row[label] if label else "")
    if not rows:
        raise FormatError("no rows", path=path, expected="a header line and rows")
    return tuple(ids), rows, tuple(given) if label else ()


def _cells(
    handle: Iterator[str], path: str, wanted: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    first = next(handle, "").rstrip("\n")
    delimiter = "\t" if "\t" in first else ","
    header = next(csv.reader([first], delimiter=delimiter), [])
    for name in wanted:
        if name not in header:
            raise FormatError(
                f"no column {name!r}", path=path, line=1, expected=", ".join(header) or "a header"
            )
    for number, cells in enumerate(csv.reader(handle, delimiter=delimiter), 1):
        if not cells:
            continue
        if len(cells) != len(header):
            raise FormatError(
                f"{len(cells)} cells where the header has {len(header)}", path=path, line=number + 1
            )
        yield number, dict(zip(header, cells, strict=True))
