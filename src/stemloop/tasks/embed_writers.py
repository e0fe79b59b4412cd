"""The four output formats of ``stemloop embed``: streamed, and the same input to the same bytes."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stemloop.errors import ExtraError
from stemloop.formats.stream import atomic_output
from stemloop.tasks.base import Sequences

Array = npt.NDArray[Any]

#: Bytes that are in memory at a time.
_CHUNK = 16 << 20

#: Zip files store a time for each member; this is the earliest they know.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Column:
    """An array of float32 that is too large to hold.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    per_token : bool
        A row a nucleotide, not a row a record.
    read : callable
        First and last row to the rows between them.
    """

    shape: tuple[int, int]
    per_token: bool
    read: Callable[[int, int], Array]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.shape[0] * self.shape[1] * 4

    def chunks(self) -> Iterator[tuple[int, Array]]:
        """Blocks of bounded size, with their first row."""
        step = max(_CHUNK // (self.shape[1] * 4), 1)
        for first in range(0, self.shape[0], step):
            yield first, self.read(first, min(first + step, self.shape[0]))


Columns = Mapping[str, Column]


class Writer(Protocol):
    """Write one output file, whole or not at all."""

    def __call__(
        self,
        target: Path,
        sequences: Sequences,
        columns: Columns,
        metadata: str,
        *,
        scratch: Path,
        force: bool,
    ) -> None: ...


def check_extra(suffix: str) -> None:
    """Refuse a format whose package is missing, before any work.

    Raises
    ------
    ExtraError
        h5py is not installed.
    """
    if suffix in (".h5", ".hdf5"):
        _h5py()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ExtraError("h5py", "hdf5") from error
    return h5py


def _facts(sequences: Sequences, columns: Columns) -> dict[str, Array]:
    """The arrays about the records that every format has."""
    facts: dict[str, Array] = {"length": sequences.lengths}
    if any(column.per_token for column in columns.values()):
        facts["offset"] = sequences.starts
    return facts


def _identifiers(sequences: Sequences) -> list[str]:
    return [record.id for record in sequences.records]


def write_npz(
    target: Path,
    sequences: Sequences,
    columns: Columns,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """NPZ, not compressed: `numpy.load` reads it without pickle."""
    form = np.lib.format
    small = {"id": np.array(_identifiers(sequences)), "metadata": np.array(metadata)}
    with (
        atomic_output(target, force=force, binary=True) as out,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, array in {**small, **_facts(sequences, columns)}.items():
            with archive.open(_member(name), "w", force_zip64=True) as handle:
                form.write_array(handle, array, allow_pickle=False)
        for name, column in columns.items():
            header = {"descr": "<f4", "fortran_order": False, "shape": column.shape}
            with archive.open(_member(name), "w", force_zip64=True) as handle:
                form.write_array_header_1_0(handle, header)
                for _, block in column.chunks():
                    handle.write(block.tobytes())


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)


def write_safetensors(
    target: Path,
    sequences: Sequences,
    columns: Columns,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """safetensors, written here because the library wants all arrays in memory at once."""
    texts = [text.encode() for text in _identifiers(sequences)]
    numbers = {
        **_facts(sequences, columns), "id_offset": np.cumsum([0, *map(len, texts)], dtype=np.int64)
    }  # fmt: skip
    names = b"".join(texts)
    # Widest types first keeps every array aligned, as readers that map the file expect.
    parts: list[tuple[str, str, tuple[int, ...], int]] = [
        *((name, "I64", array.shape, array.nbytes) for name, array in sorted(numbers.items())),
        *((name, "F32", column.shape, column.nbytes) for name, column in sorted(columns.items())),
        ("id_utf8", "U8", (len(names),), len(names)),
    ]
    header: dict[str, Any] = {"__metadata__": {"stemloop": metadata}}
    at = 0
    for name, kind, shape, size in parts:
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_output(target, force=force, binary=True) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, array in sorted(numbers.items()):
            out.write(array.astype("<i8").tobytes())
        for _, column in sorted(columns.items()):
            for _, block in column.chunks():
                out.write(block.tobytes())
        out.write(names)


def write_hdf5(
    target: Path,
    sequences: Sequences,
    columns: Columns,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """HDF5: a dataset an array, ``metadata`` as an attribute of the file."""
    h5py = _h5py()
    # The library seeks and reads back while it writes: it gets a file of its own.
    path = scratch / "output.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["metadata"] = metadata
        text = h5py.string_dtype("utf-8")
        file.create_dataset("id", data=_identifiers(sequences), dtype=text)
        for name, array in _facts(sequences, columns).items():
            file.create_dataset(name, data=array)
        for name, column in columns.items():
            data = file.create_dataset(name, shape=column.shape, dtype="<f4")
            for first, block in column.chunks():
                data[first : first + len(block)] = block
    with open(path, "rb") as handle, atomic_output(target, force=force, binary=True) as out:
        shutil.copyfileobj(handle, out, _CHUNK)


def write_parquet(
    target: Path,
    sequences: Sequences,
    columns: Columns,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """Parquet: a row a record; vectors are fixed-size lists, ``tokens`` lists of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {}
    for name, column in columns.items():
        vector = pa.list_(pa.float32(), column.shape[1])
        kinds[name] = pa.large_list(vector) if column.per_token else vector
    schema = pa.schema(
        [("id", pa.string()), ("length", pa.int64()), *kinds.items()],
        metadata={"stemloop": metadata},
    )
    with (
        atomic_output(target, force=force, binary=True) as out,
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for first, last in _row_groups(sequences, columns):
            begin, end = int(sequences.starts[first]), int(sequences.starts[last])
            cells = [
                pa.array([record.id for record in sequences.records[first:last]]),
                pa.array(sequences.lengths[first:last]),
            ]
            for column in columns.values():
                rows = column.read(begin, end) if column.per_token else column.read(first, last)
                lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
                if column.per_token:
                    offsets = pa.array(sequences.starts[first : last + 1] - begin)
                    lists = pa.LargeListArray.from_arrays(offsets, lists)
                cells.append(lists)
            writer.write_table(pa.Table.from_arrays(cells, schema=schema))


def _row_groups(sequences: Sequences, columns: Columns) -> Iterator[tuple[int, int]]:
    """Runs of records whose values fit into one chunk."""
    width = dict.fromkeys((False, True), 0)
    for column in columns.values():
        width[column.per_token] += column.shape[1] * 4
    ends = np.cumsum(sequences.lengths * width[True] + width[False])
    first, used = 0, 0
    while first < len(ends):
        last = max(int(np.searchsorted(ends, used + _CHUNK, side="right")), first + 1)
        yield first, last
        first, used = last, int(ends[last - 1])


#: By suffix.
WRITERS: Mapping[str, Writer] = {
    ".npz": write_npz,
    ".safetensors": write_safetensors,
    ".parquet": write_parquet,
    ".h5": write_hdf5,
    ".hdf5": write_hdf5,
}
