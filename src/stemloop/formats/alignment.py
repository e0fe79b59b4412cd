"""Stockholm alignments, and the structure of each row that the consensus implies.

A file may hold many alignments, each wrapped into blocks or not (Rfam, Infernal, HMMER). All
annotation is kept: ``#=GF`` of the alignment, ``#=GS`` of a row, ``#=GC`` by column and
``#=GR`` by column of a row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np

from stemloop.alphabet import normalise
from stemloop.errors import FormatError, StructureError
from stemloop.formats.stream import Source, atomic_output, open_text, source_name
from stemloop.pairs import PairArray, wuss_to_pairs
from stemloop.records import SequenceRecord, Structure

_GAPS = np.frombuffer(b"-._~", np.uint8)

Notes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Aligned sequences with their annotation.

    Parameters
    ----------
    ids : tuple of str
        Row names, as they stand in the file (often ``name/start-end``).
    rows : tuple of str
        Aligned rows, all of the same width, as they stand in the file.
    gf : mapping of str to tuple of str
        Annotation of the alignment: the lines of each tag.
    gs : mapping of str to mapping
        Annotation of rows: row name, tag, lines.
    gc : mapping of str to str
        Annotation by column, such as ``SS_cons`` and ``RF``.
    gr : mapping of str to mapping
        Annotation by column of rows: row name, tag, text.

    Raises
    ------
    FormatError
        Rows or column annotation differ in width, or a name repeats.

    Examples
    --------
    >>> a = Alignment(("x", "y"), ("GGA.ACC", "G-AAA-C"), gc={"SS_cons": "<<...>>"})
    >>> a.project("y").dot_bracket, a.project("y").record.sequence
    ('(...)', 'GAAAC')
    """

    ids: tuple[str, ...]
    rows: tuple[str, ...]
    gf: Notes = field(default_factory=dict)
    gs: Mapping[str, Notes] = field(default_factory=dict)
    gc: Mapping[str, str] = field(default_factory=dict)
    gr: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.rows) or not self.ids:
            raise FormatError(f"{len(self.ids)} names for {len(self.rows)} rows")
        if len(self._number) != len(self.ids):
            twice = next(name for i, name in enumerate(self.ids) if name in self.ids[:i])
            raise FormatError("the row name repeats", record=twice)
        for name, text in self._columns():
            if len(text) != self.width:
                raise FormatError(
                    f"{len(text)} columns where row {self.ids[0]!r} has {self.width}",
                    record=name,
                    expected="the same number of columns in every row",
                )
        for name in ("gf", "gs", "gc", "gr"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def _columns(self) -> Iterator[tuple[str, str]]:
        yield from zip(self.ids, self.rows, strict=True)
        for tag, text in self.gc.items():
            yield f"#=GC {tag}", text
        for name, tags in self.gr.items():
            for tag, text in tags.items():
                yield f"#=GR {name} {tag}", text

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """Identifier of the alignment (``#=GF ID``), empty where there is none."""
        return " ".join(self.gf.get("ID", ()))

    @cached_property
    def pairs(self) -> PairArray:
        """Consensus pairs as columns, shape (n, 2), from ``#=GC SS_cons``.

        Raises
        ------
        StructureError
            There is no SS_cons line, or its brackets do not match.
        """
        if "SS_cons" not in self.gc:
            raise StructureError(
                "no consensus structure", record=self.name or None, expected="#=GC SS_cons"
            )
        return wuss_to_pairs(self.gc["SS_cons"], record=self.name or "SS_cons")

    def project(self, row: str | int) -> Structure:
        """Sequence of a row without gaps, with the consensus pairs that it keeps.

        A pair is kept where the row has a nucleotide in both columns, whichever they are.

        Parameters
        ----------
        row : str or int
            Row name or number (from 0).

        Returns
        -------
        Structure
            With ``record.index`` the number of the row.

        Raises
        ------
        KeyError
            There is no such row.
        AlphabetError
            The row has a character that is no nucleotide code.
        StructureError
            There is no consensus structure.
        """
        number = row if isinstance(row, int) else self._number[row]
        name, text = self.ids[number], self.rows[number]
        columns = np.frombuffer(text.encode("latin-1", "replace"), np.uint8)
        filled = ~np.isin(columns, _GAPS)
        sequence = normalise(text.translate({ord(gap): None for gap in "-._~"}), record=name)
        position = np.cumsum(filled, dtype=np.int32) - 1
        kept = self.pairs[filled[self.pairs].all(axis=1)]
        description = " ".join(self.gs.get(name, {}).get("DE", ()))
        record = SequenceRecord(name, sequence, description, number)
        return Structure(record, position[kept])

    def structures(self) -> Iterator[Structure]:
        """Every row's :meth:`project`, in order."""
        return (self.project(number) for number in range(len(self)))


def read_alignments(source: Source) -> Iterator[Alignment]:
    """Read the alignments of a Stockholm file one after the other.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input.

    Yields
    ------
    Alignment

    Raises
    ------
    FormatError
        The file is no Stockholm file, ends within an alignment, or rows differ in width.

    Examples
    --------
    >>> import io
    >>> text = "# STOCKHOLM 1.0\\nx  GGA\\ny  G-A\\n\\nx  ACC\\ny  AAC\\n//\\n"
    >>> [a.rows for a in read_alignments(io.StringIO(text))]
    [('GGAACC', 'G-AAAC')]
    """
    path = source_name(source)
    with open_text(source) as handle:
        draft: _Draft | None = None
        empty = True
        for number, line in enumerate(handle, 1):
            text = line.rstrip()
            if draft is None:
                if text.startswith("# STOCKHOLM"):
                    draft = _Draft(number)
                elif text:
                    raise FormatError(
                        f"{text[:40]!r} before the header",
                        path=path,
                        line=number,
                        expected="'# STOCKHOLM 1.0'",
                    )
            elif text == "//":
                yield draft.alignment(path)
                draft, empty = None, False
            else:
                draft.add(text, number, path)
        if draft is not None:
            raise FormatError(
                "the file ends within an alignment", path=path, line=draft.line, expected="'//'"
            )
        if empty:
            raise FormatError("no records: the file is empty", path=path, expected="Stockholm")


def read_stockholm(source: Source) -> Alignment:
    """Read a Stockholm file that holds one alignment.

    Raises
    ------
    FormatError
        As :func:`read_alignments`, and when the file holds more than one.
    """
    alignments = read_alignments(source)
    first = next(alignments)
    if next(alignments, None) is not None:
        raise FormatError(
            "more than one alignment", path=source_name(source), expected="one alignment"
        )
    return first


class _Draft:
    """An alignment while its lines come in."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.rows: dict[str, list[str]] = {}
        self.gf: dict[str, list[str]] = {}
        self.gs: dict[str, dict[str, list[str]]] = {}
        self.gc: dict[str, list[str]] = {}
        self.gr: dict[str, dict[str, list[str]]] = {}
        self._block: set[str] = set()

    def add(self, text: str, line: int, path: str) -> None:
        if not text:
            self._block.clear()
            return
        kind = text[:4]
        # The tag of #=GF and #=GC is one word; #=GS and #=GR name a row before it.
        cells = text.split(None, {"#=GF": 2, "#=GC": 2, "#=GS": 3, "#=GR": 3}.get(kind, 1))
        if kind == "#=GF" and len(cells) >= 2:
            self.gf.setdefault(cells[1], []).append(cells[2] if len(cells) > 2 else "")
        elif kind == "#=GS" and len(cells) >= 3:
            tags = self.gs.setdefault(cells[1], {})
            tags.setdefault(cells[2], []).append(cells[3] if len(cells) > 3 else "")
        elif kind == "#=GC" and len(cells) == 3:
            self.gc.setdefault(cells[1], []).append(cells[2])
        elif kind == "#=GR" and len(cells) == 4:
            self.gr.setdefault(cells[1], {}).setdefault(cells[2], []).append(cells[3])
        elif text[0] != "#" and len(cells) == 2 and " " not in cells[1]:
            if cells[0] in self._block:
                raise FormatError(
                    "the row stands twice in one block", path=path, line=line, record=cells[0]
                )
            self._block.add(cells[0])
            self.rows.setdefault(cells[0], []).append(cells[1])
        elif kind.startswith("#=") or text[0] != "#":
            raise FormatError(
                f"{text[:40]!r} is no Stockholm line",
                path=path,
                line=line,
                expected="a row name and its columns, or annotation",
            )

    def alignment(self, path: str) -> Alignment:
        try:
            return Alignment(
                tuple(self.rows),
                tuple("".join(parts) for parts in self.rows.values()),
                {tag: tuple(texts) for tag, texts in self.gf.items()},
                {n: {t: tuple(v) for t, v in tags.items()} for n, tags in self.gs.items()},
                {tag: "".join(parts) for tag, parts in self.gc.items()},
                {n: {t: "".join(v) for t, v in tags.items()} for n, tags in self.gr.items()},
            )
        except FormatError as error:
            raise FormatError(
                error.message,
                path=path,
                line=self.line,
                record=error.record,
                expected=error.expected,
            ) from None


def format_alignment(alignment: Alignment) -> str:
    """Stockholm text of an alignment, unwrapped.

    Examples
    --------
    >>> print(format_alignment(Alignment(("x",), ("GAC",), gc={"SS_cons": "<.>"})), end="")
    # STOCKHOLM 1.0
    x             GAC
    #=GC SS_cons  <.>
    //
    """
    lines = [f"#=GF {tag} {text}" for tag, texts in alignment.gf.items() for text in texts]
    for name, tags in alignment.gs.items():
        lines += [f"#=GS {name} {tag} {text}" for tag, texts in tags.items() for text in texts]
    columns: list[tuple[str, str]] = []
    for name, row in zip(alignment.ids, alignment.rows, strict=True):
        columns.append((name, row))
        for tag, text in alignment.gr.get(name, {}).items():
            columns.append((f"#=GR {name} {tag}", text))
    columns += [(f"#=GC {tag}", text) for tag, text in alignment.gc.items()]
    margin = max(len(label) for label, _ in columns)
    lines += [f"{label:<{margin}}  {text}" for label, text in columns]
    return "\n".join(["# STOCKHOLM 1.0", *(line.rstrip() for line in lines), "//", ""])


def write_stockholm(
    path: str | os.PathLike[str], alignments: Iterable[Alignment], *, force: bool = False
) -> None:
    """Write alignments as one Stockholm file.

    Raises
    ------
    OutputError
        The file exists already or cannot be written.
    """
    with atomic_output(path, force=force) as out:
        out.writelines(format_alignment(alignment) for alignment in alignments)
