"""The network for interactions: batch neighbours, order of strands, what it can learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import reverse_complement
from stemloop.errors import UsageError
from stemloop.models.interaction_head import InteractionConfig, InteractionHead
from stemloop.training.interaction_features import NUMBERS, PairInput, make_batch


def rna(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(list("ACGUN"), length, p=[0.24, 0.24, 0.24, 0.24, 0.04]))


def test_outputs_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    head = InteractionHead(InteractionConfig(channels=16, numbers=NUMBERS)).eval()
    rng = np.random.default_rng(0)
    items = [
        PairInput.of(Pair(rna(rng, int(a)), rna(rng, int(b))))
        for a, b in zip(rng.integers(1, 40, 12), rng.integers(1, 90, 12), strict=True)
    ]
    centre, scale = (0.5,) * NUMBERS, (2.0,) * NUMBERS
    with torch.inference_mode():
        together = head(make_batch(items, centre, scale))
        alone = torch.cat([head(make_batch([item], centre, scale)) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.std() > 1e-3


def test_pairing_of_the_duplex_is_marked_where_it_is() -> None:
    item = PairInput.of(Pair("AAGGGGAA", "UCCCCUUU"))
    first, second = item.paired()
    pairs = {("G", "C"), ("C", "G"), ("A", "U"), ("U", "A"), ("G", "U"), ("U", "G")}
    a = [letter for letter, p in zip(item.pair.first, first, strict=True) if p]
    b = [letter for letter, p in zip(item.pair.second, second, strict=True) if p]
    assert len(a) == len(b) >= 4
    assert all(both in pairs for both in zip(a, b[::-1], strict=True))


def test_complementary_strands_can_be_learned() -> None:
    rng = np.random.default_rng(1)

    def example(bound: bool) -> PairInput:
        first = rna(rng, 12)
        core = reverse_complement(first[2:10]) if bound else reverse_complement(rna(rng, 8))
        return PairInput.of(Pair(first, rna(rng, 6) + core + rna(rng, 6)))

    items = [example(k % 2 == 0) for k in range(300)]
    target = torch.tensor([float(k % 2 == 0) for k in range(300)])
    torch.manual_seed(0)
    head = InteractionHead(InteractionConfig(channels=8, heads=2, dropout=0.0))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for step in range(40):
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
