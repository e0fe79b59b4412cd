"""Reliability tables: against a plain loop, and on probabilities that are true by design."""

from __future__ import annotations

import numpy as np
import pytest

from stemloop.evaluation.calibration import BINS, LEAST, Calibration
from stemloop.evaluation.report import paired, summarise
from stemloop.evaluation.scores import ScoreRow, ScoreTable, strata

NONE = np.zeros((0, 2), np.int32)


def filled(probability: np.ndarray, known: np.ndarray, family: str = "x") -> Calibration:
    calibration = Calibration()
    calibration.add(family, probability, NONE, np.ones(len(probability)), known)
    return calibration


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    length = 30
    p = np.triu(rng.random((length, length)) ** 4, 4)
    p[0, 29], p[1, 20] = 1.0, LEAST  # both ends of the scale
    known = np.array([[0, 29], [1, 20], [3, 15], [5, 12]], np.int32)
    table = filled(p, known).summary()["pairs"]
    pairs = {tuple(pair) for pair in known.tolist()}
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for i in range(length):
        for j in range(length):
            if p[i, j] >= LEAST:
                bins[min(int(p[i, j] * BINS), BINS - 1)].append((p[i, j], (i, j) in pairs))
    error = 0.0
    for row, found in zip(table["bins"], bins, strict=True):
        assert row["count"] == len(found)
        if found:
            predicted, observed = np.mean(found, axis=0)
            assert row["predicted"] == pytest.approx(predicted, abs=1e-4)
            assert row["observed"] == pytest.approx(observed, abs=1e-4)
            error += abs(predicted - observed) * len(found)
    expected = error / sum(map(len, bins))
    assert table["expected_calibration_error"] == pytest.approx(expected, abs=1e-4)


def test_true_probabilities_have_no_error_and_wrong_ones_have() -> None:
    rng = np.random.default_rng(1)
    true, wrong = Calibration(), Calibration()
    for _ in range(400):
        p = np.zeros((40, 40))
        rows = np.arange(16)
        p[rows, 39 - rows] = rng.random(16)
        known = np.stack([rows, 39 - rows], 1)[rng.random(16) < p[rows, 39 - rows]]
        for calibration, q in ((true, p), (wrong, np.sqrt(p))):
            calibration.add("x", q, NONE, np.ones(40), known.astype(np.int32))
    assert true.summary()["pairs"]["expected_calibration_error"] < 0.02
    # The mean of sqrt(p) - p over uniform p is 2/3 - 1/2.
    assert wrong.summary()["pairs"]["expected_calibration_error"] == pytest.approx(1 / 6, abs=0.02)


def test_bases_are_right_in_the_state_of_the_known_structure() -> None:
    known = np.array([[0, 9], [1, 8]], np.int32)
    predicted = np.array([[0, 9], [2, 7]], np.int32)
    calibration = Calibration()
    calibration.add("x", np.zeros((10, 10)), predicted, np.full(10, 0.65), known)
    (row,) = (row for row in calibration.summary()["bases"]["bins"] if row["count"])
    # Right: 0, 9 and the four that are unpaired in both.
    assert (row["from"], row["to"], row["count"]) == (0.6, 0.7, 10)
    assert (row["predicted"], row["observed"]) == (0.65, 0.6)


def test_families_have_errors_of_their_own() -> None:
    p = np.zeros((10, 10))
    p[0, 9] = 0.75
    calibration = filled(p, np.array([[0, 9]], np.int32), "right")
    calibration.add("wrong", p, NONE, np.ones(10), NONE)
    table = calibration.summary()["pairs"]
    assert table["families"] == {"right": 0.25, "wrong": 0.75}
    # One of two was there: together 0.75 against 0.5.
    assert table["expected_calibration_error"] == 0.25

    empty = filled(np.zeros((5, 5)), NONE).summary()["pairs"]
    assert empty["expected_calibration_error"] == 0.0


def rows(values: list[tuple[str, str, int, float, bool | None]]) -> ScoreTable:
    return ScoreTable([ScoreRow(i, f, n, {"f1": v}, knot) for i, f, n, v, knot in values])


MIXED = rows(
    [
        ("a", "A", 100, 0.5, False),
        ("b", "A", 101, 0.7, True),
        ("c", "B", 300, 0.9, True),
        ("d", "B", 301, 0.1, False),
    ]
)


def test_strata_of_a_report() -> None:
    parts = summarise(MIXED)["strata"]
    means = {
        kind: {name: entry["scores"]["f1"]["mean"] for name, entry in part.items()}
        for kind, part in parts.items()
    }
    assert means == {
        "length": {"long": 0.1, "medium": 0.8, "short": 0.5},
        "pseudoknots": {"with": 0.8, "without": 0.3},
    }
    entry = parts["pseudoknots"]["with"]
    assert (entry["rnas"], entry["mean_length"]) == (2, 200.5)
    assert entry["scores"]["f1"]["low"] == 0.7


def test_strata_of_a_comparison() -> None:
    other = rows([("a", "A", 100, 0.4, None), ("c", "B", 300, 0.2, None), ("z", "B", 9, 0.0, None)])
    parts = paired(MIXED, other)["strata"]
    assert parts["length"]["short"]["scores"]["f1"]["difference"] == pytest.approx(0.1)
    assert parts["pseudoknots"]["with"]["rnas"] == 1
    assert parts["pseudoknots"]["with"]["scores"]["f1"]["difference"] == pytest.approx(0.7)


def test_strata_that_tell_nothing_apart_are_left_out() -> None:
    assert strata(rows([("a", "A", 80, 0.5, True), ("b", "A", 90, 0.7, True)])) == {}
    assert strata(rows([("a", "A", 80, 0.5, True), ("b", "A", 90, 0.7, None)])) == {}
