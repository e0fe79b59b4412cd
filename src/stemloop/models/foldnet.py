"""The network of the thermodynamic CRF: sequence in, pair and base energies out.

What is peculiar about it:

- It speaks kcal/mol. Its outputs are corrections u_ij (canonical pairs at least 4 apart) and v_i
  (unpaired bases) to nearest-neighbour energies, see ``folding.thermo``.
- Its output layers start at zero, so an untrained network is exactly RNAfold.
- It sees about 8 nt to each side of a base (three convolutions), the nearest-neighbour context of
  a pair (pair, inner pair, outer pair, four flanking bases), and the helix a pair lies in
  (convolutions along the antidiagonal of the pair map). It has no view of the whole RNA: the
  partition function supplies that.
- It is blind to long distances on purpose. Distances j - i are told apart up to 20 only: with finer
  bins the network learned, from short training RNAs, that distant pairs are rare, and took the
  long helices of 300-nt RNAs apart.
- It may be given evidence from elsewhere: a language model's states of the bases and maps of the
  pairs. Evidence enters through layers that start at zero too, so a network that was trained
  without is where one with evidence begins.
- One RNA at a time: there is no padding and no batch that a result could depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from stemloop.pairs import MIN_DISTANCE

# A, C, G, U -> 0..3, everything else (N, IUPAC codes, gaps) -> 4, which pairs with nothing.
_CODE = np.full(256, 4, dtype=np.uint8)
for _i, _letters in enumerate(("Aa", "Cc", "Gg", "UuTt")):
    for _letter in _letters:
        _CODE[ord(_letter)] = _i

# Pair types: 0 none, then AU, CG, GC, GU, UA, UG.
_PAIR_TYPE = np.zeros((5, 5), dtype=np.uint8)
for _i, (_a, _b) in enumerate(((0, 3), (1, 2), (2, 1), (2, 3), (3, 0), (3, 2)), 1):
    _PAIR_TYPE[_a, _b] = _i

# Pairs of a block, see `_in_blocks`.
_BLOCK = 4096

_DISTANCE_EDGES = (5, 6, 7, 9, 13, 20)


@dataclass(frozen=True)
class FoldNetConfig:
    """Sizes of a `FoldNet`.

    Parameters
    ----------
    channels : int
        Width of the convolutions over the sequence.
    hidden : int
        Width of the pair representation.
    helix_layers : int
        Convolutions along the helix.
    dropout : float
        On both representations, in training.
    states, maps : int
        Numbers a base and numbers a pair of the evidence; 0 without.
    """

    channels: int = 48
    hidden: int = 64
    helix_layers: int = 1
    dropout: float = 0.1
    states: int = 0
    maps: int = 0


@dataclass(frozen=True)
class Evidence:
    """What is known of one RNA from elsewhere.

    Parameters
    ----------
    states : Tensor, shape (L, d), optional
        Of the bases.
    maps : Tensor, shape (P, m), optional
        Of the pairs of `pair_features`.
    """

    states: Tensor | None = None
    maps: Tensor | None = None


@dataclass(frozen=True)
class PairFeatures:
    """Integer features of one RNA; P canonical pairs on L bases.

    Parameters
    ----------
    code : numpy.ndarray of int64, shape (L,)
        Base codes 0..4.
    i, j : numpy.ndarray of int64, shape (P,)
        The pairs, row-major.
    table : numpy.ndarray of int64, shape (P, 8)
        Rows of the embedding table, one column a feature.
    helix : numpy.ndarray of int64, shape (P, 4)
        Rows of the pairs at (i-2, j+2), (i-1, j+1), (i+1, j-1), (i+2, j-2); P where there is none.
    """

    code: npt.NDArray[np.int64]
    i: npt.NDArray[np.int64]
    j: npt.NDArray[np.int64]
    table: npt.NDArray[np.int64]
    helix: npt.NDArray[np.int64]


# Sizes of the eight categorical features: pair, pair x inner, pair x outer, distance bin and the
# four flanking bases together with the pair they flank.
_SIZES = (7, 49, 49, 7, 35, 35, 35, 35)
_OFFSETS = np.concatenate([[0], np.cumsum(_SIZES)[:-1]])


def pair_features(sequence: str) -> PairFeatures:
    """List the canonical pairs of a sequence with their categorical features.

    Parameters
    ----------
    sequence : str
        L nucleotides; anything but ACGU/T pairs with nothing.

    Examples
    --------
    >>> f = pair_features("GGGAAACCC")
    >>> len(f.i), f.table.shape
    (9, (9, 8))
    """
    code = _CODE[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]
    length = len(code)
    kind = np.zeros((length + 4, length + 4), dtype=np.uint8)
    inner = kind[2:-2, 2:-2]
    inner[...] = _PAIR_TYPE[code[:, None], code[None, :]]
    inner[...] = np.triu(inner, MIN_DISTANCE)
    i, j = np.nonzero(inner)
    rank = np.full(kind.shape, len(i), dtype=np.int64)
    rank[i + 2, j + 2] = np.arange(len(i))
    flank = np.full(length + 2, 4, dtype=np.int64)
    flank[1:-1] = code
    this = inner[i, j].astype(np.int64)
    table = np.stack(
        [
            this,
            this * 7 + kind[i + 3, j + 1],
            this * 7 + kind[i + 1, j + 3],
            np.searchsorted(_DISTANCE_EDGES, j - i, side="right"),
            this * 5 + flank[i],
            this * 5 + flank[i + 2],
            this * 5 + flank[j],
            this * 5 + flank[j + 2],
        ],
        axis=1,
    )
    helix = np.stack([rank[i + 2 + k, j + 2 - k] for k in (-2, -1, 1, 2)], axis=1)
    return PairFeatures(code.astype(np.int64), i, j, table + _OFFSETS, helix)


class FoldNet(nn.Module):
    """Energies u (P,) of the canonical pairs and v (L,) of the unpaired bases, kcal/mol.

    Examples
    --------
    >>> net = FoldNet(FoldNetConfig())
    >>> u, v = net(pair_features("GGGAAACCC"))
    >>> tuple(u.shape), tuple(v.shape), bool(u.any())
    ((9,), (9,), False)
    """

    def __init__(self, config: FoldNetConfig = FoldNetConfig()) -> None:
        super().__init__()
        self.config = config
        c, h = config.channels, config.hidden
        self.convs = nn.ModuleList(
            [
                nn.Conv1d(5, c, 5, padding=2),
                nn.Conv1d(c, c, 5, padding=2),
                nn.Conv1d(c, c, 5, padding=4, dilation=2),
            ]
        )
        self.left = nn.Linear(c, h)
        self.right = nn.Linear(c, h, bias=False)
        self.table = nn.Embedding(sum(_SIZES), h)
        nn.init.normal_(self.table.weight, std=0.1)
        self.helix = nn.ModuleList([nn.Linear(4 * h, h) for _ in range(config.helix_layers)])
        self.residual = nn.Sequential(nn.Linear(h, h), nn.GELU(), nn.Linear(h, h))
        self.pair_out = nn.Linear(h, 1)
        self.base_out = nn.Linear(c, 1)
        silent = [self.pair_out, self.base_out]
        if config.states:
            self.norm = nn.LayerNorm(config.states)
            self.states = nn.Linear(config.states, c)
            silent.append(self.states)
        if config.maps:
            self.maps = nn.Linear(config.maps, h)
            silent.append(self.maps)
        for layer in silent:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, features: PairFeatures, evidence: Evidence | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return u (P,) and v (L,); evidence as the configuration has it."""
        code = torch.from_numpy(features.code)
        x = F.one_hot(code, 5).to(torch.float32).T[None]
        x = F.gelu(self.convs[0](x))
        if self.config.states:
            assert evidence is not None
            assert evidence.states is not None
            x = x + self.drop(self.states(self.norm(evidence.states))).T[None]
        for conv in self.convs[1:]:
            x = x + self.drop(F.gelu(conv(x)))
        base = x[0].T
        v = self.base_out(base).squeeze(1)

        i, j = torch.from_numpy(features.i), torch.from_numpy(features.j)
        table = torch.from_numpy(features.table)
        helix = torch.from_numpy(features.helix)
        left, right = self.left(base), self.right(base)
        maps = evidence.maps if evidence is not None and self.config.maps else None

        def embed(part: slice) -> Tensor:
            context = F.embedding_bag(table[part], self.table.weight, mode="sum")
            if maps is not None:
                context = context + self.maps(maps[part])
            return F.gelu(left[i[part]] + right[j[part]] + context)

        pair = _in_blocks(embed, len(i))
        for layer in self.helix:
            # Row P stands for a neighbour that is no pair.
            padded = torch.cat([pair, pair.new_zeros(1, pair.shape[1])])
            pair = _in_blocks(partial(self._along_helix, layer, padded, helix), len(i))
        return _in_blocks(lambda part: self._energy(pair[part]), len(i)), v

    def _along_helix(self, layer: nn.Module, padded: Tensor, helix: Tensor, part: slice) -> Tensor:
        neighbours = padded[helix[part]].flatten(1)
        return padded[:-1][part] + self.drop(F.gelu(layer(neighbours)))

    def _energy(self, pair: Tensor) -> Tensor:
        return self.pair_out(pair + self.drop(self.residual(pair))).squeeze(1)


def _in_blocks(function: Callable[[slice], Tensor], count: int) -> Tensor:
    """Apply a function to blocks of pairs: intermediate results stay in the processor's cache."""
    starts = range(0, max(count, 1), _BLOCK)
    return torch.cat([function(slice(start, start + _BLOCK)) for start in starts])
