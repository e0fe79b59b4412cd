"""What can be asked of folding, checked before any RNA is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from stemloop.errors import UsageError
from stemloop.folding.conditions import CUT, FoldOptions, ParameterSet
from stemloop.folding.decoders import Decoder, Name
from stemloop.folding.homologs import Homolog, digest
from stemloop.folding.windows import SHORTEST
from stemloop.records import SequenceRecord

#: The model that ships with the package.
DEFAULT_MODEL = "fold-crf"
#: Models that need no weights.
PLAIN_MODELS: tuple[ParameterSet, ...] = get_args(ParameterSet)
#: Unless asked for otherwise, longer RNAs are folded in windows of `WINDOW` nucleotides.
LONGEST_WHOLE = 3000
WINDOW = 1000


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """How to fold.

    Parameters
    ----------
    model : str
        ``fold-crf`` (ships with the package), a model folder, or a plain nearest-neighbour set:
        ``turner2004`` (what RNAfold does), ``turner1999``, ``turner1999-measured``,
        ``andronescu2007``, ``langdon2018`` (see `stemloop.folding.conditions.FoldOptions`).
    decoder : {"mea", "centroid", "mfe", "greedy", "matching", "hybrid"}, optional
        From probabilities to one structure, see `stemloop.folding.decoders`; ``mea`` unless given
        (``greedy`` for models with a pair head).
    gamma : float, optional
        Of the decoder: 1.5 for ``centroid`` and 1 for the others unless given.
    average : tuple of str, optional
        Parameter sets whose pair probabilities are averaged in; those that the model was made
        for unless given (none for plain sets), ``()`` for none. ``andronescu2007`` and
        ``langdon2018`` were fitted to databases of known structures, so scores on those databases
        do not measure how they do on unseen families.
    temperature : float
        Degrees Celsius.
    max_span : int
        Largest j - i + 1 of a pair, 0 for no limit.
    probabilities : bool
        Put the pair probabilities, shape (L, L), into the results.
    threshold : float, optional
        Of the ``greedy`` and ``hybrid`` decoders, see `stemloop.folding.decoders.Decoder`.
    samples : int
        Structures to draw from the ensemble of each RNA.
    seed : int
        Of the draw. What is drawn depends on it, on the RNA and on the settings, not on the others.
    circular : bool
        The ends of each RNA are joined.
    window : int, optional
        Fold RNAs longer than this in windows of this many nucleotides (`stemloop.folding.windows`),
        0 for none. Unless given: windows of 1,000 for RNAs longer than 3,000.
    homologs : tuple of Homolog
        RNAs that may be homologous to those that are folded, with known structures or without
        (`stemloop.folding.homologs`).
    """

    model: str = DEFAULT_MODEL
    decoder: Name | None = None
    gamma: float | None = None
    average: tuple[ParameterSet, ...] | None = None
    temperature: float = 37.0
    max_span: int = 0
    probabilities: bool = False
    threshold: float | None = None
    samples: int = 0
    seed: int = 0
    circular: bool = False
    window: int | None = None
    homologs: tuple[Homolog, ...] = ()

    def __post_init__(self) -> None:
        if self.decoder is not None or self.threshold is None:
            # A threshold alone may be that of a model whose own decoder has one.
            self.rule("mea")
        if self.decoder == "mfe" and self.average:
            raise UsageError("the mfe decoder averages no parameter sets")
        for name in self.average or ():
            if name not in PLAIN_MODELS:
                raise UsageError(
                    f"unknown parameter set {name!r}; known: {', '.join(PLAIN_MODELS)}"
                )
        if not -100.0 <= self.temperature <= 150.0:
            raise UsageError(f"a temperature of {self.temperature} degrees Celsius makes no sense")
        if self.max_span < 0:
            raise UsageError("the longest span cannot be negative")
        if self.samples < 0 or self.seed < 0:
            raise UsageError("neither the number of samples nor the seed can be negative")
        if self.window and self.window < SHORTEST:
            raise UsageError(f"windows have {SHORTEST} nucleotides or more")
        if self.circular and self.samples:
            raise UsageError("structures of circular RNAs cannot be sampled")
        if self.circular and self.max_span:
            raise UsageError("a circular RNA has no longest span")
        if self.circular and self.homologs:
            raise UsageError("circular RNAs are not aligned with homologs")

    def rule(self, own: Name) -> Decoder:
        """The decoder, that of the model (``own``) where none is asked for."""
        return Decoder(self.decoder or own, self.gamma, self.threshold)

    def facts(self) -> dict[str, Any]:
        """The settings as JSON knows them; homologs by their hash."""
        facts = asdict(replace(self, homologs=()))
        return facts | {"homologs": digest(self.homologs) if self.homologs else None}

    def options(self) -> FoldOptions:
        """Conditions of the first ensemble."""
        plain = self.model in PLAIN_MODELS
        return FoldOptions(
            self.temperature,
            self.model if plain else "turner2004",  # type: ignore[arg-type]
            self.max_span,
            self.circular,
        )

    def window_for(self, length: int) -> int:
        """Length of the windows that an RNA is folded in, 0 where it is folded whole.

        Examples
        --------
        >>> FoldSettings().window_for(3000), FoldSettings().window_for(3001)
        (0, 1000)
        """
        if self.window is None:
            return WINDOW if length > LONGEST_WHOLE else 0
        return self.window if length > self.window else 0

    def window_of(self, record: SequenceRecord, decoder: str = "") -> int:
        """Length of the windows for a record (`window_for`) by a decoder.

        Raises
        ------
        UsageError
            There are to be windows, and something else that is for whole RNAs only.
        """
        window = self.window_for(record.length)
        for given, what in (
            (CUT in record.sequence, "two strands"),
            (self.circular, "a circle"),
            (self.samples, "samples"),
            (self.homologs, "homologs"),
            (decoder == "mfe", "the mfe decoder"),
        ):
            if window and given:
                raise UsageError(
                    f"record {record.id!r} of {record.length} nucleotides is to be folded in "
                    f"windows, which do not go with {what}; --window 0 (window=0) folds it whole, "
                    "in time that grows with the cube of its length"
                )
        return window
