"""A small network that guesses a nucleotide from its ten nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.evaluation.lm.sample import MARGIN, UNKNOWN, Codes, Hidden, Ints

Floats = npt.NDArray[np.float32]

#: Neighbours on a side.
REACH = MARGIN

_EMBEDDING, _CHANNELS = 32, 64
_LEARNING_RATE, _BATCH = 1e-3, 512


class NeighbourNet(nn.Module):
    """Embedding, two convolutions of width three, two dense layers.

    Parameters
    ----------
    width : int
        Of the dense layers.

    Examples
    --------
    >>> net = NeighbourNet(width_for(50_000))
    >>> 49_000 < sum(p.numel() for p in net.parameters()) < 51_000
    True
    >>> net(torch.zeros(7, 11, dtype=torch.int64)).shape
    torch.Size([7, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(UNKNOWN + 1, _EMBEDDING)
        self.first = nn.Conv1d(_EMBEDDING, _CHANNELS, 3)
        self.second = nn.Conv1d(_CHANNELS, _CHANNELS, 3)
        self.dense = nn.Sequential(
            nn.Linear(_CHANNELS * (2 * REACH - 3), width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, 4),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Codes [n, 11], the middle one unknown, to scores [n, 4]."""
        x = self.embedding(windows).transpose(1, 2)
        x = F.gelu(self.second(F.gelu(self.first(x))))
        return self.dense(x.flatten(1))


def width_for(parameters: int) -> int:
    """Width of the dense layers that gives about so many parameters (at least 8)."""
    b = _CHANNELS * (2 * REACH - 3) + 6
    # All parameters are fixed + b * width + width^2.
    fixed = sum(p.numel() for p in NeighbourNet(1).parameters()) - b - 1
    return max(8, round((math.sqrt(b * b + 4 * max(parameters - fixed, 0)) - b) / 2))


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourGuesser:
    """A trained `NeighbourNet`.

    Parameters
    ----------
    net : NeighbourNet
        In evaluation mode.
    tokens : int
        Nucleotides of the training sequences it has seen; 15 % of them were guessed.
    """

    net: NeighbourNet
    tokens: int

    @classmethod
    def fit(
        cls,
        blocks: Iterator[Codes],
        *,
        tokens: int,
        parameters: int,
        ratio: float = 0.15,
        seed: int,
    ) -> NeighbourGuesser:
        """Train on hidden nucleotides, as the language model was.

        Parameters
        ----------
        blocks : iterator of numpy.ndarray of uint8
            Codes of whole sequences with at least five unknown codes before, between and after.
        tokens : int
            Nucleotides to see.
        parameters : int
            Size of the network.
        ratio : float
            Part of the nucleotides that is hidden and guessed.
        seed : int
            Of the weights and of what is hidden.
        """
        rng = np.random.default_rng(np.random.SeedSequence((seed, REACH)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = NeighbourNet(width_for(parameters))
        optimiser = torch.optim.AdamW(net.parameters(), _LEARNING_RATE)
        seen = 0
        for block in blocks:
            known = np.flatnonzero(block < UNKNOWN)[: tokens - seen]
            at = rng.choice(known, round(ratio * len(known)), replace=False)
            codes = block.copy()
            codes[at] = UNKNOWN
            for begin in range(0, len(at), _BATCH):
                rows = at[begin : begin + _BATCH]
                done = (seen + len(known) * begin / max(len(at), 1)) / tokens
                for group in optimiser.param_groups:
                    # Half a cosine, after a warm-up over the first 2 %.
                    rate = min(done / 0.02, 1.0) * (1 + math.cos(math.pi * done)) / 2
                    group["lr"] = _LEARNING_RATE * rate
                loss = F.cross_entropy(
                    net(_windows(codes, rows)), torch.from_numpy(block[rows].astype(np.int64))
                )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            seen += len(known)
            if seen >= tokens:
                break
        return cls(net.requires_grad_(False).eval(), seen)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.net.parameters())

    def log_probabilities(self, hidden: Hidden) -> Floats:
        """Log-probabilities of A, C, G, U at the hidden positions, shape (sum of positions, 4)."""
        codes, at = hidden.codes()
        parts = [
            self.net(_windows(codes, at[k : k + 8 * _BATCH])).log_softmax(-1).numpy()
            for k in range(0, len(at), 8 * _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, 4), np.float32)


def _windows(codes: Codes, at: Ints) -> Tensor:
    """Neighbours of each position; the position itself is unknown in `codes`."""
    return torch.from_numpy(codes[at[:, None] + np.arange(-REACH, REACH + 1)].astype(np.int64))
