"""Parquet files of a corpus, written from sorted lines, and the counts of what is in them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemloop.data.corpus_holdout import SPLITS
from stemloop.data.corpus_store import histogram
from stemloop.data.manifest import COLUMNS

#: Bytes of sequence, and rows, that one row group holds at most.
GROUP_BYTES, GROUP_ROWS = 16 << 20, 10_000


def shard_name(split: str, number: int, count: int) -> str:
    """File name of a shard.

    Examples
    --------
    >>> shard_name("train", 0, 12)
    'train-00000-of-00012.parquet'
    """
    return f"{split}-{number:05d}-of-{count:05d}.parquet"


def write_shards(
    lines: Iterator[bytes],
    folder: Path,
    rows: Mapping[str, int],
    sources: Sequence[str],
    size: int,
    progress: Callable[[str, int, int | None], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write sorted records as Parquet files.

    Parameters
    ----------
    lines : iterator of bytes
        Tab-separated split, cluster, id, source, type, family, sequence; in order.
    folder : pathlib.Path
        Where; files that are there already are complete and stay.
    rows : mapping of str to int
        Records of each split.
    sources : sequence of str
        Names of the sources.
    size : int
        Records of a file.
    progress : callable
        Called with (stage, done, in all).

    Returns
    -------
    counts : dict
        By split: sequences, nucleotides, clusters, by type, by source, by length.
    shards : list of dict
        File, SHA-256 and rows of each.
    """
    folder.mkdir(exist_ok=True)
    shards: list[dict[str, Any]] = []
    counts: dict[str, Any] = {}
    done, total = 0, sum(rows.values())
    for split in SPLITS:
        tally = _Tally()
        files = -(-rows[split] // size)
        for number in range(files):
            name = shard_name(split, number, files)
            here = min(size, rows[split] - number * size)
            records = (_parse(next(lines), sources, tally) for _ in range(here))
            if (folder / name).exists():
                for _ in records:
                    pass
            else:
                _write(folder / name, records)
            done += here
            progress("sequences written", done, total)
            with open(folder / name, "rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            shards.append({"file": name, "sha256": digest, "rows": here})
        counts[split] = tally.table()
    return counts, shards


class _Tally:
    """Counts of one split."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.bits: Counter[int] = Counter()
        self.sequences = self.nucleotides = self.clusters = 0
        self._last = -1

    def add(self, cluster: int, source: str, kind: str, length: int) -> None:
        self.sequences += 1
        self.nucleotides += length
        # Rows come sorted by cluster.
        self.clusters += cluster != self._last
        self._last = cluster
        self.types[kind] += 1
        self.sources[source] += 1
        self.bits[length.bit_length()] += 1

    def table(self) -> dict[str, Any]:
        return {
            "sequences": self.sequences,
            "nucleotides": self.nucleotides,
            "clusters": self.clusters,
            "by_type": dict(sorted(self.types.items())),
            "by_source": dict(sorted(self.sources.items())),
            "by_length": histogram(self.bits),
        }


_Row = tuple[str, str, int, str, str, str, int]


def _parse(line: bytes, sources: Sequence[str], tally: _Tally) -> _Row:
    _, cluster, name, source, kind, family, sequence = line.decode().rstrip("\n").split("\t")
    tally.add(int(cluster), sources[int(source)], kind, len(sequence))
    return name, sequence, len(sequence), kind, family, sources[int(source)], int(cluster)


def _write(path: Path, records: Iterator[_Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({name: pa.type_for_alias(kind) for name, kind in COLUMNS.items()})
    temporary = path.with_suffix(".tmp")
    with pq.ParquetWriter(
        temporary, schema, compression="zstd", use_dictionary=["type", "family", "source"]
    ) as writer:
        for group in _groups(records):
            columns = zip(*group, strict=True)
            arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    os.replace(temporary, path)


def _groups(records: Iterator[_Row]) -> Iterator[list[_Row]]:
    group: list[_Row] = []
    held = 0
    for record in records:
        group.append(record)
        held += record[2]
        if held >= GROUP_BYTES or len(group) == GROUP_ROWS:
            yield group
            group, held = [], 0
    if group:
        yield group
