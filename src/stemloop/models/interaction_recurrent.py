"""Whether two RNAs interact: a convolution and an LSTM along both strands, one behind the other.

The network of RNAErnie's interaction task (Wang et al. 2024, Nature Machine Intelligence 6:548),
which reads letters and states of a language model, with these differences to its program:

- its LSTM runs over the convolution's filters, with the positions as features; here it runs along
  the positions, both ways, and the last state of either direction is what is read
- its padding is part of the input, in places that depend on the lengths; here a strand is followed
  by the other one, and each direction of the LSTM begins and ends where nucleotides do
- it convolves over both strands as if they were one; here no window reaches from one into the other
- its language model reads both strands as one sequence; here each by itself
- beside letters and states it can read the duplex, as `stemloop.models.interaction_head` does
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.models.interaction_input import NetConfig, PairBatch, StrandReader


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(NetConfig):
    """Shape of the network; see `NetConfig`.

    The published one has 320 channels, a kernel of 12, 32 recurrent and 16 hidden units.

    Parameters
    ----------
    recurrent : int
        Units of the LSTM in each direction.
    """

    kind: ClassVar[str] = "cnn-bilstm"

    recurrent: int = 32

    def build(self) -> RecurrentHead:
        """Network of this shape, untrained."""
        return RecurrentHead(self)


class RecurrentHead(nn.Module):
    """Pairs of strands to a logit each.

    Parameters
    ----------
    config : RecurrentConfig
        Shape.

    Examples
    --------
    >>> from stemloop.models.interaction_input import BEYOND, codes, pad
    >>> head = RecurrentHead(RecurrentConfig(channels=8, recurrent=4)).eval()
    >>> letters = pad([codes("ACGU"), codes("AC")], BEYOND, torch.int64)
    >>> nothing = torch.zeros(2, 4)
    >>> head(PairBatch(letters, letters, nothing, nothing, torch.zeros(2, 0))).shape
    torch.Size([2])
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.read = StrandReader(config)
        # One more number a position: which strand it belongs to.
        self.convolution = nn.Conv1d(config.width + 1, config.channels, config.kernel)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = nn.LSTM(
            config.channels, config.recurrent, batch_first=True, bidirectional=True
        )
        self.out = nn.Sequential(
            nn.Linear(2 * config.recurrent + config.numbers, config.hidden), nn.ReLU(),
            nn.Dropout(config.dropout), nn.Linear(config.hidden, 1),
        )  # fmt: skip

    def _convolve(
        self, letters: Tensor, paired: Tensor, states: Tensor | None, strand: int
    ) -> tuple[Tensor, Tensor]:
        """Rows [B, L / 2, c], the maximum of two positions each, and a mask of what is there."""
        x, there = self.read(letters, paired, states)
        x = torch.cat((x, strand * there[..., None].to(x.dtype)), dim=-1).transpose(1, 2)
        behind = self.config.kernel // 2
        x = self.convolution(F.pad(x, (self.config.kernel - 1 - behind, behind)))
        # Zero is the least that comes out of a ReLU: what is beyond never is the maximum.
        x = self.dropout(x.relu()) * there[:, None]
        return F.max_pool1d(x, 2, ceil_mode=True).transpose(1, 2), there[:, ::2]

    def forward(self, batch: PairBatch) -> Tensor:
        """Logits (B,)."""
        strands = (
            self._convolve(batch.first, batch.paired_first, batch.states_first, 0),
            self._convolve(batch.second, batch.paired_second, batch.states_second, 1),
        )
        x, there = (torch.cat(parts, dim=1) for parts in zip(*strands, strict=True))
        # The second strand begins where the first one ends, not where its padding does.
        order = (~there).byte().argsort(dim=1, stable=True)
        x = x.gather(1, order[..., None].expand_as(x))
        rows = nn.utils.rnn.pack_padded_sequence(
            x, there.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.recurrent(rows)
        state = self.dropout(last.transpose(0, 1).flatten(1))
        return self.out(torch.cat((state, batch.numbers), dim=1))[:, 0]
