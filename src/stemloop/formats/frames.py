"""Results as data frames: pandas, polars or Arrow, whichever is there."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Literal

import numpy as np

from stemloop.errors import ExtraError, UsageError
from stemloop.records import Result, Structure

Library = Literal["pandas", "polars", "arrow"]


def to_frame(results: Iterable[Result | Structure], library: Library = "pandas") -> Any:
    """Gather results into a data frame, a row each.

    Parameters
    ----------
    results : iterable of Result or Structure
        What a task gave, or what `stemloop.read_structures` reads.
    library : {"pandas", "polars", "arrow"}
        Whose data frame: `pandas.DataFrame`, `polars.DataFrame` or `pyarrow.Table`.

    Returns
    -------
    data frame
        ``id``, ``description`` (if any has one), ``sequence``, ``structure`` (dot-bracket, if any
        has one), then every value of the results by its name, then their one-dimensional arrays as
        lists. Matrices stay in the results. A row without a value has none there.

    Raises
    ------
    ExtraError
        The library is not installed.
    UsageError
        An unknown library.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> results = [Result(SequenceRecord("x", "ACGU"), {"score": 0.5})]
    >>> to_frame(results)
      id sequence  score
    0  x     ACGU    0.5
    """
    if library not in ("pandas", "polars", "arrow"):
        raise UsageError(f"unknown library {library!r}: pandas, polars or arrow")
    module = _need({"arrow": "pyarrow"}.get(library, library))
    rows = [_row(item) for item in results]
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    for name in ("description", "structure"):
        if not any(row.get(name) for row in rows):
            names.pop(name, None)
    columns = {name: [row.get(name) for row in rows] for name in names}
    table = _need("pyarrow").table(columns)
    if library == "arrow":
        return table
    return module.from_arrow(table) if library == "polars" else table.to_pandas()


def _row(item: Result | Structure) -> dict[str, Any]:
    structure = item if isinstance(item, Structure) else item.structure
    row: dict[str, Any] = {
        "id": item.record.id,
        "description": item.record.description,
        "sequence": item.record.sequence,
        "structure": None if structure is None else structure.dot_bracket,
    }
    if isinstance(item, Structure):
        return row if item.energy is None else row | {"energy": item.energy}
    arrays = {name: array for name, array in item.arrays.items() if np.ndim(array) == 1}
    return row | dict(item.values) | arrays


def _need(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise ExtraError(package, "frames") from error
