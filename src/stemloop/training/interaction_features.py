"""What a network for interactions reads of a pair, beside its letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import SEEDS, seed_match
from stemloop.folding.thermo.strands import Duplex, duplex, opening_energy
from stemloop.models.interaction_input import BEYOND, PairBatch, States, codes, pad

Floats = npt.NDArray[np.float32]

#: Numbers of a pair: energy of the duplex, its pairs, and one for each kind of seed match.
NUMBERS = 2 + len(SEEDS)


@dataclass(frozen=True, slots=True, eq=False)
class PairInput:
    """A pair as a network reads it.

    Parameters
    ----------
    pair : Pair
        The strands.
    duplex : Duplex
        Their most stable duplex.
    seed : str
        Kind of seed match, see `stemloop.data.mirna_sites.SEEDS`.
    """

    pair: Pair
    duplex: Duplex
    seed: str

    @classmethod
    def of(cls, pair: Pair) -> PairInput:
        """Fold a pair."""
        return cls(pair, duplex(pair.first, pair.second), seed_match(pair.first, pair.second)[0])

    @property
    def numbers(self) -> Floats:
        """Numbers of the pair, shape (NUMBERS,)."""
        pairs = self.duplex.dot_bracket.count("(")
        kinds = [float(self.seed == kind) for kind in SEEDS]
        return np.array([self.duplex.energy, pairs, *kinds], np.float32)

    def opening_energy(self) -> float:
        """What it costs to keep both stretches of the duplex unpaired, kcal/mol."""
        return sum(
            opening_energy(strand, start, stop)
            for strand, (start, stop) in (
                (self.pair.first, self.duplex.first),
                (self.pair.second, self.duplex.second),
            )
            if stop > start
        )

    def paired(self) -> tuple[Floats, Floats]:
        """1 where a nucleotide pairs, of the first and of the second strand."""
        result = []
        texts = self.duplex.dot_bracket.split("&")
        for strand, (start, stop), text in zip(
            (self.pair.first, self.pair.second),
            (self.duplex.first, self.duplex.second), texts, strict=True,
        ):  # fmt: skip
            row = np.zeros(len(strand), np.float32)
            row[start:stop] = [letter != "." for letter in text]
            result.append(row)
        return result[0], result[1]


def make_batch(
    items: Sequence[PairInput],
    centre: Sequence[float],
    scale: Sequence[float],
    states: States | None = None,
) -> PairBatch:
    """Pairs as tensors; their numbers minus `centre`, over `scale`; states where there are some."""
    paired = [item.paired() for item in items]
    numbers = np.zeros((len(items), 0), np.float32)
    if len(centre):
        numbers = np.stack([item.numbers for item in items])
        numbers = (numbers - np.array(centre, np.float32)) / np.array(scale, np.float32)
    rows = [
        pad_sequence([states(strand) for strand in strands], batch_first=True) if states else None
        for strands in zip(*((item.pair.first, item.pair.second) for item in items), strict=True)
    ]
    return PairBatch(
        pad([codes(item.pair.first) for item in items], BEYOND, torch.int64),
        pad([codes(item.pair.second) for item in items], BEYOND, torch.int64),
        pad([a for a, _ in paired], 0, torch.float32),
        pad([b for _, b in paired], 0, torch.float32),
        torch.from_numpy(numbers),
        *rows,
    )
