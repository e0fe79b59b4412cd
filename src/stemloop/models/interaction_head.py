"""Whether two RNAs interact: convolutions over each, and attention from each to the other.

What a position of the first strand is to one of the second is a product of two windows. Attention
runs both ways; beside what is attended to, each position keeps its best product. The first strand's
positions are told apart, counted from its 5' end (a microRNA's seed is at 2-8); the second's are
not, for a site may lie anywhere.

Which nucleotides pair in the most stable duplex, numbers of the whole pair, and states of a
language model are optional.
In principle letters are enough (the count of complementary nucleotides in two windows is bilinear
in them); in training on some ten thousand pairs the network does not find that by itself.
Strands are padded to the longest of a batch; what is beyond an end is zero or masked, so results
depend on the rest of the batch by rounding alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.errors import UsageError
from stemloop.models.interaction_input import NetConfig, PairBatch, StrandReader


@dataclass(frozen=True, kw_only=True)
class InteractionConfig(NetConfig):
    """Shape of the network; see `NetConfig`.

    Positions of the first strand are told apart up to ``longest_first``; those behind share one.

    Parameters
    ----------
    heads : int
        Heads of attention, which divide the channels.

    Raises
    ------
    UsageError
        Sizes that cannot be, such as an even kernel.
    """

    kind: ClassVar[str] = "attention"

    heads: int = 4

    def __post_init__(self) -> None:
        if self.channels % self.heads or self.kernel % 2 == 0:
            raise UsageError("heads must divide the channels, and kernels must be odd")

    def build(self) -> InteractionHead:
        """Network of this shape, untrained."""
        return InteractionHead(self)


class Strand(nn.Module):
    """Letters of a strand to rows [B, L, c]; two convolutions, zeros beyond the ends."""

    def __init__(self, config: InteractionConfig, positions: int) -> None:
        super().__init__()
        self.positions = positions
        reach = config.kernel // 2
        self.read = StrandReader(config)
        self.first = nn.Conv1d(config.width, config.channels, config.kernel, padding=reach)
        self.second = nn.Conv1d(config.channels, config.channels, 3, padding=1)
        self.norm = nn.LayerNorm(config.channels)
        if positions:
            self.place = nn.Parameter(torch.zeros(positions, config.channels))

    def forward(
        self, letters: Tensor, paired: Tensor, states: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Rows, and a mask [B, L] of what is there."""
        x, there = self.read(letters, paired, states)
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
    >>> from stemloop.models.interaction_input import BEYOND, codes, pad
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
        a, there_a = self.first(batch.first, batch.paired_first, batch.states_first)
        b, there_b = self.second(batch.second, batch.paired_second, batch.states_second)
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
