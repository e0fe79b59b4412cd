"""Reading a corpus that ``stemloop corpus build`` wrote: memory-mapped, checked, by row number.

A corpus is a folder with ``manifest.json`` and Parquet shards ``SPLIT-00000-of-00004.parquet``.
The first opening unpacks the shards of a split into Arrow files below the cache folder (never into
the corpus, which may be read-only), through `datasets`; later openings, of other processes too, map
those files. Deleting them costs nothing but unpacking again. Sequences stay on disk until they are
asked for. In memory are the numbers an epoch is drawn from: 16 bytes a sequence.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.cache import cache_dir
from stemloop.data.manifest import COLUMNS, check_shard, read_manifest, shards_of
from stemloop.errors import FormatError, InputError, OutputError

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, eq=False)
class Corpus:
    """One split of a corpus; rows are sorted by cluster. Made by `Corpus.open`.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    split : str
        Which split this is.
    manifest : mapping
        Content of ``manifest.json``.
    lengths : numpy.ndarray of int32, shape (N,)
        Nucleotides of every sequence.
    clusters : numpy.ndarray of int64, shape (N,)
        Cluster of every sequence, never falling. Numbers are those of the whole corpus: a split
        has gaps.
    types : numpy.ndarray of int16, shape (N,)
        Index into `stemloop.alphabet.RNAERNIE_TYPES`; -1 where the type is not known.
    source_names : tuple of str
        Names of the sources, as in the file the corpus was built from.
    sources : numpy.ndarray of int16, shape (N,)
        Index into `source_names`.
    """

    folder: Path
    split: str
    manifest: Mapping[str, Any] = field(repr=False)
    lengths: NDArray[np.int32] = field(repr=False)
    clusters: NDArray[np.int64] = field(repr=False)
    types: NDArray[np.int16] = field(repr=False)
    source_names: tuple[str, ...]
    sources: NDArray[np.int16] = field(repr=False)
    _table: pyarrow.Table = field(repr=False)

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], split: str = "train", *, verify: bool = False
    ) -> Corpus:
        """Open one split of a corpus.

        Parameters
        ----------
        folder : path
            Folder with ``manifest.json``.
        split : str
            ``train``, ``validation_clusters`` or ``validation_families``.
        verify : bool
            Read every shard and compare its SHA-256 with the manifest's. Without it, only what
            the manifest and the shards' footers say is compared.

        Raises
        ------
        InputError
            The folder, or the split, is not there, or the split is empty.
        FormatError
            The corpus is damaged, incomplete, or of a newer format; the message names the file.
        OutputError
            The cache folder cannot be written.

        Examples
        --------
        >>> Corpus.open("no-such-folder")
        Traceback (most recent call last):
        ...
        stemloop.errors.InputError: no-such-folder: no such folder
        """
        where = Path(folder)
        manifest = read_manifest(where)
        shards = shards_of(where, manifest, split)
        for shard in shards:
            check_shard(where / shard["file"], shard, verify)
        # `datasets` cannot read a shard without rows.
        filled = [shard for shard in shards if shard["rows"]]
        if not filled:
            raise InputError(f"no sequences in split {split!r}", path=str(where))
        table = _mapped(where, split, filled)
        numbers = _numbers(table, f"{where} ({split})")
        return cls(where, split, manifest, *numbers, table)

    def __reduce__(self) -> tuple[Any, tuple[Path, str]]:
        # A worker process maps the same files instead of being sent the arrays.
        return Corpus.open, (self.folder, self.split)

    def __len__(self) -> int:
        return len(self.lengths)

    def sequence(self, row: int) -> str:
        """Nucleotides of a sequence, in canonical letters.

        Raises
        ------
        FormatError
            The text has another length than the corpus says.
        """
        text = self._text("sequence", row)
        if len(text) != self.lengths[row]:
            raise FormatError(
                f"{len(text)} nucleotides",
                path=str(self.folder),
                record=self.identifier(row),
                expected=f"{self.lengths[row]}",
            )
        return text

    def identifier(self, row: int) -> str:
        """Record identifier of a sequence."""
        return self._text("id", row)

    @cached_property
    def family_names(self) -> tuple[str, ...]:
        """Rfam accessions that occur in this split."""
        return self._families[0]

    @property
    def families(self) -> NDArray[np.int32]:
        """Index into `family_names` of every sequence, shape (N,); -1 where there is none."""
        return self._families[1]

    @cached_property
    def _families(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        names, codes = _codes(self._table.column("family"))
        known = sorted(name for name in names if name)
        place = {name: i for i, name in enumerate(known)} | {"": -1}
        return tuple(known), np.array([place[name] for name in names], np.int32)[codes]

    @cached_property
    def _readers(self) -> tuple[list[int], dict[str, list[pyarrow.Array]]]:
        """Where the record batches of the table start, and their texts."""
        column = self._table.column("sequence")
        starts = np.cumsum([0] + [len(chunk) for chunk in column.chunks])
        return starts.tolist(), {
            name: self._table.column(name).chunks for name in ("sequence", "id")
        }

    def _text(self, column: str, row: int) -> str:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a corpus of {len(self)}")
        starts, chunks = self._readers
        at = bisect_right(starts, row) - 1
        return str(chunks[column][at][int(row) - starts[at]].as_py())


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of `datasets`: they would mix with ours."""
    from datasets.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _mapped(folder: Path, split: str, shards: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Table of a split, on memory-mapped Arrow files."""
    from datasets import Dataset
    from datasets.exceptions import DatasetGenerationError

    # Content, not path or time, names the cache: a corpus built anew is never mistaken.
    digest = hashlib.sha256("".join(s["sha256"] for s in shards).encode()).hexdigest()[:16]
    cache = cache_dir() / "corpora" / digest
    files = [str(folder / s["file"]) for s in shards]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _quiet():
            data = Dataset.from_parquet(
                files, split=split, cache_dir=str(cache), columns=list(COLUMNS)
            )
    except DatasetGenerationError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno is not None:
            raise _no_cache(cache, cause) from error
        raise FormatError(f"damaged shards: {cause or error}", path=str(folder)) from error
    except OSError as error:
        raise _no_cache(cache, error) from error
    return data.data.table


def _no_cache(cache: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{cache}: the corpus cannot be unpacked here: {error.strerror or error} "
        "(STEMLOOP_CACHE names another cache folder)"
    )


def _codes(column: pyarrow.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """Distinct texts of a column, in order of appearance, and the index of every row's."""
    encoded = column.dictionary_encode().unify_dictionaries()
    names = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
    parts = [np.asarray(chunk.indices, np.int32) for chunk in encoded.chunks]
    return names, np.concatenate(parts) if parts else np.empty(0, np.int32)


def _numbers(
    table: pyarrow.Table, where: str
) -> tuple[
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int16],
    tuple[str, ...],
    NDArray[np.int16],
]:
    """Lengths, clusters, types, source names and sources of all rows, checked."""
    for name in COLUMNS:
        if table.column(name).null_count:
            raise FormatError(f"column {name!r} has empty cells", path=where)
    lengths = np.asarray(table.column("length"), np.int32)
    clusters = np.asarray(table.column("cluster"), np.int64)
    if lengths.min() < 1:
        raise FormatError(
            f"length {lengths.min()}",
            path=where,
            record=table.column("id")[int(lengths.argmin())].as_py(),
            expected="1 or more",
        )
    falls = np.flatnonzero(clusters[1:] < clusters[:-1])
    if len(falls):
        record = table.column("id")[int(falls[0]) + 1].as_py()
        raise FormatError("rows are not sorted by cluster", path=where, record=record)
    names, codes = _codes(table.column("type"))
    place = {name: i for i, name in enumerate(RNAERNIE_TYPES)} | {"": -1}
    unknown = [name for name in names if name not in place]
    if unknown:
        raise FormatError(
            f"unknown RNA type {unknown[0]!r}", path=where, expected="one of RNAErnie's 28"
        )
    types = np.array([place[name] for name in names], np.int16)[codes]
    source_names, source_codes = _codes(table.column("source"))
    return lengths, clusters, types, tuple(source_names), source_codes.astype(np.int16)
