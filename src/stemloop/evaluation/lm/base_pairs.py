"""Base pairs from attention maps, without training on structures but for twenty RNAs.

The maps are made symmetric and corrected for the average of their rows (APC; Dunn, Wahl and Gloor
2008, Bioinformatics 24:333); a logistic regression weighs the heads, fitted on a few RNAs, as Rao
et al. (2021, "Transformer protein language models are unsupervised structure learners") did for
contacts of proteins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stemloop.data.structures import LabelledStructure
from stemloop.errors import InputError
from stemloop.evaluation.lm.model import LanguageModel
from stemloop.evaluation.lm.sample import take_turns
from stemloop.evaluation.metrics import bootstrap_means, family_means, structure_scores
from stemloop.folding.decode import gamma_centroid
from stemloop.folding.thermo import compound, fold_ensemble, minimum_free_energy
from stemloop.models.attention import corrected_attention
from stemloop.pairs import MIN_DISTANCE, canonical, dot_bracket_to_pairs

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: RNAs that the regression may be fitted on.
MOST_FITTED = 20

#: Precision is taken of the L / k best pairs.
PARTS = (1, 3, 5)

#: Gammas of the decoder that are tried on the fitted RNAs.
_GAMMAS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)

#: Values of attention maps (layers x heads x L x L) above which an RNA is left out: 1 GiB.
MOST_VALUES = 2**28


def candidates(length: int) -> tuple[Ints, Ints]:
    """Positions i < j of all pairs with at least three nucleotides between, row by row."""
    return np.triu_indices(length, MIN_DISTANCE)


def pair_features(maps: Tensor) -> Floats:
    """Symmetric, corrected attention of every candidate pair.

    Parameters
    ----------
    maps : Tensor, shape (layers, heads, L, L)
        Attention weights.

    Returns
    -------
    numpy.ndarray of float32, shape (pairs, layers * heads)
        Rows as in `candidates`, see `stemloop.models.attention.corrected_attention`.

    Examples
    --------
    >>> even = pair_features(torch.ones(2, 3, 6, 6))
    >>> even.shape, float(abs(even).max())
    ((3, 6), 0.0)
    """
    layers, heads, length, _ = maps.shape
    i, j = (torch.from_numpy(x).to(maps.device) for x in candidates(length))
    result = np.empty((len(i), layers * heads), np.float32)
    # A layer at a time: all maps together may be large.
    for layer, of_layer in enumerate(maps):
        values = corrected_attention(of_layer, i, j)
        result[:, layer * heads : (layer + 1) * heads] = values.cpu().numpy()
    return result


def split_families(
    items: Iterable[LabelledStructure],
    tested: Iterable[str],
    *,
    fitted: int = MOST_FITTED,
    size: int,
    per_family: int,
    longest: int,
    seed: int,
) -> tuple[list[LabelledStructure], list[LabelledStructure]]:
    """RNAs to fit on, one a family, and RNAs to test on, of other families.

    Parameters
    ----------
    items : iterable of LabelledStructure
        RNAs with known structures.
    tested : iterable of str
        Families held out from the language model's training; the others are for fitting.
    fitted : int
        RNAs to fit on, at most `MOST_FITTED`.
    size, per_family : int
        Most RNAs to test on, in all and of a family.
    longest : int
        Longest RNA, nucleotides.
    seed : int
        Of the draw.

    Raises
    ------
    InputError
        There is no RNA to fit or to test on.
    """
    held_out = set(tested)
    rng = np.random.default_rng(seed)
    # At least three pairs: a family without a structure has nothing to find.
    usable = [
        x
        for x in items
        if len(x.structure.pairs) >= 3 and len(x.sequence) <= longest and set(x.sequence) <= _ACGU
    ]
    shuffled = [usable[k] for k in rng.permutation(len(usable))]
    test = [x for x in shuffled if x.family in held_out]
    fit = [x for x in shuffled if x.family not in held_out]
    for part, name in ((test, "held-out"), (fit, "other")):
        if not part:
            raise InputError(f"no RNA of the {name} families has a known structure")
    chosen = take_turns(np.unique([x.family for x in test], return_inverse=True)[1], size)
    counts: dict[str, int] = {}
    picked = []
    for k in chosen.tolist():
        counts[test[k].family] = counts.get(test[k].family, 0) + 1
        if counts[test[k].family] <= per_family:
            picked.append(test[k])
    first = {x.family: x for x in reversed(fit)}
    names = sorted(first)
    order = rng.permutation(len(names))[: min(fitted, MOST_FITTED)]
    return [first[names[k]] for k in order], picked


_ACGU = frozenset("ACGU")


@dataclass(frozen=True, slots=True, eq=False)
class AttentionRegression:
    """Weights of the attention maps, fitted on a few RNAs.

    Parameters
    ----------
    weights : numpy.ndarray of float64, shape (layers * heads,)
        Of the features as they come.
    bias : float
        Log-odds of a pair where all features are 0.
    gamma : float
        Of the decoder; the best on the fitted RNAs.
    """

    weights: Doubles
    bias: float
    gamma: float = 1.0

    @classmethod
    def fit(cls, model: LanguageModel, items: Sequence[LabelledStructure]) -> AttentionRegression:
        """Fit the regression (L2, C = 1, standardised features), then choose gamma.

        Raises
        ------
        InputError
            More than `MOST_FITTED` RNAs.
        """
        from sklearn.linear_model import LogisticRegression

        if len(items) > MOST_FITTED:
            raise InputError(f"{len(items)} RNAs to fit on", expected=f"at most {MOST_FITTED}")
        features = [pair_features(model.attention(x.sequence)) for x in items]
        x = np.concatenate(features)
        y = np.concatenate([_is_pair(item) for item in items])
        mean, spread = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
        spread[spread == 0.0] = 1.0
        scaled = ((x - mean) / spread).astype(np.float32)
        fitted = LogisticRegression(C=1.0, max_iter=500).fit(scaled, y)
        weights = fitted.coef_[0].astype(np.float64) / spread
        bias = float(fitted.intercept_[0]) - float(weights @ mean)
        found = cls(weights, bias)
        maps = [
            found.probability(item.sequence, part)
            for item, part in zip(items, features, strict=True)
        ]

        def mean_f1(gamma: float) -> float:
            scores = [
                structure_scores(gamma_centroid(p, gamma), item.structure.pairs, len(p))["f1"]
                for p, item in zip(maps, items, strict=True)
            ]
            return float(np.mean(scores))

        return cls(weights, bias, max(_GAMMAS, key=mean_f1))

    def probability(self, sequence: str, features: Floats) -> Doubles:
        """Probability of each pair, shape (L, L), upper triangle; 0 for those that cannot pair."""
        length = len(sequence)
        i, j = candidates(length)
        score = 1.0 / (1.0 + np.exp(-(features @ self.weights + self.bias)))
        score[~canonical(sequence, np.column_stack([i, j]))] = 0.0
        result = np.zeros((length, length))
        result[i, j] = score
        return result


def _is_pair(item: LabelledStructure) -> npt.NDArray[np.bool_]:
    length = len(item.sequence)
    table = np.zeros((length, length), bool)
    table[tuple(item.structure.pairs.T)] = True
    return table[candidates(length)]


def precision_at(score: Doubles, known: npt.ArrayLike, part: int) -> float:
    """Precision of the L / `part` best candidate pairs (at least one), known pairs as given.

    Pairs of equal score count in proportion, so that their order does not matter.

    Examples
    --------
    >>> score = np.zeros((9, 9)); score[0, 8] = score[1, 7] = 0.9; score[2, 6] = 0.1
    >>> precision_at(score, [[0, 8], [2, 6]], 3), precision_at(score, [[0, 8], [2, 6]], 5)
    (0.6666666666666666, 0.5)
    """
    length = len(score)
    at = candidates(length)
    values = score[at]
    truth = np.zeros((length, length), bool)
    truth[tuple(np.asarray(known).reshape(-1, 2).T)] = True
    right = truth[at]
    size = min(max(1, length // part), len(values))
    border = np.partition(values, len(values) - size)[len(values) - size]
    above, tied = values > border, values == border
    share = (size - above.sum()) / tied.sum()
    return float((right[above].sum() + share * right[tied].sum()) / size)


def score_pairs(
    models: Sequence[LanguageModel],
    fit: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    *,
    seed: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
    report: Callable[[int, int | None], None] | None = None,
) -> dict[str, Any]:
    """Fit each model's regression and score it, RNAfold and chance on the tested RNAs.

    Parameters
    ----------
    models : sequence of LanguageModel
        Whose maps to use.
    fit, test : sequence of LabelledStructure
        From `split_families`. RNAs of which a model's maps would have more than `MOST_VALUES`
        values are left out for all.
    seed, resamples, confidence
        Of the percentile bootstrap over families.
    report : callable, optional
        Called with the number of RNAs done and in all.

    Returns
    -------
    dict
        ``rnas``, ``families``, ``fitted_on``, and ``methods``: a method's ``precision_L3`` and the
        like, ``f1``, ``precision``, ``recall``, each with ``value``, ``low``, ``high``: means of
        the family means.
    """
    maps = max(m.encoder.config.layers * m.encoder.config.heads for m in models)
    fit, test = (
        [x for x in part if maps * (len(x.sequence) + 2) ** 2 <= MOST_VALUES]
        for part in (fit, test)
    )
    if not fit or not test:
        raise InputError("all RNAs with known structures are too long for this model's maps")
    fitted = {model.name: AttentionRegression.fit(model, fit) for model in models}
    rows: dict[str, list[dict[str, float]]] = {}
    for done, item in enumerate(test, 1):
        known, length = item.structure.pairs, len(item.sequence)
        chance = np.zeros((length, length))
        pairs = np.column_stack(candidates(length))
        pairs = pairs[canonical(item.sequence, pairs)]
        chance[tuple(pairs.T)] = 1.0
        rows.setdefault("chance", []).append(_precisions(chance, known))
        for model in models:
            regression = fitted[model.name]
            p = regression.probability(item.sequence, pair_features(model.attention(item.sequence)))
            found = gamma_centroid(p, regression.gamma)
            rows.setdefault(model.name, []).append(
                _precisions(p, known) | _f1(found, known, length)
            )
        ensemble = fold_ensemble(item.sequence).pair_probability
        best = dot_bracket_to_pairs(minimum_free_energy(compound(item.sequence))[0])
        rows.setdefault("RNAfold", []).append(
            _precisions(ensemble, known) | _f1(best, known, length)
        )
        if report:
            report(done, len(test))
    families = [item.family for item in test]
    return {
        "rnas": len(test),
        "families": len(set(families)),
        "fitted_on": [{"id": x.structure.record.id, "family": x.family} for x in fit],
        "methods": {
            name: _summary(of_method, families, seed, resamples, confidence)
            for name, of_method in rows.items()
        },
        "gamma": {name: regression.gamma for name, regression in fitted.items()},
        "bootstrap": {"kind": "percentile, families resampled", "seed": seed,
                      "resamples": resamples, "confidence": confidence},
    }  # fmt: skip


def _precisions(score: Doubles, known: npt.ArrayLike) -> dict[str, float]:
    return {
        f"precision_L{k}" if k > 1 else "precision_L": precision_at(score, known, k) for k in PARTS
    }


def _f1(found: npt.ArrayLike, known: npt.ArrayLike, length: int) -> dict[str, float]:
    scores = structure_scores(found, known, length)
    return {name: scores[name] for name in ("f1", "precision", "recall")}


def _summary(
    rows: list[dict[str, float]],
    families: Sequence[str],
    seed: int,
    resamples: int,
    confidence: float,
) -> dict[str, dict[str, float]]:
    values = np.array([list(row.values()) for row in rows])
    means = np.array(list(family_means(values, families).values()))
    # Families are drawn, each with its own mean: one group of families.
    drawn = bootstrap_means(means, ["all"] * len(means), seed=seed, resamples=resamples)["all"]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return {
        name: {"value": round(float(v), 5), "low": round(float(a), 5), "high": round(float(b), 5)}
        for name, v, a, b in zip(rows[0], means.mean(0), low, high, strict=True)
    }
