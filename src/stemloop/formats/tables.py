"""Tables (TSV, CSV, Parquet) and named arrays (NPZ, safetensors); the same input gives the same
bytes, so results can be compared by checksum.
"""

from __future__ import annotations

import csv
import json
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from stemloop.errors import FormatError, InputError, UsageError
from stemloop.formats.stream import atomic_output

Columns = Mapping[str, Sequence[Any] | npt.NDArray[Any]]
Rows = Iterable[Mapping[str, Any]]
Arrays = Mapping[str, npt.NDArray[Any]]

_DELIMITERS = {".tsv": "\t", ".csv": ","}
#: Zip files store a time for each member; this is the earliest they know.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_table(
    path: str | os.PathLike[str],
    table: Columns | Rows,
    *,
    columns: Sequence[str] | None = None,
    force: bool = False,
) -> None:
    """Write a table; the suffix decides the format.

    Parameters
    ----------
    path : str or path
        ``.tsv``, ``.csv`` (either may be compressed: ``.tsv.gz``) or ``.parquet``; ``-`` writes
        TSV to standard output.
    table : mapping of str to column, or iterable of mappings
        Columns of the same length, or rows. Rows of TSV and CSV are written as they come;
        Parquet gathers them. A two-dimensional array is a column of fixed-size lists in Parquet
        and is refused by the text formats.
    columns : sequence of str, optional
        Columns in order; those of the first row otherwise. Rows may lack some.
    force : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        Unknown suffix, unequal columns, or a row with a column that is not in the table.
    OutputError
        The file exists already or cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_table(f"{folder}/x.csv", [{"id": "x", "score": 0.5}, {"id": "y"}])
    ...     print(Path(folder, "x.csv").read_text(), end="")
    id,score
    x,0.5
    y,
    """
    suffix = _suffix(os.fspath(path))
    if isinstance(table, Mapping):
        lengths = {name: len(column) for name, column in table.items()}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"columns differ in length: {lengths}")
        if columns is not None:
            table = {name: table[name] for name in columns}
    if suffix == ".parquet":
        _write_parquet(path, table, columns, force)
        return
    rows: Rows
    if isinstance(table, Mapping):
        if any(getattr(column, "ndim", 1) > 1 for column in table.values()):
            raise UsageError("an array a row needs a .parquet, .npz or .safetensors file")
        names = list(table)
        rows = (dict(zip(names, cells, strict=True)) for cells in zip(*table.values(), strict=True))
        columns = names
    else:
        rows = table
    with atomic_output(path, force=force) as out:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            if writer is None:
                writer = _writer(out, list(columns or row), suffix)
            if unknown := row.keys() - set(writer.fieldnames):
                raise UsageError(f"a row has columns the table lacks: {', '.join(sorted(unknown))}")
            writer.writerow(row)
        if writer is None and columns:
            _writer(out, list(columns), suffix)


def _suffix(path: str) -> str:
    if path == "-":
        return ".tsv"
    suffixes = [s.lower() for s in Path(path).suffixes]
    packed = bool(suffixes) and suffixes[-1] in (".gz", ".zst", ".xz")
    suffix = ([""] + suffixes)[-2 if packed else -1]
    if suffix in _DELIMITERS or (suffix == ".parquet" and not packed):
        return suffix
    raise UsageError(f"{path}: the suffix must be .tsv, .csv or .parquet")


def _writer(out: Any, names: list[str], suffix: str) -> csv.DictWriter[str]:
    writer = csv.DictWriter(
        out, names, restval="", delimiter=_DELIMITERS[suffix], lineterminator="\n"
    )
    writer.writeheader()
    return writer


def _write_parquet(
    path: str | os.PathLike[str],
    table: Columns | Rows,
    columns: Sequence[str] | None,
    force: bool,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(table, Mapping):
        data = pa.table({name: _arrow(column) for name, column in table.items()})
    else:
        rows = list(table)
        names = list(columns or (rows[0] if rows else ()))
        if unknown := {name for row in rows for name in row} - set(names):
            raise UsageError(f"a row has columns the table lacks: {', '.join(sorted(unknown))}")
        data = pa.table({name: _arrow([row.get(name) for row in rows]) for name in names})
    with atomic_output(path, force=force, binary=True) as out:
        pq.write_table(data, out, compression="zstd")


def _arrow(column: Sequence[Any] | npt.NDArray[Any]) -> Any:
    import pyarrow as pa

    if isinstance(column, np.ndarray) and column.ndim == 2:
        flat = pa.array(np.ascontiguousarray(column).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, column.shape[1])
    return pa.array(column)


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Arrays | Iterable[tuple[str, npt.NDArray[Any]]],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write named arrays; the suffix decides the format.

    Parameters
    ----------
    path : str or path
        ``.npz`` (not compressed; readable with :func:`numpy.load`) or ``.safetensors``.
    arrays : mapping of str to numpy.ndarray, or iterable of pairs
        Names and arrays. NPZ writes them as they come; safetensors gathers them.
    metadata : mapping of str to str, optional
        Text for the safetensors header; NPZ has no place for it.
    force : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        Unknown suffix, a name that occurs twice or that the format cannot hold, an array of
        Python objects, metadata for NPZ.
    OutputError
        The file exists already or cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/x.npz", {"mean": np.arange(3)})
    ...     read_arrays(f"{folder}/x.npz")
    {'mean': array([0, 1, 2])}
    """
    suffix = Path(path).suffix.lower()
    items = _distinct(arrays.items() if isinstance(arrays, Mapping) else arrays)
    if suffix == ".npz":
        if metadata:
            raise UsageError(f"{os.fspath(path)}: NPZ files have no place for metadata")
        with atomic_output(path, force=force, binary=True) as out:
            _write_npz(out, items)
    elif suffix == ".safetensors":
        data = _safetensors(dict(items), metadata)
        with atomic_output(path, force=force, binary=True) as out:
            out.write(data)
    else:
        raise UsageError(f"{os.fspath(path)}: the suffix must be .npz or .safetensors")


def _distinct(
    items: Iterable[tuple[str, npt.NDArray[Any]]],
) -> Iterable[tuple[str, npt.NDArray[Any]]]:
    seen = set()
    for name, array in items:
        if name in seen:
            raise UsageError(f"two arrays are called {name!r}")
        if not name or "\0" in name or name == "__metadata__":
            raise UsageError(f"{name!r} cannot be the name of an array")
        if array.dtype.hasobject:
            raise UsageError(f"array {name!r} holds Python objects")
        seen.add(name)
        yield name, array


def _write_npz(out: BinaryIO, items: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, array in items:
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            with archive.open(member, "w", force_zip64=True) as handle:
                np.lib.format.write_array(handle, np.asanyarray(array), allow_pickle=False)


def _safetensors(arrays: dict[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None) -> bytes:
    from safetensors.numpy import save

    data = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    if not metadata:
        return data
    # The library writes several metadata entries in an order that changes from run to run.
    size = struct.unpack("<Q", data[:8])[0]
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(data[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an NPZ or safetensors file; pickled objects are refused.

    Parameters
    ----------
    path : str or path
        ``.npz`` or ``.safetensors``.

    Raises
    ------
    InputError
        The file cannot be opened.
    FormatError
        The file is damaged, truncated or holds Python objects.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    name = os.fspath(path)
    try:
        if Path(path).suffix.lower() == ".safetensors":
            return load_file(name)
        with np.load(name, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (SafetensorError, zipfile.BadZipFile, ValueError, EOFError, AttributeError) as error:
        raise FormatError(f"damaged: {error}", path=name, expected="NPZ or safetensors") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=name) from error
