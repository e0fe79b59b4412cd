"""Matching against every matching of small graphs, and its speed on a long RNA."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stemloop.folding import decode
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.matching import best_matching, matching
from stemloop.pairs import MIN_DISTANCE, is_nested


def best_value(weight: np.ndarray) -> float:
    """Largest total weight, by trying every partner of the first base that is left."""

    @cache
    def best(free: tuple[int, ...]) -> float:
        if not free:
            return 0.0
        i, rest = free[0], free[1:]
        values = [best(rest)]
        for j in rest:
            if j - i >= MIN_DISTANCE and weight[i, j] > 0:
                values.append(weight[i, j] + best(tuple(k for k in rest if k != j)))
        return max(values)

    return best(tuple(range(len(weight))))


@settings(max_examples=60)
@given(
    st.integers(0, 10).flatmap(
        lambda n: arrays(
            np.float64, (n, n), elements=st.sampled_from([-1.0, 0.0, 0.3, 0.5, 1.0, 1.7])
        )
    )
)
def test_matching_equals_brute_force(weight: np.ndarray) -> None:
    pairs = best_matching(weight)
    assert pairs.dtype == np.int32
    assert pairs.tolist() == sorted(pairs.tolist())
    assert len(set(pairs.ravel().tolist())) == pairs.size
    assert (pairs[:, 1] - pairs[:, 0] >= MIN_DISTANCE).all()
    assert weight[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(best_value(weight))


def test_matching_is_never_worse_than_nested() -> None:
    """Accuracy over a larger set of structures; the same structure where nothing crosses."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        sequence = "".join(rng.choice(list("ACGU"), 60))
        p = ThermodynamicCRF().ensemble(sequence).pair_probability
        q = 1.0 - p.sum(0) - p.sum(1)
        for gamma in (1.0, 4.0):
            weight = 2 * gamma * p - q[:, None] - q[None, :]
            free, nested = matching(p, gamma), decode.maximum_expected_accuracy(p, gamma)
            values = [weight[a[:, 0], a[:, 1]].sum() for a in (free, nested)]
            # Candidates below a probability of 0.01 are left out.
            assert values[0] >= values[1] - 0.02 * gamma * len(nested)
            if is_nested(free):
                assert values[0] == pytest.approx(values[1], abs=0.05)


def test_pseudoknots_are_kept() -> None:
    p = np.zeros((20, 20))
    p[[0, 1, 2, 6, 7, 8], [12, 11, 10, 19, 18, 17]] = 0.9
    pairs = matching(p)
    assert len(pairs) == 6
    assert not is_nested(pairs)
    assert len(decode.maximum_expected_accuracy(p)) == 3


def test_five_hundred_nucleotides_take_less_than_a_second() -> None:
    sequence = "".join(np.random.default_rng(1).choice(list("ACGU"), 500))
    p = ThermodynamicCRF().ensemble(sequence).pair_probability
    matching(p[:20, :20])  # the import
    began = time.process_time()
    for gamma in (1.0, 3.0):
        assert len(matching(p, gamma)) > 100
    assert time.process_time() - began < 1.0
