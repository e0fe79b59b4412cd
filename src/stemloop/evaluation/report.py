"""Reports of predicted structures: family and macro means with intervals, and the comparison
with a peer on the same RNAs, as JSON or Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.errors import InputError
from stemloop.evaluation.markdown import to_markdown
from stemloop.evaluation.metrics import METRICS, FloatArray, bootstrap_means, family_means
from stemloop.evaluation.scores import ScoreRow, ScoreTable, strata
from stemloop.formats.stream import atomic_output

SCHEMA = "stemloop.structure-scores"
SCHEMA_VERSION = 1

DEFINITIONS = {
    "f1": "harmonic mean of precision and recall, pairs matched exactly",
    "precision": "predicted pairs that are in the reference / predicted pairs",
    "recall": "reference pairs that are in the prediction / reference pairs",
    "relaxed_f1": "harmonic mean of relaxed_precision and relaxed_recall",
    "relaxed_precision": "predicted pairs in the reference or one nucleotide beside it at one end",
    "relaxed_recall": "reference pairs in the prediction or one nucleotide beside it at one end",
    "mcc": "Matthews coefficient over all L(L-1)/2 pairs, matched exactly",
    "empty": "a quotient with denominator zero is 0",
    "family": "mean over the RNAs of a family",
    "macro": "unweighted mean of the family means",
    "all_rnas": "mean over all RNAs, families ignored",
}


def summarise(
    table: ScoreTable, *, seed: int = 0, resamples: int = 1000, confidence: float = 0.95
) -> dict[str, Any]:
    """Family means, their macro mean and bootstrap intervals, ready for JSON.

    Parameters
    ----------
    table : ScoreTable
        Scores of the RNAs.
    seed, resamples : int
        Of the bootstrap (RNAs resampled within their family).
    confidence : float
        Mass of the percentile intervals.

    Returns
    -------
    dict
        ``macro`` and, in ``families``, ``scores`` map a score's name to mean, low and high;
        ``strata`` have the same shape as ``families``, see `stemloop.evaluation.scores.strata`.

    Examples
    --------
    >>> table = ScoreTable([ScoreRow("a", "tRNA", 76, {"f1": 1.0}),
    ...                     ScoreRow("b", "tRNA", 75, {"f1": 0.5}),
    ...                     ScoreRow("c", "5S", 120, {"f1": 0.25})])
    >>> summary = summarise(table)
    >>> summary["macro"]["f1"]
    {'mean': 0.5, 'low': 0.375, 'high': 0.625}
    >>> summary["families"]["5S"]["rnas"], round(summary["all_rnas"]["f1"], 3)
    (1, 0.583)
    """
    values = table.values(*table.metrics).reshape(len(table.rows), -1)
    families, draws = _by_family(table, seed, resamples, confidence)
    means = list(family_means(values, table.families).values())
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "definitions": {
            name: text
            for name, text in DEFINITIONS.items()
            if name in table.metrics or name not in METRICS
        },
        "bootstrap": _bootstrap(seed, resamples, confidence),
        "rnas": len(table.rows),
        "macro": _scores(table, np.mean(means, axis=0), _macro(draws), confidence),
        "all_rnas": {n: _r(m) for n, m in zip(table.metrics, values.mean(axis=0), strict=True)},
        "families": families,
        "strata": {
            kind: _by_family(part, seed, resamples, confidence)[0]
            for kind, part in strata(table).items()
        },
    }


def _by_family(
    table: ScoreTable, seed: int, resamples: int, confidence: float
) -> tuple[dict[str, Any], Mapping[str, FloatArray]]:
    """Entry of each family for a report, and the bootstrap draws of their means."""
    values = table.values(*table.metrics).reshape(len(table.rows), -1)
    lengths = family_means([row.length for row in table.rows], table.families)
    draws = bootstrap_means(values, table.families, seed=seed, resamples=resamples)
    entries = {
        family: {
            "rnas": table.families.count(family),
            "mean_length": round(float(lengths[family]), 1),
            "scores": _scores(table, mean, draws[family], confidence),
        }
        for family, mean in family_means(values, table.families).items()
    }
    return entries, draws


def _scores(
    table: ScoreTable, mean: FloatArray, draws: FloatArray, confidence: float
) -> dict[str, dict[str, float]]:
    low, high = _interval(draws, confidence)
    return {
        name: {"mean": _r(mean[k]), "low": _r(low[k]), "high": _r(high[k])}
        for k, name in enumerate(table.metrics)
    }


def paired(
    table: ScoreTable,
    peer: ScoreTable,
    *,
    name: str = "peer",
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Difference to a peer, RNA by RNA, on the RNAs that both have.

    Parameters
    ----------
    table, peer : ScoreTable
        Scores of ours and of the peer; compared where identifier and score name agree. The
        family of our table counts.
    name : str
        What to call the peer.
    seed, resamples : int
        Of the bootstrap of the differences (RNAs resampled within their family).
    confidence : float
        Mass of the percentile intervals.

    Returns
    -------
    dict
        ``macro`` and each of ``families`` map a score's name to ours, peer, difference (ours -
        peer), low and high; ``better``, ``equal``, ``worse`` count RNAs. ``strata`` have the shape
        of ``families``.

    Raises
    ------
    InputError
        An identifier is in a table twice, or the tables share no RNA or no score.

    Examples
    --------
    >>> ours = ScoreTable([ScoreRow("a", "tRNA", 76, {"f1": 0.75})])
    >>> theirs = ScoreTable([ScoreRow("a", "tRNA", 76, {"f1": 0.5})])
    >>> paired(ours, theirs)["macro"]["f1"]
    {'ours': 0.75, 'peer': 0.5, 'difference': 0.25, 'low': 0.25, 'high': 0.25}
    """
    mine, other = _by_id(table), _by_id(peer)
    ids = [i for i in mine if i in other]
    metrics = [m for m in table.metrics if m in peer.metrics]
    if not ids or not metrics:
        raise InputError(f"no {'RNA' if metrics else 'score'} in common with {name}")
    families = [mine[i].family for i in ids]
    ours = np.array([[mine[i].scores[m] for m in metrics] for i in ids], np.float64)
    theirs = np.array([[other[i].scores[m] for m in metrics] for i in ids], np.float64)
    # Published files hold four decimals: closer than that is a tie.
    difference = np.where(np.abs(ours - theirs) < 1e-4, 0.0, ours - theirs)

    def scores(a: FloatArray, b: FloatArray, draw: FloatArray) -> dict[str, dict[str, float]]:
        low, high = _interval(draw, confidence)
        return {
            metric: {
                "ours": _r(a[k]),
                "peer": _r(b[k]),
                "difference": _r(a[k] - b[k]),
                "low": _r(low[k]),
                "high": _r(high[k]),
            }
            for k, metric in enumerate(metrics)
        }

    def by_label(labels: Sequence[str]) -> tuple[dict[str, Any], Mapping[str, FloatArray]]:
        """Entry of each label, and the bootstrap draws of their mean differences."""
        our_means, their_means = family_means(ours, labels), family_means(theirs, labels)
        draws = bootstrap_means(ours - theirs, labels, seed=seed, resamples=resamples)
        entries = {
            label: {
                "rnas": labels.count(label),
                "scores": scores(our_means[label], their_means[label], draws[label]),
            }
            for label in our_means
        }
        return entries, draws

    entries, draws = by_label(families)
    parts = {
        kind: {row.id: row.family for row in part.rows}
        for kind, part in strata(ScoreTable([mine[i] for i in ids])).items()
    }
    return {
        "peer": name,
        "bootstrap": _bootstrap(seed, resamples, confidence),
        "rnas": len(ids),
        "only_ours": len(mine) - len(ids),
        "only_peer": len(other) - len(ids),
        "macro": scores(
            np.mean(list(family_means(ours, families).values()), axis=0),
            np.mean(list(family_means(theirs, families).values()), axis=0),
            _macro(draws),
        ),
        "counts": {
            metric: {
                "better": int((difference[:, k] > 0).sum()),
                "equal": int((difference[:, k] == 0).sum()),
                "worse": int((difference[:, k] < 0).sum()),
            }
            for k, metric in enumerate(metrics)
        },
        "families": entries,
        "strata": {kind: by_label([labels[i] for i in ids])[0] for kind, labels in parts.items()},
    }


def _by_id(table: ScoreTable) -> dict[str, ScoreRow]:
    rows: dict[str, ScoreRow] = {}
    for row in table.rows:
        if row.id in rows:
            raise InputError("two RNAs of this name cannot be told apart", record=row.id)
        rows[row.id] = row
    return rows


def _macro(draws: Mapping[str, FloatArray]) -> FloatArray:
    return np.asarray(np.mean(list(draws.values()), axis=0))


def _interval(draws: FloatArray, confidence: float) -> FloatArray:
    tail = (1 - confidence) / 2
    return np.asarray(np.quantile(draws, [tail, 1 - tail], axis=0))


def _bootstrap(seed: int, resamples: int, confidence: float) -> dict[str, Any]:
    return {
        "kind": "percentile, RNAs resampled within family",
        "confidence": confidence,
        "resamples": resamples,
        "seed": seed,
    }


def _r(value: float) -> float:
    return round(float(value), 6)


def write_report(
    path: str | Path,
    summary: Mapping[str, Any],
    comparisons: Sequence[Mapping[str, Any]] = (),
    *,
    force: bool = False,
) -> None:
    """Write a report atomically: Markdown where the name ends in ``.md``, else JSON.

    Parameters
    ----------
    path : str or Path
        File to write.
    summary : mapping
        From :func:`summarise`; further keys (model, data, protocol) go into the JSON as they are.
    comparisons : sequence of mapping
        From :func:`paired`; the key ``comparisons`` of the JSON.
    force : bool
        Replace an existing file.

    Raises
    ------
    OutputExistsError
        The file is there and ``force`` is not given.
    OutputError
        It cannot be written.
    """
    if Path(path).suffix == ".md":
        text = to_markdown(summary, comparisons)
    else:
        report = dict(summary) | ({"comparisons": list(comparisons)} if comparisons else {})
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_output(path, force=force) as handle:
        handle.write(text)
