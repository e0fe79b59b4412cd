"""Scores of classes and numbers against scikit-learn and scipy; baselines against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from stemloop.errors import InputError
from stemloop.evaluation.label_baselines import (
    boosting,
    leader_features,
    ridge,
    weight_array,
    word_regression,
)
from stemloop.evaluation.label_metrics import (
    class_scores,
    confusion,
    each_class,
    number_scores,
    with_intervals,
)

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_classes_as_scikit_learn(drawn: list[tuple[int, int]]) -> None:
    known, guess = map(list, zip(*drawn, strict=True))
    counts = confusion(known, guess, 4)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(known, guess, labels=range(4)))
    found = class_scores(counts)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(known, guess))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(known, guess))
    for name in ("macro", "weighted"):
        expected = metrics.f1_score(known, guess, average=name, zero_division=0)
        assert found[f"{name}_f1"] == pytest.approx(expected)
    p, r, f, n = metrics.precision_recall_fscore_support(
        known, guess, labels=range(4), zero_division=0
    )
    for k, row in enumerate(each_class(counts)):
        assert [row["precision"], row["recall"], row["f1"], row["records"]] == pytest.approx(
            [p[k], r[k], f[k], n[k]]
        )


def test_numbers_as_scipy() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 50).astype(float)  # with ties
    p = y + rng.normal(0, 1, 50).round(1)
    found = number_scores(y, p)
    assert found["r2"] == pytest.approx(metrics.r2_score(y, p))
    assert found["pearson"] == pytest.approx(stats.pearsonr(y, p).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(y, p).statistic)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p))
    assert number_scores([1, 1], [1, 2])["pearson"] == 0.0


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(InputError):
        confusion([], [], 2)
    with pytest.raises(InputError):
        number_scores([1.0], [1.0, 2.0])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Accuracy of a guesser that is right with probability .7, 60 records, 200 times."""
    rng = np.random.default_rng(5)
    covered = 0
    for draw in range(200):
        right = rng.random(60) < 0.7
        found = with_intervals(
            lambda rows, right=right: {"accuracy": float(right[rows].mean())}, 60,
            seed=draw, resamples=200,
        )["accuracy"]  # fmt: skip
        assert found["low"] <= found["value"] <= found["high"]
        covered += found["low"] <= 0.7 <= found["high"]
    assert 175 <= covered <= 200


def test_weight_array_is_its_definition() -> None:
    rng = np.random.default_rng(1)
    draw = lambda n: ["".join(rng.choice(list("ACGU"), 5)) for _ in range(n)]  # noqa: E731
    train, test = draw(60), draw(20)
    labels = ["x" if s[1] == s[3] else "y" for s in train]
    predict = weight_array(train, labels)

    def log_likelihood(sequence: str, label: str) -> float:
        mine = [s for s, name in zip(train, labels, strict=True) if name == label]
        total = np.log(len(mine) / len(train))
        for at, letter in enumerate(sequence):
            same = [s for s in mine if at == 0 or s[at - 1] == sequence[at - 1]]
            hits = sum(s[at] == letter for s in same)
            total += np.log((hits + 1) / (len(same) + 5))  # five letters: N counts, too
        return float(total)

    expected = [max("xy", key=lambda name: log_likelihood(s, name)) for s in test]
    assert predict(test).tolist() == expected


def test_words_and_leaders() -> None:
    predict = word_regression(["ACACAC", "ACACACAC", "GUGUGU", "GUGUGN"], ["a", "a", "g", "g"])
    assert predict(["CACACA", "UGUGUG", "NNN"]).tolist()[:2] == ["a", "g"]
    features = leader_features(["AUGCC", "CAUGC"])
    assert features[:, -4:].tolist() == [[0, 0, 1, 5], [0, 1, 0, 5]]  # bases from AUG to the start
    assert features[0, :4].tolist() == [0, 1, 0, 0]  # C stands before the start codon


@pytest.mark.parametrize("fit", [boosting, ridge])
def test_baselines_for_numbers_learn_a_position(fit) -> None:
    rng = np.random.default_rng(2)
    leaders = ["".join(rng.choice(list("ACGU"), 12)) for _ in range(200)]
    values = [3.0 if s[-3] == "A" else 1.0 for s in leaders]
    found = fit(leaders[:150], values[:150])(leaders[150:])
    assert number_scores(values[150:], found)["r2"] > 0.5
