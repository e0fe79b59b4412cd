"""Which pairs cross: largest subsets of pairs without crossings, and layers of them. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PairArray = npt.NDArray[np.int32]


def is_nested(pairs: npt.ArrayLike) -> bool:
    """Whether no two pairs cross.

    Examples
    --------
    >>> is_nested([(0, 8), (1, 7)]), is_nested([(0, 5), (3, 8)])
    (True, False)
    """
    array = np.asarray(pairs, np.int64).reshape(-1, 2)
    # The bracket depth before i equals that after j for every pair exactly when none cross:
    # the leftmost pair then encloses as many openings as closings, all of the latter its own.
    step = np.zeros(int(array.max(initial=-1)) + 1, np.int64)
    step[array[:, 0]] = 1
    step[array[:, 1]] = -1
    depth = np.cumsum(step)
    return bool((depth[array[:, 0]] - 1 == depth[array[:, 1]]).all())


def nested_subset(pairs: npt.ArrayLike) -> PairArray:
    """A largest subset of the pairs in which none cross.

    Exact, by dynamic programming over intervals of stems: the largest independent set of a
    circle graph (Supowit 1987, IEEE Trans. CAD 6:93). Time and memory grow with the square of
    the number of stems; nested input returns at once. Ties are broken deterministically.

    Parameters
    ----------
    pairs : array-like of int, shape (n, 2)
        Valid base pairs (:func:`stemloop.pairs.check_pairs`).

    Returns
    -------
    numpy.ndarray of int32, shape (m, 2)

    Examples
    --------
    >>> nested_subset([(0, 5), (1, 4), (3, 6)]).tolist()
    [[0, 5], [1, 4]]
    """
    array = np.asarray(pairs, np.int32).reshape(-1, 2)
    array = array[np.argsort(array[:, 0], kind="stable")]
    if is_nested(array):
        return array
    stem_of = _stems(array)
    first = np.unique(stem_of, return_index=True)[1]
    kept = _best_stems(array[first], np.bincount(stem_of))
    return np.ascontiguousarray(array[kept[stem_of]])


def nested_layers(pairs: npt.ArrayLike) -> list[PairArray]:
    """Split pairs into layers without crossings, each the largest subset of what is left.

    Examples
    --------
    >>> [layer.tolist() for layer in nested_layers([(0, 5), (1, 4), (3, 6)])]
    [[[0, 5], [1, 4]], [[3, 6]]]
    """
    left = np.asarray(pairs, np.int32).reshape(-1, 2)
    layers = []
    while left.size:
        layer = nested_subset(left)
        layers.append(layer)
        left = left[~np.isin(left[:, 0], layer[:, 0])]
    return layers


def _stems(pairs: PairArray) -> npt.NDArray[np.int64]:
    """Number of the stem of every pair (sorted by i); pairs of a stem cross the same others.

    Two pairs stack when nothing paired lies between them on either side, so bulges and
    interior loops do not end a stem. All pairs of a stem stand or fall together in some optimum.
    """
    rank = np.argsort(np.argsort(pairs.ravel())).reshape(-1, 2)
    follows = (np.diff(rank[:, 0]) == 1) & (np.diff(rank[:, 1]) == -1)
    return np.concatenate([[0], np.cumsum(~follows)])


def _best_stems(stems: PairArray, weight: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mask of the stems in the heaviest subset without crossings."""
    rank = np.argsort(np.argsort(stems.ravel())).reshape(-1, 2)
    size = rank.size
    partner = np.empty(size, np.int64)
    number = np.empty(size, np.int64)
    partner[rank[:, 0]], partner[rank[:, 1]] = rank[:, 1], rank[:, 0]
    number[rank[:, 0]] = number[rank[:, 1]] = np.arange(len(stems))
    # best[j, i]: weight of the best subset of the stem ends i..j-1 (rows are contiguous in i).
    best = np.zeros((size + 1, size + 1), np.int32)
    for j in range(size):
        best[j + 1] = best[j]
        k = partner[j]
        if k < j:
            closed = best[k, : k + 1] + weight[number[j]] + best[j, k + 1]
            np.maximum(best[j + 1, : k + 1], closed, out=best[j + 1, : k + 1])
    kept = np.zeros(len(stems), np.bool_)
    todo = [(0, size)]
    while todo:
        i, stop = todo.pop()
        while stop > i and best[stop, i] == best[stop - 1, i]:
            stop -= 1
        if stop > i:
            k = int(partner[stop - 1])
            kept[number[stop - 1]] = True
            todo += [(i, k), (k + 1, stop - 1)]
    return kept
