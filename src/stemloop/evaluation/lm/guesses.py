"""Accuracy and cross-entropy of guessed nucleotides, per RNA type, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.evaluation.lm.sample import Hidden, Ints, Rnas

Floats = npt.NDArray[np.float64]

#: Names of the sums that are kept of each unit.
_COUNT, _RIGHT, _LOSS = range(3)


def score(
    rnas: Rnas,
    hidden: Hidden,
    predictions: Mapping[str, npt.NDArray[Any]],
    *,
    reference: str,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Score predictions of the same hidden nucleotides.

    Parameters
    ----------
    rnas : Rnas
        The sample.
    hidden : Hidden
        What was hidden.
    predictions : mapping of str to numpy.ndarray, shape (sum of positions, 4)
        Log-probabilities of each method.
    reference : str
        Method from which the others are subtracted.
    seed, resamples, confidence
        Of the percentile bootstrap. The units of the sample (clusters, or families) are drawn with
        replacement, the same ones for all methods.

    Returns
    -------
    dict
        ``all``, ``macro`` (the unweighted mean of the types) and, in ``types``, one entry a type:
        ``rnas``, ``units``, ``nucleotides``, and ``methods``, a mapping from a method's name to
        ``accuracy``, ``cross_entropy`` (nats), ``perplexity``, each with ``value``, ``low`` and
        ``high``, and ``difference``: the reference's accuracy minus this method's.
    """
    targets = hidden.targets.astype(np.int64)
    sums = np.zeros((len(rnas), len(predictions), 3))
    for m, scores in enumerate(predictions.values()):
        loss = -np.asarray(scores, np.float64)[np.arange(len(targets)), targets]
        right = np.asarray(scores).argmax(axis=1) == targets
        for k, values in ((_COUNT, np.ones(len(targets))), (_RIGHT, right), (_LOSS, loss)):
            sums[:, m, k] = np.bincount(hidden.target_rnas, values, len(rnas))
    rng = np.random.default_rng(seed)
    names = list(predictions)
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]

    def rates(rows: Ints) -> tuple[Floats, Floats, int]:
        """Accuracy and loss of the methods, their resampled values, and the number of units."""
        labels = np.unique([rnas.units[k] for k in rows.tolist()], return_inverse=True)[1]
        units = np.zeros((labels.max() + 1, len(names), 3))
        np.add.at(units, labels, sums[rows])
        n = len(units)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
        drawn = np.tensordot(weights, units, 1)
        return _quotients(units.sum(0)), _quotients(drawn), n

    def entry(value: Floats, drawn: Floats) -> dict[str, Any]:
        base = names.index(reference)
        result: dict[str, Any] = {}
        for m, name in enumerate(names):
            low, high = np.quantile(drawn[:, m], tail, axis=0)
            gap = np.quantile(drawn[:, base, 0] - drawn[:, m, 0], tail)
            scores = {
                "accuracy": _triple(value[m, 0], low[0], high[0]),
                "cross_entropy": _triple(value[m, 1], low[1], high[1]),
                "perplexity": _triple(*map(math.exp, (value[m, 1], low[1], high[1]))),
            }
            if name != reference:
                scores["difference"] = _triple(value[base, 0] - value[m, 0], gap[0], gap[1])
            result[name] = scores
        return result

    used = np.unique(hidden.rnas)
    types = np.array(rnas.types, dtype=str)
    value, drawn, units = rates(used)
    report: dict[str, Any] = {
        "all": _sizes(used, units, hidden) | {"methods": entry(value, drawn)},
        "types": {},
    }
    means, draws = [], []
    for name in np.unique(types[used]):
        rows = used[types[used] == name]
        value, drawn, units = rates(rows)
        report["types"][str(name) or "unknown"] = _sizes(rows, units, hidden) | {
            "methods": entry(value, drawn)
        }
        means.append(value)
        draws.append(drawn)
    report["macro"] = {
        "types": len(means),
        "methods": entry(np.mean(means, axis=0), np.mean(draws, axis=0)),
    }
    report["bootstrap"] = {
        "kind": "percentile, units resampled", "unit": _unit(rnas), "seed": seed,
        "resamples": resamples, "confidence": confidence,
    }  # fmt: skip
    return report


def _unit(rnas: Rnas) -> str:
    return "cluster" if all(u.startswith("cluster ") for u in rnas.units) else "family"


def _sizes(rows: Ints, units: int, hidden: Hidden) -> dict[str, int]:
    return {
        "rnas": len(rows),
        "units": units,
        "nucleotides": int(np.isin(hidden.target_rnas, rows).sum()),
    }


def _quotients(sums: Floats) -> Floats:
    """Sums [..., 3] to accuracy and mean loss [..., 2]."""
    return np.asarray(sums[..., 1:] / sums[..., :1])


def _triple(value: float, low: float, high: float) -> dict[str, float]:
    return {
        name: round(float(x), 5)
        for name, x in zip(("value", "low", "high"), (value, low, high), strict=True)
    }
