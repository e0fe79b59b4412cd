"""Brackets, tables, and the largest nested subset against exhaustive search."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import StructureError
from stemloop.pairs import (
    canonical,
    check_pairs,
    dot_bracket_to_pairs,
    is_nested,
    nested_layers,
    nested_subset,
    pair_table,
    pairs_from_table,
    pairs_to_dot_bracket,
    pairs_to_wuss,
    wuss_to_pairs,
)


@st.composite
def matchings(draw: st.DrawFn, most: int = 12) -> tuple[np.ndarray, int]:
    """Pairs, crossing in any way, and the length they lie on."""
    n = draw(st.integers(0, most))
    length = draw(st.integers(2 * n, 2 * n + 6))
    places = draw(st.permutations(range(length)))
    return check_pairs(np.array(places[: 2 * n], int).reshape(-1, 2), length), length


def crosses(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(a[0] < b[0] < a[1] < b[1] or b[0] < a[0] < b[1] < a[1])


def test_check_pairs_sorts_and_copies() -> None:
    given_pairs = np.array([[5, 1], [0, 6]])
    pairs = check_pairs(given_pairs, 7)
    assert pairs.tolist() == [[0, 6], [1, 5]]
    assert pairs.dtype == np.int32
    assert pairs.flags.c_contiguous
    assert check_pairs([], 0).shape == (0, 2)
    assert not np.shares_memory(pairs, check_pairs(pairs, 7))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 7)], "pair 1-8 is outside the sequence of 7"),
        ([(-1, 3)], "is outside"),
        ([(2, 2)], "pair 3-3 is joined to itself"),
        ([(0, 5), (5, 6)], r"position 6 is in more than one pair \(with 1, 7\)"),
        ([(0, 5), (5, 0)], "position 1 is in more than one pair"),
        ([(0, 1, 2)], "shape"),
        ([(0.0, 1.0)], "integers"),
    ],
)
def test_check_pairs_refuses(pairs: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(StructureError, match=message) as caught:
        check_pairs(pairs, 7, record="r1")
    assert "record 'r1'" in str(caught.value)


@given(matchings())
def test_dot_bracket_round_trip(matching: tuple[np.ndarray, int]) -> None:
    pairs, length = matching
    text = pairs_to_dot_bracket(pairs, length)
    assert len(text) == length
    assert np.array_equal(dot_bracket_to_pairs(text), pairs)


@given(matchings())
def test_wuss_round_trip(matching: tuple[np.ndarray, int]) -> None:
    pairs, length = matching
    assert np.array_equal(wuss_to_pairs(pairs_to_wuss(pairs, length)), pairs)


@given(matchings())
def test_table_round_trip(matching: tuple[np.ndarray, int]) -> None:
    pairs, length = matching
    assert np.array_equal(pairs_from_table(pair_table(pairs, length)), pairs)


@given(matchings())
def test_is_nested_agrees_with_definition(matching: tuple[np.ndarray, int]) -> None:
    pairs, _ = matching
    assert is_nested(pairs) == (not any(crosses(a, b) for a, b in combinations(pairs, 2)))


@given(matchings(most=8))
def test_nested_subset_is_largest(matching: tuple[np.ndarray, int]) -> None:
    pairs, _ = matching
    subset = nested_subset(pairs)
    assert is_nested(subset)
    assert {tuple(p) for p in subset.tolist()} <= {tuple(p) for p in pairs.tolist()}
    best = next(
        size
        for size in range(len(pairs), -1, -1)
        if any(is_nested(pairs[list(rows)]) for rows in combinations(range(len(pairs)), size))
    )
    assert len(subset) == best


@given(matchings())
def test_layers_partition_the_pairs(matching: tuple[np.ndarray, int]) -> None:
    pairs, _ = matching
    layers = nested_layers(pairs)
    assert all(is_nested(layer) for layer in layers)
    assert sorted(tuple(p) for layer in layers for p in layer.tolist()) == [
        tuple(p) for p in pairs.tolist()
    ]
    assert [len(layer) for layer in layers] == sorted((len(x) for x in layers), reverse=True)


def test_nested_subset_of_thousands_of_stems() -> None:
    rng = np.random.default_rng(0)
    pairs = check_pairs(rng.permutation(3000)[:2000].reshape(-1, 2), 3000)
    subset = nested_subset(pairs)
    assert is_nested(subset)
    assert np.array_equal(subset, nested_subset(pairs[::-1]))
    nested = np.stack([np.arange(5000), 9999 - np.arange(5000)], axis=1)
    assert len(nested_subset(nested)) == 5000


def test_pseudoknot_takes_the_shorter_stem() -> None:
    text = "((((...[[[))))..]]]"
    assert pairs_to_dot_bracket(dot_bracket_to_pairs(text), len(text)) == text
    assert pairs_to_dot_bracket(dot_bracket_to_pairs("[[..((((.]]...))))"), 18) == (
        "[[..((((.]]...))))"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("((.)", r"'\(' at position 1 is never closed"),
        ("(.))", r"'\)' at position 4 closes nothing"),
        ("(.a)", "'a' at position 3 closes nothing"),
        ("A..", "'A' at position 1 is never closed"),
        ("(.?)", r"'\?' at position 3 is no structure sign"),
    ],
)
def test_bad_dot_bracket(text: str, message: str) -> None:
    for reader in (dot_bracket_to_pairs, wuss_to_pairs):
        with pytest.raises(StructureError, match=message) as caught:
            reader(text, record="r1")
        assert "record 'r1'" in str(caught.value)


def test_wuss_brackets_share_one_nesting() -> None:
    assert wuss_to_pairs(":((<_-,>[{..}]))~").tolist() == [
        *([1, 15], [2, 14], [3, 7], [8, 13], [9, 12]),
    ]
    with pytest.raises(StructureError, match=r"'\)' at position 4 meets '<' at position 2"):
        wuss_to_pairs("(<.)>")
    assert dot_bracket_to_pairs("(<.)>").tolist() == [[0, 3], [1, 4]]


def test_too_many_layers() -> None:
    n = 31
    pairs = [(i, i + n) for i in range(n)]
    assert pairs_to_dot_bracket(pairs[:30], 2 * n).count(".") == 2
    with pytest.raises(StructureError, match="more than 30 layers"):
        pairs_to_dot_bracket(pairs, 2 * n)


@pytest.mark.parametrize("table", [[3, -1, -1, -1], [9, -1], [0, -1]])
def test_table_must_be_symmetric(table: list[int]) -> None:
    with pytest.raises(StructureError, match="position 1 names"):
        pairs_from_table(table)


def test_canonical() -> None:
    pairs = [(0, 9), (1, 8), (2, 7), (3, 6)]
    assert canonical("gTAAccAGAC", pairs).tolist() == [True, True, False, False]
    assert canonical("", []).shape == (0,)
