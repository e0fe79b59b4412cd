"""Base pairs as arrays and as text: dot-bracket with pseudoknots, WUSS, pair tables. numpy only.

Pairs are int32 arrays of shape (n, 2): 0-based positions with i < j, sorted by i, every position
in one pair at most.

Brackets of crossing pairs are chosen deterministically: ``()`` take the largest set of pairs
that do not cross, ``[]`` the largest such set of what is left, and so on through ``{}``, ``<>``
and the letters ``Aa`` to ``Zz``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemloop.errors import StructureError
from stemloop.nesting import PairArray as PairArray
from stemloop.nesting import is_nested as is_nested
from stemloop.nesting import nested_layers as nested_layers
from stemloop.nesting import nested_subset as nested_subset

#: Smallest j - i of a pair in a folded RNA: a hairpin has three bases or more.
MIN_DISTANCE = 4

#: Opening and closing signs of dot-bracket text, in the order in which layers take them.
OPENING = "([{<ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLOSING = ")]}>abcdefghijklmnopqrstuvwxyz"

_DOTS = frozenset(".,:-_~")
_OPENER_OF = dict(zip(CLOSING, OPENING, strict=True))
_CLOSER_OF = dict(zip(OPENING, CLOSING, strict=True))
_BRACKETS = frozenset("([{<)]}>")


def check_pairs(pairs: npt.ArrayLike, length: int, *, record: str | None = None) -> PairArray:
    """Validate base pairs and bring them into order.

    Parameters
    ----------
    pairs : array-like of int, shape (n, 2)
        0-based positions, in any order.
    length : int
        Nucleotides of the sequence.
    record : str, optional
        Identifier for the error message.

    Returns
    -------
    numpy.ndarray of int32, shape (n, 2)
        A contiguous copy with i < j, sorted by i.

    Raises
    ------
    StructureError
        A pair lies outside the sequence, joins a position to itself or uses one twice.

    Examples
    --------
    >>> check_pairs([(7, 1), (0, 8)], 9).tolist()
    [[0, 8], [1, 7]]
    """
    array = np.asarray(pairs)
    if array.size == 0:
        return np.zeros((0, 2), np.int32)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise StructureError(
            f"pairs of shape {array.shape} and type {array.dtype}",
            record=record,
            expected="integers of shape (n, 2)",
        )
    array = np.sort(array, axis=1)
    array = array[np.argsort(array[:, 0], kind="stable")]
    for bad, what in (
        ((array < 0) | (array >= length), f"outside the sequence of {length} nucleotides"),
        ((array[:, :1] == array[:, 1:]), "joined to itself"),
    ):
        rows = np.flatnonzero(bad.any(axis=1))
        if rows.size:
            i, j = array[rows[0]].tolist()
            raise StructureError(f"pair {i + 1}-{j + 1} is {what}", record=record)
    seen = np.bincount(array.ravel(), minlength=length)
    if (seen > 1).any():
        position = int(np.flatnonzero(seen > 1)[0])
        partners = [int(p) + 1 for p in array[(array == position).any(axis=1)].ravel()]
        others = ", ".join(str(p) for p in partners if p != position + 1)
        raise StructureError(
            f"position {position + 1} is in more than one pair (with {others})", record=record
        )
    return np.ascontiguousarray(array, np.int32)


def dot_bracket_to_pairs(text: str, *, record: str | None = None) -> PairArray:
    """Read dot-bracket text; every kind of bracket and letter nests by itself.

    Parameters
    ----------
    text : str
        ``()``, ``[]``, ``{}``, ``<>``, ``Aa`` to ``Zz``; any of ``.,:-_~`` is unpaired.
    record : str, optional
        Identifier for the error message.

    Returns
    -------
    numpy.ndarray of int32, shape (n, 2)

    Raises
    ------
    StructureError
        A bracket has no partner, or a character has no meaning; positions count from 1.

    Examples
    --------
    >>> dot_bracket_to_pairs("((.[))]").tolist()
    [[0, 5], [1, 4], [3, 6]]
    """
    return _parse(text, record, shared=False)


def wuss_to_pairs(text: str, *, record: str | None = None) -> PairArray:
    """Read WUSS text, the ``SS_cons`` line of Stockholm files.

    All brackets nest together, letters mark pseudoknots, ``_-,:.~`` are unpaired
    (Infernal user's guide, "WUSS notation").

    Parameters
    ----------
    text : str
        WUSS text.
    record : str, optional
        Identifier for the error message.

    Returns
    -------
    numpy.ndarray of int32, shape (n, 2)

    Raises
    ------
    StructureError
        A bracket has no partner or meets one of another kind; positions count from 1.

    Examples
    --------
    >>> wuss_to_pairs("(<_AA>)aa").tolist()
    [[0, 6], [1, 5], [3, 8], [4, 7]]
    """
    return _parse(text, record, shared=True)


def _parse(text: str, record: str | None, *, shared: bool) -> PairArray:
    """Match brackets; `shared`: the four kinds of bracket use one stack."""
    stacks: dict[str, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for j, sign in enumerate(text):
        if sign in _DOTS:
            continue
        stack = stacks.setdefault(
            "(" if shared and sign in _BRACKETS else _OPENER_OF.get(sign, sign), []
        )
        if sign in _CLOSER_OF:
            stack.append(j)
        elif sign not in _OPENER_OF:
            raise StructureError(
                f"{sign!r} at position {j + 1} is no structure sign",
                record=record,
                expected="brackets, letters in pairs such as A a, or dots",
            )
        elif not stack:
            raise StructureError(f"{sign!r} at position {j + 1} closes nothing", record=record)
        else:
            i = stack.pop()
            if _CLOSER_OF[text[i]] != sign:
                raise StructureError(
                    f"{sign!r} at position {j + 1} meets {text[i]!r} at position {i + 1}",
                    record=record,
                )
            pairs.append((i, j))
    left = [i for stack in stacks.values() for i in stack]
    if left:
        i = min(left)
        raise StructureError(f"{text[i]!r} at position {i + 1} is never closed", record=record)
    return np.asarray(sorted(pairs), np.int32).reshape(-1, 2)


def pairs_to_dot_bracket(pairs: npt.ArrayLike, length: int) -> str:
    """Write dot-bracket text; crossing pairs take ``[] {} <>`` and letters.

    Parameters
    ----------
    pairs : array-like of int, shape (n, 2)
        Base pairs.
    length : int
        Nucleotides of the sequence.

    Raises
    ------
    StructureError
        The pairs are invalid, or cross so often that thirty kinds of bracket do not suffice.

    Examples
    --------
    >>> pairs_to_dot_bracket([(0, 5), (1, 4), (3, 6)], 7)
    '((.[))]'
    """
    return _write(check_pairs(pairs, length), length, OPENING, CLOSING)


def pairs_to_wuss(pairs: npt.ArrayLike, length: int) -> str:
    """Write WUSS text: ``<>`` for the largest nested set, letters for the pairs that cross it.

    Raises
    ------
    StructureError
        The pairs are invalid, or cross so often that the letters do not suffice.

    Examples
    --------
    >>> pairs_to_wuss([(0, 5), (1, 4), (3, 6)], 7)
    '<<.A>>a'
    """
    return _write(check_pairs(pairs, length), length, "<" + OPENING[4:], ">" + CLOSING[4:])


def _write(pairs: PairArray, length: int, opening: str, closing: str) -> str:
    text = ["."] * length
    for number, layer in enumerate(nested_layers(pairs)):
        if number == len(opening):
            raise StructureError(f"pairs cross in more than {len(opening)} layers")
        for i, j in layer.tolist():
            text[i], text[j] = opening[number], closing[number]
    return "".join(text)


def pair_table(pairs: npt.ArrayLike, length: int) -> npt.NDArray[np.int32]:
    """Partner of every position, -1 where there is none, shape (length,).

    Raises
    ------
    StructureError
        The pairs are invalid.

    Examples
    --------
    >>> pair_table([(0, 3)], 5).tolist()
    [3, -1, -1, 0, -1]
    """
    array = check_pairs(pairs, length)
    table = np.full(length, -1, np.int32)
    table[array[:, 0]] = array[:, 1]
    table[array[:, 1]] = array[:, 0]
    return table


def pairs_from_table(table: npt.ArrayLike) -> PairArray:
    """Pairs of a table of partners (-1: none), the reverse of :func:`pair_table`.

    Raises
    ------
    StructureError
        A partner lies outside, or does not name the position in return.

    Examples
    --------
    >>> pairs_from_table([3, -1, -1, 0]).tolist()
    [[0, 3]]
    """
    array = np.asarray(table, np.int64)
    here = np.flatnonzero(array >= 0)
    partner = array[here]
    wrong = (partner >= array.size) | (partner == here)
    wrong[~wrong] = array[partner[~wrong]] != here[~wrong]
    if wrong.any():
        i, j = int(here[wrong][0]), int(partner[wrong][0])
        raise StructureError(f"position {i + 1} names {j + 1}, which does not pair with it")
    keep = here < partner
    return np.stack([here[keep], partner[keep]], axis=1).astype(np.int32)


def canonical(sequence: str, pairs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which pairs are AU, GC or GU (T counts as U), shape (n,).

    Parameters
    ----------
    sequence : str
        Nucleotides, any case.
    pairs : array-like of int, shape (n, 2)
        Base pairs.

    Examples
    --------
    >>> canonical("GGAAACU", [(0, 6), (1, 5), (2, 4)]).tolist()
    [True, True, False]
    """
    array = np.asarray(pairs, np.int64).reshape(-1, 2)
    text = sequence.upper().replace("T", "U")
    allowed = {"AU", "UA", "GC", "CG", "GU", "UG"}
    return np.array([text[i] + text[j] in allowed for i, j in array.tolist()], np.bool_)
