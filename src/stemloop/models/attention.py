"""Attention over a packed batch: one function, three back-ends.

A packed batch holds its sequences end to end, without padding: tokens [T], and cu_seqlens [B+1]
with the start of each sequence and T at the end. No position sees another sequence.

==========  =====================================================================================
back-end    what it is
==========  =====================================================================================
varlen      `torch.nn.attention.varlen.varlen_attn`, the packed flash kernel. CUDA, bfloat16 or
            float16, no attention dropout (the kernel fixes it at 0).
grouped     `torch.nn.functional.scaled_dot_product_attention`, once per run of neighbouring
            sequences of equal length, on views, without a mask. Any device and dtype. Batches
            sorted by length make the fewest calls.
naive       Softmax written out, once per sequence: the reference, and the only one that can
            return the attention weights.
==========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import UsageError

Backend = Literal["varlen", "grouped", "naive"]

#: Longest sequences whose attention weights may be kept for the backward pass.
_PLAIN = 1024


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the sequences of a packed batch lie, on the device and on the host.

    The host copy of the lengths is what spares a synchronisation per layer on CUDA.

    Parameters
    ----------
    cu_seqlens : Tensor of int32, shape (B + 1,)
        Starts of the sequences and the total T, on the device of the batch.
    lengths : tuple of int
        The B lengths. Zero is allowed.

    Examples
    --------
    >>> packing = Packing.of(torch.tensor([0, 3, 5], dtype=torch.int32))
    >>> packing.lengths, packing.total, packing.longest
    ((3, 2), 5, 3)
    >>> packing.sequence_ids().tolist(), packing.positions().tolist()
    ([0, 0, 0, 1, 1], [0, 1, 2, 0, 1])
    """

    cu_seqlens: Tensor
    lengths: tuple[int, ...]
    #: Tokens in the batch, T, and length of the longest sequence. Kept, not computed when asked
    #: for: compiled code must not depend on the single lengths.
    total: int = field(init=False)
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.lengths))
        object.__setattr__(self, "longest", max(self.lengths, default=0))

    @classmethod
    def of(
        cls,
        cu_seqlens: Tensor,
        lengths: Sequence[int] | None = None,
        device: torch.device | None = None,
    ) -> Packing:
        """Make one.

        Parameters
        ----------
        cu_seqlens : Tensor of int32, shape (B + 1,)
            Starts and total, on any device.
        lengths : sequence of int, optional
            The lengths; without them `cu_seqlens` is read, which waits for CUDA if it lies there.
        device : torch.device, optional
            Device of the batch, if `cu_seqlens` is elsewhere.

        Raises
        ------
        UsageError
            `cu_seqlens` does not start at 0, falls, or disagrees with `lengths`.
        """
        if lengths is None:
            starts = cu_seqlens.tolist()
            if not starts or starts[0] != 0:
                raise UsageError("cu_seqlens must start with 0")
            lengths = [end - start for start, end in zip(starts, starts[1:], strict=False)]
        if cu_seqlens.ndim != 1 or len(lengths) != cu_seqlens.shape[0] - 1:
            raise UsageError(
                f"{len(lengths)} lengths for cu_seqlens of shape {tuple(cu_seqlens.shape)}"
            )
        if min(lengths, default=0) < 0:
            raise UsageError("cu_seqlens must not fall")
        return cls(cu_seqlens.to(device=device, dtype=torch.int32), tuple(lengths))

    def sequence_ids(self) -> Tensor:
        """Index of the sequence that each token belongs to, int64 [T]."""
        sizes = self.cu_seqlens.diff().long()
        ids = torch.arange(len(self.lengths), device=sizes.device)
        return ids.repeat_interleave(sizes, output_size=self.total)

    def positions(self) -> Tensor:
        """Position of each token in its own sequence, int64 [T]."""
        starts = self.cu_seqlens[:-1].long()[self.sequence_ids()]
        return torch.arange(self.total, device=starts.device) - starts

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Runs of neighbouring sequences of equal length: (first token, count, length)."""
        start = 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            if length:
                yield start, count, length
            start += count * length


def choose_backend(q: Tensor, dropout_p: float = 0.0) -> Backend:
    """Fastest back-end that computes exactly what is asked on this tensor's device and dtype."""
    half = q.dtype in (torch.bfloat16, torch.float16)
    return "varlen" if q.is_cuda and half and dropout_p == 0.0 else "grouped"


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor | Packing,
    *,
    backend: Backend | None = None,
    dropout_p: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention inside each sequence of a packed batch.

    Parameters
    ----------
    q, k, v : Tensor, shape (T, heads, head_dim)
        The last dimension must be dense; the others may be strided views.
    cu_seqlens : Tensor of int32, shape (B + 1,), or Packing
        A `Packing` made once serves all layers and spares re-reading the lengths.
    backend : {"varlen", "grouped", "naive"}, optional
        `choose_backend` decides by default.
    dropout_p : float
        Dropout on the attention weights.

    Returns
    -------
    Tensor, shape (T, heads, head_dim)
        In the dtype of `v`.

    Raises
    ------
    UsageError
        Lengths that do not add up to T, an unknown back-end, or dropout with "varlen".

    Examples
    --------
    >>> q, k, v = torch.randn(3, 5, 2, 8).unbind(0)
    >>> starts = torch.tensor([0, 3, 5], dtype=torch.int32)
    >>> grouped = attention(q, k, v, starts)
    >>> torch.allclose(grouped, attention(q, k, v, starts, backend="naive"), atol=1e-6)
    True
    """
    packing = cu_seqlens if isinstance(cu_seqlens, Packing) else Packing.of(cu_seqlens)
    if packing.total != q.shape[0]:
        raise UsageError(f"lengths add up to {packing.total}, the batch has {q.shape[0]} tokens")
    if backend is None:
        backend = choose_backend(q, dropout_p)
    if backend == "varlen":
        return _varlen(q, k, v, packing, dropout_p)
    if backend == "grouped":
        return _grouped(q, k, v, packing, dropout_p)
    if backend == "naive":
        return attention_with_weights(q, k, v, packing, dropout_p=dropout_p)[0]
    raise UsageError(f"unknown attention back-end {backend!r} (known: {get_args(Backend)})")


def attention_with_weights(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor | Packing, *, dropout_p: float = 0.0
) -> tuple[Tensor, list[Tensor]]:
    """The naive back-end, with the weights (before dropout): one (heads, L, L) per sequence."""
    packing = cu_seqlens if isinstance(cu_seqlens, Packing) else Packing.of(cu_seqlens)
    outputs, weights = [], []
    lengths = list(packing.lengths)
    for qs, ks, vs in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
        scores = torch.einsum("ihd,jhd->hij", qs, ks) * q.shape[-1] ** -0.5
        weight = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        weight = weight.to(v.dtype)
        dropped = F.dropout(weight, dropout_p) if dropout_p else weight
        outputs.append(torch.einsum("hij,jhd->ihd", dropped, vs))
        weights.append(weight)
    return torch.cat(outputs) if outputs else torch.empty_like(v), weights


def _grouped(q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout_p: float) -> Tensor:
    runs = list(packing.runs())
    # With gradients in bfloat16, torch's kernel for CPUs takes twice the time of plain products.
    plain = q.dtype == torch.bfloat16 and not q.is_cuda and q.requires_grad and not dropout_p
    plain = plain and packing.longest <= _PLAIN
    sizes = [count * length for _, count, length in runs]
    outputs = []
    # One split of each tensor, not a slice a run: the gradient of a slice is a tensor of full size.
    parts = zip(q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    for (_, count, length), run in zip(runs, parts if runs else (), strict=True):
        # (count, heads, length, head_dim) views of the packed tensors: nothing is copied.
        views = [x.unflatten(0, (count, length)).transpose(1, 2) for x in run]
        if plain:
            scores = (views[0] * q.shape[-1] ** -0.5) @ views[1].transpose(2, 3)
            out = scores.softmax(dim=-1).to(v.dtype) @ views[2]
        else:
            out = F.scaled_dot_product_attention(*views, dropout_p=dropout_p)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    if len(outputs) == 1:
        return outputs[0]
    return torch.cat(outputs) if outputs else torch.empty_like(v)


def _varlen(q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout_p: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # absent from CPU-only torch before 2.10

    if dropout_p:
        raise UsageError(
            "the varlen kernel has no attention dropout: set attention_dropout to 0 in the "
            "configuration, or take the grouped back-end"
        )
    starts = packing.cu_seqlens
    return varlen_attn(q, k, v, starts, starts, packing.longest, packing.longest)


def corrected_attention(weights: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Symmetric attention of pairs, corrected for what their bases get from all others.

    With S = A + A^T: S_ij - S_i S_j / S, a missing index summed over (average product correction;
    Dunn, Wahl and Gloor 2008, Bioinformatics 24:333). Differentiable.

    Parameters
    ----------
    weights : Tensor, shape (H, L, L)
        Attention weights A of some heads.
    i, j : Tensor of int64, shape (P,)
        Pairs.

    Returns
    -------
    Tensor of float32, shape (P, H)

    Examples
    --------
    >>> even = corrected_attention(torch.ones(3, 6, 6), torch.tensor([0, 1]), torch.tensor([5, 4]))
    >>> even.shape, float(even.abs().max())
    (torch.Size([2, 3]), 0.0)
    """
    both = weights.float() + weights.float().transpose(1, 2)
    rows = both.sum(-1)
    total = rows.sum(-1).clamp_min(1e-20)
    return (both[:, i, j] - rows[:, i] * rows[:, j] / total[:, None]).T
