"""Masking: worked by hand, counted over many samples, and as the published code does it."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.alphabet import RINALMO, RNAERNIE, RNAERNIE_TYPES, STEMLOOP, Alphabet
from stemloop.data.mask_strategies import (
    base_positions,
    corrupt,
    motif_positions,
    subsequence_positions,
)
from stemloop.data.masking import NO_TARGET, MaskingOptions, make_sample
from stemloop.data.motifs import MotifSet
from stemloop.errors import UsageError

ALPHABETS = (RINALMO, RNAERNIE, STEMLOOP)
TRNA = RNAERNIE_TYPES.index("tRNA")
MIXED = {"base": 1.0, "subsequence": 1.0, "motif": 1.0}
MOTIFS = MotifSet(databases=("UGUA", "GGAC", "UUUUU"), frequent=("ACACACACAC",))

#: Samples of each of the three strategies: 1e5 together.
SAMPLES = 34_000
L = 40


class Scripted:
    """Stands in for a random generator: hands over what a test wrote down, in order."""

    def __init__(self, **answers: Sequence[Any]) -> None:
        self._answers = {name: list(values) for name, values in answers.items()}

    def __getattr__(self, name: str) -> Any:
        def answer(*_: object, **__: object) -> Any:
            return np.array(self._answers[name].pop(0))

        return answer


def encode(sequence: str, alphabet: Alphabet = STEMLOOP) -> Any:
    return alphabet.encode(sequence, special=False)


def random_rna(rng: np.random.Generator, length: int) -> Any:
    return encode("".join(rng.choice(list("ACGU"), length)))


# Worked by hand


def test_base_by_hand() -> None:
    ids = encode("A" * 10)
    assert base_positions(ids, 2, Scripted(choice=[[7, 2]])).tolist() == [2, 7]
    # Free positions are 1, 2, 4, 6, 9: the fourth and the first of them are 6 and 1.
    free = np.isin(np.arange(10), [1, 2, 4, 6, 9])
    assert base_positions(ids, 2, Scripted(choice=[[3, 0]]), free=free).tolist() == [1, 6]


def test_subsequence_by_hand() -> None:
    # Lengths 5, 6, 7, 8 take [0, .48), [.48, .72), [.72, .88), [.88, 1).
    starts = [18, 2, 10, *(i for i in range(20) if i not in (18, 2, 10))]
    draws = [0.1, 0.5, 0.9, *[0.5] * 17]
    rng = Scripted(permutation=[starts], random=[draws])
    chosen = subsequence_positions(encode("A" * 20), 9, rng)
    # Five from 18 reach round to 2; six from 2 would touch it; eight from 10 shrink to the four
    # that are left.
    assert chosen.tolist() == [0, 1, 2, 10, 11, 12, 13, 18, 19]


def test_subsequence_skips_what_is_not_free() -> None:
    free = np.ones(12, bool)
    free[[3, 9]] = False
    rng = Scripted(permutation=[[1, 7, 4, *(0, 2, 3, 5, 6, 8, 9, 10, 11)]], random=[[0.1] * 12])
    # From 1 and from 7 there is a position in the way, from 4 there is none.
    chosen = subsequence_positions(encode("A" * 12), 5, rng, free=free)
    assert chosen.tolist() == [4, 5, 6, 7, 8]


def test_published_subsequence_by_hand() -> None:
    # Of 20 letters the published code visits places 0 to 10 and ends spans before 11.
    starts = [10, 8, 3, 0, 6, 9, 1, 2, 4, 5, 7]
    draws = [0.1, 0.9, 0.9, 0.5, 0.9, 0.1, *[0.9] * 5]
    rng = Scripted(permutation=[starts], random=[draws])
    chosen = subsequence_positions(encode("A" * 20), 9, rng, published=True)
    # From 10 only one letter is left. Eight from 8, cut to three, and eight from 3 touch it. Six
    # from 0 fit. Two more would fit the budget, but no list length does, and 9 touches 10.
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5, 10]


def test_published_spans_shrink_through_the_listed_lengths() -> None:
    rng = Scripted(permutation=[[0, *range(1, 31)]], random=[[0.9] * 31])
    chosen = subsequence_positions(encode("A" * 40), 6, rng, published=True)
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5]
    rng = Scripted(permutation=[list(range(17))], random=[[0.9] * 17])
    # Four letters fit, the shortest length is five; but the place before the end has cut spans.
    chosen = subsequence_positions(encode("A" * 26), 4, rng, published=True)
    assert chosen.tolist() == [13, 14, 15, 16]


@pytest.mark.parametrize(
    ("order", "frequent", "budget", "expected"),
    [
        # Hits: 0 UGUA at 1, 1 UAUG at 3, 2 UGUA at 5; frequent CCCC at 9, CCCC at 10.
        ([0, 1, 2], [0, 1], 12, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ([1, 0, 2], [0, 1], 12, [3, 4, 5, 6, 9, 10, 11, 12]),
        ([1, 0, 2], [1, 0], 12, [3, 4, 5, 6, 10, 11, 12, 13]),
        ([2, 0, 1], [1, 0], 11, [1, 2, 3, 4, 5, 6, 7, 8]),
        ([1, 0, 2], [1, 0], 3, []),
    ],
)
def test_motif_by_hand(
    order: list[int], frequent: list[int], budget: int, expected: list[int]
) -> None:
    find = MotifSet(("UGUA", "TATG"), ("CCCC",)).finder(STEMLOOP)
    rng = Scripted(permutation=[order, frequent])
    assert motif_positions(encode("AUGUAUGUACCCCC"), budget, rng, find).tolist() == expected


def test_published_motifs_take_frequent_words_from_left_to_right() -> None:
    find = MotifSet((), ("CCCC",)).finder(STEMLOOP)
    rng = Scripted(permutation=[[], [1, 0]])
    ids = encode("AUGUAUGUACCCCC")
    assert motif_positions(ids, 4, rng, find, published=True).tolist() == [9, 10, 11, 12]


def test_corruption_by_hand() -> None:
    ids = encode("ACGUACGU")
    rng = Scripted(random=[[0.0, 0.79, 0.8, 0.899, 0.9, 0.99]], integers=[[1, 3]])
    read = corrupt(ids, np.arange(1, 7), rng, mask_id=4, random_ids=encode("ACGU"))
    # A; masked twice; C and U at random; C and G kept; U.
    assert STEMLOOP.decode(read) == "A<mask><mask>CUCGU"
    assert STEMLOOP.decode(ids) == "ACGUACGU"


# Budgets


@pytest.mark.parametrize(
    ("letters", "window", "single", "whole"),
    [
        *((n, 512, 1, 1) for n in range(1, 10)),
        # Halves go to the even neighbour: 1.5 to 2, 4.5 to 4, 7.5 to 8, 10.5 to 10.
        *((10, 512, 2, 2), (16, 512, 2, 2), (17, 512, 3, 3), (30, 512, 4, 4), (50, 512, 8, 8)),
        *((70, 512, 10, 10), (100, 512, 15, 15), (508, 512, 76, 76), (509, 512, 76, 76)),
        # 0.15 * 512 is 76.8: single positions pass it with the 77th, spans stay below.
        *((512, 512, 77, 76), (1022, 512, 77, 76), (1022, None, 153, 153)),
    ],
)
def test_budgets(letters: int, window: int | None, single: int, whole: int) -> None:
    budget = MaskingOptions(window=window).budget(letters)
    ids = encode("A" * letters)
    rng = np.random.default_rng(letters)
    assert len(base_positions(ids, budget, rng)) == single
    # On a ring without obstacles a shortened span always fits.
    assert len(subsequence_positions(ids, budget, rng)) == whole
    find = MotifSet(("A",)).finder(STEMLOOP)
    assert len(motif_positions(ids, budget, rng, find)) == whole


# Statistics


def within(count: float, share: float, trials: int) -> bool:
    """Whether a count is within five standard deviations of what is expected."""
    return abs(count - share * trials) < 5 * np.sqrt(trials * share * (1 - share))


@pytest.fixture(scope="module")
def statistics() -> dict[str, dict[str, Any]]:
    """Counts over many samples of each strategy."""
    found = {}
    for name in ("base", "subsequence", "motif"):
        rng = np.random.default_rng(7)
        weights = dict.fromkeys(MIXED, 0.0) | {name: 1.0}
        sample = make_sample(MaskingOptions(**weights, prompt=False), STEMLOOP, MOTIFS)
        chosen, fate = np.zeros(L, int), Counter[str]()
        sizes: Counter[int] = Counter()
        swaps: Counter[int] = Counter()
        ids = random_rna(rng, SAMPLES + L)
        for start in range(SAMPLES):
            window = ids[start : start + L]
            tokens, labels = sample(window, -1, rng)
            target = labels[1:-1] != NO_TARGET
            chosen += target
            sizes[int(target.sum())] += 1
            read, true = tokens[1:-1][target], window[target]
            masked, kept = int((read == STEMLOOP.mask_id).sum()), int((read == true).sum())
            fate.update(masked=masked, same=kept, other=len(read) - masked - kept)
            swaps.update(read[(read != true) & (read != STEMLOOP.mask_id)].tolist())
        found[name] = {"chosen": chosen, "fate": fate, "sizes": sizes, "swaps": swaps}
    return found


@pytest.mark.parametrize("strategy", ["base", "subsequence"])
def test_share_and_places_of_targets(statistics: dict[str, Any], strategy: str) -> None:
    counted = statistics[strategy]
    assert counted["sizes"] == {6: SAMPLES}
    assert all(within(count, 6 / L, SAMPLES) for count in counted["chosen"])


@pytest.mark.parametrize("strategy", MIXED)
def test_what_stands_in_for_targets(statistics: dict[str, Any], strategy: str) -> None:
    fate, swaps = statistics[strategy]["fate"], statistics[strategy]["swaps"]
    total = sum(fate.values())
    assert total > 4 * SAMPLES
    # A random letter is the right one in a quarter of the cases.
    for name, share in (("masked", 0.8), ("other", 0.1 * 3 / 4), ("same", 0.1 + 0.1 / 4)):
        assert within(fate[name], share, total), name
    assert set(swaps) == set(encode("ACGU").tolist())
    if strategy != "motif":
        assert all(within(n, 1 / 4, fate["other"]) for n in swaps.values())


def test_motif_samples_keep_to_the_budget(statistics: dict[str, Any]) -> None:
    sizes = statistics["motif"]["sizes"]
    # 4: a motif of four. 5: UUUUU. 6: no motif at all, base masking instead.
    assert set(sizes) == {4, 5, 6}


def test_span_lengths() -> None:
    rng = np.random.default_rng(3)
    longest: Counter[int] = Counter()
    ids = encode("A" * 400)
    trials = 0
    for _ in range(10_000):
        chosen = np.zeros(400, bool)
        chosen[subsequence_positions(ids, 8, rng)] = True
        # Cut the ring open where nothing is chosen.
        ring = np.roll(chosen, -int(np.argmin(chosen)))
        runs = sorted(sum(1 for _ in run) for on, run in groupby(ring.tolist()) if on)
        # The first span has its own length; the second is what eight leave. Touching spans are
        # left out.
        if len(runs) == 2 or runs == [8]:
            longest[runs[-1]] += 1
            trials += 1
    assert set(longest) == {5, 6, 7, 8}
    # Spans touch in 2 of about 400 places, so three lengths lose half a per cent of their cases,
    # which come out as 8.
    for length, weight in zip((5, 6, 7), (1, 1 / 2, 1 / 3), strict=True):
        assert within(longest[length], weight / (25 / 12) * (1 - 2 / 390), trials)


def test_strategies_are_drawn_by_their_weights() -> None:
    options = MaskingOptions(base=1, subsequence=2, motif=1, prompt=False)
    sample = make_sample(options, STEMLOOP, MotifSet(("GGGGGG",)))
    ids = encode("A" * 30 + "GGGGGG" + "A" * 24)
    rng = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(20_000):
        _, labels = sample(ids, -1, rng)
        places = np.flatnonzero(labels[1:-1] != NO_TARGET)
        if places.tolist() == [30, 31, 32, 33, 34, 35]:
            counts["motif"] += 1
        else:
            gaps = (np.diff(np.append(places, places[0] + 60)) > 1).sum()
            counts["spans" if gaps <= 2 else "base"] += 1
    assert within(counts["motif"], 1 / 4, 20_000)
    assert within(counts["spans"], 1 / 2, 20_000)


# Purity


def test_the_same_seed_gives_the_same_sample() -> None:
    sample = make_sample(MaskingOptions(**MIXED), STEMLOOP, MOTIFS)
    again = pickle.loads(pickle.dumps(sample))
    ids = random_rna(np.random.default_rng(0), 90)
    before, state = ids.copy(), np.random.get_state()[1].copy()
    first = [sample(ids, TRNA, np.random.default_rng(seed)) for seed in range(50)]
    second = [again(ids, TRNA, np.random.default_rng(seed)) for seed in reversed(range(50))]
    for (a, b), (c, d) in zip(first, reversed(second), strict=True):
        assert (a == c).all()
        assert (b == d).all()
    assert len({tokens.tobytes() for tokens, _ in first}) > 30
    assert (ids == before).all()
    assert (np.random.get_state()[1] == state).all()


def test_prompts_leave_the_masks_alone() -> None:
    ids = random_rna(np.random.default_rng(0), 90)
    with_prompt = make_sample(MaskingOptions(), STEMLOOP)
    without = make_sample(MaskingOptions(prompt=False), STEMLOOP)
    for seed in range(20):
        long, _ = with_prompt(ids, TRNA, np.random.default_rng(seed))
        short, _ = without(ids, TRNA, np.random.default_rng(seed))
        assert (long[:91] == short[:91]).all()


# Prompts


@pytest.mark.parametrize("alphabet", [RNAERNIE, STEMLOOP], ids=lambda a: a.name)
def test_type_slot(alphabet: Alphabet) -> None:
    sample = make_sample(MaskingOptions(type_mask=0.3), alphabet)
    assert sample.specials == (2, 4)
    ids = encode("GGUACCAAGG", alphabet)
    rng = np.random.default_rng(0)
    masked = 0
    for _ in range(10_000):
        tokens, labels = sample(ids, TRNA, rng)
        assert len(tokens) == len(labels) == 14
        assert tokens[0] == alphabet.cls_id
        assert tokens[11] == alphabet.ids["[IND]"]
        assert tokens[13] == alphabet.eos_id
        assert (labels[[0, 11, 13]] == NO_TARGET).all()
        if tokens[12] == alphabet.mask_id:
            masked += 1
            assert labels[12] == alphabet.ids["tRNA"]
        else:
            assert tokens[12] == alphabet.ids["tRNA"]
            assert labels[12] == NO_TARGET
    assert within(masked, 0.3, 10_000)


def test_every_type_has_its_token() -> None:
    for alphabet in (RNAERNIE, STEMLOOP):
        sample = make_sample(MaskingOptions(type_mask=1), alphabet)
        for index, name in enumerate(RNAERNIE_TYPES):
            _, labels = sample(encode("ACGU", alphabet), index, np.random.default_rng(index))
            assert alphabet.tokens[labels[-2]] == name


@pytest.mark.parametrize(
    ("alphabet", "type_index", "prompt"),
    [(STEMLOOP, -1, 1.0), (RNAERNIE, -1, 1.0), (STEMLOOP, TRNA, 0.0), (RINALMO, TRNA, 1.0)],
)
def test_no_prompt(alphabet: Alphabet, type_index: int, prompt: float) -> None:
    sample = make_sample(MaskingOptions(prompt=prompt, type_mask=1), alphabet)
    tokens, labels = sample(encode("ACGU", alphabet), type_index, np.random.default_rng(1))
    assert len(tokens) == len(labels) == 6
    assert len(tokens) - 4 == sample.specials[type_index >= 0]
    assert tokens[-1] == alphabet.eos_id
    assert (labels != NO_TARGET).sum() == 1


def test_some_prompts() -> None:
    sample = make_sample(MaskingOptions(prompt=0.25), STEMLOOP)
    rng = np.random.default_rng(0)
    lengths = [len(sample(encode("ACGU"), TRNA, rng)[0]) for _ in range(10_000)]
    assert set(lengths) == {6, 8}
    assert within(lengths.count(8), 0.25, 10_000)


# Any RNA


@given(
    text=st.text("ACGUN-R", min_size=0, max_size=60),
    alphabet=st.sampled_from(ALPHABETS),
    weights=st.tuples(*[st.sampled_from([0.0, 1.0])] * 3).filter(any),
    window=st.sampled_from([None, 8, 512]),
    type_index=st.integers(-1, 27),
    random_from=st.sampled_from(["letters", "vocabulary"]),
    seed=st.integers(0, 2**32),
)
def test_any_rna(
    text: str,
    alphabet: Alphabet,
    weights: tuple[float, float, float],
    window: int | None,
    type_index: int,
    random_from: str,
    seed: int,
) -> None:
    shares = dict(zip(MIXED, weights, strict=True))
    options = MaskingOptions(**shares, window=window, random_from=random_from)
    ids = encode(text, alphabet)
    sample = make_sample(options, alphabet, MOTIFS)
    tokens, labels = sample(ids, type_index, np.random.default_rng(seed))
    assert len(tokens) == len(labels)
    assert tokens.dtype == np.uint8
    assert len(tokens) - len(ids) in ((2,) if type_index < 0 or alphabet is RINALMO else (4,))
    body, target = tokens[1 : len(ids) + 1], labels[1 : len(ids) + 1] != NO_TARGET
    assert (body[~target] == ids[~target]).all()
    assert (labels[1 : len(ids) + 1][target] == ids[target]).all()
    nucleotide = np.array([c in "ACGU" for c in text], bool)
    assert not (target & ~nucleotide).any()
    assert target.sum() <= np.ceil(options.budget(int(nucleotide.sum())))
    assert target.any() == nucleotide.any()
    assert tokens.max(initial=0) < len(alphabet)


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=lambda a: a.name)
@pytest.mark.parametrize("strategy", MIXED)
@pytest.mark.parametrize("length", range(1, 11))
def test_tiny_rnas(alphabet: Alphabet, strategy: str, length: int) -> None:
    weights = dict.fromkeys(MIXED, 0.0) | {strategy: 1.0}
    sample = make_sample(MaskingOptions(**weights), alphabet, MOTIFS)
    ids = encode("ACGUACGUAC"[:length], alphabet)
    reached = set()
    for seed in range(200):
        _, labels = sample(ids, -1, np.random.default_rng(seed))
        places = np.flatnonzero(labels != NO_TARGET)
        assert len(places) == (2 if length == 10 else 1)
        reached.update((places - 1).tolist())
    assert reached == set(range(length))


def test_random_tokens_of_the_whole_vocabulary() -> None:
    options = MaskingOptions(random_from="vocabulary", mask=0, random=1, ratio=1, prompt=False)
    sample = make_sample(options, RNAERNIE)
    tokens, _ = sample(encode("ACGU" * 5000, RNAERNIE), -1, np.random.default_rng(0))
    counts = Counter(tokens[1:-1].tolist())
    assert set(counts) == set(range(39))
    assert all(within(n, 1 / 39, 20_000) for n in counts.values())


# The published code


def targets(sample: Any, ids: Any, seed: int) -> list[int]:
    _, labels = sample(ids, TRNA, np.random.default_rng(seed))
    return np.flatnonzero(labels != NO_TARGET).tolist()


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=lambda a: a.name)
def test_published_motifs_with_u_vanish(alphabet: Alphabet) -> None:
    motifs = MotifSet(databases=("UGUA", "UUUUU"), frequent=("GTGCCAGCAG",))
    weights = {"base": 0.0, "motif": 1.0, "type_mask": 0.0}
    published = make_sample(MaskingOptions(**weights, published=True), alphabet, motifs)
    ours = make_sample(MaskingOptions(**weights), alphabet, motifs)
    ids = encode("ACAUGUACCA" * 4, alphabet)
    assert targets(published, ids, 0) == []
    for seed in range(20):
        places = targets(ours, ids, seed)
        assert len(places) == 4
        assert alphabet.decode(ids[np.array(places) - 1]) == "UGUA"
    # The frequent words are spelled with T and are found.
    ids = encode("C" * 60 + "GUGCCAGCAG", alphabet)
    assert targets(published, ids, 0) == list(range(61, 71))


def test_published_seeds_are_five() -> None:
    rng = np.random.default_rng(5)
    published = make_sample(MaskingOptions(published=True), RNAERNIE)
    ours = make_sample(MaskingOptions(), RNAERNIE)
    rnas = ["".join(rng.choice(list("ACGUN"), 100)) for _ in range(300)]
    masks: dict[str, dict[str, set[tuple[int, ...]]]] = {"published": {}, "ours": {}}
    for epoch in range(2):
        for k, text in enumerate(rnas):
            for name, sample in (("published", published), ("ours", ours)):
                places = targets(sample, encode(text, RNAERNIE), epoch * 1000 + k)
                masks[name].setdefault(text[0], set()).add(tuple(places))
    # One mask for each first letter, in every epoch.
    assert {first: len(found) for first, found in masks["published"].items()} == dict.fromkeys(
        "ACGUN", 1
    )
    assert len(set.union(*masks["published"].values())) == 5
    assert sum(map(len, masks["ours"].values())) == 600


def test_published_types_are_never_masked() -> None:
    sample = make_sample(MaskingOptions(published=True, type_mask=1.0), RNAERNIE)
    for seed in range(50):
        tokens, labels = sample(encode("ACGUACGU", RNAERNIE), TRNA, np.random.default_rng(seed))
        assert RNAERNIE.tokens[tokens[-2]] == "tRNA"
        assert labels[-2] == NO_TARGET


@pytest.mark.parametrize("length", [5, 9, 10, 30, 60])
def test_published_spans_leave_the_end_out(length: int) -> None:
    rng = np.random.default_rng(length)
    reached: Counter[int] = Counter()
    for _ in range(2000):
        budget = MaskingOptions(window=512).budget(length)
        reached.update(
            subsequence_positions(encode("A" * length), budget, rng, published=True).tolist()
        )
    if length <= 9:
        assert not reached
    else:
        assert max(reached) == length - 10


def test_published_code_takes_unknown_letters_as_targets() -> None:
    sample = make_sample(MaskingOptions(published=True, ratio=1.0), RNAERNIE)
    _, labels = sample(encode("NNNN", RNAERNIE), -1, np.random.default_rng(0))
    assert labels[1:-1].tolist() == [RNAERNIE.unk_id] * 4


# Errors


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"base": 0.0}, "base, subsequence, motif"),
        ({"motif": -1.0}, "base, subsequence, motif"),
        ({"ratio": 0.0}, "ratio cannot be 0.0"),
        ({"ratio": 1.5}, "ratio"),
        ({"window": 0}, "window"),
        ({"mask": 0.95, "random": 0.1}, "mask, random cannot be 0.95, 0.1"),
        ({"random_from": "specials"}, "random_from"),
        ({"span_lengths": ()}, "span_lengths"),
        ({"span_lengths": (5, 0), "span_weights": (1, 1)}, "span_lengths"),
        ({"span_weights": (1, 1)}, "span_weights"),
        ({"prompt": 2.0}, "prompt"),
        ({"type_mask": 1.1}, "type_mask"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        MaskingOptions(**wrong)


def test_motif_strategy_needs_motifs() -> None:
    with pytest.raises(UsageError, match="needs motifs"):
        make_sample(MaskingOptions(motif=1), STEMLOOP)
