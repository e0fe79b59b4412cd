"""Long RNAs in overlapping windows: pair probabilities stitched together from those of pieces.

A partition function costs the cube of the length in time. Here the RNA is cut into windows of W
nucleotides, one every W/4; each is folded by itself, with pairs that span at most W/2; and the
probability of a pair is the mean over the windows that hold it, weighted by how far the pair lies
from the ends that cutting made. Every pair that may form lies W/8 or more from such ends in one
window at least.

What comes out approximates the ensemble of the whole RNA without pairs beyond W/2. Local folding
programs do the same with unweighted windows (RNAplfold, Bernhart et al. 2006, Bioinformatics
22:614). Weighting brings base-wise probabilities closer to the whole RNA's, see
``benchmarks/fold_long.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stemloop.errors import InputError
from stemloop.folding.conditions import Ensemble, FloatArray, FoldOptions
from stemloop.folding.decoders import PairModel
from stemloop.folding.reactivity import Reactivity
from stemloop.folding.thermo.given import check_constraint
from stemloop.pairs import dot_bracket_to_pairs

#: Windows are cut every window / STEP nucleotides.
_STEP = 4
#: Pairs span at most window / SPAN.
_SPAN = 2
#: Shortest window.
SHORTEST = 80


def longest_span(window: int, max_span: int = 0) -> int:
    """Largest j - i + 1 of a pair in windows of a length.

    Examples
    --------
    >>> longest_span(1000), longest_span(1000, 300)
    (500, 300)
    """
    return min(max_span, window // _SPAN) if max_span else window // _SPAN


def starts(length: int, window: int) -> list[int]:
    """Where the windows of an RNA begin; the last one ends with it.

    Examples
    --------
    >>> starts(230, 100), starts(80, 100)
    ([0, 25, 50, 75, 100, 125, 130], [0])
    """
    if length <= window:
        return [0]
    return [*range(0, length - window, window // _STEP), length - window]


def margins(start: int, window: int, length: int) -> tuple[FloatArray, FloatArray]:
    """How far each base of a window lies from its two ends, counted from 1, shape (W,) each.

    Ends of the RNA are no cuts: towards them every base counts as a whole window away.
    """
    steps = np.arange(1.0, window + 1.0)
    far = np.full(window, float(window))
    return (far if start == 0 else steps), (far if start + window >= length else steps[::-1])


@dataclass(frozen=True, slots=True)
class WindowedModel:
    """A folding model that sees long RNAs in windows.

    Parameters
    ----------
    model : PairModel
        Folds the windows. A network's corrections, too, are those of each window.
    window : int
        W, nucleotides.
    """

    model: PairModel
    window: int

    def ensemble(
        self,
        sequence: str,
        options: FoldOptions = FoldOptions(),
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> Ensemble:
        """Pair probabilities of an RNA without pairs beyond `longest_span`.

        Parameters
        ----------
        sequence : str
            RNA of L nucleotides, linear and in one strand.
        options : FoldOptions
            Conditions.
        constraint : str, optional
            Hard constraint in dot-bracket notation. Signs that ask for some partner (``| < >``)
            hold in windows that do not cut near the base.
        reactivity : Reactivity, optional
            Chemical probing.

        Returns
        -------
        Ensemble
            Its free energy is nan: the windows do not tell that of the RNA.

        Raises
        ------
        InputError
            The constraint does not fit, or pairs bases too far apart.
        """
        length, size = len(sequence), min(self.window, len(sequence))
        span = longest_span(self.window, options.max_span)
        within = replace(options, max_span=span)
        partners = _partners(sequence, constraint, span) if constraint is not None else None
        total = np.zeros((length, length))
        for start in starts(length, size):
            part = slice(start, start + size)
            more: dict[str, Any] = {}
            if reactivity is not None:
                more["reactivity"] = Reactivity(reactivity.values[part], reactivity.options)
            if constraint is not None and partners is not None:
                more["constraint"] = _cut(constraint[part], partners[part], start, size, length)
            probability = self.model.ensemble(sequence[part], within, **more).pair_probability
            left, right = margins(start, size, length)
            for k, row in _rows(probability, span):
                at = slice(start + k, start + k + len(row))
                total[start + k, at] += row * np.minimum(left[k], right[k : k + len(row)])
        _normalise(total, size, span)
        return Ensemble(total, math.nan)


def _rows(probability: FloatArray, span: int) -> Iterator[tuple[int, FloatArray]]:
    """Rows of the upper triangle as far as pairs go: elsewhere memory stays untouched."""
    for k in range(len(probability)):
        yield k, probability[k, k : k + span]


def _normalise(total: FloatArray, window: int, span: int) -> None:
    """Divide sums by the weights that went into them, in place.

    Weighted means over different windows can add up to more than 1 for a base. Such a base's
    pairs are scaled down, so that what is left is a probability of being unpaired.
    """
    length = len(total)
    places = np.array(starts(length, window))
    for i, row in _rows(total, span):
        weight = np.zeros(len(row))
        for start in places[(places <= i) & (i < places + window)].tolist():
            left, right = margins(start, window, length)
            k = i - start
            held = right[k : k + len(row)]
            weight[: len(held)] += np.minimum(left[k], held)
        row /= np.maximum(weight, 1.0)
    paired = np.maximum(total.sum(0) + total.sum(1), 1.0)
    for i, row in _rows(total, span):
        row /= np.maximum(paired[i], paired[i : i + len(row)])


def _partners(sequence: str, constraint: str, span: int) -> list[int]:
    """Partner of each base in the brackets of a constraint, -1 for none."""
    check_constraint(sequence, constraint)
    brackets = "".join(sign if sign in "()" else "." for sign in constraint)
    partners = [-1] * len(sequence)
    for i, j in dot_bracket_to_pairs(brackets).tolist():
        if j - i + 1 > span:
            raise InputError(
                f"constraint pairs positions {i + 1} and {j + 1}",
                expected=f"a span of at most {span}: the RNA is folded in windows",
            )
        partners[i], partners[j] = j, i
    return partners


def _cut(signs: str, partners: list[int], start: int, window: int, length: int) -> str:
    """Constraint of one window.

    A base whose partner is outside stays unpaired. Where the window ends near by, the partner that
    ``| < >`` ask for may be outside: there they ask for nothing.
    """
    left, right = margins(start, window, length)
    near = np.minimum(left, right) <= window / (2 * _STEP)
    result = []
    for sign, partner, cut in zip(signs, partners, near.tolist(), strict=True):
        if sign in "()" and not start <= partner < start + window:
            sign = "x"
        elif sign in "|<>" and cut:
            sign = "."
        result.append(sign)
    return "".join(result)
