"""Structures with pseudoknots as matchings: every base in one pair at most, pairs may cross.

The best set of pairs when crossings are free is a matching of largest weight in the graph of bases
and candidate pairs (Tabaska et al. 1998, Bioinformatics 14:691). Candidates are few and lie far
apart, so the graph falls into small pieces that are matched one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemloop.pairs import MIN_DISTANCE

FloatArray = npt.NDArray[np.float64]
PairArray = npt.NDArray[np.int32]

#: Less probable pairs are no candidates, however large gamma is: it bounds the size of the graph.
LEAST_PROBABILITY = 0.01
#: Weights are matched as integers in units of 2^-40: exact arithmetic, so an exact optimum.
_UNIT = 2.0**40


def best_matching(weight: FloatArray) -> PairArray:
    """Return the pairs of largest total weight, every base in one at most; they may cross.

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
    >>> w = np.zeros((12, 12)); w[0, 6], w[3, 10], w[0, 10] = 1.0, 1.0, 1.5
    >>> best_matching(w).tolist()
    [[0, 6], [3, 10]]
    """
    # A fold without pseudoknots need not pay for this import.
    import networkx as nx

    i, j = np.nonzero(np.triu(weight, MIN_DISTANCE) > 0)
    graph = nx.Graph()
    units = np.rint(weight[i, j] * _UNIT).astype(np.int64)
    graph.add_weighted_edges_from(zip(i.tolist(), j.tolist(), units.tolist(), strict=True))
    pairs: list[tuple[int, int]] = []
    for piece in nx.connected_components(graph):
        if len(piece) == 2:
            pairs.append((min(piece), max(piece)))
        else:
            matched = nx.max_weight_matching(graph.subgraph(piece))
            pairs += [(min(pair), max(pair)) for pair in matched]
    return np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)


def matching(probability: FloatArray, gamma: float = 1.0) -> PairArray:
    """Structure of maximum expected accuracy among those whose pairs may cross.

    Maximises ``2 gamma sum p_ij + sum q_i`` over pairs (i, j) and unpaired bases i, as
    `stemloop.folding.decode.maximum_expected_accuracy` does over nested structures. Two pairs that
    cross share a probability of 1 in a nested ensemble, so few are kept unless gamma is large.

    Parameters
    ----------
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities, upper triangle; pairs below 0.01 are no candidates.
    gamma : float
        Weight of pairs against unpaired bases.
    """
    unpaired = 1.0 - probability.sum(0) - probability.sum(1)
    weight = 2.0 * gamma * probability - unpaired[:, None] - unpaired[None, :]
    return best_matching(np.where(probability >= LEAST_PROBABILITY, weight, 0.0))
