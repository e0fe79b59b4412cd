"""Scores of predicted base pairs, and how they are averaged.

Three decisions decide what an "F1 of secondary structure" means; here they are fixed once:

* **Match.** *Strict*: the same pair (i, j). *Relaxed*: RiNALMo's "flexible +-1" metric, where a
  pair is also hit by one that is shifted at one of its two ends by one nucleotide, (i+-1, j) or
  (i, j+-1), not at both.
* **No pairs.** A quotient with denominator zero is 0 (scikit-learn's ``zero_division=0``), so a
  structure without pairs that is predicted without pairs scores 0, as in RiNALMo's program.
* **Mean.** Scores are computed for each RNA and averaged in its family; *macro* is the unweighted
  mean of the family means, so a family of 15 RNAs counts as much as one of 1,283.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError, StructureError

FloatArray = npt.NDArray[np.float64]

#: Scores of one RNA, in the order of every table.
METRICS = (
    "f1",
    "precision",
    "recall",
    "relaxed_f1",
    "relaxed_precision",
    "relaxed_recall",
    "mcc",
)


class PairScores(NamedTuple):
    """Precision, recall and their harmonic mean, each from 0 to 1."""

    precision: float
    recall: float
    f1: float


def _codes(pairs: npt.ArrayLike, length: int) -> npt.NDArray[np.int64]:
    """Pairs as sorted unique numbers i * length + j with i < j."""
    array = np.asarray(pairs)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise StructureError(f"pairs of shape {array.shape}", expected="(n, 2)")
    low, high = array.min(axis=1).astype(np.int64), array.max(axis=1).astype(np.int64)
    wrong = (low < 0) | (high >= length) | (low == high)
    if wrong.any():
        i, j = array[wrong][0].tolist()
        raise StructureError(f"({i}, {j}) is no pair of {length} nucleotides")
    return np.unique(low * length + high)


def _relaxed(codes: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """The pairs and their four neighbours.

    Neighbours outside the triangle get codes that no pair has: below 0, of the diagonal, or
    (i + 1, 0) for j beyond the end.
    """
    return np.concatenate([codes, codes - length, codes + length, codes - 1, codes + 1])


def pair_scores(
    predicted_pairs: npt.ArrayLike,
    reference_pairs: npt.ArrayLike,
    length: int,
    relaxed: bool = False,
) -> PairScores:
    """Precision, recall and F1 of predicted base pairs.

    Precision is the part of the predicted pairs found in the (relaxed) reference, recall the part
    of the reference pairs found in the (relaxed) prediction, F1 their harmonic mean (0 where
    precision + recall < 1e-5).

    Parameters
    ----------
    predicted_pairs, reference_pairs : array_like of int, shape (n, 2)
        0-based positions, the two ends in any order. A pair that comes twice counts once;
        several pairs of one position are allowed.
    length : int
        Nucleotides.
    relaxed : bool
        Accept a shift of one nucleotide at one end.

    Returns
    -------
    PairScores
        ``(precision, recall, f1)``.

    Raises
    ------
    StructureError
        A pair lies outside the sequence or joins a position to itself.

    Notes
    -----
    The relaxed metric is that of RiNALMo (Penic et al. 2025, Nature Communications 16:5671;
    program ``rinalmo/utils/sec_struct.py``). Both ends shifted, (i+1, j-1), is a slipped helix
    and no hit.

    Examples
    --------
    One of two predicted pairs is right, the other is shifted at its 3' end:

    >>> pair_scores([[0, 9], [1, 7]], [[0, 9], [1, 8]], 10)
    PairScores(precision=0.5, recall=0.5, f1=0.5)
    >>> pair_scores([[0, 9], [1, 7]], [[0, 9], [1, 8]], 10, relaxed=True).f1
    1.0
    """
    predicted, reference = _codes(predicted_pairs, length), _codes(reference_pairs, length)
    if not len(predicted) or not len(reference):
        return PairScores(0.0, 0.0, 0.0)
    if relaxed:
        hits = int(np.isin(predicted, _relaxed(reference, length)).sum())
        found = int(np.isin(reference, _relaxed(predicted, length)).sum())
    else:
        hits = found = len(np.intersect1d(predicted, reference, assume_unique=True))
    precision, recall = hits / len(predicted), found / len(reference)
    total = precision + recall
    return PairScores(precision, recall, 2 * precision * recall / total if total >= 1e-5 else 0.0)


def matthews(predicted_pairs: npt.ArrayLike, reference_pairs: npt.ArrayLike, length: int) -> float:
    """Matthews correlation coefficient of predicted base pairs (strict).

    Every one of the L (L - 1) / 2 pairs i < j is one decision, so true negatives are counted
    and not approximated away; for long RNAs the value approaches sqrt(precision * recall)
    (Gorodkin, Stricklin and Stormo 2001, Nucleic Acids Research 29:2135).

    Parameters
    ----------
    predicted_pairs, reference_pairs : array_like of int, shape (n, 2)
        As for :func:`pair_scores`.
    length : int
        Nucleotides.

    Returns
    -------
    float
        From -1 to 1; 0 where it is undefined (no pair predicted, or none in the reference).

    Raises
    ------
    StructureError
        A pair lies outside the sequence or joins a position to itself.

    Examples
    --------
    >>> matthews([[0, 9], [1, 8]], [[0, 9], [1, 8]], 10)
    1.0
    """
    predicted, reference = _codes(predicted_pairs, length), _codes(reference_pairs, length)
    tp = len(np.intersect1d(predicted, reference, assume_unique=True))
    fp, fn = len(predicted) - tp, len(reference) - tp
    tn = length * (length - 1) // 2 - tp - fp - fn
    under = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(under) if under else 0.0


def structure_scores(
    predicted_pairs: npt.ArrayLike, reference_pairs: npt.ArrayLike, length: int
) -> dict[str, float]:
    """All scores of one RNA by name, in the order of :data:`METRICS`.

    Parameters
    ----------
    predicted_pairs, reference_pairs : array_like of int, shape (n, 2)
        As for :func:`pair_scores`.
    length : int
        Nucleotides.

    Raises
    ------
    StructureError
        A pair lies outside the sequence or joins a position to itself.

    Examples
    --------
    >>> scores = structure_scores([[0, 9], [1, 7]], [[0, 9], [1, 8]], 10)
    >>> scores["f1"], scores["relaxed_f1"], round(scores["mcc"], 3)
    (0.5, 1.0, 0.477)
    """
    strict = pair_scores(predicted_pairs, reference_pairs, length)
    relaxed = pair_scores(predicted_pairs, reference_pairs, length, relaxed=True)
    return {
        "f1": strict.f1,
        "precision": strict.precision,
        "recall": strict.recall,
        "relaxed_f1": relaxed.f1,
        "relaxed_precision": relaxed.precision,
        "relaxed_recall": relaxed.recall,
        "mcc": matthews(predicted_pairs, reference_pairs, length),
    }


def family_means(values: npt.ArrayLike, families: Sequence[str]) -> dict[str, FloatArray]:
    """Mean of the values in each family, families in alphabetical order.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, m)
        One row an RNA.
    families : sequence of str, length n
        Family of each RNA.

    Raises
    ------
    InputError
        No values, or not one family a row.

    Examples
    --------
    >>> means = family_means([0.5, 1.0, 0.0], ["tRNA", "tRNA", "5S"])
    >>> {family: float(mean) for family, mean in means.items()}
    {'5S': 0.0, 'tRNA': 0.75}
    """
    array = np.asarray(values, np.float64)
    return {name: array[rows].mean(axis=0) for name, rows in _rows(array, families).items()}


def macro_mean(values: npt.ArrayLike, families: Sequence[str]) -> float:
    """Unweighted mean of the family means.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        A score for each RNA.
    families : sequence of str, length n
        Family of each RNA.

    Raises
    ------
    InputError
        No values, or not one family a row.

    Examples
    --------
    >>> macro_mean([0.5, 1.0, 0.0], ["tRNA", "tRNA", "5S"])
    0.375
    """
    return float(np.mean(list(family_means(values, families).values())))


def bootstrap_means(
    values: npt.ArrayLike, families: Sequence[str], *, seed: int = 0, resamples: int = 1000
) -> dict[str, FloatArray]:
    """Means of resampled families (stratified bootstrap).

    RNAs are drawn with replacement within their family, so every resample has the families and
    family sizes of the data. All columns of a resample use the same draw. The macro mean of
    resample r is the mean over families of row r.

    Parameters
    ----------
    values : array_like of float, shape (n,) or (n, m)
        One row an RNA.
    families : sequence of str, length n
        Family of each RNA.
    seed : int
        Seed of the generator.
    resamples : int
        Number of resamples.

    Returns
    -------
    dict of str to numpy.ndarray, shape (resamples,) or (resamples, m)
        Means of each family, families in alphabetical order.

    Raises
    ------
    InputError
        No values, or not one family a row.

    Examples
    --------
    >>> draws = bootstrap_means([0.0, 1.0, 0.5], ["a", "a", "b"], resamples=100)
    >>> draws["a"].shape, sorted(set(draws["a"].tolist())), set(draws["b"].tolist())
    ((100,), [0.0, 0.5, 1.0], {0.5})
    """
    array = np.asarray(values, np.float64)
    generator = np.random.default_rng(seed)
    means = {}
    for name, rows in _rows(array, families).items():
        n = len(rows)
        # How often each RNA was drawn; one matrix product then gives all means.
        counts = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
        means[name] = counts.astype(np.float64) @ array[rows] / n
    return means


def _rows(array: FloatArray, families: Sequence[str]) -> dict[str, npt.NDArray[np.intp]]:
    """Row numbers of each family, families in alphabetical order."""
    if not len(array) or len(array) != len(families):
        raise InputError(f"{len(array)} scores and {len(families)} families to average")
    names, inverse = np.unique(np.asarray(families, dtype=object).astype(str), return_inverse=True)
    return {str(name): np.flatnonzero(inverse == k) for k, name in enumerate(names)}
