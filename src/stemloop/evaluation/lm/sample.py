"""The RNAs of an evaluation and the positions that are hidden from every method alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.data.masking import base_positions
from stemloop.data.sampling import crop, draw_members
from stemloop.errors import InputError

if TYPE_CHECKING:
    from stemloop.data.corpus import Corpus

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

#: What is guessed; the place is the code.
NUCLEOTIDES = "ACGU"
#: Code of every other letter, of what lies outside a sequence, and of a hidden nucleotide.
UNKNOWN = 4

#: Unknown codes around the sequences of a block: as many as the baselines look to a side.
MARGIN = 5

#: RNAs shorter than this are left out.
SHORTEST = 10

_CODE = bytes(NUCLEOTIDES.index(chr(b)) if chr(b) in NUCLEOTIDES else UNKNOWN for b in range(256))


def encode(sequence: str) -> Codes:
    """Codes of a sequence: 0 to 3 for A, C, G, U, 4 for any other letter.

    Examples
    --------
    >>> encode("GAUN").tolist()
    [2, 0, 3, 4]
    """
    return np.frombuffer(bytearray(sequence, "ascii").translate(_CODE), np.uint8)


@dataclass(frozen=True, eq=False)
class Rnas:
    """RNAs drawn from a split of the corpus.

    Parameters
    ----------
    sequences : tuple of str
        Cropped to the window.
    types : tuple of str
        RNA type, "" where unknown.
    families : tuple of str
        Rfam accession, "" where unknown.
    units : tuple of str
        What the RNA is resampled with: its cluster, or its family.
    """

    sequences: tuple[str, ...]
    types: tuple[str, ...]
    families: tuple[str, ...]
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: Sequence[int] | Ints) -> Rnas:
        """Pick RNAs by number."""
        columns = (self.sequences, self.types, self.families, self.units)
        return Rnas(*(tuple(column[k] for k in rows) for column in columns))


def draw(
    corpus: Corpus,
    size: int,
    *,
    window: int,
    seed: int,
    by: str = "type",
    known: str | None = None,
) -> Rnas:
    """Draw at most one RNA of a cluster, types or families sharing as equally as they can.

    Parameters
    ----------
    corpus : Corpus
        The split to draw from.
    size : int
        Most RNAs.
    window : int
        Longer sequences are cropped to so many nucleotides at a random place.
    seed : int
        Of the draw and the crops.
    by : {"type", "family", "cluster"}
        What takes turns. RNAs drawn by family are resampled by family: one without a family has
        that of its cluster. Drawn by cluster, types are as frequent as they are in the corpus.
    known : {"type", "family"}, optional
        Leave out RNAs of which this is not known.

    Raises
    ------
    InputError
        The split has no such RNA.
    """
    rows = draw_members(corpus, seed, epoch=0)
    rows = rows[corpus.lengths[rows] >= SHORTEST]
    if known is not None:
        rows = rows[(corpus.types if known == "type" else corpus.families)[rows] >= 0]
    clusters = corpus.clusters[rows]
    names = np.array([*corpus.family_names, ""], dtype=object)
    units = [f"cluster {c}" for c in clusters.tolist()]
    groups = corpus.types[rows].astype(np.int64) if by == "type" else np.arange(len(rows))
    if by == "family":
        named = np.flatnonzero(corpus.families >= 0)
        of_cluster = dict(
            zip(corpus.clusters[named].tolist(), names[corpus.families[named]], strict=True)
        )
        units = [of_cluster.get(c, f"cluster {c}") for c in clusters.tolist()]
        groups = np.unique(np.array(units, dtype=str), return_inverse=True)[1]
    chosen = take_turns(groups, size)
    if not len(chosen):
        raise InputError(
            f"split {corpus.split!r} has no RNA to evaluate on", path=str(corpus.folder)
        )
    rng = np.random.default_rng(seed)
    sequences = []
    for row in rows[chosen].tolist():
        text = corpus.sequence(row)
        start, stop = crop(len(text), window, rng)
        sequences.append(text[start:stop])
    return Rnas(
        tuple(sequences),
        tuple(RNAERNIE_TYPES[c] if c >= 0 else "" for c in corpus.types[rows[chosen]].tolist()),
        tuple(names[corpus.families[rows[chosen]]].tolist()),
        tuple(units[k] for k in chosen.tolist()),
    )


def read_blocks(
    corpus: Corpus,
    rows: Iterable[int],
    *,
    window: int | None = None,
    seed: int = 0,
    size: int = 2048,
) -> Iterator[tuple[Codes, Ints]]:
    """Codes of many sequences end to end, a block of them at a time.

    Parameters
    ----------
    corpus : Corpus
        The split.
    rows : iterable of int
        Its rows, in the order to read.
    window : int, optional
        Crop longer sequences to so many nucleotides at a random place.
    seed : int
        Of the crops.
    size : int
        Sequences in a block.

    Yields
    ------
    codes : numpy.ndarray of uint8, shape (T,)
        The sequences, with `MARGIN` unknown codes before, between and after.
    owner : numpy.ndarray of int64, shape (T,)
        Row that each code is of; those between two sequences are of the one before.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))
    gap = "-" * MARGIN
    for block in batched(rows, size):
        texts = [corpus.sequence(int(row)) for row in block]
        if window is not None:
            texts = [text[slice(*crop(len(text), window, rng))] for text in texts]
        sizes = np.array([len(text) + MARGIN for text in texts])
        sizes[0] += MARGIN
        yield encode(gap + gap.join(texts) + gap), np.repeat(np.asarray(block, np.int64), sizes)


def batched(rows: Iterable[int], size: int) -> Iterator[list[int]]:
    """Lists of up to `size` numbers."""
    iterator = iter(rows)
    while block := list(islice(iterator, size)):
        yield block


def take_turns(groups: npt.ArrayLike, size: int) -> Ints:
    """Places of the first `size` items when the groups take turns, each in the given order.

    Examples
    --------
    >>> take_turns([7, 7, 7, 7, 1, 3, 3], 5).tolist()
    [0, 4, 5, 1, 6]
    """
    labels = np.asarray(groups)
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return np.argsort(rank, kind="stable")[:size]


@dataclass(frozen=True, eq=False)
class Hidden:
    """Positions that are hidden, in sequences that are otherwise shown.

    Parameters
    ----------
    sequences : tuple of str
        One an item.
    positions : tuple of numpy.ndarray of int64
        From 0; all positions of an item are hidden at once.
    rnas : numpy.ndarray of int64, shape (items,)
        Which RNA of the sample an item is of.
    """

    sequences: tuple[str, ...]
    positions: tuple[Ints, ...]
    rnas: Ints

    @cached_property
    def targets(self) -> Codes:
        """Codes of the hidden nucleotides, items one after the other."""
        parts = [encode(s)[p] for s, p in zip(self.sequences, self.positions, strict=True)]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    @cached_property
    def target_rnas(self) -> Ints:
        """Which RNA of the sample each hidden nucleotide is of."""
        return np.repeat(self.rnas, [len(p) for p in self.positions])

    def codes(self) -> tuple[Codes, Ints]:
        """All sequences end to end, `MARGIN` unknown codes around each, the hidden ones unknown.

        Returns
        -------
        codes : numpy.ndarray of uint8
            The sequences.
        at : numpy.ndarray of int64
            Where the hidden nucleotides stand in them.
        """
        gap = np.full(MARGIN, UNKNOWN, np.uint8)
        parts, places, start = [gap], [], MARGIN
        for sequence, positions in zip(self.sequences, self.positions, strict=True):
            codes = encode(sequence).copy()
            codes[positions] = UNKNOWN
            parts += [codes, gap]
            places.append(start + positions)
            start += len(codes) + MARGIN
        return np.concatenate(parts), np.concatenate(places)


def hide_some(rnas: Rnas, *, ratio: float = 0.15, seed: int) -> Hidden:
    """Hide a random part of each RNA at once, as in training.

    Only A, C, G and U are hidden; at least one in an RNA that has any.
    """
    items = []
    for k, sequence in enumerate(rnas.sequences):
        codes = encode(sequence)
        rng = np.random.default_rng(np.random.SeedSequence((seed, k)))
        budget = max(1, round(ratio * len(codes)))
        items.append((k, base_positions(codes, budget, rng, free=codes < UNKNOWN)))
    return _hidden(rnas, items)


def hide_single(rnas: Rnas, *, positions: int, seed: int) -> Hidden:
    """Hide one nucleotide at a time, at up to `positions` random places of each RNA."""
    items = []
    for k, sequence in enumerate(rnas.sequences):
        known = np.flatnonzero(encode(sequence) < UNKNOWN)
        rng = np.random.default_rng(np.random.SeedSequence((seed, k)))
        for place in np.sort(rng.choice(known, min(positions, len(known)), replace=False)):
            items.append((k, np.array([place])))
    return _hidden(rnas, items)


def _hidden(rnas: Rnas, items: list[tuple[int, Ints]]) -> Hidden:
    items = [(k, places) for k, places in items if len(places)]
    return Hidden(
        tuple(rnas.sequences[k] for k, _ in items),
        tuple(places for _, places in items),
        np.array([k for k, _ in items], np.int64),
    )
