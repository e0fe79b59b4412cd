"""Are the probabilities true? Reliability tables of pair probabilities and of confidences.

Of all pairs that a model calls 80 % probable, 80 % should be in the known structures. A reliability
table sorts predictions by their probability and puts beside its mean what was observed; the
expected calibration error is the mean distance of the two, weighted by the predictions of a row
(Naeini et al. 2015, AAAI; Guo et al. 2017, ICML).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.pairs import pair_table

#: Rows of a table.
BINS = 10
#: Pairs of a smaller probability do not count: there are so many that they would hide the others.
LEAST = 0.01

FloatArray = npt.NDArray[np.float64]
PairArray = npt.NDArray[np.int32]


class _Table:
    """Number of predictions, sum of their probabilities and of what was observed, by family."""

    def __init__(self) -> None:
        self.sums: dict[str, FloatArray] = {}

    def add(self, family: str, probability: FloatArray, observed: npt.NDArray[np.bool_]) -> None:
        rows = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
        sums = self.sums.setdefault(family, np.zeros((3, BINS)))
        for k, weights in enumerate((np.ones_like(probability), probability, observed)):
            sums[k] += np.bincount(rows, weights, BINS)

    def summary(self) -> dict[str, Any]:
        total = np.sum(list(self.sums.values()), axis=0)
        rows = []
        for k, (count, predicted, observed) in enumerate(total.T.tolist()):
            row = {"from": k / BINS, "to": (k + 1) / BINS, "count": round(count)}
            if count:
                row["predicted"] = round(predicted / count, 4)
                row["observed"] = round(observed / count, 4)
            rows.append(row)
        return {
            "bins": rows,
            "expected_calibration_error": round(_error(total), 4),
            "families": {name: round(_error(self.sums[name]), 4) for name in sorted(self.sums)},
        }


def _error(sums: FloatArray) -> float:
    """Expected calibration error; 0 where nothing was predicted."""
    count, predicted, observed = sums
    return float(np.abs(predicted - observed).sum() / max(count.sum(), 1.0))


class Calibration:
    """Collects predictions with their known structures, one RNA after the other.

    Examples
    --------
    >>> p = np.zeros((9, 9)); p[0, 8] = p[1, 7] = 0.75
    >>> known = np.array([[0, 8]], np.int32)
    >>> calibration = Calibration()
    >>> calibration.add("hairpin", p, known, np.full(9, 0.75), known)
    >>> calibration.summary()["pairs"]["expected_calibration_error"]
    0.25
    """

    def __init__(self) -> None:
        self._pairs, self._bases = _Table(), _Table()

    def add(
        self,
        family: str,
        probability: FloatArray,
        predicted: PairArray,
        confidence: FloatArray,
        known: PairArray,
    ) -> None:
        """Take in one RNA.

        Parameters
        ----------
        family : str
            Its family.
        probability : numpy.ndarray, shape (L, L)
            Pair probabilities, upper triangle.
        predicted, known : numpy.ndarray, shape (n, 2)
            Pairs of the predicted and of the known structure.
        confidence : numpy.ndarray, shape (L,)
            Probability of the state that each base has in the predicted structure.
        """
        length = len(confidence)
        i, j = np.nonzero(probability >= LEAST)
        partner = pair_table(known, length)
        self._pairs.add(family, probability[i, j].clip(0.0, 1.0), partner[i] == j)
        self._bases.add(family, confidence, pair_table(predicted, length) == partner)

    def summary(self) -> dict[str, Any]:
        """Both tables, ready for JSON.

        Returns
        -------
        dict
            ``pairs`` and ``bases`` with ``bins`` (``from``, ``to``, ``count``, and where there are
            any, mean ``predicted`` probability and ``observed`` share),
            ``expected_calibration_error``, and that of each of the ``families``.
        """
        return {
            "pairs": {"least_probability": LEAST} | self._pairs.summary(),
            "bases": self._bases.summary(),
        }
