"""Epochs: one member per cluster, all alike likely, caps; crops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chisquare

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.sampling import MEMBERS, PACKS, SAMPLE, crop, draw_members, stream
from stemloop.errors import UsageError

TRNA, RRNA = RNAERNIE_TYPES.index("tRNA"), RNAERNIE_TYPES.index("rRNA")


def made(sizes: list[int], types: list[int] | None = None, sources: list[int] | None = None):
    """Clusters of these sizes, numbered with gaps; type and source per cluster."""
    clusters = np.repeat(np.arange(len(sizes)) * 3 + 5, sizes)
    return SimpleNamespace(
        clusters=clusters.astype(np.int64),
        types=np.repeat(types or [-1] * len(sizes), sizes).astype(np.int16),
        sources=np.repeat(sources or [0] * len(sizes), sizes).astype(np.int16),
        source_names=("rfam", "gencode"),
    )


def test_one_member_of_every_cluster_in_an_order_of_its_own():
    corpus = made([3, 1, 7, 2] * 25)
    rows = draw_members(corpus, 4, 0)
    assert rows.dtype == np.int64
    assert sorted(corpus.clusters[rows]) == sorted(set(corpus.clusters))
    assert not (np.diff(rows) > 0).all()


def test_the_seed_and_the_epoch_decide():
    corpus = made([4] * 50)
    again = [draw_members(corpus, 4, 1).tolist() for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != draw_members(corpus, 4, 2).tolist()
    assert again[0] != draw_members(corpus, 5, 1).tolist()


def test_members_are_drawn_alike_often():
    sizes = [1, 2, 3, 5, 8]
    corpus = made(sizes)
    counts = np.zeros(sum(sizes))
    for epoch in range(4000):
        counts[draw_members(corpus, 0, epoch)] += 1
    for cluster in range(1, len(sizes)):
        members = counts[corpus.clusters == cluster * 3 + 5]
        assert members.sum() == 4000
        assert chisquare(members).pvalue > 1e-3


def test_places_in_the_order_are_alike_likely():
    corpus = made([2] * 6)
    first = [int(corpus.clusters[draw_members(corpus, 1, e)[0]]) for e in range(3000)]
    assert chisquare(np.unique(first, return_counts=True)[1]).pvalue > 1e-3


def test_capped_rows_change_from_epoch_to_epoch_and_each_gets_its_turn():
    corpus = made([1] * 30, types=[RRNA] * 20 + [TRNA] * 10)
    caps = {"type:rRNA": 5}
    seen = np.zeros(30)
    for epoch in range(2000):
        rows = draw_members(corpus, 3, epoch, caps)
        assert (corpus.types[rows] == RRNA).sum() == 5
        assert (corpus.types[rows] == TRNA).sum() == 10
        seen[rows] += 1
    assert (seen[20:] == 2000).all()
    # 5 of 20 without replacement: the sum of squares is smaller than chi-square expects.
    assert chisquare(seen[:20]).pvalue > 1e-3


def test_caps_of_types_and_sources_together():
    corpus = made([1] * 40, types=[RRNA, TRNA] * 20, sources=[0] * 20 + [1] * 20)
    caps = {"type:rRNA": 8, "source:gencode": 3}
    for epoch in range(20):
        rows = draw_members(corpus, 0, epoch, caps)
        assert (corpus.types[rows] == RRNA).sum() <= 8
        assert (corpus.sources[rows] == 1).sum() == 3
    turned = dict(reversed(caps.items()))
    assert (draw_members(corpus, 0, 7, turned) == draw_members(corpus, 0, 7, caps)).all()


def test_caps_on_rows_of_unknown_type_and_caps_that_leave_nothing():
    corpus = made([2] * 10)
    assert len(draw_members(corpus, 0, 0, {"type:unknown": 4})) == 4
    assert len(draw_members(corpus, 0, 0, {"type:unknown": 0})) == 0
    assert len(draw_members(corpus, 0, 0, {"type:unknown": 99, "type:tRNA": 1})) == 10


@pytest.mark.parametrize(
    ("cap", "message"),
    [
        ({"type:trna": 3}, "cap 'type:trna' names nothing in the corpus.*type:tRNA"),
        ({"source:silva": 3}, "known: source:rfam, source:gencode"),
        ({"rRNA": 3}, "type:... or source:..."),
        ({"type:rRNA": -1}, "negative"),
    ],
)
def test_caps_that_mean_nothing_are_refused(cap: dict[str, int], message: str):
    with pytest.raises(UsageError, match=message):
        draw_members(made([1, 2]), 0, 0, cap)


def test_crops_start_anywhere_alike_often():
    rng = np.random.default_rng(5)
    starts = np.zeros(11)
    for _ in range(11_000):
        start, stop = crop(110, 100, rng)
        assert stop - start == 100
        starts[start] += 1
    assert chisquare(starts).pvalue > 1e-3


@pytest.mark.parametrize("length", [1, 99, 100])
def test_what_fits_is_not_cropped(length: int):
    assert crop(length, 100, np.random.default_rng(0)) == (0, length)


def test_streams_differ_in_every_part_of_their_key():
    keys = [(0, MEMBERS, 0), (0, PACKS, 0), (1, MEMBERS, 0), (0, MEMBERS, 1), (1, PACKS, 1)]
    keys += [(0, SAMPLE, epoch, row) for epoch in range(3) for row in range(3)]
    assert len({int(stream(*key).integers(2**62)) for key in keys}) == len(keys)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused(seed: int):
    with pytest.raises(UsageError, match="seed"):
        stream(seed)
