"""The pair head beside its formulas: outer concatenation, loops over places, plain autograd."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import WeightsError
from stemloop.models import pair_head
from stemloop.models.pair_head import PREFIX, PairHead, head_from, head_tensors, pair_loss
from stemloop.models.presets import PRESETS

Arrays = dict[str, np.ndarray]


def drawn(length: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(length, width, generator=generator, dtype=torch.float64)


def make(
    width: int, channels: int = 4, blocks: int = 2, kernel: int = 3, seed: int = 1
) -> PairHead:
    torch.manual_seed(seed)
    return PairHead(width, channels, blocks, kernel).double()


# The formulas once more ----------------------------------------------------------------------


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Cross-correlation with zeros around, place by place; (C, L, L)."""
    out_channels, _, kernel, _ = weight.shape
    length, reach = x.shape[1], kernel // 2
    out = np.zeros((out_channels, length, length))
    for c, i, j in itertools.product(range(out_channels), range(length), range(length)):
        total = 0.0 if bias is None else bias[c]
        for a, b in itertools.product(range(kernel), range(kernel)):
            y, z = i + a - reach, j + b - reach
            if 0 <= y < length and 0 <= z < length:
                total += float(weight[c, :, a, b] @ x[:, y, z])
        out[c, i, j] = total
    return out


def normed(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for c, channel in enumerate(x):
        mean = channel.sum() / channel.size
        variance = ((channel - mean) ** 2).sum() / channel.size
        out[c] = np.maximum((channel - mean) / math.sqrt(variance + 1e-5), 0.0)
    return out


def by_loops(x: np.ndarray, state: Arrays, blocks: int) -> np.ndarray:
    """Logits (L, L) of representations (L, d)."""
    length = len(x)
    channels = len(state["linear_in.bias"])
    y = np.empty((channels, length, length))
    for i, j in itertools.product(range(length), range(length)):
        joined = np.concatenate([x[i], x[j]])
        y[:, i, j] = state["linear_in.weight"] @ joined + state["linear_in.bias"]
    for k in range(blocks):
        z = y
        for place in (0, 3, 6):
            z = normed(convolved(z, state[f"resnet.blocks.{k}.conv_net.{place}.weight"], None))
        y = y + z
    logits = convolved(y, state["conv_out.weight"], state["conv_out.bias"])[0]
    out = np.zeros_like(logits)
    for i in range(length):
        for j in range(i + 1, length):
            out[i, j] = out[j, i] = logits[i, j]
    return out


def by_concatenation(x: torch.Tensor, head: PairHead) -> torch.Tensor:
    """The published form, with gradients: 2d numbers a pair, a batch of one."""
    state = dict(head.named_parameters())
    length = len(x)
    joined = torch.cat((x[:, None].expand(-1, length, -1), x[None].expand(length, -1, -1)), dim=-1)
    y = F.linear(joined, state["linear_in.weight"], state["linear_in.bias"])
    y = y.permute(2, 0, 1)[None]
    for k in range(len(head.resnet.blocks)):
        z = y
        for place in (0, 3, 6):
            weight = state[f"resnet.blocks.{k}.conv_net.{place}.weight"]
            z = F.conv2d(z, weight, padding=weight.shape[-1] // 2)
            z = F.relu(F.instance_norm(z))
        y = y + z
    out = F.conv2d(y, state["conv_out.weight"], state["conv_out.bias"], padding="same")[0, 0]
    return out.triu(1) + out.triu(1).T


@pytest.mark.parametrize(
    ("length", "blocks", "kernel"), [(2, 1, 3), (5, 2, 3), (6, 1, 5), (7, 0, 1)]
)
def test_formulas_by_loops(length: int, blocks: int, kernel: int) -> None:
    head = make(3, channels=3, blocks=blocks, kernel=kernel)
    x = drawn(length, 3)
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    expected = by_loops(x.numpy(), state, blocks)
    trained = head(x)
    assert trained.requires_grad
    np.testing.assert_allclose(trained.detach().numpy(), expected, atol=1e-10)
    with torch.inference_mode():
        np.testing.assert_allclose(head(x).numpy(), expected, atol=1e-10)


def test_projection_of_the_parts_is_that_of_the_concatenation() -> None:
    """The published width of 64 in float32, as used."""
    torch.manual_seed(3)
    head = PairHead(48).eval()
    x = drawn(21, 48).float()
    joined = torch.cat((x[:, None].expand(-1, 21, -1), x[None].expand(21, -1, -1)), dim=-1)
    expected = F.linear(joined, head.linear_in.weight, head.linear_in.bias).permute(2, 0, 1)
    torch.testing.assert_close(head.pair_map(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(head(x), by_concatenation(x, head), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_concatenation(checkpointing: bool) -> None:
    head = make(5)
    head.gradient_checkpointing = checkpointing
    ours, theirs = drawn(9, 5).requires_grad_(), drawn(9, 5).requires_grad_()
    weight = drawn(9, 9, seed=2)
    (head(ours) * weight).sum().backward()
    got = {name: p.grad.clone() for name, p in head.named_parameters()}
    head.zero_grad()
    (by_concatenation(theirs, head) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for name, parameter in head.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, msg=name)


def test_gradients_by_finite_differences() -> None:
    head = make(2, channels=2, blocks=1)
    assert torch.autograd.gradcheck(head, drawn(4, 2).requires_grad_(), atol=1e-6)


@settings(max_examples=40)
@given(
    length=st.integers(2, 17), kernel=st.sampled_from([1, 3, 5]), block=st.integers(1, 90),
    channels=st.integers(1, 5),
)  # fmt: skip
def test_the_way_without_gradients_gives_the_same(
    length: int, kernel: int, block: int, channels: int
) -> None:
    """However many rows are convolved at a time; and the input stays as it was."""
    head = make(3, channels=channels, kernel=kernel)
    x = drawn(length, 3)
    before = x.clone()
    expected = head(x).detach()
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(pair_head, "_BLOCK", block)
        torch.testing.assert_close(head(x), expected, atol=1e-9, rtol=1e-9)
    assert torch.equal(x, before)


def test_bfloat16_is_close() -> None:
    torch.manual_seed(0)
    head = PairHead(32)
    x = drawn(40, 32).float()
    with torch.inference_mode():
        exact = head(x)
        rough = head.bfloat16()(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_size_and_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        head = PairHead(PRESETS["rinalmo-giga"].hidden)
    assert sum(p.numel() for p in head.parameters()) == 254_593
    places = [f"resnet.blocks.{k}.conv_net.{place}.weight" for k in (0, 1) for place in (0, 3, 6)]
    assert [name for name, _ in head.named_parameters()] == [
        "linear_in.weight", "linear_in.bias", *places, "conv_out.weight", "conv_out.bias",
    ]  # fmt: skip
    assert head.linear_in.weight.shape == (64, 2560)


# Parameters from files -----------------------------------------------------------------------


def test_a_head_comes_back_from_its_tensors() -> None:
    head = PairHead(6, channels=5, blocks=3, kernel=5)
    back = head_from(head_tensors(head), "x")
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())
    x = drawn(8, 6).float()
    with torch.no_grad():
        assert torch.equal(back(x), head.eval()(x))


LAST = "pred_head.resnet.blocks.1.conv_net.6.weight"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pred_head.linear_in.weight", None, "missing key 'pred_head.linear_in.weight'"),
        ("pred_head.conv_out.weight", None, "missing key 'pred_head.conv_out.weight'"),
        ("pred_head.conv_out.bias", None, "missing key 'pred_head.conv_out.bias'"),
        (LAST, None, f"missing key '{LAST}'"),
        (LAST, torch.ones(4, 4, 3, 3), "has shape (4, 4, 3, 3), expected (4, 4, 1, 1)"),
        ("pred_head.linear_in.weight", torch.ones(4, 5), "(4, 5): not that of a pair head"),
        ("pred_head.linear_in.weight", torch.ones(20), "(20,): not that of a pair head"),
        ("pred_head.conv_out.weight", torch.ones(1, 4, 2, 2), "(1, 4, 2, 2): not that of"),
        ("pred_head.linear_out.weight", torch.ones(1), "unexpected key 'pred_head.linear_out.weig"),
        ("scaler._mean", torch.ones(1), "unexpected key 'scaler._mean'"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(key: str, value: torch.Tensor | None, message: str) -> None:
    tensors = head_tensors(PairHead(3, channels=4))
    assert all(name.startswith(PREFIX) for name in tensors)
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value
    with pytest.raises(WeightsError) as error:
        head_from(tensors, "head.safetensors")
    assert message in str(error.value)
    assert str(error.value).startswith("head.safetensors: ")


# Loss ----------------------------------------------------------------------------------------


def test_loss_is_the_mean_over_the_strict_upper_triangle() -> None:
    logits = drawn(6, 6)
    pairs = np.array([[0, 5], [1, 4], [2, 3]], np.int32)  # short ones and all
    total = 0.0
    for i in range(6):
        for j in range(i + 1, 6):
            p = 1 / (1 + math.exp(-float(logits[i, j])))
            total -= math.log(p if [i, j] in pairs.tolist() else 1 - p)
    assert float(pair_loss(logits, pairs)) == pytest.approx(total / 15, rel=1e-6)
    assert float(pair_loss(logits, pairs[:0])) > 0
