"""The networks for interactions: batch neighbours, order of strands, what it can learn."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch

from stemloop.alphabet import RINALMO
from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import reverse_complement
from stemloop.errors import UsageError
from stemloop.models.interaction_head import InteractionConfig
from stemloop.models.interaction_input import StrandStates
from stemloop.models.interaction_recurrent import RecurrentConfig
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.training.interaction import strands_of
from stemloop.training.interaction_features import NUMBERS, PairInput, make_batch


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGUN"), length, p=[0.24, 0.24, 0.24, 0.24, 0.04]))


def numbers_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


@pytest.fixture(scope="module")
def states() -> StrandStates:
    """A small language model."""
    torch.manual_seed(3)
    shape = EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64)
    return StrandStates(RiNALMo(shape), RINALMO)


@pytest.mark.parametrize("width", [0, 32])
@pytest.mark.parametrize(
    "kind",
    [
        functools.partial(InteractionConfig, channels=16),
        functools.partial(RecurrentConfig, channels=16, kernel=12, recurrent=8),
        functools.partial(RecurrentConfig, channels=16, kernel=5, recurrent=8),
    ],
)
def test_outputs_do_not_depend_on_the_batch(kind, width: int, states: StrandStates) -> None:
    torch.manual_seed(0)
    head = kind(numbers=NUMBERS, states=width).build().eval()
    with torch.no_grad():  # whatever the projection makes of nothing must not count
        for name, p in head.named_parameters():
            if "read.states" in name and name.endswith("bias"):
                p.add_(1.0)
    rng = np.random.default_rng(0)
    items = [
        PairInput.of(Pair(rna(rng, int(a)), rna(rng, int(b))))
        for a, b in zip(rng.integers(1, 40, 12), rng.integers(1, 90, 12), strict=True)
    ]
    centre, scale = (0.5,) * NUMBERS, (2.0,) * NUMBERS
    rows = states.lookup(strands_of(items)) if width else None
    with torch.inference_mode():
        together = head(make_batch(items, centre, scale, rows))
        alone = torch.cat([head(make_batch([item], centre, scale, rows)) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.std() > 1e-3


def test_states_are_those_of_each_strand_by_itself(states: StrandStates) -> None:
    strands = ["ACGUUGCA", "GGN", "ACGUUGCA", "GGNAU"]
    rows = states.lookup(strands)
    with torch.inference_mode():
        for strand in strands:
            ids = torch.from_numpy(RINALMO.encode(strand).astype(np.int64))
            starts = torch.tensor([0, len(ids)], dtype=torch.int32)
            alone = states.encoder(ids, starts).representation[1:-1]
            torch.testing.assert_close(rows(strand), alone, atol=1e-5, rtol=1e-5)
    assert not any(p.requires_grad for p in states.encoder.parameters())


def test_the_recurrent_network_is_what_it_says_nucleotide_by_nucleotide(
    states: StrandStates,
) -> None:
    torch.manual_seed(1)
    shape = RecurrentConfig(
        channels=6, kernel=4, recurrent=3, hidden=5, numbers=NUMBERS, states=32, state_channels=4
    )
    head = shape.build().eval()
    item = PairInput.of(Pair("ACGUUGAGA", "GGUCUCNACGG"))
    rows = states.lookup(strands_of([item]))
    with torch.inference_mode():
        found = float(head(make_batch([item], (0.0,) * NUMBERS, (1.0,) * NUMBERS, rows)))

    p = numbers_of(head)
    after_pool = []
    for number, (strand, paired) in enumerate(
        zip((item.pair.first, item.pair.second), item.paired(), strict=True)
    ):
        inputs = []
        for k, letter in enumerate(strand):
            x = rows(strand)[k].double().numpy()
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
            x = p["read.states.0.weight"] * x + p["read.states.0.bias"]
            x = p["read.states.1.weight"] @ x + p["read.states.1.bias"]
            x = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
            inputs.append([*(letter == c for c in "ACGU"), letter == "N", paired[k], *x, number])
        filters = []
        for k in range(len(strand)):
            out = p["convolution.bias"].copy()
            for tap in range(4):  # one nucleotide before, two behind
                if 0 <= k + tap - 1 < len(strand):
                    out += p["convolution.weight"][:, :, tap] @ np.array(inputs[k + tap - 1])
            filters.append(np.maximum(out, 0))
        for k in range(0, len(strand), 2):
            after_pool.append(np.max(filters[k : k + 2], axis=0))
    last = []
    for way, order in (("", after_pool), ("_reverse", after_pool[::-1])):
        h, c = np.zeros(3), np.zeros(3)
        for x in order:
            gates = p[f"recurrent.weight_ih_l0{way}"] @ x + p[f"recurrent.bias_ih_l0{way}"]
            gates += p[f"recurrent.weight_hh_l0{way}"] @ h + p[f"recurrent.bias_hh_l0{way}"]
            i, f, g, o = np.split(gates, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
        last.append(h)
    x = p["out.0.weight"] @ np.concatenate([*last, item.numbers]) + p["out.0.bias"]
    wanted = p["out.3.weight"] @ np.maximum(x, 0) + p["out.3.bias"]
    assert found == pytest.approx(float(wanted[0]), abs=1e-5)


def test_pairing_of_the_duplex_is_marked_where_it_is() -> None:
    item = PairInput.of(Pair("AAGGGGAA", "UCCCCUUU"))
    first, second = item.paired()
    pairs = {("G", "C"), ("C", "G"), ("A", "U"), ("U", "A"), ("G", "U"), ("U", "G")}
    a = [letter for letter, p in zip(item.pair.first, first, strict=True) if p]
    b = [letter for letter, p in zip(item.pair.second, second, strict=True) if p]
    assert len(a) == len(b) >= 4
    assert all(both in pairs for both in zip(a, b[::-1], strict=True))


@pytest.mark.parametrize(
    ("shape", "steps"),
    [
        (InteractionConfig(channels=8, heads=2, dropout=0.0), 40),
        (RecurrentConfig(channels=16, kernel=6, recurrent=8, dropout=0.0), 80),
    ],
    ids=["attention", "cnn-bilstm"],
)
def test_complementary_strands_can_be_learned(shape, steps: int) -> None:
    rng = np.random.default_rng(1)

    def example(bound: bool) -> PairInput:
        first = rna(rng, 12)
        core = reverse_complement(first[2:10]) if bound else reverse_complement(rna(rng, 8))
        return PairInput.of(Pair(first, rna(rng, 6) + core + rna(rng, 6)))

    items = [example(k % 2 == 0) for k in range(300)]
    target = torch.tensor([float(k % 2 == 0) for k in range(300)])
    torch.manual_seed(0)
    head = shape.build()
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for step in range(steps):
        rows = np.random.default_rng(step).permutation(200)[:32]
        out = head(make_batch([items[k] for k in rows], (), ()))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(out, target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        right = (head.eval()(make_batch(items[200:], (), ())) > 0) == (target[200:] > 0.5)
    assert right.float().mean() > 0.8


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="heads must divide"):
        InteractionConfig(channels=10, heads=4)
