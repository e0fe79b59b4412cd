"""Matrices of zeros and ones: haplotypes of SNPs, images as tables of grey values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemloop.data.labelled import MISSING, Labelled
from stemloop.errors import FormatError, InputError, UsageError
from stemloop.formats.stream import open_text


def read_binary(
    path: str | Path,
    *,
    name: int | None = None,
    label: int | None = None,
    skip: tuple[int, ...] = (),
    threshold: float | None = None,
    header: bool = False,
) -> Labelled:
    """Read a matrix of text, one row a line; comma, tab or blanks between the cells.

    Parameters
    ----------
    path : str or path
        Plain or compressed.
    name, label : int, optional
        Columns of the row's name and label, from 0; negative ones count from the end. Rows
        without names are numbered.
    skip : tuple of int
        Columns to leave out.
    threshold : float, optional
        Values above it are 1, others 0. Without it, only 0 and 1 are allowed.
    header : bool
        The first line holds names of columns.

    Returns
    -------
    Labelled
        Not labelled yet; `given` has the labels of the column.

    Raises
    ------
    FormatError
        Lines differ in their number of cells, or a cell is no number, or neither 0 nor 1.
    InputError
        The file cannot be read.
    UsageError
        A column is beyond the last.

    Examples
    --------
    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "x.hapt")
    ...     _ = open(file, "w").write("Real A_1 0 1 1\\nReal A_2 0 0 1\\n")
    ...     data = read_binary(file, name=1, skip=(0,))
    >>> data.ids, data.states.tolist()
    (('A_1', 'A_2'), [[0, 1, 1], [0, 0, 1]])
    """
    ids: list[str] = []
    given: list[str] = []
    rows: list[np.ndarray] = []
    taken: np.ndarray | None = None
    cells_first = 0
    with open_text(path) as handle:
        for number, line in enumerate(handle, 1):
            if (header and number == 1) or not line.strip():
                continue
            delimiter = "," if "," in line else "\t" if "\t" in line else None
            cells = [c.strip() for c in line.strip().split(delimiter)]
            if taken is None:
                cells_first = len(cells)
                taken = _taken(cells_first, (name, label, *skip), str(path))
            if len(cells) != cells_first:
                raise FormatError(
                    f"{len(cells)} cells where the first row has {cells_first}",
                    path=str(path),
                    line=number,
                )
            try:
                values = np.array([cells[i] for i in taken], np.float64)
            except ValueError:
                bad = next(cells[i] for i in taken if not _is_number(cells[i]))
                raise FormatError(
                    f"{bad[:20]!r} is no number", path=str(path), line=number
                ) from None
            if threshold is not None:
                values = values > threshold
            elif not np.isin(values, (0, 1)).all():
                bad = values[~np.isin(values, (0, 1))][0]
                raise FormatError(
                    f"value {bad:g}", path=str(path), line=number,
                    expected="0 or 1, or a threshold",
                )  # fmt: skip
            ids.append(cells[name] if name is not None else f"row_{len(ids) + 1}")
            if label is not None:
                given.append(cells[label])
            rows.append(values.astype(np.uint8))
    if not rows:
        raise InputError("no rows", path=str(path), expected="lines of numbers")
    states = np.stack(rows)
    return Labelled(
        tuple(ids), (), states, "01", np.full(len(ids), MISSING), width=states.shape[1],
        given=tuple(given),
    )  # fmt: skip


def _taken(count: int, left_out: tuple[int | None, ...], path: str) -> np.ndarray:
    keep = np.ones(count, bool)
    for column in left_out:
        if column is None:
            continue
        if not -count <= column < count:
            raise UsageError(f"{path}: column {column} of {count}")
        keep[column] = False
    if not keep.any():
        raise UsageError(f"{path}: no column is left")
    return np.flatnonzero(keep)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
