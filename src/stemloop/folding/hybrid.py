"""Pseudoknots in two passes: a nested structure, then helices that cross it.

RNAs fold hierarchically: helices that nest form first, pseudoknots from what is left (Tinoco and
Bustamante 1999, J. Mol. Biol. 293:271). Programs that follow this order find the crossing helices
on the bases that the first structure leaves free (Ruan et al. 2004, Bioinformatics 20:58; Jabbari
et al. 2008, J. Comput. Biol. 15:139). So does this: the same model sums over the structures of the
free bases, and the pairs of that second ensemble count when they cross the first structure in a
helix that is long and probable enough (no term of the energy stands for what a pseudoknot
costs). In the first ensemble they hardly could: there they compete
with the very helices that they cross.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stemloop.folding import decode

FloatArray = npt.NDArray[np.float64]
PairArray = npt.NDArray[np.int32]

#: Pairs of a helix that may cross.
MIN_HELIX = 4


def second_constraint(pairs: PairArray, length: int, constraint: str | None = None) -> str:
    """Constraint of the second pass: bases of the first structure stay unpaired.

    Of the constraint on the first pass the signs of free bases remain (``x | < >``).

    Examples
    --------
    >>> second_constraint(np.array([[0, 5]], np.int32), 8, "......x.")
    'x....xx.'
    """
    signs = ["." if sign in "()" else sign for sign in constraint or "." * length]
    for position in pairs.ravel().tolist():
        signs[position] = "x"
    return "".join(signs)


def add_crossing(
    nested: PairArray,
    second: Callable[[], FloatArray],
    *,
    gamma: float = 1.0,
    threshold: float = 0.95,
) -> PairArray:
    """Add to a nested structure the helices that cross it.

    Parameters
    ----------
    nested : numpy.ndarray of int32, shape (n, 2)
        The structure of the first pass.
    second : callable
        Gives the pair probabilities (L, L) of the second pass; not called where there is nothing
        to cross.
    gamma : float
        Weight of pairs in the second structure (maximum expected accuracy).
    threshold : float
        Mean probability that a helix must exceed.

    Returns
    -------
    numpy.ndarray of int32, shape (m, 2)
        Pairs of both passes, sorted.
    """
    if not len(nested):
        return nested
    probability = second()
    found = decode.maximum_expected_accuracy(probability, gamma)
    kept = [nested]
    for helix in helices(found):
        support = float(probability[helix[:, 0], helix[:, 1]].mean())
        if len(helix) >= MIN_HELIX and support > threshold and crosses(helix[0], nested):
            kept.append(helix)
    pairs = np.concatenate(kept)
    return np.ascontiguousarray(pairs[np.argsort(pairs[:, 0])])


def helices(pairs: PairArray) -> list[PairArray]:
    """Split nested pairs, sorted by i, into stacks without bulges.

    Examples
    --------
    >>> [len(helix) for helix in helices(np.array([[0, 9], [1, 8], [3, 7]], np.int32))]
    [2, 1]
    """
    if not len(pairs):
        return []
    stacked = (np.diff(pairs[:, 0]) == 1) & (np.diff(pairs[:, 1]) == -1)
    return np.split(pairs, np.flatnonzero(~stacked) + 1)


def crosses(pair: npt.NDArray[np.int32], others: PairArray) -> bool:
    """Whether a pair crosses any of the others.

    Examples
    --------
    >>> crosses(np.array([3, 8]), np.array([[0, 5], [1, 4]]))
    True
    """
    i, j = pair
    k, l = others[:, 0], others[:, 1]  # noqa: E741
    return bool((((k < i) & (i < l) & (l < j)) | ((i < k) & (k < j) & (j < l))).any())
