"""All attention back-ends compute the same function."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import UsageError
from stemloop.models.attention import (
    Packing,
    attention,
    attention_with_weights,
    choose_backend,
)

LENGTHS = {
    "all different": [7, 19, 3, 40],
    "one": [33],
    "length one": [1, 1, 5, 1],
    "many equal": [6] * 12,
    "equal runs": [9, 9, 9, 4, 4, 9, 1, 1],
    "with empty": [0, 5, 0, 0, 3, 0],
}

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="the varlen kernel needs a CUDA device"
)


def packed(lengths, dtype, heads=3, width=8, device="cpu"):
    torch.manual_seed(1)
    # Strided views of one projection, as the encoder passes them.
    qkv = torch.randn(sum(lengths), 3, heads, width, dtype=torch.float64)
    qkv = qkv.to(device=device, dtype=dtype).requires_grad_()
    starts = torch.tensor([0, *lengths], device=device).cumsum(0).int()
    return qkv, starts


def run(qkv, starts, backend):
    out = attention(*qkv.unbind(1), starts, backend=backend)
    out.float().sin().sum().backward()
    grad, qkv.grad = qkv.grad, None
    return out.detach(), grad


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-7), (torch.float32, 2e-6), (torch.bfloat16, 4e-2)]
)
def test_grouped_equals_naive(lengths, dtype, atol):
    qkv, starts = packed(lengths, dtype)
    for grouped, naive in zip(run(qkv, starts, "grouped"), run(qkv, starts, "naive"), strict=True):
        assert grouped.dtype == dtype
        torch.testing.assert_close(grouped, naive, atol=atol, rtol=0)


@needs_cuda
@pytest.mark.parametrize("lengths", list(LENGTHS.values())[:5], ids=list(LENGTHS)[:5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [16, 24, 32, 64])
def test_varlen_equals_naive(lengths, dtype, width):
    qkv, starts = packed(lengths, dtype, width=width, device="cuda")
    exact = qkv.detach().float().requires_grad_()
    for fast, naive in zip(run(qkv, starts, "varlen"), run(exact, starts, "naive"), strict=True):
        torch.testing.assert_close(fast.float(), naive, atol=4e-2, rtol=0)


def test_varlen_call(monkeypatch):
    """What the kernel is told, without a device to run it on."""
    seen = {}

    def kernel(q, k, v, starts_q, starts_k, longest_q, longest_k):
        seen.update(starts=(starts_q, starts_k), longest=(longest_q, longest_k))
        return attention(q, k, v, starts_q, backend="naive")

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    qkv, starts = packed([4, 9, 2], torch.bfloat16)
    attention(*qkv.unbind(1), starts.long(), backend="varlen")
    assert all(s.dtype == torch.int32 for s in seen["starts"])
    assert seen["longest"] == (9, 9)


def test_weights_of_the_reference():
    qkv, starts = packed([4, 1, 6], torch.float64)
    q, k, v = qkv.unbind(1)
    out, weights = attention_with_weights(q, k, v, starts)
    assert [tuple(w.shape) for w in weights] == [(3, 4, 4), (3, 1, 1), (3, 6, 6)]
    for weight in weights:
        torch.testing.assert_close(weight.sum(-1), torch.ones_like(weight[..., 0]))
    by_hand = torch.einsum("hij,jhd->ihd", weights[2], v[5:])
    torch.testing.assert_close(out[5:], by_hand)


def test_no_sequence_sees_another():
    qkv, starts = packed([5, 5, 8], torch.float32)
    for backend in ("grouped", "naive"):
        q, k, v = qkv.detach().clone().unbind(1)
        before = attention(q, k, v, starts, backend=backend)
        k[5:10] += 3.0
        v[5:10] -= 1.0
        after = attention(q, k, v, starts, backend=backend)
        assert torch.equal(before[:5], after[:5])
        assert torch.equal(before[10:], after[10:])
        assert not torch.equal(before[5:10], after[5:10])


def test_equal_neighbours_share_a_call_and_nothing_is_copied(monkeypatch):
    calls = []
    original = F.scaled_dot_product_attention

    def counting(q, k, v, **options):
        calls.append((tuple(q.shape), q.untyped_storage().data_ptr()))
        return original(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counting)
    qkv, starts = packed([9, 9, 9, 4, 9], torch.float32)
    attention(*qkv.unbind(1), starts, backend="grouped")
    assert [shape for shape, _ in calls] == [(3, 3, 9, 8), (1, 3, 4, 8), (1, 3, 9, 8)]
    assert {place for _, place in calls} == {qkv.untyped_storage().data_ptr()}


def test_dropout():
    qkv, starts = packed([30, 30], torch.float32)
    q, k, _ = qkv.detach().unbind(1)
    v = torch.ones_like(q)
    for backend in ("grouped", "naive"):
        torch.manual_seed(0)
        out = attention(q, k, v, starts, backend=backend, dropout_p=0.5)
        assert out.std() > 0.05
        assert 0.9 < out.mean() < 1.1
    with pytest.raises(UsageError, match="no attention dropout"):
        attention(q, k, v, starts, backend="varlen", dropout_p=0.1)


def test_choice_of_backend():
    assert choose_backend(torch.zeros(1)) == "grouped"
    assert choose_backend(torch.zeros(1, dtype=torch.bfloat16)) == "grouped"


@needs_cuda
def test_choice_of_backend_on_cuda():
    half = torch.zeros(1, dtype=torch.bfloat16, device="cuda")
    assert choose_backend(half) == "varlen"
    assert choose_backend(half, dropout_p=0.1) == "grouped"
    assert choose_backend(half.float()) == "grouped"


def test_usage_errors():
    qkv, starts = packed([4, 2], torch.float32)
    q, k, v = qkv.unbind(1)
    with pytest.raises(UsageError, match="add up to 6"):
        attention(q[:5], k[:5], v[:5], starts)
    with pytest.raises(UsageError, match="unknown attention back-end 'flash'"):
        attention(q, k, v, starts, backend="flash")


def test_packing_made_once_serves_all():
    qkv, starts = packed([4, 2], torch.float32)
    packing = Packing.of(starts, [4, 2])
    assert torch.equal(attention(*qkv.unbind(1), packing), attention(*qkv.unbind(1), starts))
