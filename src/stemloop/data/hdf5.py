"""Data files of the program of arXiv 2307.06797: HDF5 with rows, labels and names.

``train`` (M, N) and, where there is one, ``test``: states as numbers. ``train_labels`` and
``train_names`` are texts, one a row; ``-1`` says that a row has no label.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from stemloop.data.aligned import LETTERS
from stemloop.data.labelled import MISSING, Labelled, States
from stemloop.errors import ExtraError, FormatError, InputError, UsageError

#: Letters of that program's states, by their number: RNA and protein in an order of its own.
FEF_LETTERS = {2: "01", 5: "-AGCU", 21: "-GALMFWKQESPVICYHRNDT"}


def read_hdf5(path: str | os.PathLike[str], *, letters: str | None = None) -> Labelled:
    """Read the rows of such a file, those of its test part last.

    Parameters
    ----------
    path : str or path
        HDF5 file.
    letters : str, optional
        One letter a state, in the order of the file. By default zeros and ones, RNA or protein in
        the program's order, by the number of states.

    Returns
    -------
    Labelled
        States in the order of our letters; not labelled yet: `given` has the file's labels.

    Raises
    ------
    ExtraError
        h5py is not installed.
    InputError
        The file cannot be read or has no rows.
    FormatError
        Rows are no states, or not as many as labels.
    UsageError
        Fewer letters than states, or their number is none of the program's.
    """
    try:
        import h5py
    except ImportError as error:
        raise ExtraError("h5py", "hdf5") from error
    name = os.fspath(path)
    rows: list[np.ndarray[Any, Any]] = []
    ids: list[str] = []
    given: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            for part in ("train", "test"):
                if part not in file:
                    continue
                states = np.asarray(file[part][()])
                rows.append(states)
                labels = _texts(file, f"{part}_labels") or [""] * len(states)
                names = _texts(file, f"{part}_names")
                names = names or [f"{part}_{k + 1}" for k in range(len(states))]
                if states.ndim != 2 or len(labels) != len(states) or len(names) != len(states):
                    raise FormatError(f"{part} {states.shape}: other labels or names", path=name)
                given += labels
                ids += names
    except OSError as error:
        raise InputError(f"no readable HDF5 file: {error}", path=name) from error
    if not rows or not sum(map(len, rows)):
        raise InputError("no rows", path=name, expected="a data set 'train'")
    if len({part.shape[1] for part in rows}) > 1:
        raise FormatError("rows of train and test differ in length", path=name)
    values = np.concatenate(rows)
    if not (np.equal(values, np.rint(values)).all() and values.min() >= 0 and values.max() < 64):
        raise FormatError("values that are no states", path=name, expected="whole numbers from 0")
    count = max(int(values.max()) + 1, 2)
    text = letters or next((FEF_LETTERS[q] for q in sorted(FEF_LETTERS) if q >= count), "")
    if len(text) < count:
        raise UsageError(f"{name}: {count} states, {len(text)} letters")
    found, text = in_our_order(values.astype(np.uint8), text)
    return Labelled(
        tuple(ids), (), found, text, np.full(len(found), MISSING), width=found.shape[1],
        given=tuple(given) if any(given) else (),
    )  # fmt: skip


def in_our_order(states: States, letters: str) -> tuple[States, str]:
    """States in the order of our own alphabet, where the letters are those of one.

    Examples
    --------
    >>> in_our_order(np.array([0, 1, 2, 3, 4], np.uint8), "-AGCT")
    (array([0, 1, 3, 2, 4], dtype=uint8), '-ACGU')
    """
    for ours in LETTERS.values():
        plain = letters.replace("T", "U") if "U" in ours else letters
        if sorted(plain) == sorted(ours):
            return np.array([ours.index(c) for c in plain], np.uint8)[states], ours
    return states, letters


def _texts(file: Any, key: str) -> list[str]:
    if key not in file:
        return []
    return [x.decode() if isinstance(x, bytes) else str(x) for x in file[key][()]]
