"""From pair probabilities to one structure.

The nested decoders maximise a sum of pair scores w_ij over nested structures with hairpins of at
least three bases. A pair with w_ij <= 0 never helps, so only the few positive ones are visited:
time O(L * candidates), memory O(L^2). `greedy` and `stemloop.folding.matching` let pairs cross.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemloop.pairs import MIN_DISTANCE

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
PairArray = npt.NDArray[np.int32]


def allowed_pairs(sequence: str) -> BoolArray:
    """Mask of the AU, GC and GU pairs with three bases or more between, upper triangle, (L, L).

    Examples
    --------
    >>> np.argwhere(allowed_pairs("GGAAACN")).tolist()
    [[0, 5], [1, 5]]
    """
    text = sequence.upper().replace("T", "U")
    a, c, g, u = (np.array([letter == base for letter in text], np.bool_) for base in "ACGU")
    either = (g[:, None] & (c | u)) | (a[:, None] & u)
    return np.triu(either | either.T, MIN_DISTANCE)


def greedy(
    probability: npt.NDArray[np.floating],
    threshold: float = 0.5,
    allowed: BoolArray | None = None,
) -> PairArray:
    """Take the most probable pair that is left, again and again; pairs may cross.

    The rule of RiNALMo's head: candidates are allowed and of a probability above (not at) the
    threshold; the largest is kept and the others of both its bases are dropped. Of equals the first
    one counts, by i and then by j. Structures have pseudoknots but no base in two pairs.

    Parameters
    ----------
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities; only the upper triangle is read.
    threshold : float
        Pairs must be more probable.
    allowed : numpy.ndarray of bool, shape (L, L), optional
        Pairs that may form (see `allowed_pairs`); every pair at least 4 apart unless given.

    Returns
    -------
    numpy.ndarray of int32, shape (n, 2)
        0-based pairs, sorted.

    Examples
    --------
    >>> p = np.zeros((12, 12)); p[0, 8], p[0, 7], p[4, 11], p[1, 9] = 0.9, 0.8, 0.7, 0.5
    >>> greedy(p).tolist()
    [[0, 8], [4, 11]]
    """
    if allowed is None:
        allowed = np.triu(np.ones(probability.shape, np.bool_), MIN_DISTANCE)
    i, j = np.nonzero(np.triu((probability > threshold) & allowed, 1))
    # One stable sort stands for the repeated search: what a kept pair drops never comes back.
    order = np.argsort(-probability[i, j], kind="stable")
    free = np.ones(len(probability), np.bool_)
    pairs: list[tuple[int, int]] = []
    for left, right in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if free[left] and free[right]:
            free[left] = free[right] = False
            pairs.append((left, right))
    return np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)


def best_nested(weight: FloatArray) -> PairArray:
    """Return the nested pairs of largest total weight.

    Parameters
    ----------
    weight : numpy.ndarray, shape (L, L)
        Score of each pair, upper triangle; only positive scores are used.

    Returns
    -------
    numpy.ndarray of int32, shape (n, 2)
        0-based pairs, sorted.

    Examples
    --------
    >>> w = np.zeros((9, 9)); w[0, 8] = w[1, 7] = w[2, 6] = 1.0
    >>> best_nested(w).tolist()
    [[0, 8], [1, 7], [2, 6]]
    """
    length = len(weight)
    rows, columns = np.nonzero(np.triu(weight, MIN_DISTANCE) > 0)
    starts = np.searchsorted(rows, np.arange(length + 1))
    # best[i, j] is the optimum of the bases i .. j - 1.
    best = np.zeros((length + 1, length + 1))
    for i in range(length - 1, -1, -1):
        row = best[i]
        row[:] = best[i + 1]
        row[: i + 1] = 0.0
        for j in columns[starts[i] : starts[i + 1]]:
            gain = weight[i, j] + best[i + 1, j]
            np.maximum(row[j + 1 :], gain + best[j + 1, j + 1 :], out=row[j + 1 :])
    pairs: list[tuple[int, int]] = []
    stack = [(0, length)]
    while stack:
        i, end = stack.pop()
        while i < end and best[i, end] == best[i + 1, end]:
            i += 1
        if i >= end:
            continue
        for j in columns[starts[i] : starts[i + 1]]:
            # The same sum in the same order as above: equality is exact.
            if j < end and best[i, end] == weight[i, j] + best[i + 1, j] + best[j + 1, end]:
                pairs.append((i, int(j)))
                stack += [(i + 1, int(j)), (int(j) + 1, end)]
                break
    return np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)


def maximum_expected_accuracy(probability: FloatArray, gamma: float = 1.0) -> PairArray:
    """Structure of maximum expected accuracy (Do et al. 2006).

    Maximises ``2 gamma sum p_ij + sum q_i`` over pairs (i, j) and unpaired bases i, which equals a
    constant plus the sum of ``2 gamma p_ij - q_i - q_j`` over the pairs.

    Parameters
    ----------
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities, upper triangle.
    gamma : float
        Weight of pairs against unpaired bases.
    """
    unpaired = 1.0 - probability.sum(0) - probability.sum(1)
    return best_nested(2.0 * gamma * probability - unpaired[:, None] - unpaired[None, :])


def gamma_centroid(probability: FloatArray, gamma: float = 1.5) -> PairArray:
    """Gamma-centroid structure (Hamada et al. 2009): maximises sum of (gamma + 1) p_ij - 1.

    With gamma = 1 it is the centroid: every pair with p > 1/2.

    Parameters
    ----------
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities, upper triangle.
    gamma : float
        Larger values predict more pairs.
    """
    return best_nested((gamma + 1.0) * probability - 1.0)
