"""Heads that say one thing of a whole sequence: a class, or a number.

============  =====================================================================================
kind          what it reads
============  =====================================================================================
pooled        one vector a sequence, put together of ``mean`` and ``max`` over the nucleotides, the
              rows of CLS (``cls``) and of the hidden RNA type (``type``); two linear layers
convolution   the rows of all nucleotides: residual convolutions, then the mean (the shape of
              RiNALMo's head for ribosome load, Penic et al. 2025)
frames        the same, then mean and maximum of each reading frame, counted from the 3' end, where
              a start codon follows (Karollus et al. 2021, PLoS Computational Biology 17:e1008982)
window        the rows of a window, each position with weights of its own behind the convolutions,
              if there are any: of sequences of one length (``exact``; splice sites), or of the
              nucleotides counted from the 3' end (``end``; leaders), zeros where there are none
causal        the letters of windows of one length, each by those before it: how probable a class
              makes the window (`stemloop.models.causal_head`; splice sites)
============  =====================================================================================

RiNALMo's convolutional head normalises over padded maps, so that its output depends on the padding.
Here the norm is over the channels of a position and rows of several sequences lie end to end, with
zeros where a sequence stops: no result depends on its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import UsageError
from stemloop.models.causal_head import CausalWindow

Kind = Literal["pooled", "convolution", "frames", "window", "causal"]
Pool = Literal["mean", "max", "cls", "type"]
Anchor = Literal["exact", "end"]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Shape of a head.

    Parameters
    ----------
    width : int
        Of the encoder.
    outputs : int
        Classes, or 1.
    kind : {"pooled", "convolution", "frames", "window", "causal"}
        See the top of this module.
    pools : tuple of str
        For ``pooled``.
    layers : tuple of int
        What of the encoder is read, side by side: -1 its output, 0 the embedding, k the stream
        after block k.
    hidden : int
        Units between the two linear layers.
    channels, blocks, kernel : int
        Of the convolutions; ``channels`` numbers a position, for all kinds but ``pooled``.
    window : int
        Nucleotides, for ``window`` and ``causal``.
    anchor : {"exact", "end"}
        What ``window`` reads: sequences of this length only, or the last so many nucleotides of
        any.
    dropout : float
        Before each linear layer but the first.
    members : int
        Heads of this shape that learn side by side; the output is the mean of theirs.

    Raises
    ------
    UsageError
        Sizes that cannot be.

    Examples
    --------
    >>> HeadConfig(width=128, outputs=13, pools=("mean", "type")).features
    256
    """

    width: int
    outputs: int
    kind: Kind = "pooled"
    pools: tuple[Pool, ...] = ("mean",)
    layers: tuple[int, ...] = (-1,)
    hidden: int = 128
    channels: int = 32
    blocks: int = 0
    kernel: int = 3
    window: int = 0
    anchor: Anchor = "exact"
    dropout: float = 0.1
    members: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or not set(self.pools) <= set(get_args(Pool)):
            raise UsageError(f"no such head: {self.kind} of {', '.join(self.pools)}")
        for what, values in (("pools", self.pools), ("layers", self.layers)):
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{what} must be named, each once")
        if self.anchor not in get_args(Anchor):
            raise UsageError(f"unknown anchor {self.anchor!r}")
        if self.kernel % 2 == 0:
            raise UsageError("kernel must be odd")
        if self.kind in ("window", "causal") and self.window < 1:
            raise UsageError(f"a {self.kind} head needs the length of its windows")

    @property
    def length(self) -> int | None:
        """Nucleotides that a sequence must have; None where any number will do."""
        exact = self.kind == "causal" or (self.kind == "window" and self.anchor == "exact")
        return self.window if exact else None

    @property
    def features(self) -> int:
        """Numbers in a row that the head gets."""
        each = len(self.pools) if self.kind == "pooled" else 1
        return self.width * len(self.layers) * each

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"pools": list(self.pools), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HeadConfig:
        """Inverse of `to_dict`."""
        sets = {name: tuple(values[name]) for name in ("pools", "layers")}
        return cls(**(values | sets))


class PackedConvolution(nn.Linear):
    """A convolution over rows of sequences; beyond the ends of each there are zeros."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(kernel * channels, channels)
        self.kernel = kernel

    def forward(self, x: Tensor, whose: Tensor | None) -> Tensor:  # type: ignore[override]
        """Rows to rows: [T, c], end to end, with the sequence of each [T]; or [B, L, c]."""
        reach, total = self.kernel // 2, len(x)
        if whose is None:
            weight = self.weight.unflatten(1, (self.kernel, -1)).transpose(1, 2)
            return F.conv1d(x.transpose(1, 2), weight, self.bias, padding=reach).transpose(1, 2)
        around = F.pad(x, (0, 0, reach, reach))
        owner = F.pad(whose, (reach, reach), value=-1)
        parts = [
            around[k : k + total] * (owner[k : k + total] == whose)[:, None]
            for k in range(self.kernel)
        ]
        return super().forward(torch.cat(parts, dim=1))


class ResidualBlock(nn.Module):
    """Two convolutions with norm and ELU, added to their input."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.first = PackedConvolution(channels, kernel)
        self.second = PackedConvolution(channels, kernel)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x: Tensor, whose: Tensor | None) -> Tensor:
        """Rows to rows; see `PackedConvolution`."""
        y = F.elu(self.norm1(self.first(x, whose)))
        return x + F.elu(self.norm2(self.second(y, whose)))


class SequenceHead(nn.Module):
    """Rows of the encoder to numbers of each sequence.

    Parameters
    ----------
    config : HeadConfig
        Shape.

    Examples
    --------
    >>> head = SequenceHead(HeadConfig(width=8, outputs=3, kind="convolution", blocks=1)).eval()
    >>> rows = torch.randn(7, 8)
    >>> both, alone = head(rows, [4, 3]), head(rows[4:], [3])
    >>> both.shape, torch.allclose(both[1:], alone, atol=1e-6)
    (torch.Size([2, 3]), True)
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        # What a frozen encoder gives is centred and scaled as in the training set; see `fit_scale`.
        self.register_buffer("centre", torch.zeros(config.features))
        self.register_buffer("scale", torch.ones(config.features))
        if config.members > 1:
            one = replace(config, members=1)
            self.members = nn.ModuleList(SequenceHead(one) for _ in range(config.members))
            return
        if config.kind == "causal":
            if config.features != 4:
                raise UsageError("a causal head reads nucleotides: it has no encoder")
            self.out = CausalWindow(
                config.window,
                config.outputs,
                channels=config.channels,
                blocks=config.blocks,
                kernel=config.kernel,
                hidden=config.hidden,
                dropout=config.dropout,
            )
            return
        drop = nn.Dropout(config.dropout)
        if config.kind != "pooled":
            self.linear_in = nn.Linear(config.features, config.channels)
            self.blocks = nn.ModuleList(
                ResidualBlock(config.channels, config.kernel) for _ in range(config.blocks)
            )
        if config.kind == "convolution":
            self.out = nn.Sequential(drop, nn.Linear(config.channels, config.outputs))
            return
        times = {"pooled": 1, "window": config.window, "frames": 6}[config.kind]
        size = times * (config.features if config.kind == "pooled" else config.channels)
        self.out = nn.Sequential(
            nn.LayerNorm(size),
            nn.Linear(size, config.hidden),
            nn.GELU(),
            drop,
            nn.Linear(config.hidden, config.outputs),
        )

    def fit_scale(self, rows: Tensor) -> None:
        """Centre and scale by these rows [N, features]."""
        self.centre.copy_(rows.mean(0))
        self.scale.copy_(rows.std(0, correction=0).clamp_min(1e-6))

    def forward(self, rows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Outputs of each sequence.

        Parameters
        ----------
        rows : Tensor, shape (sum of lengths, features)
            One a sequence for ``pooled``, one a nucleotide for the others.
        lengths : sequence of int
            Rows of each sequence.

        Returns
        -------
        Tensor, shape (B, outputs)
            In training mode, of a head with members, (members, B, outputs): each learns by itself.

        Raises
        ------
        UsageError
            A length that the head cannot read.
        """
        expected = 1 if self.config.kind == "pooled" else self.config.length
        for length in lengths:
            if expected is not None and length != expected:
                raise UsageError(f"{length} rows for a head that reads {expected}")
        x = (rows - self.centre) / self.scale
        if self.config.members > 1:
            each = torch.stack([member(x, lengths) for member in self.members])
            return each if self.training else each.mean(dim=0)
        if self.config.kind == "pooled":
            return self.out(x)
        if self.config.kind == "causal":
            return self.out(x.unflatten(0, (-1, self.config.window)))
        x = self.linear_in(x)
        if len(set(lengths)) == 1:
            x = x.unflatten(0, (-1, lengths[0]))
            for block in self.blocks:
                x = block(x, None)
            return self.out(self._pool(x))
        sizes = torch.tensor(lengths, device=x.device)
        whose = torch.arange(len(lengths), device=x.device).repeat_interleave(sizes)
        for block in self.blocks:
            x = block(x, whose)
        return self.out(torch.cat([self._pool(part[None]) for part in x.split(list(lengths))]))

    def _pool(self, x: Tensor) -> Tensor:
        """One vector a sequence from rows [B, L, c] of sequences of one length."""
        if self.config.kind == "convolution":
            return x.mean(dim=1)
        if self.config.kind == "window":
            size = self.config.window
            return F.pad(F.gelu(x[:, -size:]), (0, 0, max(size - x.shape[1], 0), 0)).flatten(1)
        found = []
        for frame in range(3):
            # The last nucleotide is one place before the start codon.
            part = x.flip(1)[:, frame::3]
            none = x.new_zeros(len(x), x.shape[2])
            found += [part.mean(dim=1), part.amax(dim=1)] if part.shape[1] else [none, none]
        return torch.cat(found, dim=1)
