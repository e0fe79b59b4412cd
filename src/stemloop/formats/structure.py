"""Secondary structures as text: dot-bracket, CT, BPSEQ and bpRNA's .st; reading and writing.

=========  ==================================  =============================================
format     suffixes                            layout
=========  ==================================  =============================================
``dbn``    .dbn .db .dot .fold .vienna         ``>id``, sequence, dot-bracket, maybe energy
``ct``     .ct                                 a line per nucleotide with its partner
``bpseq``  .bpseq                              position, nucleotide, partner
``st``     .st                                 bpRNA: ``#Name:``, sequence, dot-bracket, ...
=========  ==================================  =============================================

All may hold several records and pseudoknots. Sequences follow the policy of
:mod:`stemloop.alphabet`; files count from 1.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from stemloop.errors import FormatError, UsageError
from stemloop.formats.connect import is_bpseq, read_bpseq, read_ct
from stemloop.formats.dot_bracket import Lines, read_brackets
from stemloop.formats.fasta import header_text
from stemloop.formats.stream import Source, atomic_output, open_text, source_name
from stemloop.pairs import nested_layers, pair_table
from stemloop.records import Structure

_SUFFIXES = {
    **dict.fromkeys((".dbn", ".db", ".dot", ".fold", ".vienna"), "dbn"),
    **{".ct": "ct", ".bpseq": "bpseq", ".st": "st"},
}
FORMATS = ("dbn", "ct", "bpseq", "st")


def read_structures(
    source: Source, format: str | None = None, *, alphabet_check: bool = True
) -> Iterator[Structure]:
    """Read secondary structures, one record at a time.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input.
    format : str, optional
        ``dbn``, ``ct``, ``bpseq`` or ``st``; told by suffix, then by content, otherwise.
    alphabet_check : bool
        Bring sequences into canonical form (:func:`stemloop.alphabet.normalise`). Otherwise
        they arrive as they stand: data banks have letters of their own for modified nucleotides.

    Yields
    ------
    Structure

    Raises
    ------
    FormatError
        The file breaks its format, or holds no records; file, line and record are named.
    AlphabetError
        A character is no nucleotide code.
    StructureError
        Brackets do not match each other or the sequence.

    Examples
    --------
    >>> import io
    >>> text = ">hairpin\\nGGGAAACCC\\n(((...))) (-1.20)\\n"
    >>> [(s.record.id, s.pairs.tolist(), s.energy) for s in read_structures(io.StringIO(text))]
    [('hairpin', [[0, 8], [1, 7], [2, 6]], -1.2)]
    """
    path = source_name(source)
    with open_text(source) as handle:
        lines: Lines = ((n, line.rstrip("\n")) for n, line in enumerate(handle, 1))
        kind = _checked(format) or _by_suffix(path)
        if kind is None:
            kind, lines = _by_content(lines)
        reader = {"ct": read_ct, "bpseq": read_bpseq}.get(kind, read_brackets)
        empty = True
        for structure in reader(lines, path, alphabet_check):
            empty = False
            yield structure
    if empty:
        raise FormatError("no records: the file is empty", path=path, expected=f"format {kind}")


def has_structure_suffix(path: str | os.PathLike[str]) -> bool:
    """Whether a file name says that it holds structures.

    Examples
    --------
    >>> has_structure_suffix("known.dbn.gz"), has_structure_suffix("rnas.fa")
    (True, False)
    """
    return _by_suffix(os.fspath(path)) is not None


def _checked(format: str | None) -> str | None:
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown structure format {format!r}; known: {', '.join(FORMATS)}")
    return format


def _by_suffix(path: str) -> str | None:
    suffixes = [s.lower() for s in Path(path).suffixes]
    while suffixes and suffixes[-1] in (".gz", ".zst", ".xz", ".bz2"):
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def _by_content(lines: Lines) -> tuple[str, Lines]:
    """Format that the first two lines with data have, and all the lines."""
    head: list[tuple[int, str]] = []
    data: list[str] = []
    while len(data) < 2 and (line := next(lines, None)):
        head.append(line)
        if line[1].strip() and not line[1].startswith("#"):
            data.append(line[1])
    kind = "dbn"
    if data and data[0].split()[0].isdecimal() and len(data[-1].split()) >= 5:
        kind = "ct"
    elif data and is_bpseq(data[0]):
        kind = "bpseq"
    return kind, chain(head, lines)


# Writing ------------------------------------------------------------------------------------


def format_structure(structure: Structure, format: str = "dbn") -> str:
    """Text of one structure, with its line end.

    Energies are written with two decimals, the resolution of the Turner parameters.

    Parameters
    ----------
    structure : Structure
        A structure, pseudoknots included.
    format : str
        ``dbn``, ``ct``, ``bpseq`` or ``st`` (without bpRNA's loop annotation lines).

    Raises
    ------
    UsageError
        The format is unknown.
    StructureError
        Dot-bracket text has too few kinds of brackets for these crossing pairs.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> s = Structure.from_dot_bracket(SequenceRecord("x", "GAAAC"), "(...)", -0.5)
    >>> print(format_structure(s), end="")
    >x
    GAAAC
    (...) ( -0.50)
    >>> print(format_structure(s, "bpseq"), end="")
    #Name: x
    #Energy: -0.50
    1 G 5
    2 A 0
    3 A 0
    4 A 0
    5 C 1
    """
    record, energy = structure.record, structure.energy
    title = header_text(record)
    note = "" if energy is None else f"#Energy: {energy:.2f}\n"
    if _checked(format) in ("ct", "bpseq"):
        partners = (pair_table(structure.pairs, record.length) + 1).tolist()
        rows = list(enumerate(zip(record.sequence, partners, strict=True), 1))
        if format == "bpseq":
            return f"#Name: {title}\n{note}" + "".join(f"{i} {b} {j}\n" for i, (b, j) in rows)
        known = "" if energy is None else f"ENERGY = {energy:.2f}  "
        return f"{record.length}  {known}{title}\n" + "".join(
            f"{i} {b} {i - 1} {(i + 1) % (record.length + 1)} {j} {i}\n" for i, (b, j) in rows
        )
    brackets = structure.dot_bracket
    if format == "st":
        pages = max(1, len(nested_layers(structure.pairs)))
        return (
            f"#Name: {title}\n#Length: {record.length}\n#PageNumber: {pages}\n{note}"
            f"{record.sequence}\n{brackets}\n"
        )
    known = "" if energy is None else f" ({energy:6.2f})"
    return f">{title}\n{record.sequence}\n{brackets}{known}\n"


def write_structures(
    target: str | os.PathLike[str] | TextIO,
    structures: Iterable[Structure],
    format: str | None = None,
    *,
    force: bool = False,
) -> None:
    """Write structures to a file or an open handle.

    Parameters
    ----------
    target : str, path or file object
        ``-`` is standard output.
    structures : iterable of Structure
        Structures.
    format : str, optional
        ``dbn``, ``ct``, ``bpseq`` or ``st``; told by the suffix otherwise, else ``dbn``.
    force : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        The file exists already or cannot be written.
    """
    if not isinstance(target, str | os.PathLike):
        target.writelines(format_structure(s, format or "dbn") for s in structures)
        return
    kind = _checked(format) or _by_suffix(os.fspath(target)) or "dbn"
    with atomic_output(target, force=force) as out:
        out.writelines(format_structure(s, kind) for s in structures)
