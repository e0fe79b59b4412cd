"""The nucleotides themselves in the place of an encoder: heads that learn from nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stemloop.alphabet import RINALMO
from stemloop.models.attention import Packing
from stemloop.models.rinalmo import EncoderOutput

#: Nucleotides that a letter may stand for; inosine pairs as G does, a gap is none.
MEANING = {
    "A": "A", "C": "C", "G": "G", "T": "T", "I": "G", "R": "AG", "Y": "CT", "K": "GT", "M": "AC",
    "S": "CG", "W": "AT", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


@dataclass(frozen=True)
class LettersConfig:
    """Its shape, in the words of an encoder's."""

    hidden: int = 4
    layers: int = 0
    max_length: int = 1 << 16
    longest: None = None


class Letters(nn.Module):
    """Four numbers a nucleotide, the shares of A, C, G and U in what its letter may stand for.

    It is called as an encoder is, for `RINALMO`'s ids; there is nothing in it to be trained.

    Examples
    --------
    >>> ids = torch.from_numpy(RINALMO.encode("CN").astype("int64"))
    >>> Letters()(ids, torch.tensor([0, 4])).representation.tolist()[1:3]
    [[0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.config = LettersConfig()
        rows = [[float(n in MEANING.get(token, "")) for n in "ACGT"] for token in RINALMO.tokens]
        table = torch.tensor(rows)
        shares = table / table.sum(dim=1, keepdim=True).clamp_min(1.0)
        self.register_buffer("table", shares, persistent=False)

    def forward(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor | Packing,
        *,
        lengths: Sequence[int] | None = None,
        hidden_layers: Collection[int] = (),
    ) -> EncoderOutput:
        """Tokens [T] to rows [T, 4]; layer 0 is the output."""
        rows = self.table[tokens]
        return EncoderOutput(rows, {0: rows} if 0 in hidden_layers else {})
