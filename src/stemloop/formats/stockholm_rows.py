"""The rows of Stockholm files without the alignment: for collecting sequences.

:func:`stemloop.formats.alignment.read_alignments` insists on a consistent alignment. Published
collections have rows that stand twice and annotation of another width than the rows; whoever only
wants the sequences need not care.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stemloop.errors import FormatError
from stemloop.formats.stream import Source, open_text, source_name


@dataclass(slots=True)
class AlignedRows:
    """Rows of one alignment with the annotation of the whole.

    Parameters
    ----------
    rows : list of (str, str)
        Name and aligned text, in order; names may repeat.
    gf : dict of str to str
        ``#=GF`` tags; the lines of a tag are joined by blanks.
    """

    rows: list[tuple[str, str]] = field(default_factory=list)
    gf: dict[str, str] = field(default_factory=dict)


def read_rows(source: Source) -> Iterator[AlignedRows]:
    """Read the rows of each alignment of a Stockholm file.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input.

    Yields
    ------
    AlignedRows

    Raises
    ------
    FormatError
        The file is no Stockholm file, or ends within an alignment.

    Examples
    --------
    >>> import io
    >>> text = "# STOCKHOLM 1.0\\n#=GF AC RF1\\nx  GGA\\nx  G-C\\n\\nx  ACC\\nx  AAC\\n//\\n"
    >>> [(a.gf, a.rows) for a in read_rows(io.StringIO(text))]
    [({'AC': 'RF1'}, [('x', 'GGAACC'), ('x', 'G-CAAC')])]
    """
    path = source_name(source)
    with open_text(source) as handle:
        start = number = 0
        parts: dict[tuple[str, int], list[str]] = {}
        copies: dict[str, int] = {}
        gf: dict[str, str] = {}
        for number, line in enumerate(handle, 1):
            text = line.rstrip()
            if not start:
                if text.startswith("# STOCKHOLM"):
                    start = number
                    parts, copies, gf = {}, {}, {}
                elif text:
                    raise FormatError(
                        f"{text[:40]!r} before the header",
                        path=path,
                        line=number,
                        expected="'# STOCKHOLM 1.0'",
                    )
            elif text == "//":
                yield AlignedRows([(n, "".join(p)) for (n, _), p in parts.items()], gf)
                start = 0
            elif not text:
                copies.clear()  # the next block begins
            elif text.startswith("#=GF"):
                cells = text.split(None, 2)
                if len(cells) == 3:
                    gf[cells[1]] = f"{gf[cells[1]]} {cells[2]}" if cells[1] in gf else cells[2]
            elif not text.startswith("#"):
                cells = text.split(None, 1)
                if len(cells) != 2:
                    raise FormatError(
                        f"{text[:40]!r} is no Stockholm line",
                        path=path,
                        line=number,
                        expected="a row name and its columns",
                    )
                copy = copies.get(cells[0], 0)
                copies[cells[0]] = copy + 1
                parts.setdefault((cells[0], copy), []).append(cells[1])
        if start:
            raise FormatError(
                "the file ends within an alignment", path=path, line=start, expected="'//'"
            )
        if not number:
            raise FormatError("no records: the file is empty", path=path, expected="Stockholm")
