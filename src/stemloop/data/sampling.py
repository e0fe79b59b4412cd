"""What an epoch consists of: one member of every cluster, with caps; and random crops.

RiNALMo's corpus was clustered into 17 million clusters, "and each item of a batch is drawn from a
different cluster" (Penic et al. 2025, Methods). Everything here is a pure function of the seed and
the epoch: no state is kept between epochs, so none has to be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.errors import UsageError

#: What random numbers are for. Part of every seed, so that no two uses share a stream.
MEMBERS, PACKS, SAMPLE = 1, 2, 3


def stream(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of their own for every (seed, key).

    Raises
    ------
    UsageError
        The seed is negative or does not fit into 32 bits.

    Examples
    --------
    >>> a, b = stream(7, PACKS, 0), stream(7, PACKS, 1)
    >>> int(a.integers(10**6)) == int(b.integers(10**6))
    False
    """
    # SeedSequence joins the 32-bit words of its integers: a longer seed could run into the key.
    if not 0 <= seed < 2**32:
        raise UsageError(f"the seed must be 0 to {2**32 - 1}, not {seed}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, *key))))


class Labelled(Protocol):
    """The part of a `stemloop.data.corpus.Corpus` that sampling looks at."""

    @property
    def clusters(self) -> NDArray[np.int64]:
        """Cluster of every row, never falling."""

    @property
    def types(self) -> NDArray[np.int16]:
        """Index of every row's RNA type, -1 where unknown."""

    @property
    def sources(self) -> NDArray[np.int16]:
        """Index of every row's source."""

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources."""


def draw_members(
    corpus: Labelled, seed: int, epoch: int, caps: Mapping[str, int] | None = None
) -> NDArray[np.int64]:
    """Draw the rows of an epoch: one member of each cluster, in random order.

    Parameters
    ----------
    corpus : Corpus
        Rows sorted by cluster.
    seed, epoch : int
        The same two numbers give the same rows.
    caps : mapping of str to int, optional
        At most so many rows an epoch of a type (``type:rRNA``, ``type:unknown``) or of a source
        (``source:NAME``). Which ones is drawn anew in every epoch. Type and source are those of
        the member that was drawn. Where several caps concern a row it must pass them all; they
        are applied one after the other, types first, so a later one may leave an earlier one
        short of its number.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Row numbers.

    Raises
    ------
    UsageError
        A cap is negative, or names no type or source.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> corpus = SimpleNamespace(
    ...     clusters=np.array([0, 0, 0, 1, 2, 2, 5]),
    ...     types=np.array([16, 16, 16, 24, 24, 24, -1], np.int16),
    ...     sources=np.zeros(7, np.int16), source_names=("Rfam",),
    ... )
    >>> rows = draw_members(corpus, seed=1, epoch=0)
    >>> sorted(corpus.clusters[rows].tolist())
    [0, 1, 2, 5]
    >>> rows = draw_members(corpus, seed=1, epoch=0, caps={"type:tRNA": 1})
    >>> sorted(corpus.types[rows].tolist())
    [-1, 16, 24]
    """
    rng = stream(seed, MEMBERS, epoch)
    clusters = corpus.clusters
    starts = np.flatnonzero(np.r_[True, clusters[1:] != clusters[:-1]])
    sizes = np.diff(np.r_[starts, len(clusters)])
    rows: NDArray[np.int64] = starts + rng.integers(0, sizes)
    rng.shuffle(rows)
    # The order is random, so the first rows of a type are a random choice of them.
    for is_source, code, limit in sorted(_caps(caps or {}, corpus.source_names)):
        codes = corpus.sources if is_source else corpus.types
        surplus = np.flatnonzero(codes[rows] == code)[limit:]
        rows = np.delete(rows, surplus)
    return rows


def _caps(caps: Mapping[str, int], source_names: tuple[str, ...]) -> list[tuple[bool, int, int]]:
    """Caps as (is a source, its index, limit)."""
    types = {name: i for i, name in enumerate(RNAERNIE_TYPES)} | {"unknown": -1}
    sources = {name: i for i, name in enumerate(source_names)}
    result = []
    for key, limit in caps.items():
        kind, _, name = key.partition(":")
        known = {"type": types, "source": sources}.get(kind)
        if known is None or name not in known:
            names = ", ".join(f"{kind}:{x}" for x in known) if known else "type:... or source:..."
            raise UsageError(f"cap {key!r} names nothing in the corpus; known: {names}")
        if limit < 0:
            raise UsageError(f"cap {key!r} is negative: {limit}")
        result.append((kind == "source", known[name], limit))
    return result


def crop(length: int, window: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw which part of a sequence is seen: all of it, or a random stretch of `window`.

    Parameters
    ----------
    length, window : int
        Nucleotides.
    rng : numpy.random.Generator
        Every start is equally likely.

    Returns
    -------
    start, stop : int
        The stretch, 0-based, `stop` not included.

    Examples
    --------
    >>> crop(80, 100, stream(0, SAMPLE))
    (0, 80)
    >>> start, stop = crop(250, 100, stream(0, SAMPLE))
    >>> stop - start
    100
    """
    if length <= window:
        return 0, length
    start = int(rng.integers(0, length - window + 1))
    return start, start + window
