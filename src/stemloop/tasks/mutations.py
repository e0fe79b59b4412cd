"""Effect of every substitution of an RNA, as a language model sees it; nothing is trained.

==================  =============================================================================
score               of putting nucleotide b in the place i of the sequence x
==================  =============================================================================
masked              log p(b | x without i) - log p(x_i | x without i): place i is hidden, and the
                    four nucleotides are compared there (masked marginals, Meier et al. 2021)
pseudo-likelihood   PLL(x with b in place i) - PLL(x), where PLL adds up log p(x_j | the rest) over
                    all j (Salazar et al. 2020): also what b does to the rest of the sequence
==================  =============================================================================

Below zero: the model finds the substitution less likely than what is there. Probabilities are
normalised over A, C, G and U. An exact PLL hides one nucleotide at a time, L passes for each of 3 L
mutants; hiding every 7th at once takes seven, and about as many are then hidden as in training.

What is longer than the model saw in training is scored in overlapping windows
(`stemloop.tasks.base.windows`), each place in the one whose edges are farther away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import RNAERNIE_TYPES
from stemloop.errors import InputError, UsageError
from stemloop.formats.fasta import records_of
from stemloop.formats.stream import Source
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.base import TOKEN_BUDGET, Ints, pick_device, split_on_oom, windows
from stemloop.weights.store import Model, load

if TYPE_CHECKING:
    import torch

Method = Literal["masked", "pseudo-likelihood"]
Floats = npt.NDArray[np.float64]

#: The encoder that ships with the package.
DEFAULT_MODEL = "stemloop-pico"

#: Columns of an array of scores.
NUCLEOTIDES = "ACGU"

#: What a score is, for legends.
LEGENDS = {
    "masked": "ln p(substitution) - ln p(nucleotide that is there), at the hidden position",
    "pseudo-likelihood": "change of the pseudo-log-likelihood of the whole sequence",
}

#: Every so many nucleotides are hidden together: close to the 15 % of pre-training.
EVERY = 7


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How to score substitutions.

    Parameters
    ----------
    score : {"masked", "pseudo-likelihood"}
        See the top of this module.
    every : int
        ``pseudo-likelihood`` hides every so many nucleotides together; 0 hides one at a time,
        which is exact.
    window : int, optional
        Nucleotides; what the model saw in training by default.
    overlap : int, optional
        Nucleotides that windows share; half a window by default.
    rna_type : str, optional
        What the sequences are, of `stemloop.alphabet.RNAERNIE_TYPES`, for models that know types.

    Raises
    ------
    UsageError
        Settings that make no sense.
    """

    score: Method = "masked"
    every: int = EVERY
    window: int | None = None
    overlap: int | None = None
    rna_type: str | None = None

    def __post_init__(self) -> None:
        if self.score not in get_args(Method):
            raise UsageError(f"unknown score {self.score!r} (known: {', '.join(get_args(Method))})")
        if self.every < 0:
            raise UsageError("every so many nucleotides: 1 or more, or 0 for one at a time")
        if self.rna_type is not None and self.rna_type not in RNAERNIE_TYPES:
            known = ", ".join(RNAERNIE_TYPES)
            raise UsageError(f"unknown RNA type {self.rna_type!r} (known: {known})")


class MutationScanner:
    """A language model that scores substitutions.

    Parameters
    ----------
    model : Model
        As `stemloop.weights.store.load` gives it, with its language-model head.
    settings : ScanSettings
        How to score.

    Raises
    ------
    UsageError
        Windows that the model cannot read, or a type for a model that knows none.

    Examples
    --------
    >>> from stemloop.weights.store import load
    >>> scanner = MutationScanner(load("stemloop-pico"))
    >>> result = scanner(SequenceRecord("x", "GGGAAACCC"))
    >>> result.arrays["score"].shape, float(result.arrays["score"][0, 2])
    ((9, 4), 0.0)
    """

    def __init__(self, model: Model, settings: ScanSettings | None = None) -> None:
        self.model, self.settings = model, settings or ScanSettings()
        alphabet, config = model.alphabet, model.config
        self._letters = alphabet.encode(NUCLEOTIDES, special=False).astype(np.int64)
        tail = [alphabet.eos_id]
        if self.settings.rna_type is not None:
            if "[IND]" not in alphabet.ids:
                raise UsageError(f"this model's alphabet, {alphabet.name!r}, has no RNA types")
            tail = [alphabet.ids["[IND]"], alphabet.ids[self.settings.rna_type], *tail]
        self._tail = np.array(tail, np.int64)
        limit = min(config.longest or 1 << 30, config.max_length) - 1 - len(tail)
        self.window = self.settings.window or limit
        self.overlap = self.settings.overlap
        if self.overlap is None:
            self.overlap = self.window // 2
        if not 0 <= self.overlap < self.window <= limit:
            raise UsageError(
                f"window {self.window} and overlap {self.overlap}: needed is "
                f"0 <= overlap < window <= {limit}"
            )
        self.device = next(model.encoder.parameters()).device
        self.budget = 2 * TOKEN_BUDGET.get(self.device.type, TOKEN_BUDGET["cpu"])

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        settings: ScanSettings | None = None,
        *,
        device: str = "auto",
    ) -> MutationScanner:
        """Load a model by name or path; see `stemloop.weights.store.load`."""
        return cls(load(name_or_path, device=pick_device(device)), settings)

    def __call__(
        self, record: SequenceRecord, progress: Callable[[int, int], None] | None = None
    ) -> Result:
        """Score all substitutions of one RNA of L nucleotides.

        Parameters
        ----------
        record : SequenceRecord
            The RNA.
        progress : callable, optional
            Called with (windows done, windows in all).

        Returns
        -------
        Result
            ``arrays["score"]``, shape (L, 4) in the order of `NUCLEOTIDES`: zero for what is there,
            nan where that is none of the four. ``values``: ``log_likelihood``, the mean of
            log p(x_j | the rest) over the places that hold one of the four (0 if there are none).

        Raises
        ------
        InputError
            No nucleotides, or one pass does not fit into memory.
        """
        if not record.sequence:
            raise InputError("no nucleotides", record=record.id)
        tokens = self.model.alphabet.encode(record.sequence, special=False).astype(np.int64)
        places = self._places(record.length)
        scores = np.full((record.length, 4), np.nan)
        likelihood = np.full(record.length, np.nan)
        for number, (start, stop, first, last) in enumerate(places, 1):
            score = self._masked if self.settings.score == "masked" else self._pseudo
            found, likely = score(tokens[start:stop], np.arange(first - start, last - start))
            scores[first:last], likelihood[first:last] = found, likely
            if progress:
                progress(number, len(places))
        known = likelihood[~np.isnan(likelihood)]
        mean = float(known.mean()) if len(known) else 0.0
        return Result(record, {"log_likelihood": mean}, {"score": scores})

    def results(self, source: Source | Iterable[SequenceRecord]) -> Iterator[Result]:
        """Results of all records of a file, or of an iterable, in their order."""
        records = records_of(source)
        for record in records:
            yield self(record)

    def _places(self, length: int) -> list[tuple[int, int, int, int]]:
        if length <= self.window:
            return [(0, length, 0, length)]
        assert self.overlap is not None
        return windows(length, self.window, self.overlap)

    def _which(self, tokens: Ints) -> Ints:
        """Place in `NUCLEOTIDES` of each letter, -1 for others."""
        same = tokens[:, None] == self._letters
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)

    def _masked(self, tokens: Ints, kept: Ints) -> tuple[Floats, Floats]:
        which = self._which(tokens)
        log_p = self._guess([(tokens, kept[k : k + 1]) for k in range(len(kept))])
        here, there = np.arange(len(kept)), which[kept]
        likely = np.where(there < 0, np.nan, log_p[here, there])
        return log_p - likely[:, None], likely

    def _pseudo(self, tokens: Ints, kept: Ints) -> tuple[Floats, Floats]:
        which = self._which(tokens)
        known = np.flatnonzero(which >= 0)
        every = self.settings.every or len(tokens)
        groups = [part for k in range(every) if len(part := known[known % every == k])]
        own = self._pll([(tokens, groups)])[0]
        likely = np.full(len(kept), np.nan)
        scores = np.full((len(kept), 4), np.nan)
        if not groups:
            return scores, likely
        by_place = np.full(len(tokens), np.nan)
        by_place[np.concatenate(groups)] = own
        likely = by_place[kept]
        for row, place in enumerate(kept.tolist()):
            if which[place] < 0:
                continue
            scores[row, which[place]] = 0.0
            others = [n for n in range(4) if n != which[place]]
            mutants = []
            for n in others:
                changed = tokens.copy()
                changed[place] = self._letters[n]
                mutants.append((changed, groups))
            for n, of_mutant in zip(others, self._pll(mutants), strict=True):
                scores[row, n] = (of_mutant - own).sum()
        return scores, likely

    def _pll(self, jobs: list[tuple[Ints, list[Ints]]]) -> list[Floats]:
        """Terms of the pseudo-likelihood of each sequence, in the order of its groups."""
        flat = [(tokens, group) for tokens, groups in jobs for group in groups]
        if not flat:
            return [np.empty(0) for _ in jobs]
        log_p = self._guess(flat)
        truth = np.concatenate([self._which(tokens)[group] for tokens, group in flat])
        terms = log_p[np.arange(len(truth)), truth]
        sizes = [sum(map(len, groups)) for _, groups in jobs]
        return np.split(terms, np.cumsum(sizes)[:-1])

    def _guess(self, jobs: list[tuple[Ints, Ints]]) -> Floats:
        """Log-probabilities of the four nucleotides at the hidden places of all jobs, end to end.

        A job is the tokens of a piece and the places to hide in it; all pieces have one length.
        """
        each = len(jobs[0][0]) + 1 + len(self._tail)
        count = max(self.budget // each, 1)

        def compute(numbers: Ints) -> Floats:
            return self._forward([jobs[k] for k in numbers.tolist()])

        explain = f"a window of {len(jobs[0][0])} nt alone does not fit; --window makes it shorter"
        parts = [
            split_on_oom(compute, lambda a, b: np.concatenate((a, b)), batch, explain)
            for batch in np.split(np.arange(len(jobs)), range(count, len(jobs), count))
        ]
        return np.concatenate(parts)

    def _forward(self, jobs: list[tuple[Ints, Ints]]) -> Floats:
        import torch

        each = len(jobs[0][0]) + 1 + len(self._tail)
        packed = np.empty((len(jobs), each), np.int64)
        packed[:, 0] = self.model.alphabet.cls_id
        packed[:, -len(self._tail) :] = self._tail
        for row, (tokens, places) in zip(packed, jobs, strict=True):
            row[1 : 1 + len(tokens)] = tokens
            row[1 + places] = self.model.alphabet.mask_id
        at = np.concatenate([each * k + 1 + places for k, (_, places) in enumerate(jobs)])
        starts = torch.arange(len(jobs) + 1, dtype=torch.int32, device=self.device) * each
        with torch.inference_mode():
            out = self.model.encoder(
                self._here(packed.ravel()), starts, lengths=[each] * len(jobs),
                logits_at=self._here(at),
            )  # fmt: skip
            logits = out.logits.double()[:, self._here(self._letters)]
            return logits.log_softmax(dim=1).cpu().numpy()

    def _here(self, values: Ints) -> torch.Tensor:
        import torch

        return torch.from_numpy(values).to(self.device)


def scan_mutations(
    source: Source | Iterable[SequenceRecord],
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    device: str = "auto",
    **choices: Any,
) -> list[Result]:
    """Score every substitution of every RNA.

    Parameters
    ----------
    source : path, file object, or iterable of SequenceRecord
        RNAs.
    model : str or path
        Model directory, or name.
    device : str
        ``auto``, ``cpu``, ``cuda``, ...
    **choices
        See `ScanSettings`.

    Returns
    -------
    list of Result
        In the order of the input; see `MutationScanner`.

    Examples
    --------
    >>> (result,) = scan_mutations([SequenceRecord("x", "GGGAAACCC")])
    >>> len(list(substitutions(result)))
    27
    """
    scanner = MutationScanner.load(model, ScanSettings(**choices), device=device)
    return list(scanner.results(source))


def substitutions(result: Result) -> Iterator[dict[str, str | int | float]]:
    """Rows of a table: id, position (from 1), reference, substitution and score."""
    sequence = result.record.sequence
    for place, row in enumerate(np.asarray(result.arrays["score"], np.float64).tolist()):
        if sequence[place] not in NUCLEOTIDES:
            continue
        for nucleotide, score in zip(NUCLEOTIDES, row, strict=True):
            if nucleotide != sequence[place]:
                yield {
                    "id": result.record.id,
                    "position": place + 1,
                    "reference": sequence[place],
                    "substitution": nucleotide,
                    "score": round(score, 5),
                }
