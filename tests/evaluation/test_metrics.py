"""Pair scores against a slow matrix implementation, hand-worked cases and their properties."""

from __future__ import annotations

import csv
import gzip
import itertools
import lzma
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef, precision_score, recall_score

from stemloop.errors import InputError, StructureError
from stemloop.evaluation.metrics import (
    METRICS,
    bootstrap_means,
    family_means,
    macro_mean,
    matthews,
    pair_scores,
    structure_scores,
)


@st.composite
def two_structures(draw):
    """A length and two sets of pairs; positions may have several partners."""
    length = draw(st.integers(2, 12))
    every = list(itertools.combinations(range(length), 2))
    some = st.lists(st.sampled_from(every), max_size=8, unique=True)
    return length, draw(some), draw(some)


def _triangle(pairs, length, relaxed):
    """Strict upper triangle of the contact map, flattened; relaxed: four neighbours as well."""
    contact = np.zeros((length, length), int)
    for i, j in pairs:
        contact[i, j] = contact[j, i] = 1
    if relaxed:
        padded = np.pad(contact, 1)
        contact = contact | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2]
        contact = contact | padded[1:-1, 2:]
    return contact[np.triu_indices(length, 1)]


@pytest.mark.filterwarnings("ignore:A single label:UserWarning")
@given(two_structures())
@settings(max_examples=150, deadline=None)
def test_agrees_with_contact_maps_and_scikit_learn(case):
    length, predicted, reference = case
    p, t = (_triangle(pairs, length, False) for pairs in (predicted, reference))
    for relaxed in (False, True):
        precision = precision_score(_triangle(reference, length, relaxed), p, zero_division=0)
        recall = recall_score(t, _triangle(predicted, length, relaxed), zero_division=0)
        total = precision + recall
        f1 = 2 * precision * recall / total if total >= 1e-5 else 0.0
        got = pair_scores(predicted, reference, length, relaxed=relaxed)
        assert got == pytest.approx((precision, recall, f1))
    assert matthews(predicted, reference, length) == pytest.approx(matthews_corrcoef(t, p))


@given(two_structures())
@settings(deadline=None)
def test_relaxed_is_never_below_strict(case):
    length, predicted, reference = case
    strict = pair_scores(predicted, reference, length)
    relaxed = pair_scores(predicted, reference, length, relaxed=True)
    assert all(r >= s for r, s in zip(relaxed, strict, strict=True))
    assert all(0 <= value <= 1 for value in (*strict, *relaxed))


@given(two_structures())
@settings(deadline=None)
def test_prediction_and_reference_change_places(case):
    length, predicted, reference = case
    for relaxed in (False, True):
        one = pair_scores(predicted, reference, length, relaxed=relaxed)
        other = pair_scores(reference, predicted, length, relaxed=relaxed)
        assert (one.precision, one.recall) == (other.recall, other.precision)
        assert one.f1 == pytest.approx(other.f1)
    assert matthews(predicted, reference, length) == matthews(reference, predicted, length)


@given(two_structures())
@settings(deadline=None)
def test_order_and_direction_of_pairs_do_not_matter(case):
    length, predicted, reference = case
    turned = [(j, i) for i, j in reversed(predicted)] + predicted
    assert structure_scores(turned, reference, length) == structure_scores(
        predicted, reference, length
    )


@pytest.mark.parametrize(
    ("predicted", "hit"),
    [
        ((10, 30), True),
        ((9, 30), True),
        ((11, 30), True),
        ((10, 29), True),
        ((10, 31), True),
        ((11, 29), False),  # slipped along the helix
        ((9, 31), False),
        ((11, 31), False),
        ((12, 30), False),
        ((10, 28), False),
    ],
)
def test_what_relaxed_accepts(predicted, hit):
    assert pair_scores([predicted], [(10, 30)], 40, relaxed=True).f1 == float(hit)
    assert pair_scores([predicted], [(10, 30)], 40).f1 == float(predicted == (10, 30))


def test_relaxation_does_not_wrap_round_the_ends_of_a_row():
    # With length 10 the code of (2, 10) would be that of (3, 0), and (0, 1) touches the diagonal.
    assert pair_scores([(0, 3)], [(2, 9)], 10, relaxed=True).f1 == 0.0
    assert pair_scores([(1, 2)], [(0, 1)], 10, relaxed=True).f1 == 0.0


def test_two_predictions_may_hit_one_reference_pair():
    # Both predicted pairs neighbour (5, 20): precision 1; that pair is found: recall 1 / 2.
    got = pair_scores([(4, 20), (5, 21)], [(5, 20), (8, 15)], 25, relaxed=True)
    assert got == pytest.approx((1.0, 0.5, 2 / 3))


def test_matthews_by_hand():
    # L = 6: 15 candidates; tp 1, fp 1, fn 2, tn 11.
    value = matthews([(0, 5), (1, 3)], [(0, 5), (1, 4), (2, 3)], 6)
    assert value == pytest.approx((1 * 11 - 1 * 2) / math.sqrt(2 * 3 * 12 * 13))


@pytest.mark.parametrize(
    ("predicted", "reference"), [([], []), ([(0, 5)], []), ([], [(0, 5)]), ([(0, 5)], [(1, 3)])]
)
def test_no_pairs_score_zero(predicted, reference):
    scores = structure_scores(predicted, reference, 8)
    assert tuple(scores) == METRICS
    assert all(value <= 0 for value in scores.values())
    assert pair_scores(np.empty((0, 2), np.int32), reference, 8).f1 == 0.0


@pytest.mark.parametrize("pair", [(-1, 4), (0, 8), (3, 3)])
def test_impossible_pairs_are_named(pair):
    with pytest.raises(StructureError, match=rf"\({pair[0]}, {pair[1]}\) is no pair of 8"):
        pair_scores([(1, 2), pair], [], 8)
    with pytest.raises(StructureError, match=r"shape \(3,\)"):
        pair_scores([0, 1, 2], [], 8)


def test_macro_mean_weighs_families_equally():
    values = [1.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    families = ["a", "b", "c", "c", "c", "c"]
    assert macro_mean(values, families) == pytest.approx(0.5)
    assert macro_mean([*values, 0.0], [*families, "a"]) == pytest.approx(1 / 3)
    table = family_means(np.arange(12.0).reshape(6, 2), families)
    assert list(table) == ["a", "b", "c"]
    assert table["c"].tolist() == [7.0, 8.0]


@pytest.mark.parametrize(("values", "families"), [([], []), ([0.5], ["a", "b"])])
def test_nothing_to_average(values, families):
    with pytest.raises(InputError, match="to average"):
        macro_mean(values, families)


def test_bootstrap_is_stratified_seeded_and_right_in_mean_and_spread():
    generator = np.random.default_rng(1)
    values = np.column_stack([generator.normal(size=60), generator.normal(size=60)])
    families = ["a"] * 10 + ["b"] * 50
    draws = bootstrap_means(values, families, seed=3, resamples=4000)
    again = bootstrap_means(values, families, seed=3, resamples=4000)
    other = bootstrap_means(values, families, seed=4, resamples=4000)
    for name, rows in (("a", values[:10]), ("b", values[10:])):
        assert draws[name].shape == (4000, 2)
        np.testing.assert_array_equal(draws[name], again[name])
        assert (draws[name] != other[name]).any()
        error = rows.std(axis=0) / math.sqrt(len(rows))
        np.testing.assert_allclose(draws[name].mean(axis=0), rows.mean(axis=0), atol=0.1 * error[0])
        np.testing.assert_allclose(draws[name].std(axis=0), error, rtol=0.08)


def test_thousands_of_rnas_take_seconds():
    generator = np.random.default_rng(0)
    start = time.process_time()
    for length in [120] * 380 + [3000] * 6:
        ends = generator.permutation(length)[: length // 2].reshape(-1, 2)
        structure_scores(ends, ends[::-1], length)
    assert time.process_time() - start < 2.0  # a tenth of ArchiveII


def _bracket_pairs(text):
    stacks, pairs = {}, []
    for j, symbol in enumerate(text):
        if symbol in "([{<":
            stacks.setdefault(symbol, []).append(j)
        elif symbol in ")]}>":
            pairs.append((stacks["([{<"[")]}>".index(symbol)]].pop(), j))
    return pairs


def test_same_convention_as_the_published_per_rna_scores(shared_data):
    """ViennaRNA's structures, folded again here, get the published strict and relaxed F1."""
    from stemloop.folding.thermo import compound, minimum_free_energy

    with lzma.open(shared_data / "2_secstruct" / "ArchiveII.csv.xz", "rt") as lines:
        known = {row["id"]: row for row in csv.DictReader(lines) if int(row["len"]) < 130}
    with gzip.open(shared_data / "peers" / "ss_per_sequence.csv.gz", "rt") as lines:
        rows = [
            r for r in csv.DictReader(lines) if r["model"] == "RNAfold-MFE" and r["id"] in known
        ]
    checked = 0
    for row in rows[::80]:
        sequence = known[row["id"]]["sequence"]
        found, _ = minimum_free_energy(compound(sequence))
        reference = _bracket_pairs(known[row["id"]]["structure"])
        scores = structure_scores(_bracket_pairs(found), reference, len(sequence))
        expected = [float(row[name]) for name in ("f1", "f1_shift", "precision", "recall")]
        got = [scores[name] for name in ("f1", "relaxed_f1", "precision", "recall")]
        assert got == pytest.approx(expected, abs=6e-5), row["id"]
        checked += 1
    assert checked >= 20
