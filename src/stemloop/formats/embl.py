"""EMBL flat files: what ENA, RNAcentral's exports and older Rfam releases are written in.

A record is a block of lines, each starting with a two-letter code and three blanks: ``ID`` opens
it, ``AC`` and ``DE`` name and describe it, ``FT`` is its feature table, ``DR`` its references to
other databases, ``SQ`` opens the sequence and ``//`` ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stemloop.errors import FormatError
from stemloop.formats.stream import Source, open_text, source_name

_NOT_SEQUENCE = re.compile(r"[\s\d]+")
_CLASS = re.compile(r'/(?:ncRNA_class|mol_type_rna)="([^"]+)"')
_FEATURE = re.compile(r"^(\w+RNA)\b", re.MULTILINE)
_FAMILY = re.compile(r"\bRfam[;:]\s*(RF\d{5})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FlatRecord:
    """One record of an EMBL flat file.

    Parameters
    ----------
    id : str
        First accession, or the first word of the ``ID`` line.
    sequence : str
        As it stands in the file, without blanks and numbers.
    lines : dict of str to str
        Text of the other line codes, one line after the other.

    Examples
    --------
    >>> FlatRecord("X", "acgu", {"DE": "a tRNA", "DR": "Rfam; RF00005; tRNA."}).family
    'RF00005'
    """

    id: str
    sequence: str
    lines: dict[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """The ``DE`` lines."""
        return " ".join(self.lines.get("DE", "").split())

    @property
    def kind(self) -> str:
        """ncRNA class of the feature table, or its first feature that is an RNA, or nothing."""
        features = self.lines.get("FT", "")
        found = _CLASS.search(features)
        if found is None:
            found = next(
                (f for f in _FEATURE.finditer(features) if f[1] not in ("ncRNA", "mRNA")), None
            )
        return found[1] if found else ""

    @property
    def family(self) -> str:
        """Rfam accession among the references, or nothing."""
        found = _FAMILY.search(self.lines.get("DR", ""))
        return found[1] if found else ""


def read_embl(source: Source) -> Iterator[FlatRecord]:
    """Read the records of an EMBL flat file.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input.

    Yields
    ------
    FlatRecord

    Raises
    ------
    FormatError
        The file is no EMBL file, or ends within a record.

    Examples
    --------
    >>> import io
    >>> text = "ID   X1; SV 1\\nDE   a hairpin\\nSQ   7 BP;\\n     ggaaacc        7\\n//\\n"
    >>> [(r.id, r.sequence, r.description) for r in read_embl(io.StringIO(text))]
    [('X1', 'ggaaacc', 'a hairpin')]
    """
    path = source_name(source)
    with open_text(source) as handle:
        lines: dict[str, list[str]] = {}
        sequence: list[str] = []
        start = number = 0
        inside = False
        for number, line in enumerate(handle, 1):
            code, text = line[:2], line[5:].rstrip()
            if code == "//":
                yield _record(lines, sequence, path, start)
                lines, sequence, start, inside = {}, [], 0, False
            elif inside and code == "  ":
                sequence.append(_NOT_SEQUENCE.sub("", text))
            elif not line.strip():
                continue
            elif not start and code != "ID":
                raise FormatError(
                    f"{line[:40].rstrip()!r} before a record",
                    path=path,
                    line=number,
                    expected="'ID   '",
                )
            else:
                start = start or number
                inside = code == "SQ"
                lines.setdefault(code, []).append(text)
        if start:
            raise FormatError(
                "the file ends within a record", path=path, line=start, expected="'//'"
            )
        if not number:
            raise FormatError("no records: the file is empty", path=path, expected="EMBL")


def _record(lines: dict[str, list[str]], sequence: list[str], path: str, line: int) -> FlatRecord:
    if not line:
        raise FormatError("'//' without a record", path=path, expected="'ID   '")
    joined = {code: "\n".join(texts) for code, texts in lines.items()}
    names = re.split(r"[;\s]+", joined.get("AC", "").strip() or joined["ID"])
    return FlatRecord(names[0], "".join(sequence), joined)
