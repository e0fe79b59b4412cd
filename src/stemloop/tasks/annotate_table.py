"""The table of ``stemloop annotate`` alone, of any number of RNAs: no drawings, no page."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemloop import __version__
from stemloop.errors import InputError, OutputExistsError, UsageError
from stemloop.formats.fasta import records_of
from stemloop.formats.parquet import write_rows
from stemloop.formats.stream import Source
from stemloop.formats.tables import write_table
from stemloop.records import SequenceRecord
from stemloop.tasks.annotate import AnnotateOptions, Row, annotate_one, load_tools

if TYPE_CHECKING:
    import pyarrow as pa

#: Outputs that are a table and no folder.
SUFFIXES = (".parquet", ".tsv", ".csv")


def is_table(output: str | os.PathLike[str]) -> bool:
    """Whether the output's name is that of a table.

    Examples
    --------
    >>> is_table("x.parquet"), is_table("x.tsv.gz"), is_table("folder")
    (True, True, False)
    """
    name = os.fspath(output).lower()
    for packed in (".gz", ".zst", ".xz"):
        name = name.removesuffix(packed)
    return name.endswith(SUFFIXES)


def check_table(output: str | os.PathLike[str]) -> None:
    """Refuse an output that is no table.

    Raises
    ------
    UsageError
        It is a folder.
    """
    if not is_table(output):
        raise UsageError(
            f"{os.fspath(output)}: parts and --engine make a table, NAME{', NAME'.join(SUFFIXES)}"
        )


def annotate_table(
    source: Source | Iterable[SequenceRecord],
    output: str | os.PathLike[str],
    options: AnnotateOptions = AnnotateOptions(),
    *,
    force: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Annotate RNAs as they come and write the table.

    Parameters
    ----------
    source : path, file object, or iterable of SequenceRecord
        RNAs.
    output : str or path
        ``.parquet``, ``.tsv`` or ``.csv``.
    options : AnnotateOptions
        What to do; not ``mutations``.
    force : bool
        Replace a table that is there.
    progress : callable, optional
        Called with (RNAs done, None).

    Raises
    ------
    OutputExistsError, OutputError
        The table is there already, or cannot be written.
    InputError, WeightsError, UsageError
        As in `stemloop.tasks.annotate.annotate`.
    """
    if Path(output).exists() and not force:
        raise OutputExistsError(f"{os.fspath(output)} exists already; --force replaces it")
    row_of = start_rows(options)

    def rows() -> Iterator[Row]:
        for number, record in enumerate(records_of(source), 1):
            yield row_of(record)
            if progress:
                progress(number, None)

    write_annotations(output, rows(), options, force=force)


def start_rows(options: AnnotateOptions) -> Callable[[SequenceRecord], Row]:
    """Load the models; what is returned says the row of an RNA.

    Raises
    ------
    UsageError
        Scores of substitutions are asked for.
    """
    if options.mutations:
        raise UsageError("--mutations needs a folder as the output: a table has a row an RNA")
    tools = load_tools(options)

    def row(record: SequenceRecord) -> Row:
        try:
            return annotate_one(record, tools, options).row
        except InputError as error:
            error.record = error.record or record.id
            raise

    return row


def write_annotations(
    output: str | os.PathLike[str],
    rows: Iterable[dict[str, Any]],
    options: AnnotateOptions,
    *,
    force: bool = False,
) -> None:
    """Write rows to a table; in Parquet, what does not apply to an RNA is null."""
    schema = _schema(options)
    if not os.fspath(output).lower().endswith(".parquet"):
        write_table(output, rows, columns=schema.names, force=force)
        return
    note = json.dumps({"stemloop": __version__, "annotate": asdict(options)}, sort_keys=True)
    cells = ({name: None if value == "" and name not in ("id", "structure") else value
              for name, value in row.items()} for row in rows)  # fmt: skip
    write_rows(output, cells, schema, note=note, force=force)


def _schema(options: AnnotateOptions) -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    columns = [
        ("index", pa.int64()), ("id", text), ("length", pa.int64()), ("gc", number),
        ("structure", text), ("energy", number), ("ensemble_defect", number),
        ("ncrna_class", text), ("class_probability", number),
        ("rna_type", text), ("type_probability", number),
    ]  # fmt: skip
    if options.splice is not None:
        columns += [("site", text), ("p_donor", number), ("p_acceptor", number)]
    if options.ribosome_load is not None:
        columns.append(("ribosome_load", number))
    return pa.schema(columns)
