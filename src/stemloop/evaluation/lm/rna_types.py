"""RNA types read from the slot after a sequence, beside a regression on short words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.errors import InputError
from stemloop.evaluation.lm.sample import UNKNOWN, Rnas, encode

Floats = npt.NDArray[np.float64]

#: Longest words that are counted.
WORDS = 5


def word_frequencies(sequences: Sequence[str], *, longest: int = WORDS) -> Floats:
    """Frequencies of the words of 1 to `longest` nucleotides, those of a length adding up to 1.

    Returns
    -------
    numpy.ndarray of float64, shape (N, 4 + 16 + ...)
        Words with another letter are left out.

    Examples
    --------
    >>> word_frequencies(["AAC"], longest=1).round(2).tolist()
    [[0.67, 0.33, 0.0, 0.0]]
    """
    result = np.zeros((len(sequences), sum(4**k for k in range(1, longest + 1))))
    for row, sequence in zip(result, sequences, strict=True):
        codes = encode(sequence)
        start = 0
        for k in range(1, longest + 1):
            windows = np.lib.stride_tricks.sliding_window_view(codes, k) if len(codes) >= k else ()
            if len(windows):
                good = windows[(windows < UNKNOWN).all(axis=1)].astype(np.int64)
                words = good @ (4 ** np.arange(k - 1, -1, -1))
                counts = np.bincount(words, minlength=4**k)
                row[start : start + 4**k] = counts / max(len(words), 1)
            start += 4**k
    return result


class WordRegression:
    """Multinomial logistic regression on word frequencies and the logarithm of the length.

    Parameters
    ----------
    rnas : Rnas
        Training RNAs of known type.

    Raises
    ------
    InputError
        They have fewer than two types.
    """

    def __init__(self, rnas: Rnas) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if len(set(rnas.types)) < 2:
            raise InputError("the training RNAs have fewer than two types")
        self.trained_on = len(rnas)
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        self._model.fit(self._features(rnas.sequences), list(rnas.types))

    @staticmethod
    def _features(sequences: Sequence[str]) -> Floats:
        lengths = np.log([len(s) for s in sequences])
        return np.column_stack([word_frequencies(sequences), lengths])

    def log_probabilities(self, sequences: Sequence[str]) -> Floats:
        """Log-probabilities, shape (N, 28); -inf for types that were not in the training RNAs."""
        result = np.full((len(sequences), len(RNAERNIE_TYPES)), -np.inf)
        columns = [RNAERNIE_TYPES.index(name) for name in self._model.classes_]
        result[:, columns] = self._model.predict_log_proba(self._features(sequences))
        return result


def score_types(
    rnas: Rnas,
    predictions: Mapping[str, npt.NDArray[Any]],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Score predicted types.

    Parameters
    ----------
    rnas : Rnas
        RNAs of known type.
    predictions : mapping of str to numpy.ndarray, shape (N, 28)
        Log-probabilities of each method.
    seed, resamples, confidence
        Of the percentile bootstrap over units.

    Returns
    -------
    dict
        ``rnas``, ``units``, ``types`` (how many RNAs of each), and ``methods``: for each
        ``accuracy``, ``top3``, ``balanced_accuracy`` (the mean recall of the types) with
        ``value``, ``low``, ``high``, and ``recall_of_types``.
    """
    known = np.array([RNAERNIE_TYPES.index(name) for name in rnas.types])
    names, of_type = np.unique(known, return_inverse=True)
    units = np.unique(np.array(rnas.units), return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    n = units.max() + 1
    # How often each RNA is in a resample: as often as its unit.
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples)[:, units].astype(np.float64)
    member = np.eye(len(names))[of_type]
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]
    methods: dict[str, Any] = {}
    for name, scores in predictions.items():
        # The place of the right type in the ranking; a tie counts against the method.
        own = np.asarray(scores)[np.arange(len(known)), known]
        place = (np.asarray(scores) >= own[:, None]).sum(axis=1)
        first, third = (place <= 1).astype(np.float64), (place <= 3).astype(np.float64)
        recall = (first @ member) / member.sum(0)
        size = weights @ member
        with np.errstate(invalid="ignore"):
            drawn_recall = np.nanmean((weights @ (first[:, None] * member)) / size, axis=1)
        values = {
            "accuracy": (first.mean(), weights @ first / weights.sum(1)),
            "top3": (third.mean(), weights @ third / weights.sum(1)),
            "balanced_accuracy": (recall.mean(), drawn_recall),
        }
        methods[name] = {
            key: dict(
                zip(
                    ("value", "low", "high"),
                    (round(float(x), 5) for x in (value, *np.quantile(drawn, tail))),
                    strict=True,
                )
            )
            for key, (value, drawn) in values.items()
        }
        methods[name]["recall_of_types"] = {
            RNAERNIE_TYPES[t]: round(float(r), 5) for t, r in zip(names, recall, strict=True)
        }
    counts = np.bincount(of_type)
    return {
        "rnas": len(rnas),
        "units": int(n),
        "types": {RNAERNIE_TYPES[t]: int(c) for t, c in zip(names, counts, strict=True)},
        "methods": methods,
        "bootstrap": {"kind": "percentile, units resampled", "seed": seed,
                      "resamples": resamples, "confidence": confidence},
    }  # fmt: skip
