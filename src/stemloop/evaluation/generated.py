"""How good generated rows are: compared with held-out data, not with what they were learnt from.

All scores take states (uint8, one row a sequence). Distances are Hamming distances: sites that
differ. The scores are those of arXiv 2307.06797, with these differences: ties between neighbours
count one half each (there: always for the other set, so that copies look diverse), and correlations
are given beside mean squared errors.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stemloop.errors import UsageError

States = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ties = Literal["half", "other"]

#: Rows whose distances are held in memory at once.
_BLOCK = 512


def onehot(states: States, count: int) -> npt.NDArray[np.float32]:
    """Indicators of the states, (M, N count); of two states one column a site is enough."""
    if count == 2:
        return states.astype(np.float32)
    return np.concatenate([(states == s) for s in range(count)], 1).astype(np.float32)


def distances(first: States, second: States, count: int) -> npt.NDArray[np.int32]:
    """Hamming distances, (M1, M2).

    Examples
    --------
    >>> distances(np.array([[0, 1, 2]], np.uint8), np.array([[0, 1, 0], [1, 1, 2]], np.uint8), 3)
    array([[1, 1]], dtype=int32)
    """
    if count == 2:
        a, b = first.astype(np.float32), second.astype(np.float32)
        found = a.sum(1)[:, None] + b.sum(1)[None] - 2 * (a @ b.T)
    else:
        found = first.shape[1] - onehot(first, count) @ onehot(second, count).T
    return np.rint(found).astype(np.int32)


def nearest(rows: States, others: States, count: int, *, same: bool = False) -> npt.NDArray[Any]:
    """Distance of each row to the nearest of the others; `same`: they are the rows themselves."""
    return nearest_rows(rows, others, count, same=same)[1]


def nearest_rows(
    rows: States, others: States, count: int, *, same: bool = False
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Number of the nearest of the others (the first of several), and its distance.

    Parameters
    ----------
    rows, others : numpy.ndarray of uint8, shape (M1, N) and (M2, N)
        States.
    count : int
        States a site.
    same : bool
        `others` are the rows themselves: none is its own neighbour.

    Examples
    --------
    >>> nearest_rows(np.array([[0, 1]], np.uint8), np.array([[1, 0], [0, 0]], np.uint8), 2)
    (array([1]), array([1], dtype=int32))
    """
    place = np.empty(len(rows), np.int64)
    distance = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), _BLOCK):
        part = distances(rows[start : start + _BLOCK], others, count)
        here = np.arange(len(part))
        if same:
            part[here, start + here] = np.iinfo(np.int32).max
        place[start : start + _BLOCK] = best = part.argmin(1)
        distance[start : start + _BLOCK] = part[here, best]
    return place, distance


def adversarial_accuracy(
    data: States, made: States, count: int, *, ties: Ties = "half"
) -> dict[str, float]:
    """Nearest-neighbour adversarial accuracy (Yale et al. 2020); 0.5 and 0.5 are ideal.

    Parameters
    ----------
    data, made : numpy.ndarray of uint8, shape (M, N)
        As many of each, else the larger set would be nearer by chance.
    count : int
        States a site.
    ties : str
        A row whose nearest datum and nearest made row are equally far counts ``half``, or as
        nearest to the ``other`` set (as published).

    Returns
    -------
    dict
        ``truth``: share of data whose nearest neighbour is a datum: below 0.5, made rows copy data;
        ``syn``: share of made rows whose nearest neighbour is a made row: above 0.5, they lack
        diversity, or are far from the data; ``error``: (truth - 1/2)^2 + (syn - 1/2)^2.

    Raises
    ------
    UsageError
        Unequal numbers of rows, or fewer than two.

    Examples
    --------
    >>> rows = np.array([[0, 0], [1, 1]], np.uint8)
    >>> adversarial_accuracy(rows, rows, 2)
    {'truth': 0.0, 'syn': 0.0, 'error': 0.5}
    """
    if len(data) != len(made) or len(data) < 2:
        raise UsageError(f"{len(data)} data and {len(made)} made rows: give as many, at least two")
    tie = 0.5 if ties == "half" else 0.0
    parts = {}
    for name, rows, others in (("truth", data, made), ("syn", made, data)):
        own = nearest(rows, rows, count, same=True)
        other = nearest(rows, others, count)
        parts[name] = float(((own < other) + tie * (own == other)).mean())
    error = (parts["truth"] - 0.5) ** 2 + (parts["syn"] - 0.5) ** 2
    return {**parts, "error": float(error)}


def spectrum(states: States, count: int) -> Floats:
    """Singular values of the centred indicators over the root of the number of rows."""
    rows = onehot(states, count).astype(np.float64)
    return np.linalg.svd(rows - rows.mean(0), compute_uv=False) / np.sqrt(len(rows))


def spectrum_error(data: States, made: States, count: int) -> float:
    """Mean squared difference of the two spectra."""
    size = min(len(data), len(made))
    one, two = spectrum(data[:size], count), spectrum(made[:size], count)
    return float(np.mean((one - two) ** 2))


def projection(
    data: States, made: States, count: int, components: int = 2
) -> tuple[Floats, Floats]:
    """Data and made rows on the principal components of the data, (M, components) each."""
    rows = onehot(data, count).astype(np.float64)
    mean = rows.mean(0)
    _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
    axes = axes[:components].T
    return (rows - mean) @ axes, (onehot(made, count) - mean) @ axes


def entropy(states: States) -> float:
    """Compressed size, bytes a row."""
    return len(zlib.compress(np.ascontiguousarray(states).tobytes(), 9)) / len(states)


def moments(data: States, made: States, count: int, *, triples: int = 10_000) -> dict[str, float]:
    """Agreement of one-, two- and three-site statistics.

    Frequencies of the states, covariances of two, and third central moments of three at different
    sites; the last for a fixed random choice of `triples`.

    Returns
    -------
    dict
        For each of ``first``, ``second``, ``third``: Pearson correlation ``_r`` over all
        statistics (0 where one side does not vary) and mean squared error ``_mse``.
    """
    one, two = (onehot(s, count).astype(np.float64) for s in (data, made))
    width, sites = one.shape[1], data.shape[1]
    values = {"first": (one.mean(0), two.mean(0))}
    one, two = one - one.mean(0), two - two.mean(0)
    site = np.arange(width) % sites
    upper = np.triu(site[:, None] != site[None])
    values["second"] = ((one.T @ one / len(one))[upper], (two.T @ two / len(two))[upper])
    if sites > 2:
        rng = np.random.default_rng(0)
        places = rng.integers(0, width, (triples, 3))
        x, y, z = (site[places[:, k]] for k in range(3))
        places = places[(x != y) & (y != z) & (x != z)]
        values["third"] = (_third(one, places), _third(two, places))
    result = {}
    for name, (a, b) in values.items():
        result[f"{name}_r"] = _pearson(a, b)
        result[f"{name}_mse"] = float(np.mean((a - b) ** 2))
    return result


def _third(rows: Floats, places: npt.NDArray[np.int64]) -> Floats:
    parts = [
        (rows[:, p[:, 0]] * rows[:, p[:, 1]] * rows[:, p[:, 2]]).mean(0)
        for p in np.array_split(places, max(1, len(places) // 500))
    ]
    return np.concatenate(parts)


def _pearson(a: Floats, b: Floats) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def novelty(made: States, train: States, count: int) -> dict[str, float]:
    """How far made rows are from the training data and from each other.

    Returns
    -------
    dict
        ``copies``: share found in the training data; ``duplicates``: share found earlier among the
        made rows; ``median_distance``: to the nearest training row, as a share of the sites;
        ``median_spread``: to the nearest other made row.
    """
    near = nearest(made, train, count)
    spread = nearest(made, made, count, same=True) if len(made) > 1 else np.zeros(1, np.int32)
    distinct = len(np.unique(made, axis=0))
    sites = made.shape[1]
    return {
        "copies": float((near == 0).mean()),
        "duplicates": 1 - distinct / len(made),
        "median_distance": float(np.median(near)) / sites,
        "median_spread": float(np.median(spread)) / sites,
    }


Classifier = Callable[[States], npt.NDArray[np.int64]]


def independent_classifier(states: States, labels: npt.NDArray[Any], count: int) -> Classifier:
    """A logistic regression of one's own, trained on data; returns what predicts labels.

    It judges whether rows made for a label carry it. Labels are weighted alike.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=0.1, max_iter=300, class_weight="balanced")
    model.fit(onehot(states, count), labels)

    def predict(rows: States) -> npt.NDArray[np.int64]:
        return np.asarray(model.predict(onehot(rows, count)), np.int64)

    return predict


def quality(data: States, made: States, count: int, *, ties: Ties = "half") -> dict[str, float]:
    """All scores of made rows against as many data.

    Returns
    -------
    dict
        ``aai_truth``, ``aai_syn``, ``aai_error``, ``spectrum_mse``, ``entropy_excess`` (compressed
        size of the made rows over that of the data, less one) and those of `moments`.

    Raises
    ------
    UsageError
        See `adversarial_accuracy`.
    """
    aai = {f"aai_{k}": v for k, v in adversarial_accuracy(data, made, count, ties=ties).items()}
    return {
        **aai,
        "spectrum_mse": spectrum_error(data, made, count),
        "entropy_excess": entropy(made) / entropy(data) - 1,
        **moments(data, made, count),
    }
