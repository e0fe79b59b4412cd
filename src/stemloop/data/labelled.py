"""Rows of states with labels: what a generative model of aligned data is trained on.

The readers (`stemloop.data.aligned`, `stemloop.data.binary`) give a `Labelled`; `label_rows` puts
labels on it, and what an RBM needs besides is computed here: weights against redundancy, site
frequencies, and a split that keeps what belongs together on one side.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stemloop.errors import FormatError, InputError, UsageError
from stemloop.formats.stream import open_text

States = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Label of a row without one.
MISSING = -1
#: Words of tables that mean "no label".
_NO_LABEL = frozenset(("", "-1", "NA", "nan", "NaN", "None", "?"))
#: Rows that are compared at once.
_BLOCK = 512

Rare = Literal["error", "missing", "drop"]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Aligned rows as state numbers, with labels.

    Parameters
    ----------
    ids : tuple of str
        Names of the rows.
    descriptions : tuple of str
        Their headers after the name; may be empty.
    states : numpy.ndarray of uint8, shape (M, N)
        State of each row at each site.
    letters : str
        Letter of each state, such as ``-ACGU`` or ``01``.
    labels : numpy.ndarray of int64, shape (M,)
        Number of the label, `MISSING` where there is none.
    names : tuple of str
        Label names. Empty: not labelled.
    width : int
        Columns of the source.
    columns : tuple of int
        Columns that became sites, from 0; empty: all.
    given : tuple of str
        Labels that came with the rows (a column of a table), not yet numbered; may be empty.
    """

    ids: tuple[str, ...]
    descriptions: tuple[str, ...]
    states: States
    letters: str
    labels: Numbers
    names: tuple[str, ...] = ()
    width: int = 0
    columns: tuple[int, ...] = ()
    given: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.states)

    def take(self, rows: Sequence[int] | npt.NDArray[Any]) -> Labelled:
        """Some of the rows."""
        kept = np.asarray(rows)
        kept = np.flatnonzero(kept) if kept.dtype == bool else kept

        def some(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in kept) if values else ()

        return replace(
            self,
            ids=some(self.ids),
            descriptions=some(self.descriptions),
            given=some(self.given),
            states=self.states[kept],
            labels=self.labels[kept],
        )

    def counts(self) -> dict[str, int]:
        """Rows of each label."""
        return {name: int((self.labels == k).sum()) for k, name in enumerate(self.names)}

    def text(self, row: int) -> str:
        """Letters of a row."""
        return "".join(self.letters[s] for s in self.states[row])

    def digest(self) -> str:
        """SHA-256 of states and labels: the same for the same data, whatever file it came from."""
        parts = hashlib.sha256(f"{self.letters} {self.states.shape} {self.names}".encode())
        parts.update(np.ascontiguousarray(self.states).tobytes())
        parts.update(self.labels.astype("<i8").tobytes())
        return parts.hexdigest()


def label_rows(
    data: Labelled,
    labels: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    least: int = 2,
    rare: Rare = "error",
) -> Labelled:
    """Put labels on the rows; labels are numbered in alphabetical order.

    Parameters
    ----------
    data : Labelled
        Rows.
    labels : sequence of str
        A label a row; empty, ``NA``, ``?`` or ``-1``: none.
    names : sequence of str, optional
        The labels of a trained model, in its order. Others are refused.
    least : int
        Rows that a label must have at least; nothing can be learnt of a label seen once.
    rare : str
        What becomes of rows with a rarer label: ``error``, ``missing`` (they lose the label) or
        ``drop`` (they are left out).

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        No row has a label, a label is too rare, or is not among `names`.

    Examples
    --------
    >>> rows = Labelled(("a", "b", "c"), (), np.zeros((3, 2), np.uint8), "01", np.full(3, -1))
    >>> label_rows(rows, ["y", "y", "x"], rare="missing").labels.tolist()
    [0, 0, -1]
    """
    words = [("" if label.strip() in _NO_LABEL else label.strip()) for label in labels]
    seen: dict[str, int] = {}
    for word in words:
        if word:
            seen[word] = seen.get(word, 0) + 1
    if not seen:
        raise InputError("no row has a label")
    if names is not None:
        unknown = sorted(seen.keys() - set(names))
        if unknown:
            raise InputError(f"label {unknown[0]!r} is unknown", expected=", ".join(names))
        order = list(names)
    else:
        few = sorted(name for name, count in seen.items() if count < least)
        if few and rare == "error":
            raise InputError(
                f"label {few[0]!r} is seen in {seen[few[0]]} row(s) only"
                + (f", as are {len(few) - 1} others" if len(few) > 1 else ""),
                expected=f"at least {least} rows a label, or rare: missing, or rare: drop",
            )
        order = sorted(seen.keys() - set(few))
        if not order:
            raise InputError(f"no label is seen in {least} rows or more")
    number = {name: k for k, name in enumerate(order)}
    numbered = replace(
        data,
        labels=np.array([number.get(word, MISSING) for word in words], np.int64),
        names=tuple(order),
    )
    if names is None and rare == "drop":
        kept = [i for i, word in enumerate(words) if not word or word in number]
        return numbered.take(kept)
    return numbered


def labels_by_pattern(data: Labelled, pattern: str) -> list[str]:
    """Labels from the headers: first group of a regular expression, empty where it fails.

    Raises
    ------
    UsageError
        The pattern is none, or has not exactly one group.
    """
    compiled = compile_pattern(pattern, "the label pattern")
    headers = [
        f"{name} {text}".rstrip()
        for name, text in zip(data.ids, data.descriptions or ("",) * len(data), strict=True)
    ]
    found = [compiled.search(header) for header in headers]
    return [match[1] or "" if match else "" for match in found]


def compile_pattern(pattern: str, what: str) -> re.Pattern[str]:
    """Compile a regular expression with one group.

    Raises
    ------
    UsageError
        It is none, or has not exactly one group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{what} {pattern!r} is no regular expression: {error}") from error
    if compiled.groups != 1:
        raise UsageError(f"{what} {pattern!r} must have one group in parentheses")
    return compiled


def labels_from_table(
    data: Labelled, path: str | Path, *, key: str, label: str, pattern: str | None = None
) -> list[str]:
    """Labels from a table with a header line (tab, comma or blanks between the columns).

    Parameters
    ----------
    data : Labelled
        Rows.
    path : str or path
        The table.
    key, label : str
        Names of its columns: identifier and label.
    pattern : str, optional
        Regular expression whose group takes the table's identifier out of the row's name.

    Raises
    ------
    InputError
        It cannot be read, lacks a column, or gives two labels to one identifier.
    """
    table: dict[str, str] = {}
    with open_text(path) as handle:
        first = handle.readline().rstrip("\n")
        delimiter = "\t" if "\t" in first else "," if "," in first else None
        header = [first] if delimiter is None else next(csv.reader([first], delimiter=delimiter))
        if delimiter is None:
            header = first.split()
        for name in (key, label):
            if name not in header:
                raise FormatError(
                    f"no column {name!r}", path=str(path), line=1, expected=", ".join(header)
                )
        at, to = header.index(key), header.index(label)
        lines = handle if delimiter is None else csv.reader(handle, delimiter=delimiter)
        for number, line in enumerate(lines, 2):
            cells = line.split() if isinstance(line, str) else line
            if not cells:
                continue
            if len(cells) <= max(at, to):
                raise FormatError("too few columns", path=str(path), line=number)
            if table.setdefault(cells[at], cells[to]) != cells[to]:
                raise FormatError(
                    "a second label for this identifier",
                    path=str(path), line=number, record=cells[at],
                )  # fmt: skip
    group = compile_pattern(pattern, "the key pattern") if pattern else None
    keys = []
    for name in data.ids:
        match = group.search(name) if group else None
        keys.append(name if group is None else (match[1] if match else ""))
    return [table.get(key, "") for key in keys]


def sequence_weights(states: States, identity: float = 0.8) -> Floats:
    """Weight of each row: one over the number of rows at least so identical to it, itself included.

    The usual correction of the phylogenetic bias of alignments (Morcos et al. 2011).

    Parameters
    ----------
    states : numpy.ndarray of uint8, shape (M, N)
        Rows.
    identity : float
        Share of sites with the same state.

    Returns
    -------
    numpy.ndarray of float64, shape (M,)

    Examples
    --------
    >>> sequence_weights(np.array([[0, 1, 2], [0, 1, 2], [3, 3, 3]], np.uint8)).tolist()
    [0.5, 0.5, 1.0]
    """
    count, width = states.shape
    kinds = np.unique(states)
    onehot = np.concatenate([(states == s) for s in kinds], 1).astype(np.float32)
    # Sums of ones are exact in float32; the small term keeps 0.8 * 5 from being above 4.
    least = identity * width - 1e-6
    neighbours = np.empty(count, np.int64)
    for start in range(0, count, _BLOCK):
        same = onehot[start : start + _BLOCK] @ onehot.T
        neighbours[start : start + _BLOCK] = (same >= least).sum(1)
    return 1.0 / neighbours


def frequencies(states: States, count: int, weights: Floats | None = None) -> Floats:
    """Share of each state at each site, shape (count, N)."""
    weights = np.ones(len(states)) if weights is None else weights
    return np.stack([weights @ (states == s) for s in range(count)]) / weights.sum()


def split_rows(
    data: Labelled, test: float, *, seed: int = 0, group: str | None = None
) -> tuple[Numbers, Numbers]:
    """Rows for training and for testing, each label in the same shares.

    Rows of one group, and identical rows, stay on one side.

    Parameters
    ----------
    data : Labelled
        Rows.
    test : float
        Share of the groups of each label that is held out.
    seed : int
        Which.
    group : str, optional
        Regular expression whose group in the row's name tells what belongs together, such as the
        person that two haplotypes come from.

    Returns
    -------
    train, test : numpy.ndarray of int64
        Row numbers, in order.

    Raises
    ------
    UsageError
        `test` is outside 0 to 1, or nothing is left on one side.
    """
    if not 0 < test < 1:
        raise UsageError(f"the share held out is {test}: not between 0 and 1")
    pattern = compile_pattern(group, "the group pattern") if group else None
    first_of: dict[object, int] = {}
    root = np.arange(len(data))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = int(root[i])
        return i

    for i, name in enumerate(data.ids):
        keys: list[object] = [data.states[i].tobytes()]
        match = pattern.search(name) if pattern else None
        if pattern and match is None:
            raise InputError("the group pattern does not fit", record=name, expected=group)
        if match:
            keys.append(match[1])
        for key in keys:
            other = find(first_of.setdefault(key, i))
            here = find(i)
            root[max(other, here)] = min(other, here)
    groups = np.array([find(i) for i in range(len(data))])
    rng = np.random.default_rng(seed)
    held = np.zeros(len(data), bool)
    heads = np.unique(groups)
    for label in np.unique(data.labels[heads]):
        members = heads[data.labels[heads] == label]
        chosen = rng.permutation(members)[: round(test * len(members))]
        held |= np.isin(groups, chosen)
    if not held.any() or held.all():
        raise UsageError(f"holding out {test} leaves nothing on one side of {len(data)} rows")
    return np.flatnonzero(~held), np.flatnonzero(held)


def apply_names(labels: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Rename labels; what is renamed to the empty word loses its label."""
    return [names.get(label, label) for label in labels]
