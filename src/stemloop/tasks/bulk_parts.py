"""Parts of a large result: Parquet files that know what they are a part of.

A unit is what a result is made of: an RNA, or a piece of one that goes through an encoder. Units
are numbered; a part holds the results of some, in order, and a note: the command, the facts that
decide its numbers (input, options, weights, versions), and the units in all. Parts belong together
when their notes agree, and they are complete when every unit is in them once.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop.errors import FormatError, UsageError
from stemloop.formats.parquet import read_note, table_writer

if TYPE_CHECKING:
    import pyarrow as pa

#: Layout of parts; raised when an older program could misread them.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Note:
    """What a part knows of itself.

    Parameters
    ----------
    command : str
        That made it.
    facts : mapping
        Everything that decides its numbers, as JSON values.
    units : int
        In all parts together.
    share : tuple of int
        Number of this part, from 1, and number of parts; (0, 0) for a block of a larger part.
    """

    command: str
    facts: Mapping[str, Any]
    units: int
    share: tuple[int, int] = (0, 0)

    def text(self) -> str:
        """As it stands in the file."""
        content = {
            "part": VERSION, "command": self.command, "facts": dict(self.facts),
            "units": self.units, "share": list(self.share),
        }  # fmt: skip
        return json.dumps(content, sort_keys=True)

    def same_run(self) -> str:
        """Equal for parts that belong together."""
        return Note(self.command, self.facts, self.units).text()


def note_of(path: Path) -> Note | None:
    """Note of a part; None where the file is no part, or not a whole one."""
    try:
        content = json.loads(read_note(path) or "")
        if content["part"] != VERSION:
            return None
        first, second = content["share"]
        return Note(content["command"], content["facts"], content["units"], (first, second))
    except (ValueError, LookupError, TypeError):
        return None


def write_part(path: Path, tables: Iterator[pa.Table], schema: pa.Schema, note: Note) -> None:
    """Write a part, whole or not at all; a part of that name is replaced."""
    with table_writer(path, schema, note=note.text(), force=True) as write:
        for table in tables:
            write(table)


def read_tables(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Tables of a part, as they were written.

    Raises
    ------
    FormatError
        It is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"damaged: {error}", path=str(path), expected="a part; compute it again"
        ) from error


def check_parts(paths: Sequence[Path]) -> Note:
    """Refuse parts that are not one whole run; their common note.

    Raises
    ------
    FormatError
        One is no part, or damaged.
    UsageError
        They are of several runs, some are missing, or one is there twice.
    """
    if not paths:
        raise UsageError("no parts")
    notes = []
    for path in paths:
        if not path.is_file():
            raise FormatError("there is no such part", path=str(path))
        note = note_of(path)
        if note is None:
            raise FormatError(
                "is no part of a run, or not a whole one", path=str(path),
                expected="what a command with --shard writes",
            )  # fmt: skip
        notes.append(note)
    first = notes[0]
    for path, note in zip(paths[1:], notes[1:], strict=True):
        if note.same_run() != first.same_run():
            raise UsageError(f"{path} is not of the same run as {paths[0]}: {_apart(first, note)}")
        if note.share[1] != first.share[1]:
            raise UsageError(
                f"{path} is one of {note.share[1]} shards, {paths[0]} one of {first.share[1]}"
            )
    if first.share[1]:
        _check_shares([note.share[0] for note in notes], first.share[1], paths)
    counts = np.zeros(first.units, np.int64)
    for path in paths:
        for table in read_tables(path, ["unit"]):
            units = table["unit"].to_numpy()
            if len(units) and not 0 <= units.min() <= units.max() < first.units:
                raise FormatError("results of other units", path=str(path))
            np.add.at(counts, units, 1)
    if (counts != 1).any():
        raise UsageError(
            f"of {first.units} results, {int((counts == 0).sum())} are missing and "
            f"{int((counts > 1).sum())} are there twice"
        )
    return first


def _check_shares(shares: list[int], total: int, paths: Sequence[Path]) -> None:
    for number, path in zip(shares, paths, strict=True):
        if shares.count(number) > 1:
            other = next(p for n, p in zip(shares, paths, strict=True) if n == number and p != path)
            raise UsageError(f"shard {number}/{total} is there twice: {path} and {other}")
    if missing := sorted(set(range(1, total + 1)) - set(shares)):
        named = ", ".join(f"{number}/{total}" for number in missing[:20])
        raise UsageError(f"missing: shard {named}{' ...' if len(missing) > 20 else ''}")


def _apart(one: Note, other: Note) -> str:
    """In what two notes differ."""
    if one.command != other.command:
        return f"one of 'stemloop {other.command}', one of 'stemloop {one.command}'"
    keys = one.facts.keys() | other.facts
    changed = sorted(k for k in keys if one.facts.get(k) != other.facts.get(k))
    said = [f"{k} is {other.facts.get(k)}, there {one.facts.get(k)}" for k in changed]
    return "; ".join(said) or f"{other.units} units, there {one.units}"


def in_order(paths: Sequence[Path], column: str) -> Iterator[Any]:
    """Values of a column by the numbers of their units, few parts open at a time."""
    rest = sorted(((_first(path), path) for path in paths), reverse=True)
    heap: list[tuple[int, int, Any, Iterator[tuple[int, Any]]]] = []
    number = 0
    while rest or heap:
        # A part is opened when its first unit is due: blocks of one run one after the other.
        while rest and (not heap or rest[-1][0] < heap[0][0]):
            rows = _rows(rest.pop()[1], column)
            if row := next(rows, None):
                number += 1
                heapq.heappush(heap, (row[0], number, row[1], rows))
        if not heap:
            return
        _, order, value, rows = heap[0]
        yield value
        if row := next(rows, None):
            heapq.heapreplace(heap, (row[0], order, row[1], rows))
        else:
            heapq.heappop(heap)


def _first(path: Path) -> int:
    for table in read_tables(path, ["unit"]):
        if len(table):
            return int(table["unit"][0].as_py())
    return 0


def _rows(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    for table in read_tables(path, ["unit", column]):
        yield from zip(table["unit"].to_pylist(), table[column].to_pylist(), strict=True)
