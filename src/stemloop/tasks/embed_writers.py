"""The four output formats of ``stemloop embed``: streamed, and the same input to the same bytes."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stemloop.errors import ExtraError
from stemloop.formats.stream import atomic_output
from stemloop.formats.tables import write_arrays
from stemloop.tasks.base import Sequences

Array = npt.NDArray[Any]
Names = Mapping[str, tuple[str, int]]

#: Bytes that are copied at a time.
_CHUNK = 16 << 20


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


def _chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """Row blocks of bounded size, with their first row."""
    row = max(array.nbytes // max(len(array), 1), 1)
    step = max(_CHUNK // row, 1)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def _facts(sequences: Sequences, names: Names) -> dict[str, Array]:
    """The arrays about the records that every format has."""
    facts: dict[str, Array] = {"length": sequences.lengths}
    if any(pool == "tokens" for pool, _ in names.values()):
        facts["offset"] = sequences.starts
    return facts


def _identifiers(sequences: Sequences) -> list[str]:
    return [record.id for record in sequences.records]


def write_npz_file(
    target: Path,
    sequences: Sequences,
    arrays: Mapping[str, Array],
    names: Names,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """NPZ, not compressed: `numpy.load` maps or reads it without pickle."""
    items = {"id": np.array(_identifiers(sequences)), "metadata": np.array(metadata)}
    write_arrays(target, {**items, **_facts(sequences, names), **arrays}, force=force)


def write_safetensors_file(
    target: Path,
    sequences: Sequences,
    arrays: Mapping[str, Array],
    names: Names,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """safetensors, written here because the library wants all arrays in memory at once."""
    texts = [text.encode() for text in _identifiers(sequences)]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    items: dict[str, Array] = {
        **arrays,
        **_facts(sequences, names),
        "id_offset": offsets,
        "id_utf8": np.frombuffer(b"".join(texts), np.uint8),
    }
    kinds = {"float32": "F32", "int64": "I64", "uint8": "U8"}
    header: dict[str, Any] = {"__metadata__": {"stemloop": metadata}}
    at = 0
    # Widest types first keeps every array aligned, as readers that map the file expect.
    ordered = sorted(items.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, array in ordered:
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_output(target, force=force, binary=True) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, array in ordered:
            for _, block in _chunks(array):
                out.write(np.ascontiguousarray(block).tobytes())


def write_hdf5_file(
    target: Path,
    sequences: Sequences,
    arrays: Mapping[str, Array],
    names: Names,
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
        for name, array in {**_facts(sequences, names), **arrays}.items():
            data = file.create_dataset(name, shape=array.shape, dtype=array.dtype)
            for start, block in _chunks(array):
                data[start : start + len(block)] = block
    with open(path, "rb") as handle, atomic_output(target, force=force, binary=True) as out:
        shutil.copyfileobj(handle, out, _CHUNK)


def write_parquet_file(
    target: Path,
    sequences: Sequences,
    arrays: Mapping[str, Array],
    names: Names,
    metadata: str,
    *,
    scratch: Path,
    force: bool,
) -> None:
    """Parquet: a row a record; vectors are fixed-size lists, ``tokens`` lists of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    widths = {name: array.shape[1] for name, array in arrays.items()}
    vector = {name: pa.list_(pa.float32(), width) for name, width in widths.items()}
    kinds = {
        name: pa.large_list(vector[name]) if pool == "tokens" else vector[name]
        for name, (pool, _) in names.items()
    }
    schema = pa.schema(
        [("id", pa.string()), ("length", pa.int64()), *kinds.items()],
        metadata={"stemloop": metadata},
    )
    with (
        atomic_output(target, force=force, binary=True) as out,
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):
        for first, last in _row_groups(sequences, arrays, names):
            begin, end = int(sequences.starts[first]), int(sequences.starts[last])
            columns = [
                pa.array([record.id for record in sequences.records[first:last]]),
                pa.array(sequences.lengths[first:last]),
            ]
            for name, (pool, _) in names.items():
                span = slice(begin, end) if pool == "tokens" else slice(first, last)
                flat = pa.array(np.ascontiguousarray(arrays[name][span]).ravel())
                column = pa.FixedSizeListArray.from_arrays(flat, widths[name])
                if pool == "tokens":
                    offsets = pa.array(sequences.starts[first : last + 1] - begin)
                    column = pa.LargeListArray.from_arrays(offsets, column)
                columns.append(column)
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _row_groups(
    sequences: Sequences, arrays: Mapping[str, Array], names: Names
) -> Iterator[tuple[int, int]]:
    """Runs of records whose values fit into a few chunks."""
    per_token = sum(arrays[n].shape[1] * 4 for n, (pool, _) in names.items() if pool == "tokens")
    per_record = sum(arrays[n].shape[1] * 4 for n, (pool, _) in names.items() if pool != "tokens")
    sizes = sequences.lengths * per_token + per_record
    ends = np.cumsum(sizes)
    first, used = 0, 0
    while first < len(sizes):
        last = max(int(np.searchsorted(ends, used + 4 * _CHUNK, side="right")), first + 1)
        yield first, last
        first, used = last, int(ends[last - 1])


class Writer(Protocol):
    """Write one output file, whole or not at all."""

    def __call__(
        self,
        target: Path,
        sequences: Sequences,
        arrays: Mapping[str, Array],
        names: Names,
        metadata: str,
        *,
        scratch: Path,
        force: bool,
    ) -> None: ...


#: By suffix.
WRITERS: Mapping[str, Writer] = {
    ".npz": write_npz_file,
    ".safetensors": write_safetensors_file,
    ".parquet": write_parquet_file,
    ".h5": write_hdf5_file,
    ".hdf5": write_hdf5_file,
}
