"""Markov chains and the ten-neighbour network, against counting by hand and known sources."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from stemloop.errors import InputError
from stemloop.evaluation.lm.markov import SIDES, MarkovChain
from stemloop.evaluation.lm.neighbours import NeighbourGuesser, NeighbourNet, width_for
from stemloop.evaluation.lm.sample import Hidden, encode

PRIOR = 5.0


def block(sequences: list[str]) -> np.ndarray:
    return encode("-----" + "-----".join(sequences) + "-----")


def random_sequences(count: int, seed: int, size: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGU"), size, p=[0.4, 0.3, 0.2, 0.1])) for _ in range(count)]


class ByHand:
    """The same chain with dictionaries, one probability at a time."""

    def __init__(self, sequences: list[str], weights: list[float]) -> None:
        self.words: Counter[str] = Counter()
        for sequence, weight in zip(sequences, weights, strict=True):
            for k in range(len(sequence) - 5):
                if set(sequence[k : k + 6]) <= set("ACGU"):
                    self.words[sequence[k : k + 6]] += weight

    def forward(self, context: str, letter: str) -> float:
        """Probability of the letter after a context of up to five."""
        shorter = self.forward(context[1:], letter) if context else 0.25
        ending = Counter(dict.fromkeys("ACGU", 0.0))
        for word, count in self.words.items():
            if word[:-1].endswith(context):
                ending[word[-1]] += count
        return (ending[letter] + PRIOR * shorter) / (sum(ending.values()) + PRIOR)

    def backward(self, context: str, letter: str) -> float:
        """Probability of the letter before a context of up to five."""
        shorter = self.backward(context[:-1], letter) if context else 0.25
        starting = Counter(dict.fromkeys("ACGU", 0.0))
        for word, count in self.words.items():
            if word[1:].startswith(context):
                starting[word[0]] += count
        return (starting[letter] + PRIOR * shorter) / (sum(starting.values()) + PRIOR)

    def guess(self, sequence: str, hidden: list[int], at: int, side: str) -> np.ndarray:
        shown = ["?" if k in hidden or c not in "ACGU" else c for k, c in enumerate(sequence)]

        def left(places: list[str], end: int) -> str:
            text = "".join(places[max(end - 5, 0) : end])
            return text.rpartition("?")[2]

        before = left(shown, at)
        after = "".join(shown[at + 1 : at + 6]).partition("?")[0]
        result = []
        for x in "ACGU":
            if side == "left":
                value = self.forward(before, x)
            elif side == "right":
                value = self.backward(after, x)
            elif side == "product":
                value = self.forward(before, x) * self.backward(after, x) / self.forward("", x)
            else:
                # The chain's probability of the whole stretch, the guess put in.
                filled = [*shown[:at], x, *shown[at + 1 :]]
                value = 1.0
                for k in range(at, min(at + 6, len(filled))):
                    if filled[k] == "?":
                        continue
                    context = left(filled, k)
                    if k == at or len(context) >= k - at:
                        value *= self.forward(context, filled[k])
            result.append(value)
        return np.log(result) - np.log(sum(result))


@pytest.mark.parametrize("side", SIDES)
def test_chain_is_what_counting_by_hand_gives(side: str) -> None:
    sequences = [*random_sequences(6, 0), "ACGUNACGGAUCC-ACGUA", "AC"]
    weights = [1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 2.0, 1.0]
    codes = block(sequences)
    owners = np.repeat(np.arange(len(sequences)), [len(s) + 5 for s in sequences])
    owners = np.concatenate([np.zeros(5, int), owners])
    chain = MarkovChain.fit([(codes, np.array(weights)[owners])])
    by_hand = ByHand(sequences, weights)
    tests = {"GAUNACGACCAU": [0, 5, 7, 11], "ACGUACGUACGU": [6], "AACC": [1, 2], "A": [0]}
    hidden = Hidden(tuple(tests), tuple(np.array(p) for p in tests.values()), np.arange(len(tests)))
    found = chain.log_probabilities(hidden, side)
    known = [by_hand.guess(s, places, at, side) for s, places in tests.items() for at in places]
    np.testing.assert_allclose(found, known, atol=1e-10)
    np.testing.assert_allclose(np.exp(found).sum(1), 1.0)


def test_counting_does_not_depend_on_blocks() -> None:
    sequences = random_sequences(8, 1)
    whole, parts = block(sequences), [block(sequences[:3]), block(sequences[3:])]
    one = MarkovChain.fit([(whole, np.ones(len(whole)))])
    many = MarkovChain.fit((part, np.ones(len(part))) for part in parts)
    np.testing.assert_allclose(one.forward, many.forward)
    np.testing.assert_allclose(one.backward, many.backward)


def test_both_sides_see_more_than_one() -> None:
    """A letter that only its right neighbours give away."""
    sequences = [
        a + a + b + b + "AAAAAA" for a, b in itertools.product(["AC", "GU", "CA"], repeat=2)
    ] * 20
    codes = block(sequences)
    chain = MarkovChain.fit([(codes, np.ones(len(codes)))])
    hidden = Hidden(("ACACGUGUAAAAAA",), (np.array([4]),), np.array([0]))
    right = {s: np.exp(chain.log_probabilities(hidden, s))[0, 2] for s in SIDES}
    assert right["left"] < 0.5
    assert min(right["right"], right["both"]) > 0.9


def test_no_words_no_chain() -> None:
    codes = block(["ACGUA", "NNNNNNNNNN"])
    with pytest.raises(InputError, match="six nucleotides"):
        MarkovChain.fit([(codes, np.ones(len(codes)))])


def test_network_learns_what_neighbours_say() -> None:
    """In a repeat of four the neighbours decide; in noise nothing does."""
    repeats = block(["ACGU" * 30, "CGUA" * 25, "GUAC" * 28] * 4)

    def endless():
        while True:
            yield repeats

    net = NeighbourGuesser.fit(endless(), tokens=60_000, parameters=30_000, seed=1)
    assert 27_000 < net.parameters < 33_000
    assert 60_000 <= net.tokens < 60_000 + len(repeats)
    test = Hidden(("UACGUACGUACGUACG",), (np.array([2, 9]),), np.array([0]))
    found = net.log_probabilities(test)
    assert found.argmax(axis=1).tolist() == test.targets.tolist()
    np.testing.assert_allclose(np.exp(found).sum(1), 1.0, rtol=1e-5)
    again = NeighbourGuesser.fit(endless(), tokens=60_000, parameters=30_000, seed=1)
    np.testing.assert_array_equal(again.log_probabilities(test), found)


@pytest.mark.parametrize("size", [50_000, 300_000, 8_000_000])
def test_network_of_a_given_size(size: int) -> None:
    import torch

    with torch.device("meta"):
        net = NeighbourNet(width_for(size))
    assert abs(sum(p.numel() for p in net.parameters()) / size - 1) < 0.05


def test_network_does_not_see_what_is_hidden() -> None:
    net = NeighbourGuesser(NeighbourNet(16).eval().requires_grad_(False), 0)
    places = (np.array([3]),)
    one = net.log_probabilities(Hidden(("ACGUACGU",), places, np.array([0])))
    other = net.log_probabilities(Hidden(("ACGAACGU",), places, np.array([0])))
    np.testing.assert_array_equal(one, other)
