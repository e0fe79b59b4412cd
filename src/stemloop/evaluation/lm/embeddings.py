"""Do RNAs of a family lie together? Neighbours of mean embeddings, and a map in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError
from stemloop.evaluation.lm.sample import Ints, Rnas

Floats = npt.NDArray[np.floating[Any]]

#: Neighbours that are looked at.
NEIGHBOURS = (1, 5)


def of_families(rnas: Rnas, *, members: int, size: int) -> Rnas:
    """Keep RNAs of families with at least three, up to `members` of each, `size` in all.

    The RNAs are of different clusters: a neighbour is no near-copy.

    Raises
    ------
    InputError
        Fewer than two families have three RNAs.
    """
    places: dict[str, list[int]] = {}
    for k, family in enumerate(rnas.families):
        if family:
            places.setdefault(family, []).append(k)
    chosen: list[int] = []
    large = {name: rows for name, rows in places.items() if len(rows) >= 3}
    if len(large) < 2:
        raise InputError(f"{len(large)} families with three RNAs of different clusters")
    # Larger families first, until the sample is full.
    for name in sorted(large, key=lambda name: (-len(large[name]), name)):
        rows = large[name][:members]
        if len(chosen) + len(rows) <= size:
            chosen += rows
    return rnas.take(sorted(chosen))


def centred(vectors: Floats) -> npt.NDArray[np.float64]:
    """Vectors minus their mean, scaled to length 1: their products are cosines."""
    values = np.asarray(vectors, np.float64)
    values = values - values.mean(axis=0)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def family_purity(
    vectors: Floats, families: npt.ArrayLike, neighbours: int
) -> npt.NDArray[np.float64]:
    """Share of each RNA's nearest neighbours that are of its family, itself left out.

    Parameters
    ----------
    vectors : numpy.ndarray, shape (N, d)
        Embeddings; the nearest have the largest cosine after centring.
    families : array_like of str, shape (N,)
        Families.
    neighbours : int
        How many; for an RNA with fewer relatives, as many as it has.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)

    Examples
    --------
    >>> points = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    >>> family_purity(points, ["a", "a", "b", "b"], 1).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    labels = np.unique(np.asarray(families, dtype=str), return_inverse=True)[1]
    unit = centred(vectors)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    relatives = np.bincount(labels)[labels] - 1
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(neighbours, len(labels) - 1)]
    same = labels[nearest] == labels[:, None]
    k = np.minimum(neighbours, np.maximum(relatives, 1))
    counted = np.arange(nearest.shape[1]) < k[:, None]
    return np.asarray((same & counted).sum(axis=1) / k)


def score_embeddings(
    rnas: Rnas,
    vectors: Mapping[str, Floats],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Family purity of several embeddings of the same RNAs.

    Parameters
    ----------
    rnas : Rnas
        From `of_families`.
    vectors : mapping of str to numpy.ndarray, shape (N, d)
        Embeddings of each method.
    seed, resamples, confidence
        Of the percentile bootstrap over families.

    Returns
    -------
    dict
        ``rnas``, ``families``, ``chance`` (purity of random neighbours), and ``methods``: for each
        ``purity_1`` and ``purity_5``, means of the family means, with ``value``, ``low``, ``high``.
    """
    names, labels = np.unique(np.array(rnas.families), return_inverse=True)
    sizes = np.bincount(labels)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(names), (resamples, len(names)))
    tail = [(1 - confidence) / 2, (1 + confidence) / 2]
    methods: dict[str, Any] = {}
    for method, values in vectors.items():
        methods[method] = {}
        for k in NEIGHBOURS:
            means = np.bincount(labels, family_purity(values, labels, k)) / sizes
            low, high = np.quantile(means[drawn].mean(axis=1), tail)
            methods[method][f"purity_{k}"] = {
                name: round(float(x), 5)
                for name, x in zip(("value", "low", "high"), (means.mean(), low, high), strict=True)
            }
    return {
        "rnas": len(rnas),
        "families": len(names),
        "chance": round(float(((sizes - 1) / (len(rnas) - 1)).mean()), 5),
        "methods": methods,
        "bootstrap": {"kind": "percentile, families resampled", "seed": seed,
                      "resamples": resamples, "confidence": confidence},
    }  # fmt: skip


def place(vectors: Floats, *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Map embeddings to two dimensions with t-SNE (cosine distances), shape (N, 2)."""
    from sklearn.manifold import TSNE

    unit = centred(vectors)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return np.asarray(tsne.fit_transform(unit), np.float64)


def largest(labels: tuple[str, ...], count: int) -> list[str]:
    """The most frequent labels, the rest to be drawn in grey."""
    names, sizes = np.unique(np.array(labels, dtype=str), return_counts=True)
    order: Ints = np.argsort(-sizes, kind="stable")[:count]
    return [str(names[k]) for k in order if names[k]]
