"""Batches of a token budget without padding, seeded, the same on every rank and after every stop.

`pack` groups samples so that the lengths of a group add up to nearly the budget. `Schedule` is the
endless sequence of such groups that a training run consumes: item 0, 1, 2, ... are the packs of
epoch 0, then those of epoch 1, and so on. Item i depends on the seed and on i alone, so a run that
resumes needs to know one number, and ranks and worker processes share the items out freely.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stemloop.alphabet import Alphabet
from stemloop.data.corpus import Corpus
from stemloop.data.sampling import PACKS, SAMPLE, crop, draw_members, stream
from stemloop.errors import UsageError

#: Packs that are filled together from one random pool of samples.
POOL = 64
#: How full packs are planned. The rest is what their contents may differ by.
FILL = 0.995


class MakeSample(Protocol):
    """What turns RNAs into training samples; `stemloop.data.masking.make_sample` makes one."""

    alphabet: Alphabet

    def __call__(
        self, ids: NDArray[np.uint8], type_index: int, rng: np.random.Generator, /
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Tokens and labels [n] of nucleotide ids [L] and an RNA type (-1: unknown)."""


@dataclass(frozen=True, slots=True, eq=False)
class Packs(Sequence[NDArray[np.int64]]):
    """Groups of sample numbers, one behind the other in one array.

    Parameters
    ----------
    samples : numpy.ndarray of int64, shape (N,)
        Sample numbers, every one once.
    starts, stops : numpy.ndarray of int64, shape (P,)
        Pack p is ``samples[starts[p]:stops[p]]``.
    """

    samples: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: int) -> NDArray[np.int64]:  # type: ignore[override]
        return self.samples[self.starts[place] : self.stops[place]]


def pack(
    lengths: NDArray[np.integer[Any]], budget: int, seed: int = 0, epoch: int = 0, pool: int = POOL
) -> Packs:
    """Group samples into packs of at most `budget` tokens.

    All samples are shuffled and cut into pools of `pool` packs' worth of tokens. Within a pool the
    samples go, longest first, each into the emptiest pack (Graham 1969, longest processing time
    first). That fills all packs of the pool alike, and gives all of them a like mixture of short
    and long: best-fit would fill packs as well, but put the long RNAs into some and the short ones
    into others, and length tells much about the type. What is random: which samples meet in a
    pool, hence in a pack, and the order of the packs.

    Packs of Rfam seeds, lncRNAs and microRNAs come out 98.9 to 99.5 % full for budgets of 4096 to
    65536 tokens (next-fit: 94 to 99.7 %); 17 million samples take 8 CPU-seconds and, drawing them
    included, 0.5 GiB at peak (``benchmarks/packing.py``).

    Parameters
    ----------
    lengths : numpy.ndarray of int, shape (N,)
        Tokens of every sample, special tokens included.
    budget : int
        Most tokens of a pack.
    seed, epoch : int
        The same two numbers give the same packs.
    pool : int
        Packs filled together.

    Returns
    -------
    Packs
        A sequence of int64 arrays, in random order; the one that is not full comes last. Within
        a pack the lengths fall, so that equal ones are neighbours.

    Raises
    ------
    UsageError
        A sample has no tokens, or more than `budget`.

    Examples
    --------
    >>> lengths = np.tile([70, 30, 20], 5)
    >>> packs = pack(lengths, budget=200)
    >>> [lengths[p].tolist() for p in packs]
    [[70, 70, 20, 20], [70, 30, 30, 30], [70, 70, 20, 20], [30, 30, 20]]
    """
    if len(lengths) == 0:
        raise UsageError("no samples to pack")
    for place in (int(lengths.argmax()), int(lengths.argmin())):
        if not 1 <= lengths[place] <= budget:
            raise UsageError(
                f"sample {place} has {lengths[place]} tokens: packs hold 1 to {budget}"
            )
    rng = stream(seed, PACKS, epoch)
    order = rng.permutation(len(lengths))
    level = FILL * budget
    ends = np.cumsum(lengths[order], dtype=np.int64)
    marks = np.arange(pool * level, ends[-1], pool * level)
    cuts = np.unique(np.searchsorted(ends, marks) + 1)
    cuts = cuts[cuts < len(order)]
    del ends  # As large as the corpus.
    counts = []
    for place, members in enumerate(np.split(order, cuts)):
        # A stable sort: equal lengths stay shuffled.
        members[:] = members[np.argsort(-lengths[members], kind="stable")]
        bins = _spread(lengths[members].tolist(), budget, level, last=place == len(cuts))
        members[:] = members[np.argsort(bins, kind="stable")]
        counts.append(np.bincount(bins))
    sizes = np.concatenate(counts)
    stops = np.cumsum(sizes)
    shuffled = np.r_[rng.permutation(len(sizes) - 1), len(sizes) - 1]
    shuffled = shuffled[sizes[shuffled] > 0]
    return Packs(order, (stops - sizes)[shuffled], stops[shuffled])


def _spread(lengths: list[int], budget: int, level: float, *, last: bool) -> NDArray[np.int64]:
    """Bin of every sample; `lengths` fall, and each goes into the emptiest bin so far.

    All bins come out alike, `level` tokens or less; in the last pool all but the last bin, which
    takes the rest. Where they do not fit like this, the level is lowered until they do: at the
    latest when every sample has a bin to itself.
    """
    tokens = sum(lengths)
    while True:
        # Pools are cut between samples: one sample too many is no reason for another bin.
        count = max(1, math.ceil((tokens - lengths[0]) / level))
        # Load and number of a bin in one integer, which heaps are fastest with.
        heap = list(range(count))
        if last:
            # As if it were filled already with what is missing from a whole number of bins.
            heap[-1] += count * min(budget, max(0, int(count * level) - tokens))
            heapify(heap)
        bins = []
        for length in lengths:
            load, place = divmod(heap[0], count)
            if load + length > budget:
                break
            bins.append(place)
            heapreplace(heap, heap[0] + length * count)
        else:
            return np.array(bins)
        spilt = sum(lengths[len(bins) :])
        level *= 1 - max(spilt / tokens, 1 - FILL)


def items_of_rank(items: int, rank: int, world: int, first: int = 0) -> range:
    """Items that one of several processes works on, of ``first, first + 1, ..., items - 1``.

    Every item is some rank's, and step k of all ranks together are `world` neighbouring items.
    Where `world` does not divide their number, the first ranks have one more.

    Examples
    --------
    >>> [list(items_of_rank(7, rank, 2)) for rank in (0, 1)]
    [[0, 2, 4, 6], [1, 3, 5]]
    """
    if not 0 <= rank < world:
        raise UsageError(f"rank {rank} of {world}")
    return range(first + rank, items, world)


def only_item(batch: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate function for data loaders: a batch is one item, which is a packed batch already."""
    [item] = batch
    return item


class Schedule:
    """The packs of all epochs in a row: a map-style data set for a `torch` data loader.

    Parameters
    ----------
    corpus : Corpus
        What epochs are drawn from (`stemloop.data.sampling.draw_members`).
    make_sample : callable
        ``make_sample(ids, type_index, rng) -> tokens, labels``: adds the special tokens to
        nucleotide ids uint8 [L] of ``make_sample.alphabet`` and masks some; labels are -100 where
        nothing is to be predicted. See `stemloop.data.masking.make_sample`.
    window : int
        Nucleotides; longer sequences are cropped, at another place in every epoch.
    budget : int
        Most tokens of an item. Where it is a small multiple of the window, choose the window so
        that whole windows with their special tokens fit: three of 1026 tokens fill 4096 to 75 %.
    items : int
        Items of the run.
    seed : int
        With the item's number, all that its content depends on.
    caps : mapping of str to int, optional
        See `draw_members`.
    specials : (int, int)
        Most tokens that `make_sample` adds to an RNA of unknown and of known type: start and end,
        and ``[IND] TYPE``. ``(2, 2)`` for alphabets without types.

    Notes
    -----
    Each sample has random numbers of its own, from (seed, epoch, row): what it looks like does not
    depend on the pack, rank or worker process it comes from. Epochs are planned when they are
    reached; the plans of two are kept (8 bytes a sequence each). Starting at an item of a later
    epoch plans those before it as well, to count their packs: call ``locate(first)`` before worker
    processes are forked, so that this is done once.

    Examples
    --------
    For a training run ``DataLoader(schedule, batch_size=1, collate_fn=only_item, num_workers=2)``.

    >>> from types import SimpleNamespace
    >>> from stemloop.alphabet import STEMLOOP
    >>> from stemloop.data.masking import MaskingOptions, make_sample
    >>> corpus = SimpleNamespace(
    ...     sequence=["GGUUACC", "ACGUACGUACGU", "GGGA"].__getitem__,
    ...     lengths=np.array([7, 12, 4]), types=np.array([-1, -1, 24]), clusters=np.arange(3),
    ...     sources=np.zeros(3, int), source_names=("by hand",),
    ... )
    >>> schedule = Schedule(
    ...     corpus, make_sample=make_sample(MaskingOptions(), STEMLOOP),
    ...     window=8, budget=20, items=1000, seed=0,
    ... )
    >>> [(schedule.locate(i), schedule[i]["lengths"]) for i in range(4)]
    [((0, 0), [10, 8]), ((0, 1), [9]), ((1, 0), [10, 8]), ((1, 1), [9])]
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        make_sample: MakeSample,
        window: int,
        budget: int,
        items: int,
        seed: int,
        caps: Mapping[str, int] | None = None,
        specials: tuple[int, int] = (2, 4),
    ) -> None:
        self.corpus, self.make_sample = corpus, make_sample
        self.window, self.budget, self.items, self.seed = window, budget, items, seed
        self.caps, self.specials = dict(caps or {}), specials
        if window < 1 or window + max(specials) > budget:
            raise UsageError(
                f"a window of {window} nucleotides with {max(specials)} special tokens "
                f"does not fit into a budget of {budget} tokens"
            )
        self._plans: dict[int, Packs] = {}
        self._counts: list[int] = []

    def __len__(self) -> int:
        return self.items

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(self.items))

    def plan(self, epoch: int) -> Packs:
        """Packs of corpus rows of an epoch."""
        if epoch not in self._plans:
            while len(self._plans) > 1:
                self._plans.pop(next(iter(self._plans)))
            rows = draw_members(self.corpus, self.seed, epoch, self.caps)
            if len(rows) == 0:
                raise UsageError("the caps leave nothing to train on")
            packs = pack(self._lengths(rows), self.budget, self.seed, epoch)
            self._plans[epoch] = Packs(rows[packs.samples], packs.starts, packs.stops)
        return self._plans[epoch]

    def _lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Most tokens of each sample, special ones included."""
        unknown, known = self.specials
        specials = np.where(self.corpus.types[rows] < 0, unknown, known)
        return np.minimum(self.corpus.lengths[rows], self.window) + specials

    def locate(self, item: int) -> tuple[int, int]:
        """Epoch that an item belongs to, and its number there."""
        epoch, first = 0, 0
        while True:
            if epoch == len(self._counts):
                self._counts.append(len(self.plan(epoch)))
            if item < first + self._counts[epoch]:
                return epoch, item - first
            first += self._counts[epoch]
            epoch += 1

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One packed batch.

        Returns
        -------
        dict
            ``tokens`` int64 [T]; ``labels`` int64 [T], -100 where there is no target;
            ``cu_seqlens`` int32 [B + 1], where sequences start; ``lengths``, a list of B int.

        Raises
        ------
        IndexError
            The run has no such item.
        """
        import torch

        if not 0 <= item < self.items:
            raise IndexError(f"item {item} of {self.items}")
        epoch, place = self.locate(item)
        rows = self.plan(epoch)[place]
        samples = [
            self._sample(epoch, row, most)
            for row, most in zip(rows.tolist(), self._lengths(rows).tolist(), strict=True)
        ]
        lengths = [len(tokens) for tokens, _ in samples]
        tokens = np.concatenate([tokens for tokens, _ in samples], dtype=np.int64)
        labels = np.concatenate([labels for _, labels in samples], dtype=np.int64)
        return {
            "tokens": torch.from_numpy(tokens),
            "labels": torch.from_numpy(labels),
            "cu_seqlens": torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)),
            "lengths": lengths,
        }

    def _sample(self, epoch: int, row: int, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
        rng = stream(self.seed, SAMPLE, epoch, row)
        start, stop = crop(int(self.corpus.lengths[row]), self.window, rng)
        text = self.corpus.sequence(row)[start:stop]
        ids = self.make_sample.alphabet.encode(text, special=False)
        tokens, labels = self.make_sample(ids, int(self.corpus.types[row]), rng)
        if len(tokens) > most or len(tokens) != len(labels):
            raise ValueError(
                f"record {self.corpus.identifier(row)!r}: {len(tokens)} tokens and {len(labels)} "
                f"labels where {most} were planned"
            )
        return tokens, labels
