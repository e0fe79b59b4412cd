"""Scores of guesses, types, pairs and neighbours, against scikit-learn or loops by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.structures import read_labelled
from stemloop.errors import ExtraError, InputError, OutputExistsError
from stemloop.evaluation.lm import plots
from stemloop.evaluation.lm.base_pairs import (
    AttentionRegression,
    candidates,
    pair_features,
    precision_at,
    score_pairs,
    split_families,
)
from stemloop.evaluation.lm.embeddings import (
    centred,
    family_purity,
    of_families,
    place,
    score_embeddings,
)
from stemloop.evaluation.lm.guesses import score
from stemloop.evaluation.lm.rna_types import WordRegression, score_types, word_frequencies
from stemloop.evaluation.lm.sample import Rnas, encode, hide_some


def _rnas(count: int, seed: int = 0, families: int = 4) -> Rnas:
    rng = np.random.default_rng(seed)
    return Rnas(
        tuple("".join(rng.choice(list("ACGU"), int(n))) for n in rng.integers(20, 90, count)),
        tuple(("tRNA", "rRNA", "")[k % 3] for k in range(count)),
        tuple(f"RF{k % families}" for k in range(count)),
        tuple(f"RF{k % families}" for k in range(count)),
    )


def test_scores_of_guesses() -> None:
    rnas = _rnas(24)
    hidden = hide_some(rnas, seed=0)
    n = len(hidden.targets)
    right = np.log(np.full((n, 4), 0.1))
    right[np.arange(n), hidden.targets] = math.log(0.7)
    rng = np.random.default_rng(1)
    noise = np.log(rng.dirichlet(np.ones(4), n))
    report = score(rnas, hidden, {"m": right, "noise": noise}, reference="m", resamples=400)
    mine = report["all"]["methods"]["m"]
    assert mine["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert mine["perplexity"]["value"] == pytest.approx(1 / 0.7, abs=1e-4)
    assert report["all"]["rnas"] == 24
    assert report["all"]["units"] == 4
    assert report["all"]["nucleotides"] == n
    assert report["bootstrap"]["unit"] == "family"
    other = report["all"]["methods"]["noise"]
    hits = noise.argmax(1) == hidden.targets
    assert other["accuracy"]["value"] == pytest.approx(hits.mean(), abs=1e-5)
    assert other["difference"]["value"] == pytest.approx(1 - hits.mean(), abs=1e-5)
    loss = -noise[np.arange(n), hidden.targets]
    assert other["cross_entropy"]["value"] == pytest.approx(loss.mean(), abs=1e-5)
    by_type = {}
    for name in ("tRNA", "rRNA", ""):
        rows = [rnas.types[k] == name for k in hidden.target_rnas]
        entry = report["types"][name or "unknown"]
        by_type[name] = hits[rows].mean()
        assert entry["rnas"] == 8
        assert entry["nucleotides"] == sum(rows)
        assert entry["methods"]["noise"]["accuracy"]["value"] == pytest.approx(
            by_type[name], abs=1e-5
        )
    macro = report["macro"]["methods"]["noise"]["accuracy"]
    assert macro["value"] == pytest.approx(np.mean(list(by_type.values())), abs=1e-5)
    # The interval is that of resampled families: four of them, drawn by hand.
    families = np.array([rnas.families[k] for k in hidden.target_rnas])
    sums = np.array([[hits[families == f].sum(), (families == f).sum()] for f in set(families)])
    draws = sums[rng.integers(0, 4, (4000, 4))].sum(1)
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
    assert other["accuracy"]["low"] == pytest.approx(low, abs=0.02)
    assert other["accuracy"]["high"] == pytest.approx(high, abs=0.02)


def test_words() -> None:
    rows = word_frequencies(["ACGUACGGNAC", "A"], longest=3)
    assert rows.shape == (2, 4 + 16 + 64)
    text, start = "ACGUACGGNAC", 0
    for k in (1, 2, 3):
        words = [text[i : i + k] for i in range(len(text) - k + 1)]
        words = [w for w in words if "N" not in w]
        for number in range(4**k):
            word = "".join("ACGU"[number // 4**p % 4] for p in range(k - 1, -1, -1))
            assert rows[0, start + number] == pytest.approx(words.count(word) / len(words))
        start += 4**k
    assert rows[1].sum() == 1.0


def test_scores_of_types() -> None:
    from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

    rng = np.random.default_rng(0)
    known = rng.integers(0, 5, 200)
    rnas = Rnas(
        ("A",) * 200, tuple(RNAERNIE_TYPES[k] for k in known), ("",) * 200,
        tuple(f"cluster {k}" for k in range(200)),
    )  # fmt: skip
    scores = rng.normal(size=(200, 28))
    scores[np.arange(200), known] += 2.0
    report = score_types(rnas, {"m": scores, "none": np.zeros((200, 28))})
    mine = report["methods"]["m"]
    first = scores.argmax(1)
    assert mine["accuracy"]["value"] == pytest.approx((first == known).mean(), abs=1e-5)
    top3 = top_k_accuracy_score(known, scores, k=3, labels=range(28))
    assert mine["top3"]["value"] == pytest.approx(top3, abs=1e-5)
    recall = [(first[known == k] == k).mean() for k in range(5)]
    assert mine["balanced_accuracy"]["value"] == pytest.approx(np.mean(recall), abs=1e-5)
    everywhere = np.where(np.isin(first, range(5)), first, 27)
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        balanced = balanced_accuracy_score(known, everywhere)
    assert mine["balanced_accuracy"]["value"] == pytest.approx(balanced, abs=1e-5)
    assert mine["accuracy"]["low"] < mine["accuracy"]["value"] < mine["accuracy"]["high"]
    # A method that gives all types the same has found none.
    assert report["methods"]["none"]["accuracy"]["value"] == 0.0
    assert report["types"][RNAERNIE_TYPES[0]] == (known == 0).sum()


def test_regression_on_words_tells_compositions_apart() -> None:
    rng = np.random.default_rng(0)
    shares = {"tRNA": [0.4, 0.1, 0.1, 0.4], "rRNA": [0.1, 0.4, 0.4, 0.1]}

    def rnas(count: int) -> Rnas:
        kinds = [("tRNA", "rRNA")[k % 2] for k in range(count)]
        texts = tuple("".join(rng.choice(list("ACGU"), 60, p=shares[k])) for k in kinds)
        return Rnas(texts, tuple(kinds), ("",) * count, tuple(f"cluster {k}" for k in range(count)))

    regression, test = WordRegression(rnas(60)), rnas(40)
    scores = regression.log_probabilities(test.sequences)
    assert score_types(test, {"w": scores})["methods"]["w"]["accuracy"]["value"] > 0.9
    assert np.isneginf(scores[:, RNAERNIE_TYPES.index("miRNA")]).all()
    with pytest.raises(InputError, match="fewer than two types"):
        WordRegression(test.take(range(0, 40, 2)))


def test_features_are_symmetric_maps_with_the_average_product_taken_off() -> None:
    maps = torch.rand(2, 3, 9, 9)
    found = pair_features(maps)
    for n, one in enumerate(maps.reshape(6, 9, 9).double().numpy()):
        both = one + one.T
        for row, (i, j) in enumerate(zip(*candidates(9), strict=True)):
            known = both[i, j] - both[i].sum() * both[:, j].sum() / both.sum()
            assert found[row, n] == pytest.approx(known, abs=1e-5)
    assert [list(p) for p in zip(*candidates(6), strict=True)] == [[0, 4], [0, 5], [1, 5]]


@pytest.mark.parametrize("part", [1, 3, 5])
def test_precision_of_the_best_pairs(part: int) -> None:
    rng = np.random.default_rng(2)
    score = np.triu(rng.random((20, 20)), 4)
    known = np.array([[0, 19], [1, 18], [2, 17], [5, 12]])
    order = sorted(zip(*candidates(20), strict=True), key=lambda p: -score[p])[: 20 // part]
    hits = sum([i, j] in known.tolist() for i, j in order)
    assert precision_at(score, known, part) == pytest.approx(hits / len(order))
    # Equal scores: what a random order would give on average.
    flat = precision_at(np.ones((20, 20)), known, part)
    assert flat == pytest.approx(4 / len(candidates(20)[0]))


class Seer:
    """Stands for a model whose second head attends to the partner, the first to anything."""

    name = "seer"

    class encoder:  # noqa: N801
        class config:  # noqa: N801
            layers, heads = 1, 2

    def __init__(self, items) -> None:
        self.pairs = {x.sequence: x.structure.pairs for x in items}

    def attention(self, sequence: str) -> torch.Tensor:
        size = len(sequence)
        maps = torch.rand(1, 2, size, size, generator=torch.Generator().manual_seed(size)) / size
        for i, j in self.pairs[sequence].tolist():
            maps[0, 1, i, j] += 0.5
        return maps / maps.sum(-1, keepdim=True)


def test_a_head_that_sees_pairs_is_found(lm_data) -> None:
    items = read_labelled(lm_data.structures, id="name", family="rfam", kind="rfam_type")
    fit, test = split_families(
        items, lm_data.held_out, fitted=5, size=14, per_family=2, longest=200, seed=0
    )
    assert len({x.family for x in fit}) == len(fit) == 5
    assert len(test) == 14
    assert {x.family for x in test} <= set(lm_data.held_out)
    assert not {x.family for x in fit} & set(lm_data.held_out)
    seer = Seer(items)
    regression = AttentionRegression.fit(seer, fit)
    assert regression.weights[1] > 10 * abs(regression.weights[0])
    report = score_pairs([seer], fit, test, resamples=100)
    assert report["rnas"] == 14
    assert report["families"] == len({x.family for x in test})
    mine, fold = report["methods"]["seer"], report["methods"]["RNAfold"]
    assert mine["f1"]["value"] > 0.95
    # There are fewer pairs than L / 5 in some.
    best = {f: [] for f in lm_data.held_out}
    for x in test:
        best[x.family].append(min(1.0, len(x.structure.pairs) / (len(x.sequence) // 5)))
    most = np.mean([np.mean(values) for values in best.values() if values])
    assert mine["precision_L5"]["value"] == pytest.approx(most, abs=0.02)
    assert 0.3 < fold["f1"]["value"] < 1.0
    assert report["methods"]["chance"]["precision_L"]["value"] < 0.05
    again = score_pairs([Seer(items)], fit, test, resamples=100)
    assert again == report


def test_no_more_than_twenty_are_fitted_on(lm_data) -> None:
    items = read_labelled(lm_data.structures, id="name", family="rfam", kind="rfam_type")
    fit, test = split_families(
        items, lm_data.held_out, fitted=500, size=500, per_family=3, longest=200, seed=0
    )
    assert len(fit) == 20
    assert len(test) == 24
    with pytest.raises(InputError, match="expected at most 20"):
        AttentionRegression.fit(Seer(items), [*fit, *test])
    options = {"size": 5, "per_family": 1, "seed": 0}
    with pytest.raises(InputError, match="held-out families"):
        split_families(items, ["RF00000"], longest=200, **options)
    with pytest.raises(InputError, match="structure"):
        split_families(items, lm_data.held_out, longest=5, **options)


@pytest.mark.parametrize("k", [1, 5])
def test_purity_of_neighbours(k: int) -> None:
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    families = np.repeat(["a", "b", "c", "d"], [3, 8, 12, 7])
    points = (
        rng.normal(size=(30, 6)) + 1.5 * rng.normal(size=(4, 6))[np.repeat(range(4), [3, 8, 12, 7])]
    )
    shifted = points - points.mean(0)
    around = NearestNeighbors(n_neighbors=k + 1, metric="cosine").fit(shifted)
    order = around.kneighbors(shifted, return_distance=False)
    known = []
    for row, near in enumerate(order):
        near = [n for n in near if n != row][: min(k, (families == families[row]).sum() - 1)]
        known.append(np.mean(families[near] == families[row]))
    np.testing.assert_allclose(family_purity(points, families, k), known)
    np.testing.assert_allclose(np.linalg.norm(centred(points), axis=1), 1.0)


def test_scores_of_embeddings() -> None:
    rnas = of_families(_rnas(40, families=6), members=5, size=28)
    counts = [rnas.families.count(f) for f in set(rnas.families)]
    assert counts == [5] * 5
    labels = np.unique(rnas.families, return_inverse=True)[1]
    perfect = np.eye(5)[labels]
    report = score_embeddings(rnas, {"perfect": perfect}, resamples=50)
    assert report["methods"]["perfect"]["purity_5"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert report["chance"] == pytest.approx(4 / 24, abs=1e-5)
    assert report["families"] == 5
    with pytest.raises(InputError, match="three RNAs"):
        of_families(_rnas(4), members=5, size=28)
    xy = place(perfect + 0.01 * np.random.default_rng(0).normal(size=(25, 5)), seed=1)
    assert xy.shape == (25, 2)
    assert family_purity(xy, labels, 1).mean() == 1.0


def test_pictures(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    rnas = _rnas(90, families=30)
    rng = np.random.default_rng(0)
    points = {"one": rng.normal(size=(90, 2)), "two_$x": rng.normal(size=(90, 2))}
    for name in ("a.png", "b.svg"):
        plots.scatter(tmp_path / name, points, rnas)
        assert (tmp_path / name).stat().st_size > 10_000
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(OutputExistsError):
        plots.scatter(tmp_path / "a.png", points, rnas)
    plots.scatter(tmp_path / "a.png", points, rnas, force=True)
    assert (tmp_path / "a.png").read_bytes() == before


def test_pictures_need_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ExtraError, match=r"stemloop\[plots\]"):
        plots.scatter(tmp_path / "a.png", {}, _rnas(3))


def test_codes() -> None:
    assert encode("ACGUNI-").tolist() == [0, 1, 2, 3, 4, 4, 4]
