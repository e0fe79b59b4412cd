"""One interface for all ways from a folded RNA to one structure.

=============  ==================================================================  =========
name           keeps the pairs that                                                crossing
=============  ==================================================================  =========
``mea``        maximise 2 gamma sum p_ij + sum q_i (Do et al. 2006)                no
``centroid``   maximise sum of (gamma + 1) p_ij - 1 (Hamada et al. 2009)           no
``mfe``        minimise the energy (Zuker and Stiegler 1981)                       no
``greedy``     are the most probable left, while above the threshold               yes
``matching``   maximise 2 gamma sum p_ij + sum q_i, crossings free                 yes
``hybrid``     ``mea`` finds, and helices of a second pass that cross those        yes
=============  ==================================================================  =========

p_ij is the probability of a pair, q_i that of being unpaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

import numpy as np
import numpy.typing as npt

from stemloop.errors import UsageError
from stemloop.folding import decode, hybrid, matching
from stemloop.folding.conditions import CUT, Ensemble, FloatArray, FoldOptions
from stemloop.folding.reactivity import Reactivity
from stemloop.pairs import MIN_DISTANCE, dot_bracket_to_pairs

PairArray = npt.NDArray[np.int32]
Name = Literal["mea", "centroid", "mfe", "greedy", "matching", "hybrid"]
NAMES: tuple[Name, ...] = get_args(Name)


class PairModel(Protocol):
    """What the decoders need of a predictor: pair probabilities of one RNA.

    Every folding model is one of these, whatever it is inside.
    """

    def ensemble(
        self, sequence: str, options: FoldOptions = ..., constraint: str | None = None
    ) -> Ensemble:
        """Pair probabilities and ensemble free energy."""
        ...


class Thermodynamic(PairModel, Protocol):
    """A predictor with energies."""

    def minimum(
        self,
        sequence: str,
        options: FoldOptions = ...,
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> str:
        """Dot-bracket of the structure of lowest energy."""
        ...


@dataclass(frozen=True, slots=True)
class Folded:
    """An RNA with its ensemble, about to be decoded.

    Parameters
    ----------
    probability : numpy.ndarray of float64, shape (L, L)
        Pair probabilities, upper triangle.
    minimum : callable
        Gives the dot-bracket of lowest energy.
    second : callable
        Gives the pair probabilities (L, L) where the bases of the given pairs stay unpaired.
    """

    probability: FloatArray
    minimum: Callable[[], str]
    second: Callable[[PairArray], FloatArray]


def _hybrid(folded: Folded, gamma: float, threshold: float) -> PairArray:
    nested = decode.maximum_expected_accuracy(folded.probability, gamma)
    return hybrid.add_crossing(nested, lambda: folded.second(nested), threshold=threshold)


@dataclass(frozen=True, slots=True)
class _Rule:
    run: Callable[[Folded, float, float], PairArray]
    gamma: float | None = None
    threshold: float | None = None


_RULES: dict[Name, _Rule] = {
    "mea": _Rule(lambda f, g, t: decode.maximum_expected_accuracy(f.probability, g), gamma=1.0),
    "centroid": _Rule(lambda f, g, t: decode.gamma_centroid(f.probability, g), gamma=1.5),
    "mfe": _Rule(lambda f, g, t: dot_bracket_to_pairs(f.minimum())),
    "greedy": _Rule(lambda f, g, t: decode.greedy(f.probability, t), threshold=0.4),
    "matching": _Rule(lambda f, g, t: matching.matching(f.probability, g), gamma=1.0),
    "hybrid": _Rule(_hybrid, gamma=1.0, threshold=0.95),
}


@dataclass(frozen=True, slots=True)
class Decoder:
    """A rule with its parameters.

    Parameters
    ----------
    name : str
        See the table at the top of this module.
    gamma : float, optional
        Weight of pairs against unpaired bases: 1.5 for ``centroid`` and 1 for ``mea``,
        ``matching`` and ``hybrid`` unless given.
    threshold : float, optional
        Of ``greedy``, 0.4 unless given: pairs must be more probable, as in ThreshKnot (Zhang et
        al. 2019, which takes 0.3). Of ``hybrid``, 0.95 unless given: so must helices of the
        second pass be, on average.

    Raises
    ------
    UsageError
        No such rule, or parameters that it does not have.

    Examples
    --------
    >>> Decoder("mea", threshold=0.5)
    Traceback (most recent call last):
    stemloop.errors.UsageError: the mea decoder knows no threshold
    """

    name: Name = "mea"
    gamma: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _RULES:
            raise UsageError(f"unknown decoder {self.name!r}; known: {', '.join(_RULES)}")
        rule = _RULES[self.name]
        if self.gamma is not None:
            if rule.gamma is None:
                raise UsageError(f"the {self.name} decoder knows no gamma")
            if not 0.0 < self.gamma < float("inf"):
                raise UsageError(f"gamma must be positive and finite, not {self.gamma}")
        if self.threshold is not None:
            if rule.threshold is None:
                raise UsageError(f"the {self.name} decoder knows no threshold")
            if not 0.0 <= self.threshold < 1.0:
                raise UsageError(
                    f"a threshold of {self.threshold} is no probability: from 0 to less than 1"
                )

    def __call__(self, folded: Folded) -> PairArray:
        """Pairs (n, 2) of one structure, 0-based and sorted."""
        rule = _RULES[self.name]
        gamma = rule.gamma if self.gamma is None else self.gamma
        threshold = rule.threshold if self.threshold is None else self.threshold
        # A rule without such a parameter does not look at it.
        return rule.run(folded, gamma or 0.0, threshold or 0.0)


def fold_and_decode(
    model: PairModel,
    sequence: str,
    decoder: Decoder,
    options: FoldOptions = FoldOptions(),
    constraint: str | None = None,
    reactivity: Reactivity | None = None,
) -> tuple[PairArray, Ensemble]:
    """Fold one RNA, or two strands with ``&`` between them: its structure and its ensemble.

    Positions count nucleotides: the ``&`` has none.

    Raises
    ------
    UsageError
        The decoder does not go with two strands, or with a model without energies.
    InputError
        The constraint or the reactivities do not fit the sequence.

    Examples
    --------
    >>> from stemloop.folding.crf import ThermodynamicCRF
    >>> fold_and_decode(ThermodynamicCRF(), "GGGGA&UCCCC", Decoder("mea"))[0].tolist()
    [[0, 9], [1, 8], [2, 7], [3, 6], [4, 5]]
    """
    # Predictors without energies know no reactivities, and theirs is a shorter signature.
    more = {} if reactivity is None else {"reactivity": reactivity}
    cut = sequence.find(CUT)
    if cut >= 0 and decoder.name == "hybrid":
        raise UsageError("the hybrid decoder does not go with two strands")

    def ensemble(constraint: str | None) -> Ensemble:
        return model.ensemble(sequence, options, constraint, **more)

    def minimum() -> str:
        return cast(Thermodynamic, model).minimum(sequence, options, constraint, **more)

    def second(pairs: PairArray) -> FloatArray:
        held = hybrid.second_constraint(pairs, len(sequence), constraint)
        return ensemble(held).pair_probability

    first = ensemble(constraint)
    probability = first.pair_probability
    if cut < 0 or decoder.name == "mfe":
        return decoder(Folded(probability, minimum, second)), first
    # A loop over the cut is no hairpin, and may be as short as it likes: the decoders, which know
    # hairpins only, see the strands apart.
    probability = np.insert(probability, [cut] * MIN_DISTANCE, 0.0, 0)
    probability = np.insert(probability, [cut] * MIN_DISTANCE, 0.0, 1)
    pairs = decoder(Folded(probability, minimum, second))
    return pairs - MIN_DISTANCE * (pairs > cut).astype(np.int32), first
