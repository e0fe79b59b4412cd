"""Packs: each sample once, never over the budget, well filled; schedules that resume anywhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from stemloop.alphabet import RINALMO, STEMLOOP, Alphabet
from stemloop.data.corpus import Corpus
from stemloop.data.masking import MaskingOptions, make_sample
from stemloop.data.packing import Schedule, items_of_rank, only_item, pack
from stemloop.data.sampling import draw_members
from stemloop.errors import UsageError

WINDOW, BUDGET = 120, 1000


def small_rnas(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(18, 30, n)


def seeds(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.normal(np.log(110), 0.5, n)).astype(int).clip(20, 600)


def lncrnas(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.normal(np.log(1000), 0.8, n)).astype(int).clip(200, 1020)


MIXES: dict[str, tuple[tuple[Callable[..., np.ndarray], int], ...]] = {
    "small": ((small_rnas, 20_000),),
    "families": ((seeds, 20_000),),
    "all": ((small_rnas, 3_000), (seeds, 10_000), (lncrnas, 3_000)),
    "long": ((seeds, 10_000), (lncrnas, 10_000)),
}


def mixed(name: str) -> np.ndarray:
    rng = np.random.default_rng(11)
    return 4 + np.concatenate([draw(count, rng) for draw, count in MIXES[name]])


@pytest.mark.parametrize("budget", [4096, 16384, 65536])
@pytest.mark.parametrize("mix", MIXES)
def test_packs_are_filled_to_97_per_cent(mix: str, budget: int):
    lengths = mixed(mix)
    packs = pack(lengths, budget, seed=1)
    tokens = np.array([lengths[p].sum() for p in packs])
    assert tokens.max() <= budget
    assert tokens[:-1].mean() >= 0.97 * budget
    assert (np.sort(np.concatenate(list(packs))) == np.arange(len(lengths))).all()


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=200),
    budget=st.integers(60, 300),
    seed=st.integers(0, 2**32 - 1),
    pool=st.integers(1, 5),
)
def test_whatever_the_lengths_each_sample_is_in_one_pack_that_holds_it(lengths, budget, seed, pool):
    array = np.array(lengths)
    packs = list(pack(array, budget, seed, pool=pool))
    assert sorted(np.concatenate(packs).tolist()) == list(range(len(lengths)))
    for p in packs:
        assert 1 <= array[p].sum() <= budget
        assert (np.diff(array[p]) <= 0).all()


def test_long_samples_that_fill_no_pack_do_not_spoil_it():
    # Three of 1026 to a pack of 4096 is all that can be done.
    assert len(pack(np.full(3000, 1026), 4096)) <= 1000 * 1.01
    assert len(pack(np.full(10, 4096), 4096)) == 10


def test_the_seed_and_the_epoch_decide_about_packs():
    lengths = mixed("families")[:2000]
    packs = [list(map(list, pack(lengths, 4096, *key))) for key in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert packs[0] == packs[1]
    assert packs[0] != packs[2] != packs[3] != packs[0]


def test_all_packs_get_a_like_mixture_of_lengths():
    """What best-fit would not give: its packs hold only long, or only short samples."""
    lengths = mixed("all")
    packs = list(pack(lengths, 16384, seed=3))[:-1]
    long = np.array([lengths[p][lengths[p] > 500].sum() / lengths[p].sum() for p in packs])
    share = lengths[lengths > 500].sum() / lengths.sum()
    # Packs of samples drawn at random, for comparison.
    rng = np.random.default_rng(0)
    drawn = [rng.choice(lengths, len(packs[0])) for _ in range(300)]
    spread = np.std([d[d > 500].sum() / d.sum() for d in drawn])
    assert abs(long.mean() - share) < 0.01
    assert long.std() < 1.5 * spread


def test_neighbours_in_a_pack_are_others_in_the_next_epoch():
    lengths = mixed("families")[:5000]
    together = []
    for epoch in (0, 1):
        pairs: set[tuple[int, int]] = set()
        for p in pack(lengths, 4096, 5, epoch):
            pairs |= {(a, b) for a in p.tolist() for b in p.tolist() if a < b}
        together.append(pairs)
    share = len(together[0] & together[1]) / len(together[0])
    # A pack has some 30 of 5000 samples: chance is 30 / 5000 = 0.6 %.
    assert share < 0.009


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([10, 101, 50], "sample 1 has 101 tokens: packs hold 1 to 100"),
        ([10, 0], "sample 1 has 0 tokens"),
        ([], "no samples"),
    ],
)
def test_what_cannot_be_packed_is_named(lengths: list[int], message: str):
    with pytest.raises(UsageError, match=message):
        pack(np.array(lengths, np.int64), 100)


@pytest.mark.parametrize(
    ("items", "world", "first"), [(20, 4, 0), (23, 4, 0), (23, 3, 5), (2, 4, 0)]
)
def test_ranks_share_the_items_out(items: int, world: int, first: int):
    shares = [items_of_rank(items, rank, world, first) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(first, items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    steps = zip(*shares, strict=False)
    assert [i for step in steps for i in step] == list(range(first, items))[
        : world * len(shares[-1])
    ]


def test_a_rank_outside_the_world_is_refused():
    with pytest.raises(UsageError, match="rank 2 of 2"):
        items_of_rank(5, 2, 2)


class Masked:
    """Stands in for masking: CLS, nucleotides, prompt, EOS; labels are random."""

    def __init__(self, alphabet: Alphabet = STEMLOOP, extra: int = 0) -> None:
        self.alphabet, self.extra = alphabet, extra

    def __call__(
        self, ids: np.ndarray, type_index: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        a = self.alphabet
        prompt = [] if type_index < 0 else [a.ids["[IND]"], a.ids["[IND]"] + 1 + type_index]
        tokens = np.array([a.cls_id, *ids, *prompt, a.eos_id, *[a.pad_id] * self.extra], np.uint8)
        labels = np.where(rng.random(len(tokens)) < 0.15, tokens.astype(np.int16), -100)
        return tokens, labels


@pytest.fixture
def corpus(write_corpus: Callable[..., Path], random_rows: Callable[..., list[dict[str, Any]]]):
    return Corpus.open(write_corpus(train=random_rows(300)))


def schedule(corpus: Corpus, **options: Any) -> Schedule:
    settings = {"make_sample": Masked(), "window": WINDOW, "budget": BUDGET, "items": 60, "seed": 9}
    return Schedule(corpus, **settings | options)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    keys = ("tokens", "labels", "cu_seqlens")
    return a["lengths"] == b["lengths"] and all(torch.equal(a[k], b[k]) for k in keys)


def sequences(item: dict[str, Any]) -> list[list[int]]:
    return [part.tolist() for part in item["tokens"].split(item["lengths"])]


def test_an_item_is_a_packed_batch(corpus: Corpus):
    for item in schedule(corpus):
        T = sum(item["lengths"])
        assert T <= BUDGET
        assert item["tokens"].dtype == item["labels"].dtype == torch.int64
        assert item["cu_seqlens"].dtype == torch.int32
        assert item["tokens"].shape == item["labels"].shape == (T,)
        assert item["cu_seqlens"].tolist() == np.cumsum([0, *item["lengths"]]).tolist()
        assert item["lengths"] == sorted(item["lengths"], reverse=True)
        targets = item["labels"] != -100
        assert (item["labels"][targets] == item["tokens"][targets]).all()
        starts = item["cu_seqlens"].long()
        assert (item["tokens"][starts[:-1]] == STEMLOOP.cls_id).all()
        assert (item["tokens"][starts[1:] - 1] == STEMLOOP.eos_id).all()


def test_an_epoch_has_every_drawn_row_once_then_the_next_begins(corpus: Corpus):
    plan = schedule(corpus)
    count = len(plan.plan(0))
    assert plan.locate(count - 1) == (0, count - 1)
    assert plan.locate(count) == (1, 0)
    assert plan.locate(count + len(plan.plan(1)) + 2) == (2, 2)
    for epoch in (0, 1):
        rows = np.concatenate(list(plan.plan(epoch)))
        assert sorted(rows) == sorted(draw_members(corpus, 9, epoch))
        first = epoch * count
        seen = [s for i in range(len(plan.plan(epoch))) for s in sequences(plan[first + i])]
        assert len(seen) == len(rows)


def test_contents_are_crops_of_the_drawn_rows(corpus: Corpus):
    plan = schedule(corpus)
    for item in (0, 3):
        for row, tokens in zip(plan.plan(0)[item], sequences(plan[item]), strict=True):
            known = corpus.types[row] >= 0
            letters = STEMLOOP.decode(tokens[1 : -3 if known else -1])
            assert letters in corpus.sequence(int(row))
            assert len(letters) == min(WINDOW, corpus.lengths[row])
            if known:
                assert tokens[-2] == STEMLOOP.ids["[IND]"] + 1 + corpus.types[row]


def test_crops_and_masks_change_from_epoch_to_epoch(corpus: Corpus):
    plan = schedule(corpus, budget=100_000, items=3)
    items = [plan[i] for i in range(3)]
    counts = [len({tuple(s) for s in sequences(item)}) for item in items]
    both = {tuple(s) for s in sequences(items[0])} & {tuple(s) for s in sequences(items[1])}
    assert len(both) < 0.3 * min(counts)


def test_iteration_from_any_item_is_the_tail_of_the_whole(corpus: Corpus):
    whole = list(schedule(corpus))
    boundary = schedule(corpus).locate(59)
    assert boundary[0] >= 2
    fresh = schedule(corpus)
    first_epoch = len(fresh.plan(0))
    for first in (59, first_epoch, first_epoch - 1, 1):
        resumed = schedule(corpus)
        assert all(same(resumed[i], whole[i]) for i in range(first, 60))


def test_early_items_are_the_same_after_later_epochs(corpus: Corpus):
    plan = schedule(corpus, items=10**6)
    first = plan[0]
    plan.locate(10 * len(plan.plan(0)))
    assert same(plan[0], first)


def test_worker_processes_give_the_same_items(corpus: Corpus):
    plan = schedule(corpus, items=30, make_sample=make_sample(MaskingOptions(), STEMLOOP))
    first = len(plan.plan(0)) - 3
    loader = DataLoader(
        plan,
        batch_sampler=[[i] for i in range(first, 30)],
        collate_fn=only_item,
        num_workers=2,
    )
    for got, i in zip(loader, range(first, 30), strict=True):
        assert same(got, plan[i])


def test_ranks_together_see_what_one_process_sees(corpus: Corpus):
    whole = list(schedule(corpus))
    for world in (2, 3):
        for rank in range(world):
            own = schedule(corpus)
            assert all(same(own[i], whole[i]) for i in items_of_rank(60, rank, world))


def test_a_schedule_can_be_pickled_without_the_corpus_arrays(corpus: Corpus):
    plan = schedule(corpus, make_sample=make_sample(MaskingOptions(), STEMLOOP))
    text = pickle.dumps(plan)
    assert len(text) < len(pickle.dumps(plan.make_sample)) + 1000
    assert same(pickle.loads(text)[4], plan[4])


def test_caps_hold_in_every_epoch(corpus: Corpus):
    plan = schedule(corpus, caps={"type:unknown": 2})
    for epoch in range(4):
        rows = np.concatenate(list(plan.plan(epoch)))
        assert (corpus.types[rows] < 0).sum() == 2
    nothing = schedule(corpus, caps={"source:rfam": 0, "source:gencode": 0})
    with pytest.raises(UsageError, match="leave nothing"):
        nothing[0]


def test_a_sample_longer_than_planned_is_an_error_with_its_name(corpus: Corpus):
    with pytest.raises(ValueError, match=r"record 'r\d+': \d+ tokens and \d+ labels"):
        schedule(corpus, make_sample=Masked(extra=1))[0]


def test_alphabets_without_types_need_less_room(corpus: Corpus):
    class Plain(Masked):
        def __call__(self, ids, type_index, rng):
            return super().__call__(ids, -1, rng)

    plan = schedule(corpus, make_sample=Plain(RINALMO), specials=(2, 2))
    tokens = [sum(plan[i]["lengths"]) for i in range(len(plan.plan(0)) - 1)]
    assert np.mean(tokens) >= 0.96 * BUDGET  # packs of ten: not as full as large ones


def test_items_outside_the_run_and_windows_outside_the_budget(corpus: Corpus):
    plan = schedule(corpus)
    assert len(plan) == 60
    for item in (-1, 60):
        with pytest.raises(IndexError, match=f"item {item} of 60"):
            plan[item]
    with pytest.raises(UsageError, match="does not fit"):
        schedule(corpus, window=997)
