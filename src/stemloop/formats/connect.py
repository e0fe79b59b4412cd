"""Reading CT and BPSEQ files: a line per nucleotide that names its partner.

Both positions of a pair must name each other. Titles and energies are read from CT headers
(``76 ENERGY = -22.1  name`` and ``76 dG = -22.1 name``) and from ``#Name:`` and ``#Energy:``
lines of BPSEQ; a record without a name takes that of its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stemloop.alphabet import first_unknown, normalise
from stemloop.errors import AlphabetError, FormatError
from stemloop.formats.dot_bracket import NOTE, Lines, parse_energy, parse_title
from stemloop.pairs import pairs_from_table
from stemloop.records import SequenceRecord, Structure

#: Header lines of the Comparative RNA Web site's BPSEQ files.
_BPSEQ_HEADER = re.compile(r"#|(Filename|Organism|Accession Number|Citation)\b.*:", re.IGNORECASE)
_BPSEQ_ROW = re.compile(r"\s*(\d{1,9})\s+(\S)\s+(-?\d{1,9})\s*", re.ASCII)
_CT_HEADER = re.compile(r"\s*(\d{1,9})(?:\s+(.*))?", re.ASCII)
_CT_ROW = re.compile(r"\s*(\d{1,9})\s+(\S)\s+\d+\s+\d+\s+(\d{1,9})(?:\s.*)?", re.ASCII)


def is_bpseq(line: str) -> bool:
    """Whether a line belongs to a BPSEQ file.

    Examples
    --------
    >>> is_bpseq("1 G 72"), is_bpseq("72 tRNA")
    (True, False)
    """
    return bool(_BPSEQ_ROW.fullmatch(line) or _BPSEQ_HEADER.match(line))


@dataclass
class _Rows:
    """Nucleotides and partners (from 1, 0 for none) with the lines they came from."""

    line: int
    title: str = ""
    energy: float | None = None
    bases: list[str] = field(default_factory=list)
    partners: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def add(self, line: int, base: str, partner: int) -> None:
        self.bases.append(base)
        self.partners.append(partner)
        self.lines.append(line)

    def structure(self, path: str, index: int, check: bool) -> Structure:
        name, description, energy = parse_title(self.title)
        name = name or _fallback(path, index)
        if not self.bases:
            raise FormatError("no nucleotides", path=path, line=self.line, record=name)
        for i, (j, line) in enumerate(zip(self.partners, self.lines, strict=True), 1):
            if j == 0:
                continue
            problem = ""
            if not 0 < j <= len(self.partners):
                problem = f"outside 1 to {len(self.partners)}"
            elif i == j:
                problem = "itself"
            elif self.partners[j - 1] != i:
                problem = f"but {j} names {self.partners[j - 1] or 'no partner'}"
            if problem:
                raise FormatError(
                    f"position {i} names partner {j}, {problem}",
                    path=path,
                    line=line,
                    record=name,
                    expected="each pair on the lines of both its positions",
                )
        text = "".join(self.bases)
        try:
            sequence = normalise(text) if check else text
        except AlphabetError as error:
            line = self.lines[first_unknown(text) or 0]
            raise AlphabetError(error.message, path=path, line=line, record=name) from None
        record = SequenceRecord(name, sequence, description, index)
        pairs = pairs_from_table(np.asarray(self.partners) - 1)
        return Structure(record, pairs, energy if self.energy is None else self.energy)


def _fallback(path: str, index: int) -> str:
    """Name of a record without one: that of the file, where there is a file."""
    stem = re.sub(r"\.(ct|bpseq)(\.\w+)?$", "", Path(path).name, flags=re.IGNORECASE)
    if stem == Path(path).name:
        return f"record_{index + 1}"
    return f"{stem}_{index + 1}" if index else stem


def read_ct(lines: Lines, path: str, check: bool) -> Iterator[Structure]:
    """Read CT lines; see :func:`stemloop.formats.structure.read_structures`."""
    data = ((n, text) for n, text in lines if text.strip() and text.lstrip()[0] not in "#;")
    for index, (at, header) in enumerate(data):
        title = _CT_HEADER.fullmatch(header)
        if title is None:
            raise FormatError(
                f"{header.strip()[:40]!r} starts no record",
                path=path,
                line=at,
                expected="a CT header: number of nucleotides, then a title",
            )
        length = int(title[1])
        rows = _Rows(at, title[2] or "")
        for i in range(1, length + 1):
            number, text = next(data, (0, ""))
            if not number:
                raise FormatError(
                    f"the file ends after {i - 1} of {length} nucleotides",
                    path=path,
                    line=at,
                    record=parse_title(rows.title)[0],
                )
            row = _CT_ROW.fullmatch(text)
            if row is None or int(row[1]) != i:
                raise FormatError(
                    f"{text.strip()[:40]!r} is not the line of position {i}",
                    path=path,
                    line=number,
                    record=parse_title(rows.title)[0],
                    expected="position, nucleotide, previous, next, partner, number",
                )
            rows.add(number, row[2], int(row[3]))
        yield rows.structure(path, index, check)


def read_bpseq(lines: Lines, path: str, check: bool) -> Iterator[Structure]:
    """Read BPSEQ lines; see :func:`stemloop.formats.structure.read_structures`."""
    rows: _Rows | None = None
    index = 0
    for number, text in lines:
        if not text.strip():
            continue
        row = _BPSEQ_ROW.fullmatch(text)
        note = NOTE.match(text)
        if rows and rows.bases and ((row and row[1] == "1") or (note and note[1] == "Name")):
            yield rows.structure(path, index, check)
            rows, index = None, index + 1
        if rows is None:
            rows = _Rows(number)
        if row is None:
            if note and note[1] == "Name":
                rows.title = note[2]
            elif note and note[1] == "Energy":
                rows.energy = parse_energy(note[2])
            elif not _BPSEQ_HEADER.match(text):
                raise FormatError(
                    f"{text.strip()[:40]!r} is no BPSEQ line",
                    path=path,
                    line=number,
                    expected="position, nucleotide, partner (0 for none)",
                )
            continue
        if int(row[1]) != len(rows.bases) + 1:
            raise FormatError(
                f"position {row[1]} follows position {len(rows.bases)}", path=path, line=number
            )
        rows.add(number, row[2], int(row[3]))
    if rows is not None:
        yield rows.structure(path, index, check)
