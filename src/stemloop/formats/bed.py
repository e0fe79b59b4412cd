"""BED: intervals of contigs, read; and the lines that `stemloop splice --genome` writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stemloop.errors import FormatError
from stemloop.formats.stream import Source, open_text, source_name

STRANDS = ("+", "-", ".")


@dataclass(frozen=True, slots=True)
class Interval:
    """Positions `start` to before `end` of a contig, counted from 0; strand ``.`` is both."""

    contig: str
    start: int
    end: int
    strand: str = "."


def read_bed(source: Source) -> Iterator[Interval]:
    """Read intervals: three columns or more, the sixth being the strand.

    Columns are separated by tabs or blanks; ``track``, ``browser`` and comment lines are passed
    over.

    Raises
    ------
    FormatError
        Too few columns, positions that are none, a strand that is none; with the line.

    Examples
    --------
    >>> import io
    >>> list(read_bed(io.StringIO("chr1\\t5\\t9\\tgene\\t0\\t-\\n")))
    [Interval(contig='chr1', start=5, end=9, strand='-')]
    """
    path = source_name(source)
    with open_text(source) as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
            if not line.strip() or line.startswith("#") or cells[0] in ("track", "browser"):
                continue
            try:
                contig, start, end = cells[0], int(cells[1]), int(cells[2])
            except (IndexError, ValueError):
                raise FormatError(
                    "no interval", path=path, line=number, expected="contig, start, end"
                ) from None
            strand = cells[5].strip() if len(cells) > 5 else "."
            if not 0 <= start < end or strand not in STRANDS:
                raise FormatError(
                    f"interval {start}-{end}, strand {strand!r}", path=path, line=number,
                    expected="0 <= start < end, and strand +, - or .",
                )  # fmt: skip
            yield Interval(contig, start, end, strand)
