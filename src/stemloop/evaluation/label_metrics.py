"""Scores of predicted classes and numbers, with bootstrap intervals.

Definitions are those of scikit-learn, with which the tests compare them: a quotient with
denominator zero is 0, and the macro F1 is the mean over the classes that are in the reference or in
the prediction. The Matthews coefficient of several classes is Gorodkin's R_K (2004, Computational
Biology and Chemistry 28:367). Correlations of something constant are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Scores of each kind of task; the first one chooses the epoch unless a recipe says otherwise.
CLASS_METRICS = ("mcc", "accuracy", "macro_f1", "weighted_f1")
NUMBER_METRICS = ("r2", "pearson", "spearman", "mae", "rmse")


def confusion(reference: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Ints:
    """Counts, shape (classes, classes): reference in rows, prediction in columns.

    Raises
    ------
    InputError
        Nothing to score, or not one prediction a record.
    """
    known, guess = np.asarray(reference, np.int64), np.asarray(predicted, np.int64)
    if not len(known) or len(known) != len(guess):
        raise InputError(f"{len(guess)} predictions for {len(known)} records")
    flat = np.bincount(known * classes + guess, minlength=classes**2)
    return flat.reshape(classes, classes)


def class_scores(counts: npt.NDArray[Any]) -> dict[str, float]:
    """Scores of a confusion matrix; see `CLASS_METRICS`.

    Examples
    --------
    >>> scores = class_scores(confusion([0, 0, 1, 1], [0, 0, 1, 0], 2))
    >>> scores["accuracy"], round(scores["mcc"], 3)
    (0.75, 0.577)
    """
    c = np.asarray(counts, np.float64)
    total, hits = c.sum(), np.diag(c)
    of_reference, of_prediction = c.sum(axis=1), c.sum(axis=0)
    both = of_reference + of_prediction
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    covariance = hits.sum() * total - of_reference @ of_prediction
    spread = (total**2 - of_prediction @ of_prediction) * (total**2 - of_reference @ of_reference)
    return {
        "mcc": float(covariance / np.sqrt(spread)) if spread > 0 else 0.0,
        "accuracy": float(hits.sum() / total),
        "macro_f1": float(f1[both > 0].mean()),
        "weighted_f1": float(f1 @ of_reference / total),
    }


def each_class(counts: npt.NDArray[Any]) -> list[dict[str, float]]:
    """Records, recall, precision and F1 of each class."""
    rows = []
    for k in range(len(counts)):
        records, found, hit = (int(x) for x in (counts[k].sum(), counts[:, k].sum(), counts[k, k]))
        rows.append(
            {
                "records": records,
                "recall": hit / records if records else 0.0,
                "precision": hit / found if found else 0.0,
                "f1": 2 * hit / (records + found) if records + found else 0.0,
            }
        )
    return rows


def ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs.

    Examples
    --------
    >>> ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    order, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def number_scores(reference: npt.ArrayLike, predicted: npt.ArrayLike) -> dict[str, float]:
    """Scores of predicted numbers; see `NUMBER_METRICS`. R2 is 1 - SSE / SST.

    Raises
    ------
    InputError
        Nothing to score, or not one prediction a record.

    Examples
    --------
    >>> {k: round(v, 3) for k, v in number_scores([1, 2, 3], [1, 2, 4]).items()}
    {'r2': 0.5, 'pearson': 0.982, 'spearman': 1.0, 'mae': 0.333, 'rmse': 0.577}
    """
    y, p = np.asarray(reference, np.float64), np.asarray(predicted, np.float64)
    if not len(y) or y.shape != p.shape:
        raise InputError(f"{len(p)} predictions for {len(y)} records")
    error, spread = p - y, ((y - y.mean()) ** 2).sum()
    return {
        "r2": float(1 - (error**2).sum() / spread) if spread > 0 else 0.0,
        "pearson": _correlation(y, p),
        "spearman": _correlation(ranks(y), ranks(p)),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def with_intervals(
    score: Callable[[Ints], dict[str, float]],
    records: int,
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, float]]:
    """Scores of all records, with percentile intervals over resampled records.

    Parameters
    ----------
    score : callable
        Numbers of records (with repeats) to scores.
    records : int
        How many there are.
    seed, resamples : int
        Of the bootstrap.
    confidence : float
        Mass of the intervals.

    Returns
    -------
    dict of str to dict
        ``value``, ``low`` and ``high`` of each score.
    """
    whole = score(np.arange(records))
    rng = np.random.default_rng(seed)
    drawn = [score(rng.integers(0, records, records)) for _ in range(resamples)]
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]
    result = {}
    for name, value in whole.items():
        low, high = np.quantile([d[name] for d in drawn], tail)
        result[name] = {"value": _r(value), "low": _r(low), "high": _r(high)}
    return result


def _r(value: float) -> float:
    return round(float(value), 5)
