"""Strategies of masking: pure functions of an RNA's token ids and a random generator.

They choose positions; :func:`corrupt` then says what the model reads there. What they have of
RNAErnie (Wang et al. 2024, Nature Machine Intelligence 6:548) and of its published code is told
in :mod:`stemloop.data.masking`, which puts them to use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stemloop.data.motifs import MotifFinder

Ids = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]


def base_positions(
    ids: Ids, budget: float, rng: np.random.Generator, *, free: npt.NDArray[np.bool_] | None = None
) -> Positions:
    """Choose single positions, all equally likely.

    Parameters
    ----------
    ids : numpy.ndarray of uint8, shape (L,)
        Letters without special tokens.
    budget : float
        How many: the next whole number at or above.
    rng : numpy.random.Generator
        Source of randomness.
    free : numpy.ndarray of bool, shape (L,), optional
        Positions that may be chosen; all of them by default.

    Returns
    -------
    numpy.ndarray of int64
        Positions in ascending order.

    Examples
    --------
    >>> base_positions(np.full(10, 5, np.uint8), 2, np.random.default_rng(0)).tolist()
    [6, 7]
    """
    pool = len(ids) if free is None else int(np.count_nonzero(free))
    size = min(pool, int(np.ceil(budget)))
    chosen = rng.choice(pool, size, replace=False, shuffle=False)
    chosen.sort()
    return chosen if free is None else np.flatnonzero(free)[chosen]


def subsequence_positions(
    ids: Ids,
    budget: float,
    rng: np.random.Generator,
    *,
    lengths: Sequence[int] = (5, 6, 7, 8),
    weights: Sequence[float] = (1, 1 / 2, 1 / 3, 1 / 4),
    free: npt.NDArray[np.bool_] | None = None,
    published: bool = False,
) -> Positions:
    """Choose spans at random places until the budget is used up.

    Places are visited in random order. A span that would exceed the budget is shortened to fit;
    one that touches a chosen span's positions, or one that is not `free`, is skipped.

    Parameters
    ----------
    ids, budget, rng, free
        As for :func:`base_positions`, but the number chosen stays at or below the budget.
    lengths, weights : sequence of int, of float
        Span lengths and how likely they are, relatively.
    published : bool
        The published code's places: spans start and end within the first L - 9 letters, and are
        shortened to the next listed length that fits or else skipped.

    Returns
    -------
    numpy.ndarray of int64
        Positions in ascending order.

    Examples
    --------
    >>> subsequence_positions(np.full(40, 5, np.uint8), 6, np.random.default_rng(3)).tolist()
    [23, 24, 25, 26, 27, 32]
    """
    L = len(ids)
    end = max(0, L - max(lengths) - 1) if published else L
    taken = bytearray(L) if free is None else bytearray(~free)
    chosen: list[int] = []
    left = min(int(budget), L)
    starts = rng.permutation(end).tolist()
    bounds = np.cumsum(weights)
    draws = np.searchsorted(bounds, rng.random(end) * bounds[-1], side="right").tolist()
    for start, draw in zip(starts, draws, strict=True):
        if left == 0:
            break
        if published:
            sizes = (min(n, end - start) for n in reversed(lengths[: draw + 1]))
            size = next((n for n in sizes if n <= left), 0)
        else:
            size = min(lengths[draw], left)
        stop = min(start + size, L)
        over = start + size - stop
        if size and taken.find(1, start, stop) < 0 and taken.find(1, 0, over) < 0:
            taken[start:stop] = b"\1" * (stop - start)
            taken[:over] = b"\1" * over
            chosen += [*range(start, stop), *range(over)]
            left -= size
    return np.array(sorted(chosen), np.int64)


def motif_positions(
    ids: Ids,
    budget: float,
    rng: np.random.Generator,
    find: MotifFinder,
    *,
    free: npt.NDArray[np.bool_] | None = None,
    published: bool = False,
) -> Positions:
    """Choose whole occurrences of motifs: those of databases first, then frequent words.

    Each group is visited in random order. An occurrence is skipped if it overlaps a chosen one or
    would exceed the budget, which may remain partly unused.

    Parameters
    ----------
    ids, budget, rng, free
        As for :func:`subsequence_positions`.
    find : MotifFinder
        Where motifs are, see :meth:`stemloop.data.motifs.MotifSet.finder`.
    published : bool
        The published code's order: frequent words from left to right.

    Returns
    -------
    numpy.ndarray of int64
        Positions in ascending order.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> from stemloop.data.motifs import MotifSet
    >>> find = MotifSet(databases=("UGU",)).finder(RINALMO)
    >>> ids = RINALMO.encode("AAUGUAACC", special=False)
    >>> motif_positions(ids, 4, np.random.default_rng(0), find).tolist()
    [2, 3, 4]
    """
    taken = bytearray(len(ids)) if free is None else bytearray(~free)
    chosen: list[int] = []
    left = int(budget)
    for frequent, hits in enumerate(find(ids)):
        if not (published and frequent):
            hits = [hits[i] for i in rng.permutation(len(hits)).tolist()]
        for start, stop in hits:
            if stop - start <= left and taken.find(1, start, stop) < 0:
                taken[start:stop] = b"\1" * (stop - start)
                chosen += range(start, stop)
                left -= stop - start
    return np.array(sorted(chosen), np.int64)


def corrupt(
    ids: Ids,
    positions: Positions,
    rng: np.random.Generator,
    *,
    mask_id: int,
    random_ids: Ids,
    mask: float = 0.8,
    random: float = 0.1,
) -> Ids:
    """Copy of `ids` as the model reads them: chosen positions masked, replaced at random or kept.

    Parameters
    ----------
    ids : numpy.ndarray of uint8, shape (L,)
        Letters.
    positions : numpy.ndarray of int64, shape (n,)
        The chosen ones. What happens is drawn for each position by itself.
    rng : numpy.random.Generator
        Source of randomness.
    mask_id : int
        Id of the mask.
    random_ids : numpy.ndarray of uint8
        What random tokens are drawn from. The right letter may be drawn.
    mask, random : float
        Shares of the positions that are masked and replaced at random.

    Examples
    --------
    >>> ids = np.full(6, 5, np.uint8)
    >>> rng = np.random.default_rng(0)
    >>> letters = np.array([5, 6, 7, 8], np.uint8)
    >>> corrupt(ids, np.arange(1, 5), rng, mask_id=4, random_ids=letters, mask=0.5).tolist()
    [5, 5, 4, 4, 4, 5]
    """
    result = ids.copy()
    fate = rng.random(len(positions))
    result[positions[fate < mask]] = mask_id
    swapped = positions[(fate >= mask) & (fate < mask + random)]
    if len(swapped):
        result[swapped] = random_ids[rng.integers(len(random_ids), size=len(swapped))]
    return result
