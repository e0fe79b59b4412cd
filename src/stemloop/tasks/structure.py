"""Fold RNAs: sequences in, structures with energies and probabilities out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from stemloop.errors import InputError, UsageError
from stemloop.folding import thermo
from stemloop.folding.conditions import CUT, Ensemble, ParameterSet
from stemloop.folding.crf import ThermodynamicCRF, load_crf
from stemloop.folding.decoders import Name, fold_and_decode
from stemloop.folding.homologs import Homolog, Homologs, read_homologs
from stemloop.folding.reactivity import Reactivity
from stemloop.folding.windows import WindowedModel, longest_span
from stemloop.formats.fasta import read_sequences
from stemloop.records import Result, SequenceRecord, Structure
from stemloop.tasks.structure_jobs import Job, read_strands
from stemloop.tasks.structure_settings import DEFAULT_MODEL, PLAIN_MODELS, FoldSettings
from stemloop.weights.locate import bundled

if TYPE_CHECKING:
    from stemloop.folding.pair_head import PairHeadModel

PairArray = npt.NDArray[np.int32]


class Folder:
    """A folding model with its decoder, ready for RNAs.

    Parameters
    ----------
    settings : FoldSettings
        How to fold.

    Raises
    ------
    WeightsError
        There is no such model.
    UsageError
        The model cannot do what is asked.

    Examples
    --------
    >>> folder = Folder(FoldSettings(model="turner2004"))
    >>> folder(SequenceRecord("x", "GGGGAAAACCCC")).structure.dot_bracket
    '((((....))))'
    """

    def __init__(self, settings: FoldSettings = FoldSettings()) -> None:
        self.settings = settings
        self.options = settings.options()
        self.model = _load(settings)
        if isinstance(self.model, ThermodynamicCRF):
            if settings.homologs:
                self.model.homologs = Homologs(settings.homologs)
            self.decoder = settings.rule("mea")
            return
        _check_pair_head(settings)
        self.decoder = settings.rule("greedy")
        if self.decoder.name == "greedy" and self.decoder.threshold is None:
            self.decoder = replace(self.decoder, threshold=self.model.threshold)

    def __call__(
        self,
        record: SequenceRecord,
        constraint: str | None = None,
        reactivity: Reactivity | None = None,
    ) -> Result:
        """Fold one RNA.

        Parameters
        ----------
        record : SequenceRecord
            The RNA, L nucleotides; or two strands of L together with ``&`` between them.
        constraint : str, optional
            Hard constraint of L characters in ViennaRNA's notation: ``(`` and ``)`` pairs that must
            form, ``|`` paired, ``<`` paired with a base downstream, ``>`` with one upstream, ``x``
            unpaired, ``.`` free. Of two strands with or without the ``&``.
        reactivity : Reactivity, optional
            Chemical probing.

        Returns
        -------
        Result
            ``structure`` with its nearest-neighbour energy; ``values``: ``energy`` and
            ``ensemble_energy`` (kcal/mol), ``ensemble_defect`` (expected share of bases in another
            state than drawn), of two strands ``cut`` (nucleotides of the first) and
            ``binding_energy``, of RNAs folded in windows ``window`` and ``longest_span``
            (nucleotides; their ``ensemble_energy`` is nan), where there are homologs to look among
            ``homologs``, the number found; ``arrays``: ``confidence`` (L,), the probability of the
            state each base is drawn in, ``pair_probability`` (L, L) where asked for, and where
            asked for ``samples``, dot-brackets (N,), with ``sample_energy`` (N,).
            The record of two strands holds their nucleotides one after the other.

        Raises
        ------
        InputError
            The sequence is empty, or the constraint or the reactivities do not fit.
        UsageError
            Two strands with settings that are for one, or windows with settings for whole RNAs.
        """
        sequence, settings = record.sequence, self.settings
        self._check(record, reactivity)
        window = settings.window_of(record, self.decoder.name)
        if constraint is not None and CUT in sequence:
            constraint = constraint.replace(CUT, "")
        try:
            pairs, ensemble = fold_and_decode(
                WindowedModel(self.model, window) if window else self.model,
                sequence,
                self.decoder,
                self.options,
                constraint,
                reactivity,
            )
            samples = None
            if settings.samples:
                samples = self.model.sample(  # type: ignore[union-attr]
                    sequence,
                    settings.samples,
                    settings.seed,
                    self.options,
                    constraint,
                    reactivity,
                )
        except InputError as error:
            if error.record is None:
                error.record = record.id
            raise
        return self._result(record, pairs, ensemble, samples)

    def evaluate(self, structure: Structure, reactivity: Reactivity | None = None) -> Result:
        """Energy and confidence of a given structure instead of a predicted one.

        Pairs that cross do not enter the energy: it is that of the round brackets.

        Returns
        -------
        Result
            As of a fold. The energy is infinite where the model forbids the structure, and the
            structure then has none.
        """
        record = structure.record
        self._check(record, reactivity)
        more = {} if reactivity is None else {"reactivity": reactivity}
        window = self.settings.window_of(record)
        model = WindowedModel(self.model, window) if window else self.model
        ensemble = model.ensemble(record.sequence, self.options, **more)
        return self._result(record, structure.pairs, ensemble, None)

    def _check(self, record: SequenceRecord, reactivity: Reactivity | None) -> None:
        strands = record.sequence.split(CUT)
        if not all(strands):
            raise InputError("no nucleotides", record=record.id)
        if len(strands) > 2:
            raise InputError(f"{len(strands)} strands", record=record.id, expected="one or two")
        if not isinstance(self.model, ThermodynamicCRF):
            if len(strands) > 1 or reactivity is not None:
                raise UsageError("a pair head folds one strand, without reactivities")
        elif len(strands) > 1:
            settings = self.settings
            for given, what in (
                (settings.samples, "samples"),
                (settings.circular, "circle"),
                (settings.max_span, "longest span"),
                (settings.homologs, "homologs"),
                (reactivity is not None, "reactivities"),
            ):
                if given:
                    raise UsageError(f"record {record.id!r} has two strands: no {what}")

    def _result(
        self,
        record: SequenceRecord,
        pairs: PairArray,
        ensemble: Ensemble,
        samples: Sequence[str] | None,
    ) -> Result:
        sequence = record.sequence
        values: dict[str, str | int | float] = {}
        if CUT in sequence:
            values["cut"] = sequence.index(CUT)
            record = replace(record, sequence=sequence.replace(CUT, ""), quality=None)
        texts = [Structure(record, pairs).dot_bracket, *(samples or ())]
        energy, *sampled = thermo.structure_energies(sequence, texts, self.options)
        confidence = ensemble.unpaired_probability
        i, j = pairs[:, 0], pairs[:, 1]
        confidence[i] = confidence[j] = ensemble.pair_probability[i, j]
        confidence = confidence.clip(0.0, 1.0)
        values |= {
            "energy": energy,
            "ensemble_energy": ensemble.free_energy,
            "ensemble_defect": float(1.0 - confidence.mean()),
        }
        window = self.settings.window_for(record.length)
        if window:
            values["window"] = window
            values["longest_span"] = longest_span(window, self.settings.max_span)
        if self.settings.homologs:
            assert isinstance(self.model, ThermodynamicCRF)
            values["homologs"] = self.model.homologous(sequence, self.options)[1]
        if ensemble.binding_energy is not None:
            values["binding_energy"] = ensemble.binding_energy
        arrays: dict[str, np.ndarray] = {"confidence": confidence}
        if self.settings.probabilities:
            arrays["pair_probability"] = ensemble.pair_probability
        if samples is not None:
            arrays |= {"samples": np.array(samples), "sample_energy": np.array(sampled)}
        known = energy if math.isfinite(energy) else None
        return Result(record, values, arrays, Structure(record, pairs, known))


def _load(settings: FoldSettings) -> ThermodynamicCRF | PairHeadModel:
    if settings.model in PLAIN_MODELS:
        return ThermodynamicCRF(None, settings.average or ())
    path = Path(settings.model)
    if not path.is_dir():
        path = bundled(settings.model)
    if settings.model != DEFAULT_MODEL:
        # Encoders take a while to import: the model that ships does not wait for them.
        from stemloop.folding.pair_head import is_encoder, load_pair_head

        if is_encoder(path):
            return load_pair_head(path)
    # The structure of lowest energy belongs to one set of energies.
    return load_crf(path, () if settings.decoder == "mfe" else settings.average)


def _check_pair_head(settings: FoldSettings) -> None:
    for given, what in (
        (settings.decoder in ("mfe", "hybrid"), f"no energies for the {settings.decoder} decoder"),
        (settings.average, "no parameter sets to average"),
        (settings.samples, "no ensemble to sample"),
        (settings.circular, "no circular RNAs"),
        (settings.homologs, "no energies that homologs add to"),
    ):
        if given:
            raise UsageError(f"{settings.model} is a pair head: it has {what}")


def fold_stream(
    jobs: Iterable[tuple[Any, ...]], settings: FoldSettings = FoldSettings(), *, processes: int = 1
) -> Iterator[Result]:
    """Fold RNAs as they come, in their order, with bounded memory.

    Parameters
    ----------
    jobs : iterable of Job, or of tuples of its first elements
        RNAs with their constraints and reactivities; those with a known structure are evaluated.
    settings : FoldSettings
        How to fold.
    processes : int
        Processes to fold in; the results do not depend on it.
    """
    # Made here in any case: an unusable model is a clear error in this process, not in a worker.
    folder = Folder(settings)
    if processes <= 1:
        for job in jobs:
            yield _work(folder, Job(*job))
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, _start_worker, (settings,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(_work_here, Job(*job)))
                if len(waiting) >= 8 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _work(folder: Folder, job: Job) -> Result:
    if job.known is not None:
        return folder.evaluate(job.known, job.reactivity)
    return folder(job.record, job.constraint, job.reactivity)


_worker: Folder | None = None


def _start_worker(settings: FoldSettings) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Folder(settings)


def _work_here(job: Job) -> Result:
    assert _worker is not None
    return _work(_worker, job)


def fold(
    sequences: str | Path | SequenceRecord | Sequence[str | SequenceRecord],
    *,
    constraint: str | None = None,
    processes: int = 1,
    model: str = DEFAULT_MODEL,
    decoder: Name | None = None,
    gamma: float | None = None,
    average: Sequence[ParameterSet] = (),
    temperature: float = 37.0,
    max_span: int = 0,
    probabilities: bool = False,
    threshold: float | None = None,
    samples: int = 0,
    seed: int = 0,
    circular: bool = False,
    window: int | None = None,
    homologs: str | Path | Sequence[Homolog] = (),
    reactivity: Reactivity | None = None,
) -> list[Result]:
    """Fold one RNA or many.

    Parameters
    ----------
    sequences : str, path, SequenceRecord or a sequence of them
        Nucleotides, a record, or several; a ``pathlib.Path`` is read as FASTA or FASTQ. Two
        strands have ``&`` between them.
    constraint : str, optional
        Hard constraint; only for a single sequence.
    processes : int
        Processes to fold in.
    model, decoder, gamma, average, temperature, max_span, probabilities : as in FoldSettings
        How to fold.
    threshold, samples, seed, circular, window : as in FoldSettings
        How to fold.
    homologs : path or sequence of Homolog
        Homologous RNAs: a FASTA file, a structure file, or both kinds in a list.
    reactivity : Reactivity, optional
        Chemical probing; only for a single sequence.

    Returns
    -------
    list of Result
        In the order of the input, see `Folder`.

    Raises
    ------
    UsageError
        Settings that make no sense.
    InputError
        A sequence, constraint or reactivities that cannot be folded.

    Examples
    --------
    >>> import stemloop
    >>> stemloop.fold("GGGGAAAACCCC", model="turner2004")[0].structure.dot_bracket
    '((((....))))'
    """
    settings = FoldSettings(
        model=model,
        decoder=decoder,
        gamma=gamma,
        average=tuple(average),
        temperature=temperature,
        max_span=max_span,
        probabilities=probabilities,
        threshold=threshold,
        samples=samples,
        seed=seed,
        circular=circular,
        window=window,
        homologs=(read_homologs(homologs) if isinstance(homologs, str | Path) else tuple(homologs)),
    )
    if isinstance(sequences, Path):
        records = list(read_sequences(sequences))
    elif isinstance(sequences, str | SequenceRecord):
        records = [_as_record(sequences, 0)]
    else:
        records = [_as_record(item, index) for index, item in enumerate(sequences)]
    for given, what in ((constraint, "constraint"), (reactivity, "set of reactivities")):
        if given is not None and len(records) != 1:
            raise UsageError(f"one {what} for {len(records)} sequences")
    jobs = [Job(record, constraint, reactivity) for record in records]
    return list(fold_stream(jobs, settings, processes=processes))


def _as_record(item: str | SequenceRecord, index: int) -> SequenceRecord:
    if isinstance(item, SequenceRecord):
        return item
    name = f"sequence{index + 1}"
    return SequenceRecord(name, read_strands(item, record=name), index=index)
