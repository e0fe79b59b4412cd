"""Markov chains that guess a nucleotide from its five neighbours on a side, or on both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError
from stemloop.evaluation.lm.sample import MARGIN, UNKNOWN, Codes, Hidden, Ints

Floats = npt.NDArray[np.float64]

#: Nucleotides that a guess depends on, on a side.
ORDER = MARGIN

#: What the shorter context weighs in the smoothing, in observations.
_PRIOR = 5.0

#: Variants, see `MarkovChain.log_probabilities`.
SIDES = ("left", "right", "product", "both")


def count_words(blocks: Iterable[tuple[Codes, Floats]]) -> Floats:
    """Count the words of six nucleotides.

    Parameters
    ----------
    blocks : iterable of (codes, weights)
        Codes of whole sequences with at least one unknown code between them, and the weight of
        each position; words with an unknown letter do not count.

    Returns
    -------
    numpy.ndarray of float64, shape (4,) * 6
        Weighted counts; the first axis is the first letter.

    Examples
    --------
    >>> from stemloop.evaluation.lm.sample import encode
    >>> codes = encode("AAAAAACNAAAAAA")
    >>> counts = count_words([(codes, np.ones(len(codes)))])
    >>> float(counts[0, 0, 0, 0, 0, 0]), float(counts[0, 0, 0, 0, 0, 1]), float(counts.sum())
    (2.0, 1.0, 3.0)
    """
    total = np.zeros(4 ** (ORDER + 1))
    for codes, weights in blocks:
        size = len(codes) - ORDER
        if size <= 0:
            continue
        words = np.zeros(size, np.int32)
        good = np.ones(size, bool)
        for shift in range(ORDER + 1):
            letter = codes[shift : shift + size]
            words *= 4
            words += letter & 3
            good &= letter < UNKNOWN
        total += np.bincount(words[good], weights[:size][good], minlength=len(total))
    return total.reshape((4,) * (ORDER + 1))


def _smooth(counts: Floats, axis: int) -> Floats:
    """Log-probabilities of the letter given its nearest k neighbours, k = 0 to 5.

    `axis` is the letter's axis in the counts: the last one to be guessed from what is before it,
    the first one to be guessed from what follows.

    Returns shape (6, 1024, 4); the nearest neighbour is the last digit of the context's number.
    """
    # The letter last, its nearest neighbour just before it.
    ordered = counts if axis else counts.transpose(*range(ORDER, -1, -1))
    tables = np.zeros((ORDER + 1, 4**ORDER, 4))
    before = np.full((1, 4), 0.25)
    for k in range(ORDER + 1):
        marginal = ordered.sum(axis=tuple(range(ORDER - k))).reshape(-1, 4)
        # Without its farthest letter a context is the number modulo 4^(k - 1).
        shorter = np.tile(before, (len(marginal) // len(before), 1))
        before = (marginal + _PRIOR * shorter) / (marginal.sum(1, keepdims=True) + _PRIOR)
        tables[k, : len(before)] = np.log(before)
    return tables


@dataclass(frozen=True, slots=True, eq=False)
class MarkovChain:
    """Order-5 chains in both directions.

    A context shorter than five, where the sequence ends or another nucleotide is hidden, is looked
    up in the table of that length. Every table is smoothed by the next shorter one.

    Parameters
    ----------
    forward, backward : numpy.ndarray of float64, shape (6, 1024, 4)
        Log-probability of a nucleotide given the k before, or after, it.

    Examples
    --------
    >>> from stemloop.evaluation.lm.sample import Hidden, encode
    >>> codes = encode("ACGUACGUACGUACGU")
    >>> chain = MarkovChain.fit([(codes, np.ones(len(codes)))])
    >>> task = Hidden(("GUACGUA",), (np.array([3]),), np.array([0]))
    >>> "ACGU"[int(chain.log_probabilities(task, "both").argmax())]
    'C'
    """

    forward: Floats
    backward: Floats

    @classmethod
    def fit(cls, blocks: Iterable[tuple[Codes, Floats]]) -> MarkovChain:
        """Count words (see `count_words`) and smooth.

        Raises
        ------
        InputError
            There is no word of six nucleotides.
        """
        counts = count_words(blocks)
        if not counts.any():
            raise InputError("no training sequence has six nucleotides in a row")
        return cls(_smooth(counts, ORDER), _smooth(counts, 0))

    def log_probabilities(self, hidden: Hidden, side: str) -> Floats:
        """Log-probabilities of A, C, G, U at the hidden positions, shape (sum of positions, 4).

        Parameters
        ----------
        hidden : Hidden
            The positions.
        side : {"left", "right", "product", "both"}
            From what is before it; from what follows; the product of these two over the frequency
            of the nucleotide; or the forward chain's own probability given everything else,
            P(x | 5 before) times the probabilities of the five that follow.
        """
        codes, at = hidden.codes()
        before, size_before = _context(codes, at, -1)
        left = self.forward[size_before, before]
        if side == "left":
            return left
        if side in ("right", "product"):
            after, size_after = _context(codes, at, 1)
            right = self.backward[size_after, after]
            return right if side == "right" else _normalise(left + right - self.forward[0, 0])
        scores = left.copy()
        known = np.ones(len(at), bool)
        between = np.zeros(len(at), np.int64)
        guess = np.arange(4)
        for j in range(1, ORDER + 1):
            letter = codes[at + j].astype(np.int64)
            known &= letter < UNKNOWN
            # Context of the j-th letter after the hidden one: the letters between, the guess,
            # and as much of what is before it as is known and within reach.
            reach = np.minimum(size_before, ORDER - j)
            farther = before % 4**reach
            number = between[:, None] + (guess << 2 * (j - 1)) + (farther << 2 * j)[:, None]
            gain = self.forward[(j + reach)[:, None], number, (letter & 3)[:, None]]
            scores += np.where(known[:, None], gain, 0.0)
            between = between * 4 + (letter & 3)
        return _normalise(scores)


def _context(codes: Codes, at: Ints, step: int) -> tuple[Ints, Ints]:
    """Number and size of the known neighbours on one side, the nearest in the last digit."""
    number, size = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    known = np.ones(len(at), bool)
    for distance in range(1, ORDER + 1):
        letter = codes[at + step * distance]
        known &= letter < UNKNOWN
        number += np.where(known, letter.astype(np.int64) << 2 * (distance - 1), 0)
        size += known
    return number, size


def _normalise(scores: Floats) -> Floats:
    scores = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
