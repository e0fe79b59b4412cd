"""The network of the CRF: features against plain loops, outputs, what it may depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stemloop.models.foldnet import FoldNet, FoldNetConfig, PairFeatures, pair_features

CANONICAL = ["AU", "CG", "GC", "GU", "UA", "UG"]
SEQUENCE = "GGCAUUCGUGCCAAGUACGU"


def perturbed(helix_layers: int = 1) -> FoldNet:
    """A network whose outputs are not zero."""
    torch.manual_seed(0)
    net = FoldNet(FoldNetConfig(channels=6, hidden=8, helix_layers=helix_layers))
    with torch.no_grad():
        net.pair_out.weight.normal_()
        net.base_out.weight.normal_()
    return net.eval()


def naive_pairs(sequence: str) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(sequence))
        for j in range(i + 4, len(sequence))
        if sequence[i] + sequence[j] in CANONICAL
    ]


@given(st.text("ACGUN", max_size=24))
def test_pairs_and_helix_neighbours_equal_a_plain_loop(sequence: str) -> None:
    features = pair_features(sequence)
    pairs = naive_pairs(sequence)
    assert list(zip(features.i.tolist(), features.j.tolist(), strict=True)) == pairs
    rank = {pair: k for k, pair in enumerate(pairs)}
    expected = [[rank.get((i + k, j - k), len(pairs)) for k in (-2, -1, 1, 2)] for i, j in pairs]
    assert features.helix.tolist() == expected
    assert features.table.shape == (len(pairs), 8)


@given(st.text("ACGUN", min_size=5, max_size=24))
def test_table_tells_apart_what_it_says(sequence: str) -> None:
    """Two pairs have the same row where, and only where, the described contexts are equal."""
    features = pair_features(sequence)
    padded = f"  {sequence}  "

    def at(k: int) -> str:
        letter = padded[k + 2]
        return letter if letter in "ACGU" else "-"

    def kind(i: int, j: int) -> int:
        pair = at(i) + at(j)
        return 1 + CANONICAL.index(pair) if pair in CANONICAL and j - i >= 4 else 0

    seen: list[dict[int, object]] = [{} for _ in range(8)]
    contexts: list[dict[object, int]] = [{} for _ in range(8)]
    for row, i, j in zip(features.table.tolist(), features.i, features.j, strict=True):
        this = kind(i, j)
        described = [
            this,
            (this, kind(i + 1, j - 1)),
            (this, kind(i - 1, j + 1)),
            row[3],  # the distance, see below
            *[(this, at(k)) for k in (i - 1, i + 1, j - 1, j + 1)],
        ]
        for column, (index, what) in enumerate(zip(row, described, strict=True)):
            assert seen[column].setdefault(index, what) == what
            assert contexts[column].setdefault(what, index) == index
    used = [set(column) for column in seen]
    assert sum(map(len, used)) == len(set().union(*used))  # the columns share no rows


@pytest.mark.parametrize(
    "text", [SEQUENCE.lower(), SEQUENCE.replace("U", "T"), "ggcattCGUGCCAAGuacgt"]
)
def test_case_and_t_make_no_difference(text: str) -> None:
    ours, plain = pair_features(text), pair_features(SEQUENCE)
    for name in PairFeatures.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))


@pytest.mark.parametrize("letter", "NRYKMSWBDHVI-x\u00b5")
def test_other_letters_pair_with_nothing(letter: str) -> None:
    features = pair_features(SEQUENCE.replace("A", letter))
    places = [k for k, base in enumerate(SEQUENCE) if base == "A"]
    assert not np.isin(features.i, places).any()
    assert not np.isin(features.j, places).any()
    expected = [(i, j) for i, j in naive_pairs(SEQUENCE) if i not in places and j not in places]
    assert list(zip(features.i.tolist(), features.j.tolist(), strict=True)) == expected
    u, v = perturbed()(features)
    assert u.shape == (len(expected),)
    assert v.shape == (len(SEQUENCE),)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_fresh_network_says_exactly_zero(layers: int) -> None:
    net = FoldNet(FoldNetConfig(helix_layers=layers))
    for mode in (net.train(), net.eval()):
        u, v = mode(pair_features(SEQUENCE))
        assert not u.any()
        assert not v.any()


def test_a_fresh_network_can_learn() -> None:
    """Zero outputs must not mean zero gradients."""
    net = FoldNet()
    u, v = net(pair_features(SEQUENCE))
    (u.sum() + v.sum()).backward()
    assert net.pair_out.weight.grad is not None
    assert net.pair_out.weight.grad.abs().sum() > 0
    assert net.base_out.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("sequence", ["", "A", "GCGC", "AAAAAAAA"])
def test_rnas_without_pairs(sequence: str) -> None:
    if not sequence:
        assert len(pair_features("").i) == 0
        return
    u, v = perturbed()(pair_features(sequence))
    assert u.shape == (0,)
    assert v.shape == (len(sequence),)


def test_distances_are_told_apart_where_they_are_short() -> None:
    """Bins never fall with the distance, start one by one, and long helices look alike."""
    features = pair_features("A" + "C" * 3 + "U" * 200)
    assert not features.i.any()
    bins = dict(zip(features.j.tolist(), features.table[:, 3].tolist(), strict=True))
    ordered = [bins[distance] for distance in range(4, 204)]
    assert ordered == sorted(ordered)
    assert len(set(ordered[:4])) == 4
    assert len(set(ordered[20:])) == 1


def test_a_base_sees_eight_to_each_side() -> None:
    """v depends on no nucleotide further away, wherever in the RNA it is."""
    net = perturbed()
    rng = np.random.default_rng(0)
    letters = rng.choice(list("ACGU"), 60)
    with torch.no_grad():
        _, before = net(pair_features("".join(letters)))
        letters[30] = {"A": "C", "C": "G", "G": "U", "U": "A"}[letters[30]]
        _, after = net(pair_features("".join(letters)))
    moved = np.flatnonzero((before - after).abs().numpy() > 1e-7)
    assert moved.min() >= 30 - 8
    assert moved.max() <= 30 + 8
    assert 22 in moved
    assert 38 in moved


def test_the_helix_convolution_carries_along_the_helix_only() -> None:
    """Without it, a pair far along the helix cannot feel a change; with it, it can.

    The sequence convolutions are cut off (zero weights), so only the pair path is left.
    """
    sequence = "GGGGGGGGGAAAAACCCCCCCCC"
    for layers, feels in ((0, False), (1, True)):
        net = perturbed(layers)
        with torch.no_grad():
            for conv in net.convs:
                conv.weight.zero_()
            other = sequence[:3] + "A" + sequence[4:]  # the pair (3, 19) is gone
            values = []
            for text in (sequence, other):
                features = pair_features(text)
                u, _ = net(features)
                pairs = zip(features.i.tolist(), features.j.tolist(), strict=True)
                values.append(dict(zip(pairs, u.tolist(), strict=True)))
        # Two steps along the helix: outside the nearest-neighbour features of (1, 21).
        assert (abs(values[0][1, 21] - values[1][1, 21]) > 1e-6) is feels
        # (0, 14) has no helix neighbours, (1, 13) and (2, 12) being no pairs: nothing changes.
        assert values[0][0, 14] == pytest.approx(values[1][0, 14], abs=1e-7)


def test_number_of_parameters_is_small() -> None:
    assert sum(p.numel() for p in FoldNet().parameters()) < 100_000
