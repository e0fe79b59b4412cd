"""Parquet: tables of any length written in groups of rows, and sequences read from tables.

The same rows give the same bytes, however they were computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stemloop.alphabet import normalise
from stemloop.errors import FormatError, InputError
from stemloop.formats.stream import atomic_output
from stemloop.records import SequenceRecord

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are in memory at a time, and in a group of the file.
GROUP = 4096
#: Key of what stemloop notes down in a file.
NOTE = b"stemloop"


def write_rows(
    path: str | os.PathLike[str],
    rows: Iterable[Mapping[str, Any]],
    schema: pa.Schema,
    *,
    note: str = "",
    force: bool = False,
) -> None:
    """Write rows as they come; see `row_writer`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     schema = pa.schema([("id", pa.string())])
    ...     write_rows(f"{folder}/x.parquet", [{"id": "a"}, {}], schema, note="two rows")
    ...     read_note(f"{folder}/x.parquet")
    'two rows'
    """
    with row_writer(path, schema, note=note, force=force) as write:
        for row in rows:
            write(row)


@contextmanager
def row_writer(
    path: str | os.PathLike[str], schema: pa.Schema, *, note: str = "", force: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write a table row by row, whole or not at all.

    Parameters
    ----------
    path : str or path
        File to write.
    schema : pyarrow.Schema
        Columns; what a row lacks is null.
    note : str
        Text to keep in the file (`read_note`).
    force : bool
        Replace an existing file.

    Yields
    ------
    callable
        To be called with each row.
    """
    with table_writer(path, schema, note=note, force=force) as write:
        import pyarrow as pa

        group: list[dict[str, Any]] = []

        def add(row: Mapping[str, Any]) -> None:
            group.append(dict(row))
            if len(group) == GROUP:
                flush()

        def flush() -> None:
            if group:
                write(pa.Table.from_pylist(group, schema=schema))
                group.clear()

        yield add
        flush()


@contextmanager
def table_writer(
    path: str | os.PathLike[str], schema: pa.Schema, *, note: str = "", force: bool = False
) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table piece by piece, each a group of rows; otherwise as `row_writer`."""
    import pyarrow.parquet as pq

    if note:
        schema = schema.with_metadata({NOTE: note})
    with (
        atomic_output(path, force=force, binary=True) as out,
        pq.ParquetWriter(out, schema, compression="zstd", write_page_checksum=True) as writer,
    ):

        def write(table: pa.Table) -> None:
            writer.write_table(table.cast(schema), row_group_size=max(len(table), 1))

        yield write


def read_note(path: str | os.PathLike[str]) -> str | None:
    """What stemloop noted down in a Parquet file; None where it is none, or not a whole one."""
    import pyarrow.parquet as pq

    try:
        found = (pq.read_schema(path).metadata or {}).get(NOTE)
    except (OSError, ValueError):
        return None
    return None if found is None else str(found, "utf-8")


def read_sequence_table(
    path: str | os.PathLike[str], *, alphabet_check: bool = True
) -> Iterator[SequenceRecord]:
    """Sequences of a table with the columns ``id`` and ``sequence``, perhaps ``description``.

    Parameters
    ----------
    path : str or path
        Parquet.
    alphabet_check : bool
        Bring sequences into canonical form.

    Raises
    ------
    FormatError
        No such columns, no rows, an empty cell, or a damaged file.
    AlphabetError
        A character is no nucleotide code.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = os.fspath(path)
    index = 0
    try:
        with pq.ParquetFile(name, page_checksum_verification=True) as file:
            kinds = {field.name: field.type for field in file.schema_arrow}
            for column in ("id", "sequence"):
                kind = kinds.get(column, pa.null())
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise FormatError(
                        f"no column {column!r} of text", path=name,
                        expected=f"a table of sequences; there are {', '.join(kinds)}",
                    )  # fmt: skip
            wanted = [c for c in ("id", "sequence", "description") if c in kinds]
            for batch in file.iter_batches(GROUP, columns=wanted):
                for row in batch.to_pylist():
                    if not row["sequence"] or row["id"] is None:
                        raise FormatError(
                            f"row {index + 1} has no id or no sequence", path=name,
                            record=row["id"], expected="both",
                        )  # fmt: skip
                    text = row["sequence"]
                    if alphabet_check:
                        text = normalise(text, record=row["id"], path=name)
                    yield SequenceRecord(row["id"], text, row.get("description") or "", index)
                    index += 1
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FormatError(f"damaged: {error}", path=name, expected="Parquet") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=name) from error
    if not index:
        raise FormatError("no records: the table is empty", path=name)
