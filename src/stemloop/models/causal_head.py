"""A head that reads the nucleotides of a window one after the other, each by those before it.

For every class it says how probable each nucleotide is after those before it; the sum of the
logarithms, and the class's share of the training set, is the class's output. The softmax over the
outputs is Bayes' rule, as with a weight array model, whose nucleotides know only their neighbour.
Every nucleotide of a window teaches the network, where a network that only tells classes apart
learns from one answer a window.

The context comes from dilated convolutions to the left (van den Oord et al. 2016, WaveNet,
arXiv:1609.03499), which all positions share; a layer with weights for each position reads it for
all classes. What a class alone has is a map from that layer to the four letters and, for each
position, how common they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

#: The distance between what a block's convolution reads doubles from block to block, then again.
DILATIONS = (1, 2, 4, 8)


class LeftBlock(nn.Module):
    """A convolution over the columns before, and a linear map, added to the input."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        self.second = nn.Conv1d(channels, channels, 1)
        self.reach = (kernel - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        """Columns [B, c, L] to columns; none reads those behind it."""
        return x + self.second(F.gelu(self.first(F.pad(x, (self.reach, 0)))))


class CausalWindow(nn.Module):
    """Letters of windows to the log-probability of window and class together.

    Parameters
    ----------
    window : int
        Nucleotides.
    outputs : int
        Classes.
    channels, blocks, kernel : int
        Of the convolutions.
    hidden : int
        Units at each position behind them.
    dropout : float
        Of the units at each position.

    Examples
    --------
    >>> head = CausalWindow(6, 2, channels=8, blocks=2, kernel=3, hidden=4, dropout=0.0)
    >>> letters = torch.eye(4)[torch.randint(0, 4, (3, 6))]
    >>> head(letters).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        window: int,
        outputs: int,
        *,
        channels: int,
        blocks: int,
        kernel: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, channels, 1)
        self.position = nn.Parameter(torch.zeros(channels, window))
        self.blocks = nn.ModuleList(
            LeftBlock(channels, kernel, DILATIONS[k % len(DILATIONS)]) for k in range(blocks)
        )
        self.norm = nn.LayerNorm(channels)
        self.weight = nn.Parameter(torch.randn(window, channels, hidden) * channels**-0.5)
        self.weight_bias = nn.Parameter(torch.zeros(window, 1, hidden))
        # Four letters of each class, the classes side by side.
        self.letters = nn.Linear(hidden, 4 * outputs, bias=False)
        self.common = nn.Parameter(torch.zeros(window, 1, 4 * outputs))
        self.drop = nn.Dropout(dropout)
        self.share = nn.Parameter(torch.zeros(outputs))

    def forward(self, letters: Tensor) -> Tensor:
        """Shares of the four letters [B, L, 4] to outputs [B, classes]."""
        before = F.pad(letters, (0, 0, 1, 0))[:, :-1].transpose(1, 2)
        x = self.first(before) + self.position
        for block in self.blocks:
            x = block(x)
        y = torch.bmm(self.norm(x.permute(2, 0, 1)), self.weight) + self.weight_bias
        y = self.drop(F.gelu(y))
        each = (self.letters(y).float() + self.common).unflatten(2, (4, -1)).log_softmax(dim=2)
        found = (each * letters.transpose(0, 1).unsqueeze(3)).sum(dim=(0, 2))
        return found + self.share.log_softmax(dim=0)
