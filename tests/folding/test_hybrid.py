"""Crossing helices on top of a nested structure."""

from __future__ import annotations

import numpy as np
import pytest

from stemloop.folding import hybrid, thermo
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.decoders import Decoder, fold_and_decode
from stemloop.pairs import dot_bracket_to_pairs, is_nested, pairs_to_dot_bracket

#: An H-type pseudoknot of two strong stems; either alone is what a nested model finds.
KNOT = "GGGCGCCAAAGCUGCUCAAAAGGCGCCCAAAAAAGAGCAGC"
SHAPE = "(((((((...[[[[[[[....)))))))......]]]]]]]"


def test_a_pseudoknot_is_found() -> None:
    model = ThermodynamicCRF()
    nested, _ = fold_and_decode(model, KNOT, Decoder("mea"))
    assert is_nested(nested)
    pairs, ensemble = fold_and_decode(model, KNOT, Decoder("hybrid"))
    assert pairs_to_dot_bracket(pairs, len(KNOT)) == SHAPE
    # The probabilities stay those of the nested ensemble.
    plain = thermo.fold_ensemble(KNOT)
    np.testing.assert_array_equal(ensemble.pair_probability, plain.pair_probability)


def second(pairs: list[tuple[int, int]], p: float, length: int = 40) -> np.ndarray:
    matrix = np.zeros((length, length))
    for i, j in pairs:
        matrix[i, j] = p
    return matrix


NESTED = np.array([[0, 20], [1, 19], [2, 18], [3, 17]], np.int32)
CROSSING = [(8, 30), (9, 29), (10, 28), (11, 27)]


@pytest.mark.parametrize(
    ("found", "p", "kept"),
    [
        (CROSSING, 0.99, True),
        (CROSSING, 0.9, False),  # not probable enough
        (CROSSING[:3], 0.99, False),  # too short
        ([(22, 39), (23, 38), (24, 37), (25, 36)], 0.99, False),  # crosses nothing
    ],
)
def test_what_a_helix_needs(found: list[tuple[int, int]], p: float, kept: bool) -> None:
    pairs = hybrid.add_crossing(NESTED, lambda: second(found, p))
    expected = NESTED.tolist() + [list(pair) for pair in found] * kept
    assert pairs.tolist() == sorted(expected)
    assert pairs.dtype == np.int32


def test_the_threshold_is_a_parameter() -> None:
    pairs = hybrid.add_crossing(NESTED, lambda: second(CROSSING, 0.6), threshold=0.5)
    assert len(pairs) == 8


def test_without_pairs_there_is_no_second_pass() -> None:
    def never() -> np.ndarray:
        raise AssertionError("not needed")

    empty = np.zeros((0, 2), np.int32)
    assert hybrid.add_crossing(empty, never).shape == (0, 2)


def test_the_constraint_of_the_second_pass() -> None:
    pairs = dot_bracket_to_pairs("((....))......")
    assert hybrid.second_constraint(pairs, 14) == "xx....xx......"
    assert hybrid.second_constraint(pairs, 14, "((x...)).|<>()") == "xxx...xx.|<>.."
