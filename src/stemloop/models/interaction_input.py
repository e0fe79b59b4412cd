"""What networks for interactions read of two strands: letters, pairing, states of a language model.

Strands are padded to the longest of a batch. What is beyond an end is zero in all of it, so a
network whose convolutions add zeros cannot tell padding from the end of a strand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.alphabet import Alphabet
from stemloop.errors import InputError
from stemloop.models.build import Encoder

#: Codes: 0 to 3 for A, C, G, U, 4 for any other letter, 5 beyond the end.
LETTERS, OTHER, BEYOND = "ACGU", 4, 5

_CODE = bytes(LETTERS.index(chr(b)) if chr(b) in LETTERS else OTHER for b in range(256))

#: States (L, d) of a strand.
States = Callable[[str], Tensor]


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """What the shapes of all kinds of networks have.

    Parameters
    ----------
    channels : int
        Width.
    kernel : int
        Nucleotides of a window.
    hidden : int
        Units of the last layers.
    numbers : int
        Numbers of a pair as a whole that are read (0: none).
    paired : bool
        Read which nucleotides pair in the most stable duplex.
    states : int
        Width of a language model whose states are read (0: none).
    state_channels : int
        Numbers that are made of them at each position.
    longest_first : int
        Nucleotides of the longest first strand.
    dropout : float
        In training.
    """

    kind: ClassVar[str]

    channels: int = 48
    kernel: int = 7
    hidden: int = 64
    numbers: int = 0
    paired: bool = True
    states: int = 0
    state_channels: int = 32
    longest_first: int = 30
    dropout: float = 0.1

    @property
    def width(self) -> int:
        """Numbers of a position, as `StrandReader` gives them."""
        return 5 + int(self.paired) + (self.state_channels if self.states else 0)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind} | asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """Pairs as a network reads them.

    Parameters
    ----------
    first, second : Tensor of int64, shape (B, L1) and (B, L2)
        Codes, padded with `BEYOND`.
    paired_first, paired_second : Tensor of float32, the same shapes
        1 where a nucleotide pairs in the duplex.
    numbers : Tensor of float32, shape (B, n)
        Numbers of each pair, standardised.
    states_first, states_second : Tensor of float32, shape (B, L1, d) and (B, L2, d)
        States of a language model, for networks that read them.
    """

    first: Tensor
    second: Tensor
    paired_first: Tensor
    paired_second: Tensor
    numbers: Tensor
    states_first: Tensor | None = None
    states_second: Tensor | None = None


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


class StrandReader(nn.Module):
    """Strands to rows [B, L, width], zero beyond the ends, and a mask [B, L] of what is there."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.paired = config.paired
        self.states = None
        if config.states:
            self.states = nn.Sequential(
                nn.LayerNorm(config.states), nn.Linear(config.states, config.state_channels),
                nn.GELU(), nn.Dropout(config.dropout),
            )  # fmt: skip

    def forward(
        self, letters: Tensor, paired: Tensor, states: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Codes and pairing [B, L], and states [B, L, d] if the network reads them."""
        there = letters != BEYOND
        parts = [F.one_hot(letters, 6)[..., :5].float()]
        if self.paired:
            parts.append(paired[..., None])
        if self.states is not None:
            assert states is not None
            parts.append(self.states(states) * there[..., None])
        return torch.cat(parts, dim=-1), there


class StrandStates:
    """States of a frozen language model, of each strand by itself.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        The language model.
    alphabet : Alphabet
        Its letters.
    """

    #: Strands that the encoder takes at a time.
    TOGETHER = 64

    def __init__(self, encoder: Encoder, alphabet: Alphabet) -> None:
        self.encoder, self.alphabet = encoder.requires_grad_(False).eval(), alphabet

    @property
    def width(self) -> int:
        """Numbers of a nucleotide."""
        return int(self.encoder.config.hidden)

    def __call__(self, strands: Sequence[str]) -> list[Tensor]:
        """States (L, d) of strands.

        Raises
        ------
        InputError
            The encoder has no positions for so many nucleotides.
        """
        longest = self.encoder.config.longest
        for strand in strands:
            if longest is not None and len(strand) > longest - 2:
                raise InputError(
                    f"{len(strand)} nucleotides in a strand",
                    expected=f"at most {longest - 2} for this language model",
                )
        found: list[Tensor] = []
        with torch.inference_mode():
            for k in range(0, len(strands), self.TOGETHER):
                ids, starts = self.alphabet.encode_many(list(strands[k : k + self.TOGETHER]))
                out = self.encoder(torch.from_numpy(ids).long(), torch.from_numpy(starts))
                lengths = np.diff(starts).tolist()
                # Between CLS and EOS.
                found += [row[1:-1] for row in out.representation.float().split(lengths)]
        return found

    def lookup(self, strands: Sequence[str]) -> States:
        """States of these strands, each computed once."""
        # Equal lengths side by side share a call of attention.
        distinct = sorted(set(strands), key=lambda strand: (len(strand), strand))
        return dict(zip(distinct, self(distinct), strict=True)).__getitem__
