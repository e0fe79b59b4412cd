"""Sequences on disk while a corpus is built: never all of them in memory.

Records go to files by a hash of their sequence, so that equal sequences meet in one file; each of
these is small enough to be looked through with a table of hashes in memory. Later the records are
sorted outside memory: sorted runs on disk, merged as streams.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from stemloop.data.rna_types import more_specific
from stemloop.errors import OutputError

#: Files that equal sequences meet in. 36 million sequences make tables of about 60 MB each.
BUCKETS = 128
#: Bytes of records held before they are written or sorted.
BLOCK = 32 << 20
RUN = 64 << 20
#: Sorted runs that are merged at once: open files.
FAN_IN = 64


class Kept(NamedTuple):
    """A record of the corpus before it has a cluster. `source` is the source's number."""

    id: str
    source: int
    type: str
    family: str
    sequence: str


class Buckets:
    """Append-only files of records, by hash of the sequence.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are.
    sizes : sequence of int, optional
        What counts of files that are there already: they are cut to these sizes.
    """

    def __init__(self, folder: Path, sizes: list[int] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._paths = [bucket_path(folder, k) for k in range(BUCKETS)]
        self._pending: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        self._held = 0
        self.sizes = list(sizes or [0] * BUCKETS)
        for path, size in zip(self._paths, self.sizes, strict=True):
            with open(path, "ab") as handle:
                if handle.tell() < size:
                    raise OutputError(f"{path} has lost its end; start anew with --force")
                handle.truncate(size)

    def add(self, record: Kept) -> None:
        """Append a record."""
        sequence = record.sequence.encode("ascii")
        line = b"\t".join(
            (
                record.id.encode(),
                b"%d" % record.source,
                record.type.encode(),
                record.family.encode(),
                sequence,
            )
        )
        self._pending[_digest(sequence)[0] % BUCKETS].append(line)
        self._held += len(line)
        if self._held > BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write what is held; afterwards `sizes` are those of the files."""
        for number, lines in enumerate(self._pending):
            if lines:
                data = b"\n".join(lines) + b"\n"
                with open(self._paths[number], "ab") as handle:
                    handle.write(data)
                self.sizes[number] += len(data)
                lines.clear()
        self._held = 0


def _digest(sequence: bytes) -> bytes:
    return blake2b(sequence, digest_size=16).digest()


def bucket_path(folder: Path, number: int) -> Path:
    """Path of one of the files of a folder."""
    return folder / f"{number:03d}.tsv"


def unique(source: Path, target: Path) -> Counter[int]:
    """Write the distinct sequences of a bucket, with the best annotation of all their copies.

    The first copy stays; its type is the most specific of all copies, its family the first one
    stated.

    Parameters
    ----------
    source, target : pathlib.Path
        File of a bucket, and the file to write.

    Returns
    -------
    Counter
        Copies dropped, by number of the source.
    """
    labels: dict[bytes, tuple[str, str]] = {}
    names: dict[str, str] = {}
    with open(source, "rb") as lines:
        for line in lines:
            _, _, kind, family, sequence = line.rstrip(b"\n").split(b"\t")
            key = _digest(sequence)
            known = labels.get(key, ("", ""))
            best = more_specific(known[0], kind.decode()), known[1] or family.decode()
            # One object a name: the table then costs little more than its hashes.
            labels[key] = (names.setdefault(best[0], best[0]), names.setdefault(best[1], best[1]))
    dropped: Counter[int] = Counter()
    temporary = target.with_suffix(".tmp")
    with open(source, "rb") as lines, open(temporary, "wb") as out:
        for line in lines:
            name, number, _, _, sequence = line.split(b"\t")
            label = labels.pop(_digest(sequence.rstrip(b"\n")), None)
            if label is None:
                dropped[int(number)] += 1
            else:
                kind, family = (text.encode() for text in label)
                out.write(b"\t".join((name, number, kind, family, sequence)))
    os.replace(temporary, target)
    return dropped


def read_kept(folder: Path) -> Iterator[Kept]:
    """All records of a folder of buckets, in order; the place is the record's number."""
    for number in range(BUCKETS):
        with open(bucket_path(folder, number), encoding="utf-8", newline="\n") as lines:
            for line in lines:
                name, source, kind, family, sequence = line.rstrip("\n").split("\t")
                yield Kept(name, int(source), kind, family, sequence)


class Runs:
    """Lines sorted outside memory.

    Parameters
    ----------
    folder : pathlib.Path
        Where the sorted runs are.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     runs = Runs(Path(folder))
    ...     for line in (b"b\\n", b"c\\n", b"a\\n"):
    ...         runs.add(line)
    ...     runs.close()
    ...     list(runs.merged())
    [b'a\\n', b'b\\n', b'c\\n']
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._lines: list[bytes] = []
        self._held = 0
        self._count = 0

    def add(self, line: bytes) -> None:
        """Add a line with its line end."""
        self._lines.append(line)
        self._held += len(line)
        if self._held > RUN:
            self.close()

    def close(self) -> None:
        """Write what is held as a run of its own."""
        if self._lines:
            self._lines.sort()
            with open(self._folder / f"run{self._count:06d}", "wb") as out:
                out.writelines(self._lines)
            self._count += 1
            self._lines.clear()
            self._held = 0

    def merged(self) -> Iterator[bytes]:
        """All lines in order. Runs stay on disk and may be merged again."""
        paths = sorted(self._folder.glob("run*"))
        level = 0
        while len(paths) > FAN_IN:
            level += 1
            merged = []
            for k in range(0, len(paths), FAN_IN):
                path = self._folder / f"level{level}-{k:06d}"
                with open(path, "wb") as out:
                    out.writelines(_merge(paths[k : k + FAN_IN]))
                merged.append(path)
            paths = merged
        yield from _merge(paths)


def _merge(paths: list[Path]) -> Iterator[bytes]:
    with ExitStack() as stack:
        yield from heapq.merge(*(stack.enter_context(open(path, "rb")) for path in paths))


def histogram(lengths: Mapping[int, int]) -> dict[str, int]:
    """Counts by power of two of the length.

    Parameters
    ----------
    lengths : mapping of int to int
        Number of sequences by bits of their length.

    Examples
    --------
    >>> histogram({5: 2, 7: 1})
    {'16-31': 2, '64-127': 1}
    """
    return {f"{1 << (b - 1)}-{(1 << b) - 1}": lengths[b] for b in sorted(lengths)}
