"""Decoders against brute force and against ViennaRNA's own."""

from __future__ import annotations

import numpy as np
import pytest
import RNA
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stemloop.folding import decode
from stemloop.pairs import canonical, dot_bracket_to_pairs, is_nested, pairs_to_dot_bracket

Pairs = frozenset[tuple[int, int]]


def all_nested(i: int, end: int) -> list[Pairs]:
    """Every nested structure on the bases i .. end - 1, hairpins of three or more."""
    if end - i <= decode.MIN_DISTANCE:
        return [frozenset()]
    result = all_nested(i + 1, end)
    for j in range(i + decode.MIN_DISTANCE, end):
        result += [
            inner | outer | {(i, j)}
            for inner in all_nested(i + 1, j)
            for outer in all_nested(j + 1, end)
        ]
    return result


STRUCTURES = {length: all_nested(0, length) for length in range(11)}


def value(weight: np.ndarray, pairs: Pairs) -> float:
    return float(sum(weight[i, j] for i, j in sorted(pairs)))


def as_set(pairs: np.ndarray) -> Pairs:
    return frozenset((int(i), int(j)) for i, j in pairs)


@settings(max_examples=60)
@given(
    st.integers(0, 10).flatmap(
        lambda n: arrays(
            np.float64, (n, n), elements=st.sampled_from([-1.0, 0.0, 0.3, 0.5, 1.0, 1.7])
        )
    )
)
def test_best_nested_equals_brute_force(weight: np.ndarray) -> None:
    length = len(weight)
    found = decode.best_nested(weight)
    assert found.dtype == np.int32
    assert found.tolist() == sorted(found.tolist())
    assert as_set(found) in STRUCTURES[length]
    assert (weight[found[:, 0], found[:, 1]] > 0).all()
    best = max(value(weight, pairs) for pairs in STRUCTURES[length])
    assert value(weight, as_set(found)) == pytest.approx(best)


def test_lower_triangle_and_short_distances_do_not_count() -> None:
    weight = np.ones((8, 8))
    weight[np.triu_indices(8, decode.MIN_DISTANCE)] = 0.0
    assert decode.best_nested(weight).shape == (0, 2)


def vienna(seed: int, length: int) -> tuple[RNA.fold_compound, np.ndarray]:
    rng = np.random.default_rng(seed)
    compound = RNA.fold_compound("".join(rng.choice(list("ACGU"), length)))
    compound.pf()
    return compound, np.array(compound.bpp())[1:, 1:]


def accuracy(probability: np.ndarray, pairs: np.ndarray, gamma: float) -> float:
    """Expected accuracy, written as Do et al. define it."""
    unpaired = 1.0 - probability.sum(0) - probability.sum(1)
    free = np.ones(len(probability), bool)
    free[pairs.ravel()] = False
    return float(2 * gamma * probability[pairs[:, 0], pairs[:, 1]].sum() + unpaired[free].sum())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(8))
def test_mea_equals_viennarna(seed: int, gamma: float) -> None:
    compound, probability = vienna(seed, 30 + 12 * seed)
    ours = decode.maximum_expected_accuracy(probability, gamma)
    theirs = dot_bracket_to_pairs(compound.MEA(gamma)[0])
    ours_value, theirs_value = (accuracy(probability, p, gamma) for p in (ours, theirs))
    # ViennaRNA drops improbable pairs before it looks, so it may fall short, never exceed.
    assert theirs_value == pytest.approx(ours_value, abs=5e-3)
    assert theirs_value <= ours_value + 1e-9
    if ours_value - theirs_value < 1e-12:
        assert as_set(ours) == as_set(theirs)


@pytest.mark.parametrize("seed", range(8))
def test_centroid_equals_viennarna(seed: int) -> None:
    compound, probability = vienna(100 + seed, 30 + 12 * seed)
    ours = decode.gamma_centroid(probability, 1.0)
    assert pairs_to_dot_bracket(ours, len(probability)) == compound.centroid()[0]


@pytest.mark.parametrize("decoder", [decode.maximum_expected_accuracy, decode.gamma_centroid])
def test_larger_gamma_predicts_more_expected_pairs(decoder) -> None:
    """The optimum of gamma * A + B has an A that never falls with gamma; A is the sum of p."""
    expected = []
    for seed in range(4):
        _, probability = vienna(200 + seed, 70)
        sums = []
        for gamma in (0.1, 0.5, 1.0, 1.5, 4.0, 30.0):
            pairs = decoder(probability, gamma)
            assert is_nested(pairs)
            sums.append(probability[pairs[:, 0], pairs[:, 1]].sum())
        assert (np.diff(sums) >= -1e-9).all()
        expected.append(sums)
    assert np.mean(expected, axis=0)[-1] > np.mean(expected, axis=0)[0] + 1.0


def test_a_certain_structure_is_returned() -> None:
    text = "((..((...))..((....))..))"
    pairs = dot_bracket_to_pairs(text)
    probability = np.zeros((len(text), len(text)))
    probability[pairs[:, 0], pairs[:, 1]] = 1.0
    for found in (
        decode.maximum_expected_accuracy(probability),
        decode.gamma_centroid(probability),
        decode.gamma_centroid(probability, 1.0),
    ):
        np.testing.assert_array_equal(found, pairs)


# Greedy ---------------------------------------------------------------------------------------


def search_again_and_again(p: np.ndarray, threshold: float, allowed: np.ndarray) -> Pairs:
    """The rule as it is told: a symmetric matrix, its first maximum, rows and columns cleared."""
    left = np.triu(p, 1) + np.triu(p, 1).T
    left[~(allowed | allowed.T) | (left <= threshold)] = 0.0
    found = set()
    while left.any():
        i, j = (int(k) for k in np.unravel_index(np.argmax(left), left.shape))
        left[[i, j]] = left[:, [i, j]] = 0.0
        found.add((min(i, j), max(i, j)))
    return frozenset(found)


@settings(max_examples=80)
@given(
    st.integers(0, 14).flatmap(
        lambda n: arrays(np.float32, (n, n), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    ),
    st.sampled_from([0.0, 0.25, 0.3, 0.5]),
    st.randoms(use_true_random=False),
)
def test_greedy_equals_the_repeated_search(p: np.ndarray, threshold: float, random) -> None:
    sequence = "".join(random.choice("ACGU") for _ in range(len(p)))
    allowed = decode.allowed_pairs(sequence)
    found = decode.greedy(p, threshold, allowed)
    assert found.dtype == np.int32
    assert found.tolist() == sorted(found.tolist())
    assert as_set(found) == search_again_and_again(p, threshold, allowed)
    anywhere = np.triu(np.ones(p.shape, bool), decode.MIN_DISTANCE)
    assert as_set(decode.greedy(p, threshold)) == search_again_and_again(p, threshold, anywhere)


def test_allowed_pairs_are_canonical_and_apart() -> None:
    sequence = "GACUNIaguc-TGCAU"
    places = np.argwhere(np.triu(np.ones((16, 16), bool), 1))
    expected = {
        (int(i), int(j))
        for (i, j), good in zip(places, canonical(sequence, places), strict=True)
        if good and j - i >= 4
    }
    assert as_set(np.argwhere(decode.allowed_pairs(sequence))) == expected
    assert decode.allowed_pairs("").shape == (0, 0)
