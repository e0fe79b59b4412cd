"""Fold RNAs: sequences in, structures with energies and probabilities out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import torch

from stemloop.alphabet import normalise
from stemloop.errors import InputError, UsageError
from stemloop.folding import decode, thermo
from stemloop.folding.crf import ThermodynamicCRF, load_crf
from stemloop.folding.thermo import Ensemble, FoldOptions, ParameterSet
from stemloop.formats.fasta import read_sequences
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.records import Result, SequenceRecord, Structure
from stemloop.weights.locate import bundled

Decoder = Literal["mea", "centroid", "mfe"]

#: The model that ships with the package.
DEFAULT_MODEL = "fold-crf"
#: Models that need no weights.
PLAIN_MODELS: tuple[ParameterSet, ...] = get_args(ParameterSet)

_CONSTRAINT = re.compile(r"([A-Za-z~-]*?)([().|<>x]*)")


class PairModel(Protocol):
    """What the decoders need of a predictor: pair probabilities of one RNA.

    Every folding model is one of these, whatever it is inside.
    """

    def ensemble(
        self, sequence: str, options: FoldOptions = ..., constraint: str | None = None
    ) -> Ensemble:
        """Pair probabilities and ensemble free energy."""
        ...

    def minimum(
        self, sequence: str, options: FoldOptions = ..., constraint: str | None = None
    ) -> str:
        """Dot-bracket of the best single structure."""
        ...


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """How to fold.

    Parameters
    ----------
    model : str
        ``fold-crf`` (ships with the package), a model folder, or a plain nearest-neighbour set:
        ``turner2004`` (what RNAfold does), ``turner1999``, ``turner1999-measured``,
        ``andronescu2007``, ``langdon2018`` (see `stemloop.folding.thermo.FoldOptions`).
    decoder : {"mea", "centroid", "mfe"}
        Maximum expected accuracy, gamma-centroid, or minimum (corrected) free energy.
    gamma : float, optional
        Of the decoder: 1 for ``mea`` and 1.5 for ``centroid`` unless given.
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
    """

    model: str = DEFAULT_MODEL
    decoder: Decoder = "mea"
    gamma: float | None = None
    average: tuple[ParameterSet, ...] | None = None
    temperature: float = 37.0
    max_span: int = 0
    probabilities: bool = False

    def __post_init__(self) -> None:
        if self.decoder not in ("mea", "centroid", "mfe"):
            raise UsageError(f"unknown decoder {self.decoder!r}; known: mea, centroid, mfe")
        if self.gamma is not None and not 0.0 < self.gamma < float("inf"):
            raise UsageError(f"gamma must be positive and finite, not {self.gamma}")
        if self.decoder == "mfe" and (self.average or self.gamma is not None):
            raise UsageError("the mfe decoder knows no gamma and averages no parameter sets")
        for name in self.average or ():
            if name not in PLAIN_MODELS:
                raise UsageError(
                    f"unknown parameter set {name!r}; known: {', '.join(PLAIN_MODELS)}"
                )
        if not -100.0 <= self.temperature <= 150.0:
            raise UsageError(f"a temperature of {self.temperature} degrees Celsius makes no sense")
        if self.max_span < 0:
            raise UsageError("the longest span cannot be negative")


class Folder:
    """A folding model with its decoder, ready for RNAs.

    Parameters
    ----------
    settings : FoldSettings
        How to fold.

    Examples
    --------
    >>> folder = Folder(FoldSettings(model="turner2004"))
    >>> folder(SequenceRecord("x", "GGGGAAAACCCC")).structure.dot_bracket
    '((((....))))'
    """

    def __init__(self, settings: FoldSettings = FoldSettings()) -> None:
        self.settings = settings
        parameters: ParameterSet = "turner2004"
        if settings.model in PLAIN_MODELS:
            parameters = settings.model  # type: ignore[assignment]
            self.model: PairModel = ThermodynamicCRF(None, settings.average or ())
        else:
            path = Path(settings.model)
            if not path.is_dir():
                path = bundled(settings.model)
            # One structure of lowest energy belongs to one set of energies.
            average = () if settings.decoder == "mfe" else settings.average
            self.model = load_crf(path, average)
        self.options = FoldOptions(settings.temperature, parameters, settings.max_span)

    def __call__(self, record: SequenceRecord, constraint: str | None = None) -> Result:
        """Fold one RNA.

        Parameters
        ----------
        record : SequenceRecord
            The RNA, L nucleotides.
        constraint : str, optional
            Hard constraint of L characters in ViennaRNA's notation: ``(`` and ``)`` pairs that must
            form, ``|`` paired, ``<`` paired with a base downstream, ``>`` with one upstream, ``x``
            unpaired, ``.`` free.

        Returns
        -------
        Result
            ``structure`` with its nearest-neighbour energy; ``values``: ``energy`` and
            ``ensemble_energy`` (kcal/mol); ``arrays``: ``confidence`` (L,), the probability of the
            state each base is drawn in, and ``pair_probability`` (L, L) where asked for.

        Raises
        ------
        InputError
            The sequence is empty, or the constraint does not fit.
        """
        sequence, settings = record.sequence, self.settings
        if not sequence:
            raise InputError("no nucleotides", record=record.id)
        try:
            ensemble = self.model.ensemble(sequence, self.options, constraint)
            if settings.decoder == "mfe":
                text = self.model.minimum(sequence, self.options, constraint)
                pairs = dot_bracket_to_pairs(text)
            elif settings.decoder == "mea":
                pairs = decode.maximum_expected_accuracy(
                    ensemble.pair_probability, settings.gamma or 1.0
                )
            else:
                pairs = decode.gamma_centroid(ensemble.pair_probability, settings.gamma or 1.5)
        except InputError as error:
            if error.record is None:
                error.record = record.id
            raise
        bare = Structure(record, pairs)
        energy = thermo.structure_energy(sequence, bare.dot_bracket, self.options)
        confidence = ensemble.unpaired_probability
        i, j = pairs[:, 0], pairs[:, 1]
        confidence[i] = confidence[j] = ensemble.pair_probability[i, j]
        arrays: dict[str, np.ndarray] = {"confidence": confidence.clip(0.0, 1.0)}
        if settings.probabilities:
            arrays["pair_probability"] = ensemble.pair_probability
        return Result(
            record,
            {"energy": energy, "ensemble_energy": ensemble.free_energy},
            arrays,
            Structure(record, pairs, energy),
        )


Job = tuple[SequenceRecord, str | None]


def fold_stream(
    jobs: Iterable[Job], settings: FoldSettings = FoldSettings(), *, processes: int = 1
) -> Iterator[Result]:
    """Fold RNAs as they come, in their order, with bounded memory.

    Parameters
    ----------
    jobs : iterable of (SequenceRecord, str or None)
        RNAs with their constraints.
    settings : FoldSettings
        How to fold.
    processes : int
        Processes to fold in; the results do not depend on it.
    """
    # Made here in any case: an unusable model is a clear error in this process, not in a worker.
    folder = Folder(settings)
    if processes <= 1:
        for record, constraint in jobs:
            yield folder(record, constraint)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (settings,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for record, constraint in jobs:
                waiting.append(pool.submit(_fold_in_worker, record, constraint))
                if len(waiting) >= 8 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


_worker: Folder | None = None


def _start_worker(settings: FoldSettings) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Folder(settings)


def _fold_in_worker(record: SequenceRecord, constraint: str | None) -> Result:
    assert _worker is not None
    return _worker(record, constraint)


def read_jobs(source: str | Path, *, constraints: bool = False) -> Iterator[Job]:
    """Read RNAs, and with ``constraints`` the constraint line under each sequence.

    Raises
    ------
    FormatError, AlphabetError
        The input is no FASTA or FASTQ, or holds something else than nucleotides.
    InputError
        A record has no constraint of its sequence's length.
    """
    for record in read_sequences(source, alphabet_check=not constraints):
        if not constraints:
            yield record, None
            continue
        match = _CONSTRAINT.fullmatch(record.sequence)
        letters, constraint = match.groups() if match else (record.sequence, "")
        sequence = normalise(letters, record=record.id, path=str(source))
        if len(constraint) != len(sequence):
            raise InputError(
                f"constraint of {len(constraint)} characters for {len(sequence)} nucleotides",
                path=str(source),
                record=record.id,
                expected="a line of ( ) . x | < > under the sequence",
            )
        yield SequenceRecord(record.id, sequence, record.description, record.index), constraint


def fold(
    sequences: str | Path | SequenceRecord | Sequence[str | SequenceRecord],
    *,
    constraint: str | None = None,
    processes: int = 1,
    model: str = DEFAULT_MODEL,
    decoder: Decoder = "mea",
    gamma: float | None = None,
    average: Sequence[ParameterSet] = (),
    temperature: float = 37.0,
    max_span: int = 0,
    probabilities: bool = False,
) -> list[Result]:
    """Fold one RNA or many.

    Parameters
    ----------
    sequences : str, path, SequenceRecord or a sequence of them
        Nucleotides, a record, or several; a ``pathlib.Path`` is read as FASTA or FASTQ.
    constraint : str, optional
        Hard constraint; only for a single sequence.
    processes : int
        Processes to fold in.
    model, decoder, gamma, average, temperature, max_span, probabilities
        See `FoldSettings`.

    Returns
    -------
    list of Result
        In the order of the input, see `Folder`.

    Raises
    ------
    UsageError
        Settings that make no sense.
    InputError
        A sequence or constraint that cannot be folded.

    Examples
    --------
    >>> import stemloop
    >>> stemloop.fold("GGGGAAAACCCC", model="turner2004")[0].structure.dot_bracket
    '((((....))))'
    """
    settings = FoldSettings(
        model, decoder, gamma, tuple(average), temperature, max_span, probabilities
    )
    if isinstance(sequences, Path):
        records = list(read_sequences(sequences))
    elif isinstance(sequences, str | SequenceRecord):
        records = [_as_record(sequences, 0)]
    else:
        records = [_as_record(item, index) for index, item in enumerate(sequences)]
    if constraint is not None and len(records) != 1:
        raise UsageError(f"one constraint for {len(records)} sequences")
    jobs = [(record, constraint) for record in records]
    return list(fold_stream(jobs, settings, processes=processes))


def _as_record(item: str | SequenceRecord, index: int) -> SequenceRecord:
    if isinstance(item, SequenceRecord):
        return item
    name = f"sequence{index + 1}"
    return SequenceRecord(name, normalise(item, record=name), index=index)
