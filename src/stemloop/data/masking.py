"""Masking: which letters of an RNA become targets, and what the model reads in their place.

Three strategies (:mod:`stemloop.data.mask_strategies`), one of them drawn for each sample:

- base: single positions, as in BERT and RiNALMo;
- subsequence: spans of five to eight letters;
- motif: whole occurrences of known motifs (:mod:`stemloop.data.motifs`).

Budget, span lengths and the 80/10/10 rule are RNAErnie's (Wang et al. 2024, Nature Machine
Intelligence 6:548, and its code). Peculiar to this implementation:

- Spans lie on a ring: one that crosses the end goes on at the start. Every position is therefore
  equally likely; the published code never masks the last nine letters in spans.
- The type slot of the prompt ``[IND] TYPE`` is masked with a probability of its own, so that
  type prediction is trained. An RNA of unknown type gets no prompt.
- Targets are A, C, G and U only: which letter an N stands for is not known.
- A strategy that finds nothing (an RNA without motifs) gives way to base masking: every sample
  has a target.
- ``published=True`` takes all of that back and reproduces what the published code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import RNAERNIE_TYPES, Alphabet
from stemloop.data.mask_strategies import (
    Ids,
    Positions,
    base_positions,
    corrupt,
    motif_positions,
    subsequence_positions,
)
from stemloop.data.motifs import MotifSet
from stemloop.errors import UsageError

#: Label of tokens that are no targets: what torch's cross-entropy leaves out.
NO_TARGET = -100
#: The published code seeds its generator with this plus the id of the first letter.
PUBLISHED_SEED = 1000

STRATEGIES = ("base", "subsequence", "motif")


@dataclass(frozen=True, kw_only=True)
class MaskingOptions:
    """How samples are masked.

    Parameters
    ----------
    base, subsequence, motif : float
        Weights of the strategies; one is drawn for every sample. RNAErnie: equal.
    ratio : float
        Share of the letters to choose.
    window : int, optional
        The number of chosen letters stays at or below ``ratio * window``. RNAErnie: 512 tokens;
        RiNALMo: no such bound.
    mask, random : float
        Shares of the chosen letters that are replaced by the mask and by a random token; the
        others are left as they are. All of them are targets.
    random_from : {"letters", "vocabulary"}
        What a random token is drawn from: A, C, G and U, or all tokens of the alphabet.
    span_lengths, span_weights : sequence of int, of float
        Lengths of the subsequence strategy's spans and how likely they are, relatively.
    prompt : float
        Share of the RNAs of known type that get ``[IND] TYPE`` behind them. Alphabets without
        these tokens have no prompts. Below 1 the model also learns to read RNAs without.
    type_mask : float
        Share of the prompts whose type is replaced by the mask and becomes a target. In the
        others it is visible and no target.
    published : bool
        Reproduce the published code of RNAErnie with its defects: masks depend on nothing but
        the RNA (at most five different seeds), motifs that are written with U match nothing,
        spans leave out the last nine letters, the type is never masked, samples may be without
        target.

    Raises
    ------
    UsageError
        A value is out of range.

    Examples
    --------
    >>> MaskingOptions(motif=1.0, window=512).budget(100)
    15.0
    """

    base: float = 1.0
    subsequence: float = 0.0
    motif: float = 0.0
    ratio: float = 0.15
    window: int | None = None
    mask: float = 0.8
    random: float = 0.1
    random_from: str = "letters"
    span_lengths: Sequence[int] = (5, 6, 7, 8)
    span_weights: Sequence[float] = (1, 1 / 2, 1 / 3, 1 / 4)
    prompt: float = 1.0
    type_mask: float = 0.5
    published: bool = False

    def __post_init__(self) -> None:
        weights = [getattr(self, name) for name in STRATEGIES]
        spans = list(self.span_weights)
        wrong = {
            "base, subsequence, motif": min(weights) < 0 or sum(weights) <= 0,
            "ratio": not 0 < self.ratio <= 1,
            "window": self.window is not None and self.window < 1,
            "mask, random": min(self.mask, self.random, 1 - self.mask - self.random) < -1e-9,
            "random_from": self.random_from not in ("letters", "vocabulary"),
            "span_lengths": not self.span_lengths or min(self.span_lengths) < 1,
            "span_weights": len(spans) != len(self.span_lengths)
            or min(spans, default=0) < 0
            or sum(spans) <= 0,
            "prompt": not 0 <= self.prompt <= 1,
            "type_mask": not 0 <= self.type_mask <= 1,
        }
        for name, bad in wrong.items():
            if bad:
                values = ", ".join(str(getattr(self, part)) for part in name.split(", "))
                raise UsageError(f"masking: {name} cannot be {values}")

    def budget(self, letters: int) -> float:
        """Bound on the number of chosen letters in an RNA of so many: RNAErnie's formula.

        Single positions are chosen until the bound is reached, spans and motifs as far as they
        fit below it.

        Examples
        --------
        >>> options = MaskingOptions(window=512)
        >>> [options.budget(n) for n in (1, 10, 30, 508, 1022)]
        [1.0, 2.0, 4.0, 76.0, 76.8]
        """
        # round() takes halves to the even neighbour, here as there.
        wanted = float(max(1, round(self.ratio * letters)))
        return wanted if self.window is None else min(self.ratio * self.window, wanted)


class SampleMaker:
    """Makes training samples of RNAs; :func:`make_sample` says what it takes. Can be pickled."""

    def __init__(
        self, options: MaskingOptions, alphabet: Alphabet, motifs: MotifSet | None = None
    ) -> None:
        if options.motif and motifs is None:
            raise UsageError("masking: the motif strategy needs motifs")
        self.options = options
        self.alphabet = alphabet
        self._find = (motifs or MotifSet()).finder(alphabet, published=options.published)
        ids = alphabet.ids
        letters = [ids["A"], ids["C"], ids["G"], ids["U" if "U" in ids else "T"]]
        pool = letters if options.random_from == "letters" else list(ids.values())
        self._random_ids = np.array(pool, np.uint8)
        weights = [getattr(options, name) for name in STRATEGIES]
        self._bounds = (np.cumsum(weights) / sum(weights)).tolist()
        self._can_be_target = np.isin(np.arange(256), letters)
        self._ind = ids.get("[IND]", -1)
        self._types = [ids.get(name, -1) for name in RNAERNIE_TYPES]

    @property
    def specials(self) -> tuple[int, int]:
        """Most tokens besides the letters, of RNAs of unknown and of known type."""
        return 2, 4 if self._ind >= 0 and self.options.prompt else 2

    def __call__(
        self, ids: Ids, type_index: int, rng: np.random.Generator
    ) -> tuple[Ids, npt.NDArray[np.int16]]:
        """Tokens and labels of one sample."""
        o = self.options
        # All are drawn, needed or not: masks stay the same whatever the prompts.
        strategy, prompt_draw, type_draw = rng.random(3).tolist()
        if o.published:
            seed = PUBLISHED_SEED + (int(ids[0]) if len(ids) else 0)
            rng = np.random.default_rng(seed)
        positions = self._choose(ids, strategy, rng)
        L = len(ids)
        prompted = type_index >= 0 and self._ind >= 0 and prompt_draw < o.prompt
        tokens = np.empty(L + (4 if prompted else 2), np.uint8)
        labels = np.full(len(tokens), NO_TARGET, np.int16)
        tokens[0], tokens[-1] = self.alphabet.cls_id, self.alphabet.eos_id
        tokens[1 : L + 1] = corrupt(
            ids,
            positions,
            rng,
            mask_id=self.alphabet.mask_id,
            random_ids=self._random_ids,
            mask=o.mask,
            random=o.random,
        )
        labels[positions + 1] = ids[positions]
        if prompted:
            tokens[L + 1 : L + 3] = self._ind, self._types[type_index]
            if type_draw < o.type_mask and not o.published:
                labels[L + 2] = tokens[L + 2]
                tokens[L + 2] = self.alphabet.mask_id
        return tokens, labels

    def _choose(self, ids: Ids, strategy: float, rng: np.random.Generator) -> Positions:
        o = self.options
        free, letters = None, len(ids)
        if not o.published:
            can_be = self._can_be_target[ids]
            letters = int(np.count_nonzero(can_be))
            free = None if letters == len(ids) else can_be
        budget = o.budget(letters)
        chosen = np.empty(0, np.int64)
        if strategy >= self._bounds[1]:
            chosen = motif_positions(ids, budget, rng, self._find, free=free, published=o.published)
        elif strategy >= self._bounds[0]:
            chosen = subsequence_positions(
                ids,
                budget,
                rng,
                lengths=o.span_lengths,
                weights=o.span_weights,
                free=free,
                published=o.published,
            )
        if strategy < self._bounds[0] or not (len(chosen) or o.published):
            chosen = base_positions(ids, budget, rng, free=free)
        return chosen


def make_sample(
    options: MaskingOptions, alphabet: Alphabet, motifs: MotifSet | None = None
) -> SampleMaker:
    """Function that turns an RNA into a training sample.

    Parameters
    ----------
    options : MaskingOptions
        How to mask.
    alphabet : Alphabet
        Whose ids the letters have.
    motifs : MotifSet, optional
        For the motif strategy.

    Returns
    -------
    SampleMaker
        Called with the letters' ids (uint8, shape (L,), no special tokens), the index of the type
        in `RNAERNIE_TYPES` (-1: unknown) and a random generator, it returns

        - tokens, uint8: CLS, letters, EOS, or CLS, letters, [IND], type, EOS;
        - labels, int16, as long: the right token where the model is to guess, else -100.

    Raises
    ------
    UsageError
        The motif strategy has weight but there are no motifs.

    Examples
    --------
    >>> from stemloop.alphabet import STEMLOOP
    >>> sample = make_sample(MaskingOptions(), STEMLOOP)
    >>> ids = STEMLOOP.encode("GGUACC", special=False)
    >>> tokens, labels = sample(ids, RNAERNIE_TYPES.index("tRNA"), np.random.default_rng(0))
    >>> [STEMLOOP.tokens[i] for i in tokens]
    ['<cls>', 'A', 'G', 'T', 'A', 'C', 'C', '[IND]', '<mask>', '<eos>']
    """
    return SampleMaker(options, alphabet, motifs)
