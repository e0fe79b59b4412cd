"""Scores of generated rows, against plain loops and against cases with a known answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemloop.errors import OutputExistsError, UsageError
from stemloop.evaluation.generated import (
    adversarial_accuracy,
    distances,
    entropy,
    independent_classifier,
    moments,
    nearest,
    novelty,
    projection,
    quality,
    spectrum,
    spectrum_error,
)
from stemloop.evaluation.generated_plots import components, logo_heights, logos


def rows(count: int, q: int, sites: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    # Sites are not uniform, neighbours depend on each other.
    first = rng.choice(q, (count, sites), p=np.arange(1, q + 1) / np.arange(1, q + 1).sum())
    first[:, 1::2] = np.where(rng.random((count, sites // 2)) < 0.6, first[:, ::2], first[:, 1::2])
    return first.astype(np.uint8)


@pytest.mark.parametrize("q", [2, 5])
def test_distances_and_adversarial_accuracy_by_loops(q: int) -> None:
    data, made = rows(600, q, 6), rows(600, q, 6, seed=1)  # many ties, more than one block
    naive = (data[:, None] != made[None]).sum(2)
    np.testing.assert_array_equal(distances(data, made, q), naive)
    own = (data[:, None] != data[None]).sum(2)
    np.fill_diagonal(own, 99)
    np.testing.assert_array_equal(nearest(data, data, q, same=True), own.min(1))
    within, across = own.min(1), naive.min(1)
    found = adversarial_accuracy(data, made, q)
    assert found["truth"] == np.mean((within < across) + 0.5 * (within == across))
    strict = adversarial_accuracy(data, made, q, ties="other")
    assert strict["truth"] == np.mean(within < across) < found["truth"]


@pytest.mark.parametrize("q", [2, 5])
def test_more_of_the_same_is_ideal_and_extremes_are_not(q: int) -> None:
    data, fresh = rows(1500, q, 40), rows(1500, q, 40, seed=1)
    good = adversarial_accuracy(data, fresh, q)
    assert abs(good["truth"] - 0.5) < 0.05
    assert abs(good["syn"] - 0.5) < 0.05
    distinct = np.unique(data, axis=0)
    copied = adversarial_accuracy(distinct, distinct, q)
    assert copied["truth"] == copied["syn"] == 0
    collapsed = adversarial_accuracy(data, np.repeat(fresh[:3], 500, 0), q)
    assert collapsed["syn"] > 0.95
    assert collapsed["truth"] > 0.5


def test_sets_of_unequal_size_are_refused() -> None:
    with pytest.raises(UsageError, match="3 data and 2 made rows"):
        adversarial_accuracy(rows(3, 2), rows(2, 2), 2)


def test_spectrum_is_that_of_the_covariance() -> None:
    data = rows(300, 3, 6)
    onehot = np.concatenate([data == s for s in range(3)], 1).astype(float)
    wanted = np.linalg.eigvalsh(np.cov(onehot.T, bias=True))[::-1]
    np.testing.assert_allclose(spectrum(data, 3) ** 2, wanted, atol=1e-9)
    assert spectrum_error(data, data, 3) == 0
    assert spectrum_error(data, rows(300, 3, 6, seed=1), 3) < spectrum_error(
        data, np.repeat(data[:1], 300, 0), 3
    )


def test_projection_separates_what_differs_most() -> None:
    data = np.concatenate([np.zeros((50, 8)), np.ones((50, 8))]).astype(np.uint8)
    data[:, 0] = np.arange(100) % 2
    on_data, on_made = projection(data, data[:1], 2)
    assert on_data.shape == (100, 2)
    assert np.sign(on_data[:50, 0]).tolist() == [np.sign(on_data[0, 0])] * 50
    assert np.sign(on_data[50, 0]) != np.sign(on_data[0, 0])
    np.testing.assert_allclose(on_made[0], on_data[0])


def test_entropy_is_lower_of_repeated_rows() -> None:
    data = rows(400, 5)
    assert entropy(np.repeat(data[:4], 100, 0)) < 0.2 * entropy(data)


@pytest.mark.parametrize("q", [2, 4])
def test_moments_by_loops(q: int) -> None:
    data, made = rows(200, q, 4)[:, 1:], rows(200, q, 4, seed=1)[:, 1:]
    found = moments(data, made, q, triples=4000)
    states = range(1, q) if q == 2 else range(q)

    def central(x: np.ndarray, s: int, i: int) -> np.ndarray:
        return (x[:, i] == s) - (x[:, i] == s).mean()

    pairs = [
        (s, i, t, j) for i in range(3) for j in range(i + 1, 3) for s in states for t in states
    ]
    one, two = (
        np.array([np.mean(central(x, s, i) * central(x, t, j)) for s, i, t, j in pairs])
        for x in (data, made)
    )
    assert found["second_mse"] == pytest.approx(np.mean((one - two) ** 2))
    assert found["second_r"] == pytest.approx(np.corrcoef(one, two)[0, 1])
    one, two = (
        np.array([(x[:, i] == s).mean() for i in range(3) for s in states]) for x in (data, made)
    )
    assert found["first_mse"] == pytest.approx(np.mean((one - two) ** 2))
    if q == 2:
        one, two = (
            np.mean(central(x, 1, 0) * central(x, 1, 1) * central(x, 1, 2)) for x in (data, made)
        )
        assert found["third_mse"] == pytest.approx((one - two) ** 2)


def test_correlations_tell_dependence() -> None:
    data, fresh = rows(3000, 4), rows(3000, 4, seed=1)
    shuffled = np.stack([np.random.default_rng(i).permutation(c) for i, c in enumerate(fresh.T)], 1)
    assert moments(data, fresh, 4)["second_r"] > 0.95
    found = moments(data, shuffled, 4)
    assert found["first_r"] > 0.99
    assert found["second_r"] < 0.3
    assert moments(data, np.zeros_like(data), 4)["second_r"] == 0


def test_novelty() -> None:
    train = np.zeros((3, 10), np.uint8)
    made = np.zeros((4, 10), np.uint8)
    made[1:, :2] = 1  # three alike, two sites from the data
    assert novelty(made, train, 2) == {
        "copies": 0.25, "duplicates": 0.5, "median_distance": 0.2, "median_spread": 0.0,
    }  # fmt: skip


def test_independent_classifier() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    data = rows(300, 4)
    data[:, 0] = labels
    predict = independent_classifier(data[:200], labels[:200], 4)
    assert (predict(data[200:]) == labels[200:]).mean() > 0.9


def test_all_scores() -> None:
    data, fresh = rows(400, 5), rows(400, 5, seed=1)
    found = quality(data, fresh, 5)
    assert set(found) == {
        "aai_truth", "aai_syn", "aai_error", "spectrum_mse", "entropy_excess", "first_r",
        "first_mse", "second_r", "second_mse", "third_r", "third_mse",
    }  # fmt: skip
    assert abs(found["entropy_excess"]) < 0.05
    worse = quality(data, np.roll(rows(400, 5, seed=2), 1, 1), 5)
    assert worse["second_r"] < found["second_r"]


def test_logo_heights_are_bits_times_shares() -> None:
    data = np.array([[1, 1, 0], [1, 2, 0], [1, 3, 0], [1, 4, 3]], np.uint8)
    found = logo_heights(data, "-ACGU")
    np.testing.assert_allclose(found[0], [0, 2, 0, 0, 0])
    np.testing.assert_allclose(found[1], 0, atol=1e-12)
    np.testing.assert_allclose(found[2], [0, 0, 0, 0.5, 0])  # a quarter of the rows, 2 bits
    np.testing.assert_allclose(logo_heights(data[:, :1] - 1, "01"), [[1, 0]])


def test_pictures_by_label(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pairs = {name: (rows(30, 5, seed=k), rows(20, 5, seed=k + 5)) for k, name in enumerate("xyz")}
    for draw in (components, logos):
        path = tmp_path / f"{draw.__name__}.svg"
        draw(path, pairs, "-ACGU")
        first = path.read_text()
        assert all(f">{name}" in first for name in pairs)
        draw(path, pairs, "-ACGU", force=True)
        assert path.read_text() == first
        with pytest.raises(OutputExistsError):
            draw(path, pairs, "-ACGU")
