"""Who is drawn and what is hidden."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from stemloop.data.corpus import Corpus
from stemloop.evaluation.lm.sample import (
    Rnas,
    draw,
    encode,
    hide_single,
    hide_some,
    read_blocks,
    take_turns,
)


def test_one_member_a_cluster_and_types_take_turns(lm_data) -> None:
    corpus = Corpus.open(lm_data.corpus, "validation_clusters")
    rnas = draw(corpus, 40, window=510, seed=1)
    assert len(rnas) == 40
    assert set(Counter(rnas.types).values()) == {10}
    assert len(set(rnas.units)) == 40
    assert all(u.startswith("cluster ") for u in rnas.units)
    everything = draw(corpus, 10**6, window=510, seed=1)
    assert len(everything) == len(np.unique(corpus.clusters))
    again = draw(corpus, 40, window=510, seed=1)
    assert again.sequences == rnas.sequences
    assert draw(corpus, 40, window=510, seed=2).sequences != rnas.sequences


def test_families_take_turns_and_lend_their_name_to_their_cluster(lm_data) -> None:
    corpus = Corpus.open(lm_data.corpus, "validation_families")
    rnas = draw(corpus, 80, window=510, seed=0, by="family")
    assert set(Counter(rnas.units).values()) == {10}
    assert set(rnas.units) == set(lm_data.held_out)
    assert "" in rnas.families
    known = draw(corpus, 80, window=510, seed=0, by="family", known="family")
    assert "" not in known.families
    assert known.families == known.units
    assert "" not in draw(corpus, 80, window=510, seed=0, known="type").types


def test_long_ones_are_cropped(lm_data) -> None:
    corpus = Corpus.open(lm_data.corpus, "validation_clusters")
    rnas = draw(corpus, 30, window=20, seed=0)
    whole = {corpus.sequence(k) for k in range(len(corpus))}
    assert {len(s) for s in rnas.sequences} == {20}
    assert all(any(s in w for w in whole) for s in rnas.sequences)


def test_blocks_hold_all_sequences_apart(lm_data) -> None:
    corpus = Corpus.open(lm_data.corpus, "train")
    rows = range(len(corpus))
    found = []
    for codes, owners in read_blocks(corpus, rows, size=100):
        assert len(codes) == len(owners)
        text = "".join("ACGU-"[c] for c in codes)
        assert text.startswith("-----")
        assert text.endswith("-----")
        found += [part for part in text.split("-----") if part]
        for owner in np.unique(owners):
            part = text[np.flatnonzero(owners == owner)[0] : np.flatnonzero(owners == owner)[-1]]
            assert part.strip("-") == corpus.sequence(int(owner))
    assert found == [corpus.sequence(k) for k in rows]


def _rnas(*sequences: str) -> Rnas:
    n = len(sequences)
    return Rnas(sequences, ("",) * n, ("",) * n, tuple(f"cluster {k}" for k in range(n)))


def test_hidden_at_once() -> None:
    rng = np.random.default_rng(0)
    long = "".join(rng.choice(list("ACGUN"), 2000))
    hidden = hide_some(_rnas(long, "NNNNNNNNNNNN", "NNNNNNNNANNN"), seed=3)
    assert hidden.rnas.tolist() == [0, 2]
    assert len(hidden.positions[0]) == 300
    assert hidden.positions[1].tolist() == [8]
    assert hidden.targets.max() < 4
    assert hidden.target_rnas.tolist() == [0] * 300 + [2]
    # All positions are equally likely.
    counts = np.zeros(40)
    for seed in range(2000):
        counts[hide_some(_rnas("ACGU" * 10), seed=seed).positions[0]] += 1
    assert abs(counts / 2000 - 0.15).max() < 0.035


def test_hidden_one_at_a_time() -> None:
    hidden = hide_single(_rnas("ACGUN" * 10, "ACGUA" * 2), positions=12, seed=0)
    assert Counter(hidden.rnas.tolist()) == {0: 12, 1: 10}
    assert all(len(p) == 1 for p in hidden.positions)
    assert sorted(int(p[0]) for p in hidden.positions[12:]) == list(range(10))
    codes, at = hidden.codes()
    assert set(codes[at].tolist()) == {4}


def test_masks_do_not_depend_on_other_rnas() -> None:
    one = hide_some(_rnas("ACGU" * 20, "ACGU" * 20), seed=1)
    other = hide_some(_rnas("ACGU" * 20, "GGCC" * 9), seed=1)
    np.testing.assert_array_equal(one.positions[0], other.positions[0])
    assert one.positions[0].tolist() != one.positions[1].tolist()


@pytest.mark.parametrize("size", [0, 1, 6, 50])
def test_turns(size: int) -> None:
    groups = [0] * 20 + [1] * 3 + [2] * 7
    chosen = take_turns(groups, size)
    counts = Counter(groups[k] for k in chosen)
    assert len(chosen) == min(size, 30)
    if size == 6:
        assert counts == {0: 2, 1: 2, 2: 2}
    assert encode("acgu").tolist() == [4] * 4
