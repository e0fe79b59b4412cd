"""Which clusters and which families of a corpus are kept away from training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemloop.data.clusters import Numbers

TRAIN, VALIDATION_CLUSTERS, VALIDATION_FAMILIES = range(3)
SPLITS = ("train", "validation_clusters", "validation_families")

#: Families smaller than this say little when they are held out.
LEAST_MEMBERS = 5
#: Families larger than this share of the corpus (or this many) would cost training too much.
LARGEST_SHARE = 0.01
LARGEST_MEMBERS = 1000
#: Most sequences of the held-out clusters.
MOST_SEQUENCES = 10_000


@dataclass(frozen=True)
class HeldOut:
    """What is held out.

    Parameters
    ----------
    split : numpy.ndarray of uint8, shape (N,)
        Number in `SPLITS` of every sequence.
    families : tuple of str
        Families held out whole.
    eligible : int
        Families that could have been chosen.
    clusters : int
        Clusters held out that hold no such family.
    """

    split: npt.NDArray[np.uint8]
    families: tuple[str, ...]
    eligible: int
    clusters: int


def hold_out(
    clusters: Numbers,
    cluster_count: int,
    families: Numbers,
    names: Sequence[str],
    types: Sequence[str],
    *,
    cluster_fraction: float,
    family_fraction: float,
    seed: int,
) -> HeldOut:
    """Choose whole families, then whole clusters.

    Families of at least `LEAST_MEMBERS` sequences and at most 1 % of the corpus (or 1000
    sequences, whichever is more) are listed type by type in random order, and every k-th is
    taken, so that each type gives its share. All clusters with a member of such a family go with
    it. Of the other clusters a random part is taken, until the next one would bring them above
    `MOST_SEQUENCES` sequences.

    Parameters
    ----------
    clusters : numpy.ndarray of int32, shape (N,)
        Cluster of every sequence.
    cluster_count : int
        Clusters.
    families : numpy.ndarray of int32, shape (N,)
        Place in `names` of every sequence's family, -1 for none.
    names, types : sequence of str
        Families (sorted) and the type of each.
    cluster_fraction, family_fraction : float
        Shares to hold out.
    seed : int
        Seed of both draws.

    Examples
    --------
    >>> clusters, families = np.arange(100, dtype=np.int32), np.full(100, -1, np.int32)
    >>> families[:10] = np.repeat([0, 1], 5)
    >>> out = hold_out(clusters, 100, families, ["RF1", "RF2"], ["rRNA"] * 2,
    ...                cluster_fraction=0.02, family_fraction=0.5, seed=0)
    >>> len(out.families), np.bincount(out.split).tolist()
    (1, [93, 2, 5])
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0)))
    members = np.bincount(families[families >= 0], minlength=len(names))
    largest = max(LARGEST_MEMBERS, LARGEST_SHARE * len(clusters))
    eligible = [k for k in range(len(names)) if LEAST_MEMBERS <= members[k] <= largest]
    order = rng.permutation(len(eligible))
    listed = [eligible[k] for k in order]
    listed.sort(key=lambda k: types[k])  # stable: random order within a type
    wanted = round(family_fraction * len(eligible))
    chosen = []
    if wanted:
        step = len(listed) / wanted
        start = rng.random()
        chosen = sorted(listed[int((start + k) * step)] for k in range(wanted))
    held = np.zeros(len(names) + 1, bool)  # the last one stands for "no family" (-1)
    held[chosen] = True

    taken = np.zeros(cluster_count, bool)
    taken[clusters[held[families]]] = True
    split = np.where(taken[clusters], VALIDATION_FAMILIES, TRAIN).astype(np.uint8)

    rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
    sizes = np.bincount(clusters, minlength=cluster_count)
    free = np.flatnonzero(~taken)
    quota = round(cluster_fraction * len(free))
    # A cluster above the limit (thousands of copies of 16S rRNA) is passed over, not the end.
    picked, total = [], 0
    for cluster in rng.permutation(free):
        if len(picked) == quota or total == MOST_SEQUENCES:
            break
        if total + sizes[cluster] <= MOST_SEQUENCES:
            picked.append(cluster)
            total += sizes[cluster]
    apart = np.zeros(cluster_count, bool)
    apart[picked] = True
    split[apart[clusters]] = VALIDATION_CLUSTERS
    return HeldOut(split, tuple(names[k] for k in chosen), len(eligible), len(picked))
