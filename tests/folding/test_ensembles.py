"""Samples, circles and duplexes against the sum over all structures of tiny RNAs."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from stemloop.folding import thermo
from stemloop.folding.conditions import FoldOptions
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.reactivity import Reactivity
from stemloop.models.foldnet import FoldNet, FoldNetConfig
from stemloop.pairs import canonical, dot_bracket_to_pairs

Pairs = tuple[tuple[int, int], ...]


def every_structure(sequence: str) -> list[str]:
    """All nested structures of canonical pairs, whatever their loops."""
    length = len(sequence)

    @cache
    def some(i: int, end: int) -> tuple[Pairs, ...]:
        if i >= end:
            return ((),)
        found = list(some(i + 1, end))
        for j in range(i + 1, end):
            if canonical(sequence, [(i, j)])[0]:
                found += [((i, j), *a, *b) for a in some(i + 1, j) for b in some(j + 1, end)]
        return tuple(found)

    texts = []
    for pairs in some(0, length):
        signs = ["."] * length
        for i, j in pairs:
            signs[i], signs[j] = "(", ")"
        texts.append("".join(signs))
    return texts


def sums(
    sequence: str, options: FoldOptions, bonus: np.ndarray, cut: int = 0
) -> dict[bool, tuple[np.ndarray, float]]:
    """Sums of Boltzmann factors with and without a pair across the cut: of each pair, and in all.

    The energies are those of single structures, the sums are made here.
    """
    texts = every_structure(sequence.replace("&", ""))
    kt = thermo.k_t(options.temperature)
    total = {False: 0.0, True: 0.0}
    length = len(texts[0])
    pairs_of = {kind: np.zeros((length, length)) for kind in total}
    energies = thermo.structure_energies(sequence, texts, options)
    for text, energy in zip(texts, energies, strict=True):
        pairs = dot_bracket_to_pairs(text)
        i, j = pairs[:, 0], pairs[:, 1]
        kind = bool(((i < cut) & (j >= cut)).any())
        weight = np.exp(-(energy + bonus[i, j].sum()) / kt)
        total[kind] += weight
        pairs_of[kind][i, j] += weight
    return {kind: (pairs_of[kind], total[kind]) for kind in total}


def some_bonus(length: int, seed: int = 0) -> np.ndarray:
    bonus = np.random.default_rng(seed).normal(0, 0.8, (length, length))
    return np.triu(np.round(bonus, 2), 1)


@pytest.mark.parametrize("sequence", ["GGGAAACCGACUC", "GACUAGGAAGUCC"])
@pytest.mark.parametrize("circular", [False, True])
def test_circles_and_lines(sequence: str, circular: bool) -> None:
    options = FoldOptions(circular=circular)
    bonus = some_bonus(len(sequence))
    pairs, total = sums(sequence, options, bonus)[False]
    found = thermo.fold_ensemble(sequence, bonus, options=options)
    np.testing.assert_allclose(found.pair_probability, pairs / total, atol=2e-3)
    assert found.free_energy == pytest.approx(-thermo.k_t() * np.log(total), abs=0.01)
    assert found.binding_energy is None


@pytest.mark.parametrize("sequence", ["GGCAAA&UUGCC", "GGAAACC&GGU", "GCGC&GCAAAGC"])
def test_duplexes(sequence: str) -> None:
    cut = sequence.index("&")
    length = len(sequence) - 1
    # Within the strands; between them ViennaRNA does not apply all of it.
    bonus = some_bonus(length, 3)
    bonus[:cut, cut:] = 0.0
    parts = sums(sequence, FoldOptions(), bonus, cut)
    found = thermo.fold_ensemble(sequence, bonus)
    pairs, bound = parts[True]
    np.testing.assert_allclose(found.pair_probability, pairs / bound, atol=5e-3)
    kt = thermo.k_t()
    everything = bound + parts[False][1]
    assert found.free_energy == pytest.approx(-kt * np.log(everything), abs=0.02)
    binding = -kt * np.log(bound / parts[False][1])
    assert found.binding_energy == pytest.approx(binding, abs=0.02)


# Samples --------------------------------------------------------------------------------------

RNA_40 = "GGCAAGGAAACCUUGCCAGUGAAAACACGGUUAACCAGUC"


def frequencies(texts: list[str]) -> np.ndarray:
    counts = np.zeros((len(texts[0]), len(texts[0])))
    for text, number in Counter(texts).items():
        pairs = dot_bracket_to_pairs(text)
        counts[pairs[:, 0], pairs[:, 1]] += number
    return counts / len(texts)


def network() -> FoldNet:
    torch.manual_seed(0)
    net = FoldNet(FoldNetConfig(channels=4, hidden=8))
    with torch.no_grad():
        net.pair_out.weight.normal_(0, 0.5)
        net.base_out.weight.normal_(0, 0.5)
    return net


@pytest.mark.parametrize(
    "crf",
    [
        ThermodynamicCRF(),
        ThermodynamicCRF(network()),
        ThermodynamicCRF(network(), ["andronescu2007", "turner1999"]),
    ],
    ids=["plain", "network", "average"],
)
def test_samples_have_the_probabilities(crf: ThermodynamicCRF) -> None:
    number = 4000
    reactivity = Reactivity(np.where([c == "A" for c in RNA_40], 0.9, 0.1))
    for more in ({}, {"reactivity": reactivity}, {"constraint": "x" * 5 + "." * 35}):
        p = crf.ensemble(RNA_40, **more).pair_probability  # type: ignore[arg-type]
        drawn = crf.sample(RNA_40, number, 7, **more)  # type: ignore[arg-type]
        assert len(drawn) == number
        # Five standard deviations.
        allowed = 5 * np.sqrt(np.clip(p * (1 - p), 0, 1) / number) + 2e-3
        assert (np.abs(frequencies(drawn) - p) < allowed).all()


def test_seeds() -> None:
    crf = ThermodynamicCRF(network(), ["turner1999"])
    first = crf.sample(RNA_40, 20, 1)
    crf.sample("GGGGAAAACCCC", 5, 1)
    assert crf.sample(RNA_40, 20, 1) == first
    assert crf.sample(RNA_40, 20, 2) != first
    assert crf.sample(RNA_40, 0, 1) == []


def test_the_network_runs_once_an_rna(monkeypatch: pytest.MonkeyPatch) -> None:
    crf = ThermodynamicCRF(network())
    calls: list[str] = []
    whole = ThermodynamicCRF._network

    def counted(crf: ThermodynamicCRF, net: object, sequence: str) -> object:
        calls.append(sequence)
        return whole(crf, net, sequence)

    monkeypatch.setattr(ThermodynamicCRF, "_network", counted)
    for sequence in (RNA_40, RNA_40[::-1], RNA_40):
        crf.ensemble(sequence)
        crf.minimum(sequence)
        crf.sample(sequence, 2)
    assert calls == [RNA_40, RNA_40[::-1], RNA_40]


def test_two_strands_have_plain_energies() -> None:
    sequence = f"{RNA_40[:20]}&{RNA_40[20:]}"
    corrected = ThermodynamicCRF(network())
    assert corrected.energies(sequence) is None
    found, plain = (crf.ensemble(sequence) for crf in (corrected, ThermodynamicCRF()))
    np.testing.assert_array_equal(found.pair_probability, plain.pair_probability)
    assert found.binding_energy == plain.binding_energy
