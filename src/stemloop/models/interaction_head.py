"""Whether two RNAs interact: convolutions over each, and attention from each to the other.

What a position of the first strand is to one of the second is a product of two windows. Attention
runs both ways; beside what is attended to, each position keeps its best product. The first strand's
positions are told apart, counted from its 5' end (a microRNA's seed is at 2-8); the second's are
not, for a site may lie anywhere.

Which nucleotides pair in the most stable duplex, and numbers of the whole pair, are optional.
In principle letters are enough (the count of complementary nucleotides in two windows is bilinear
in them); in training on some ten thousand pairs the network does not find that by itself.
Strands are padded to the longest of a batch; what is beyond an end is zero or masked, so results
depend on the rest of the batch by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import UsageError

#: Codes: 0 to 3 for A, C, G, U, 4 for any other letter, 5 beyond the end.
LETTERS, OTHER, BEYOND = "ACGU", 4, 5

_CODE = bytes(LETTERS.index(chr(b)) if chr(b) in LETTERS else OTHER for b in range(256))


@dataclass(frozen=True, kw_only=True)
class InteractionConfig:
    """Shape of the network.

    Parameters
    ----------
    channels, heads : int
        Width, and heads of attention, which divide it.
    kernel : int
        Nucleotides of a window, odd.
    hidden : int
        Units behind the pools.
    numbers : int
        Numbers of a pair as a whole that are read (0: none).
    paired : bool
        Read which nucleotides pair in the most stable duplex.
    longest_first : int
        Positions of the first strand that are told apart; those behind share one.
    dropout : float
        In training.

    Raises
    ------
    UsageError
        Sizes that cannot be.
    """

    channels: int = 48
    heads: int = 4
    kernel: int = 7
    hidden: int = 64
    numbers: int = 0
    paired: bool = True
    longest_first: int = 30
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.channels % self.heads or self.kernel % 2 == 0:
            raise UsageError("heads must divide the channels, and kernels must be odd")

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """Pairs as the network reads them.

    Parameters
    ----------
    first, second : Tensor of int64, shape (B, L1) and (B, L2)
        Codes, padded with `BEYOND`.
    paired_first, paired_second : Tensor of float32, the same shapes
        1 where a nucleotide pairs in the duplex.
    numbers : Tensor of float32, shape (B, n)
        Numbers of each pair, standardised.
    """

    first: Tensor
    second: Tensor
    paired_first: Tensor
    paired_second: Tensor
    numbers: Tensor


def codes(sequence: str) -> npt.NDArray[np.uint8]:
    """Codes of a sequence; see `LETTERS`."""
    return np.frombuffer(sequence.encode("ascii").translate(_CODE), np.uint8)


def pad(rows: Sequence[npt.NDArray[Any]], fill: float, dtype: torch.dtype) -> Tensor:
    """Rows of different lengths as one tensor."""
    longest = max(map(len, rows))
    out = np.full((len(rows), longest), fill, np.float32)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return torch.from_numpy(out).to(dtype)


class Strand(nn.Module):
    """Letters of a strand to rows [B, L, c]; two convolutions, zeros beyond the ends."""

    def __init__(self, config: InteractionConfig, positions: int) -> None:
        super().__init__()
        self.positions = positions
        width = 5 + int(config.paired)
        reach = config.kernel // 2
        self.first = nn.Conv1d(width, config.channels, config.kernel, padding=reach)
        self.second = nn.Conv1d(config.channels, config.channels, 3, padding=1)
        self.norm = nn.LayerNorm(config.channels)
        if positions:
            self.place = nn.Parameter(torch.zeros(positions, config.channels))

    def forward(self, letters: Tensor, paired: Tensor) -> tuple[Tensor, Tensor]:
        """Rows, and a mask [B, L] of what is there."""
        there = letters != BEYOND
        x = F.one_hot(letters, 6)[..., :5].float()
        if self.first.in_channels > 5:
            x = torch.cat((x, paired[..., None]), dim=-1)
        x = self.first(x.transpose(1, 2))
        if self.positions:
            at = torch.arange(letters.shape[1], device=letters.device).clamp_max(self.positions - 1)
            x = x + self.place[at].T
        mask = there[:, None].to(x.dtype)
        x = F.gelu(x) * mask
        x = x + F.gelu(self.second(x)) * mask
        return self.norm(x.transpose(1, 2)) * mask.transpose(1, 2), there


class Exchange(nn.Module):
    """What one strand makes of the other, pooled over its positions, [B, 2 c]."""

    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        c = config.channels
        self.out = nn.Linear(c, c)
        self.mix = nn.Sequential(
            nn.LayerNorm(c + config.heads), nn.Linear(c + config.heads, c), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(c, c), nn.GELU(),
        )  # fmt: skip

    def forward(self, rows: Tensor, there: Tensor, scores: Tensor, values: Tensor) -> Tensor:
        """Rows [B, L, c], scores [B, h, L, M] (minus infinity beyond), values [B, h, M, c / h]."""
        found = scores.softmax(dim=-1) @ values
        context = self.out(found.transpose(1, 2).flatten(2))
        best = scores.amax(dim=-1).transpose(1, 2)
        x = self.mix(torch.cat((rows + context, best), dim=-1))
        mask = there[..., None]
        mean = (x * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.cat((mean, x.masked_fill(~mask, -torch.inf).amax(dim=1)), dim=1)


class InteractionHead(nn.Module):
    """Pairs of strands to a logit each.

    Parameters
    ----------
    config : InteractionConfig
        Shape.

    Examples
    --------
    >>> head = InteractionHead(InteractionConfig(channels=8, heads=2)).eval()
    >>> letters = pad([codes("ACGU"), codes("AC")], BEYOND, torch.int64)
    >>> nothing = torch.zeros(2, 4)
    >>> head(PairBatch(letters, letters, nothing, nothing, torch.zeros(2, 0))).shape
    torch.Size([2])
    """

    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.first = Strand(config, config.longest_first)
        self.second = Strand(config, 0)
        self.to_first, self.to_second = nn.Linear(c, 2 * c), nn.Linear(c, 2 * c)
        self.from_first, self.from_second = Exchange(config), Exchange(config)
        self.out = nn.Sequential(
            nn.Linear(4 * c + config.numbers, config.hidden), nn.GELU(),
            nn.Dropout(config.dropout), nn.Linear(config.hidden, 1),
        )  # fmt: skip

    def forward(self, batch: PairBatch) -> Tensor:
        """Logits (B,)."""
        a, there_a = self.first(batch.first, batch.paired_first)
        b, there_b = self.second(batch.second, batch.paired_second)
        heads = self.config.heads
        qa, va = (x.unflatten(-1, (heads, -1)).transpose(1, 2)
                  for x in self.to_first(a).chunk(2, dim=-1))  # fmt: skip
        qb, vb = (x.unflatten(-1, (heads, -1)).transpose(1, 2)
                  for x in self.to_second(b).chunk(2, dim=-1))  # fmt: skip
        scores = qa @ qb.transpose(2, 3) / qa.shape[-1] ** 0.5
        of_a = scores.masked_fill(~there_b[:, None, None], -torch.inf)
        of_b = scores.transpose(2, 3).masked_fill(~there_a[:, None, None], -torch.inf)
        pooled = (
            self.from_first(a, there_a, of_a, vb),
            self.from_second(b, there_b, of_b, va),
            batch.numbers,
        )
        return self.out(torch.cat(pooled, dim=1))[:, 0]
