"""What is held out: sizes, spread over types, limits."""

from __future__ import annotations

from collections import Counter

import numpy as np

from stemloop.data.corpus_holdout import MOST_SEQUENCES, HeldOut, hold_out


def draw(
    sizes: list[int], types: list[str], *, loose: int = 0, seed: int = 0, **fractions: float
) -> tuple[HeldOut, np.ndarray]:
    """Families of these sizes, every sequence its own cluster."""
    families = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(loose, -1)])
    clusters = np.arange(len(families), dtype=np.int32)
    names = [f"RF{k:05d}" for k in range(len(sizes))]
    options = {"cluster_fraction": 0.0, "family_fraction": 0.1} | fractions
    families = families.astype(np.int32)
    out = hold_out(clusters, len(clusters), families, names, types, seed=seed, **options)
    return out, families


def test_every_type_gives_its_share() -> None:
    types = ["miRNA"] * 600 + ["sRNA"] * 300 + ["rRNA"] * 100
    for seed in range(5):
        out, _ = draw([6] * 1000, types, seed=seed)
        found = Counter(types[int(name[2:])] for name in out.families)
        assert found == {"miRNA": 60, "sRNA": 30, "rRNA": 10}


def test_small_and_very_large_families_stay() -> None:
    sizes = [4] * 50 + [1001, 900] + [5] * 8
    types = [""] * len(sizes)
    chosen = set()
    for seed in range(60):
        out, _ = draw(sizes, types, seed=seed)
        assert out.eligible == 9
        chosen |= set(out.families)
    assert chosen == {f"RF{k:05d}" for k in range(51, 60)}


def test_large_means_one_percent_of_a_large_corpus() -> None:
    out, _ = draw([3000] + [5] * 9, [""] * 10, loose=400_000)
    assert out.eligible == 10


def test_no_share_no_hold_out() -> None:
    out, _ = draw([6] * 20, ["rRNA"] * 20, loose=100, family_fraction=0.0)
    assert out.families == ()
    assert (out.split == 0).all()


def test_all_families() -> None:
    out, families = draw([6] * 20, ["rRNA"] * 20, loose=100, family_fraction=1.0)
    assert len(out.families) == 20
    assert ((out.split == 2) == (families >= 0)).all()


def test_a_whole_cluster_goes_with_one_member_of_a_held_out_family() -> None:
    families = np.array([0] * 5 + [-1] * 15, np.int32)
    clusters = np.array([0, 0, 1, 2, 3, 0, 1, *range(4, 17)], np.int32)
    out = hold_out(clusters, 17, families, ["RF1"], [""], cluster_fraction=0.0,
                   family_fraction=1.0, seed=0)  # fmt: skip
    assert out.split.tolist() == [2] * 7 + [0] * 13


def test_clusters_up_to_the_limit_passing_over_giants() -> None:
    # Two clusters of 20,000 and 5,000 of 10 sequences: 40 % would be 20,000 sequences.
    clusters = np.concatenate(
        [np.repeat([0, 1], 20_000), np.repeat(np.arange(2, 5002), 10)]
    ).astype(np.int32)
    families = np.full(len(clusters), -1, np.int32)
    out = hold_out(clusters, 5002, families, [], [], cluster_fraction=0.4, family_fraction=0.05,
                   seed=0)  # fmt: skip
    held = clusters[out.split == 1]
    assert len(held) == MOST_SEQUENCES == 10_000
    assert out.clusters == len(set(held.tolist())) == 1000
    assert held.min() > 1
