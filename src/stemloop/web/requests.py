"""From a request to tasks: what can be refused is refused before anything is computed."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.folding.conditions import CUT
from stemloop.folding.reactivity import ProbingOptions, Reactivity, ReactivityTable
from stemloop.folding.thermo.given import check_constraint
from stemloop.formats.fasta import read_sequences
from stemloop.records import SequenceRecord
from stemloop.tasks.structure_jobs import Job, read_jobs, read_strands
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.web.compute import LABELLERS, NETWORK, Task
from stemloop.web.generate import MakeTask, command_of, families
from stemloop.web.limits import Limits
from stemloop.web.schema import FoldRequest, GenerateRequest, Options, Wanted
from stemloop.weights.locate import bundled

#: Commands that do what a request asks for of one strand, beside the structure.
_PROGRAMS = {
    "class": "classify",
    "mutations": "scan-mutations",
    "splice": "splice",
    "ribosome_load": "ribosome-load",
}


class RequestError(Exception):
    """A request that is refused.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        Why.
    record : str, optional
        The RNA at fault.
    """

    def __init__(self, status: int, message: str, record: str | None = None) -> None:
        self.status, self.message, self.record = status, message, record
        super().__init__(message)


def read_tasks(request: FoldRequest, limits: Limits) -> list[Task]:
    """Tasks of a request.

    Raises
    ------
    RequestError
        413: more RNAs or nucleotides than the limits allow; 422: no RNA, or options that do not go
        together. The RNA at fault is named.

    Examples
    --------
    >>> request = FoldRequest(fasta=">x\\nGGGGAAAACCCC", decoder="hybrid")
    >>> read_tasks(request, Limits())[0].command
    'stemloop fold -s GGGGAAAACCCC --decoder hybrid'
    """
    for what in request.compute:
        if what not in offered():
            raise RequestError(422, f"no model for {what!r} is installed")
    settings = _settings(request)
    wanted = frozenset(request.compute) - {"structure"}
    tasks: list[Task] = []
    total = 0
    try:
        table = _reactivities(request)
        for record, constraint, _, _ in _jobs(request):
            if len(tasks) == limits.rnas:
                raise RequestError(413, f"more than {limits.rnas} sequences", record.id)
            if record.length > limits.length:
                text = f"{record.length} nucleotides, the limit is {limits.length}"
                raise RequestError(413, text, record.id)
            total += record.length
            if total > limits.total:
                text = f"more than {limits.total} nucleotides in all"
                raise RequestError(413, text, record.id)
            strands = record.sequence.split(CUT)
            if not all(strands) or len(strands) > 2:
                text = f"{len(strands)} strands" if all(strands) else "a strand without nucleotides"
                raise InputError(text, record=record.id, expected="one strand, or two of them")
            if settings is None and (table or constraint is not None):
                what = "reactivities go" if table else "a constraint goes"
                raise UsageError(f"{what} with 'structure'")
            if len(strands) == 2 and (table or request.max_span):
                what = "reactivities" if table else "longest span"
                raise InputError(f"two strands go with no {what}", record=record.id)
            if constraint is not None:
                _check_constraint(record, constraint)
            if settings is not None:
                settings.window_of(record, settings.decoder or "")
            model = _interaction_model(strands[0]) if len(strands) == 2 else ""
            task = Task(record, settings, wanted, constraint, table and table(record), model)
            tasks.append(replace(task, command=_command(task, request)))
    except InputError as error:
        # There is no file that could be named.
        error.path = None
        raise RequestError(422, str(error), error.record) from error
    except UsageError as error:
        raise RequestError(422, str(error)) from error
    return tasks


def make_task(request: GenerateRequest, own: tuple[Path, ...], limits: Limits) -> MakeTask:
    """Task of a request for sequences of a family.

    Raises
    ------
    RequestError
        413: too many; 422: unknown family or label.
    """
    if request.count > limits.rnas:
        raise RequestError(413, f"more than {limits.rnas} sequences")
    known = families(own)
    if request.family not in known:
        names = ", ".join(known) or "none"
        raise RequestError(422, f"unknown family {request.family!r}; known: {names}")
    folder, labels = known[request.family]
    for label in request.labels:
        if label not in labels:
            raise RequestError(422, f"unknown label {label!r}; known: {', '.join(labels)}")
    task = MakeTask(
        request.family, folder, request.count, request.steps, request.seed, request.labels,
        request.unique, "",
    )  # fmt: skip
    return replace(task, command=command_of(task, folder not in own))


def offered() -> tuple[Wanted, ...]:
    """What can be computed with the models that are installed."""
    return tuple(what for what in get_args(Wanted) if _installed(LABELLERS.get(what)))


@cache
def _installed(model: str | None) -> bool:
    try:
        return model is None or bool(bundled(model))
    except WeightsError:
        return False


@cache
def _longest_first() -> int:
    """Nucleotides of the longest first strand that the network for two strands reads."""
    try:
        config = json.loads((bundled(NETWORK) / "config.json").read_text(encoding="utf-8"))
    except WeightsError:
        return 0
    return int(config["head"]["longest_first"])


def _interaction_model(first: str) -> str:
    """The network where it reads the first strand, energies for others."""
    return NETWORK if len(first) <= _longest_first() else "accessible"


def _check_constraint(record: SequenceRecord, constraint: str) -> None:
    sequence, constraint = record.sequence.replace(CUT, ""), constraint.replace(CUT, "")
    if len(constraint) != len(sequence):
        text = f"constraint of {len(constraint)} characters for {len(sequence)} nucleotides"
        raise InputError(text, record=record.id)
    try:
        check_constraint(sequence, constraint)
    except InputError as error:
        error.record = record.id
        raise


def _settings(request: Options) -> FoldSettings | None:
    if "structure" not in request.compute:
        return None
    try:
        return FoldSettings(
            model=request.model,
            decoder=request.decoder,
            gamma=request.gamma,
            threshold=request.threshold,
            temperature=request.temperature,
            max_span=request.max_span,
        )
    except UsageError as error:
        raise RequestError(422, str(error)) from error


def _jobs(request: FoldRequest) -> Iterator[Job]:
    """Records of a request with their constraints."""
    for index, rna in enumerate(request.sequences or ()):
        name = rna.id or f"sequence{index + 1}"
        sequence = read_strands(rna.sequence, record=name)
        if not sequence:
            raise InputError("no nucleotides", record=name)
        yield Job(SequenceRecord(name, sequence, "", index), rna.constraint)
    if request.fasta is None:
        return
    text = request.fasta.lstrip("\ufeff \t\r\n\v\f")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError("no sequences", expected="FASTA, or a sequence a line")
    if text.startswith((">", "@")):
        # Only text that starts like this reaches the readers, which would decompress other data.
        source = io.BytesIO(text.encode())
        duplexes = any(CUT in line for line in lines if line[0] != ">")
        if duplexes or request.constraints:
            yield from read_jobs(source, constraints=request.constraints, duplexes=duplexes)
        else:
            # Knows the line of a mistake.
            yield from map(Job, read_sequences(source))
        return
    if request.constraints and len(lines) % 2:
        raise InputError("a sequence without constraint", expected="two lines an RNA")
    step = 1 + request.constraints
    for index, line in enumerate(lines[::step]):
        name = f"sequence{index + 1}"
        record = SequenceRecord(name, read_strands(line.strip(), record=name), "", index)
        yield Job(record, lines[step * index + 1].strip() if request.constraints else None)


def _reactivities(request: FoldRequest) -> ReactivityTable | None:
    if request.reactivities is None:
        if request.shape_method or request.reagent:
            raise UsageError("shape_method and reagent go with reactivities")
        return None
    text = request.reactivities.lstrip("\ufeff \t\r\n\v\f")
    if not text.startswith((">", "#", *"0123456789")):
        raise InputError(
            "no reactivities", expected="lines of position, optionally nucleotide, reactivity"
        )
    source = io.BytesIO(text.encode())
    source.name = "reactivities"  # type: ignore[attr-defined]
    options = ProbingOptions.parse(request.shape_method or "deigan", request.reagent or "shape")
    return ReactivityTable(source, options)


def _command(task: Task, request: Options) -> str:
    """Shell commands with the same result, a line each."""
    lines = []
    record = task.record
    two = CUT in record.sequence
    if task.settings is not None:
        words = [f"stemloop fold -s {shlex.quote(record.sequence)}"]
        if task.constraint is not None:
            words = [_piped(f">{record.id}", record.sequence, task.constraint)]
            words += ["| stemloop fold -C", *(["--duplex"] if two else [])]
        if request.model != "fold-crf":
            words.append(f"--model {request.model}")
        if request.decoder is not None:
            words.append(f"--decoder {request.decoder}")
        for name, default in (
            ("gamma", None), ("threshold", None), ("temperature", 37.0), ("max_span", 0),
        ):  # fmt: skip
            value = getattr(request, name)
            if value != default:
                words.append(f"--{name.replace('_', '-')}={value!r}")
        if task.reactivity is not None:
            assert isinstance(request, FoldRequest)
            words = _with_reactivities(words, task.reactivity, request, lines)
        lines.append(" ".join(words))
    if "type" in request.compute and not two:
        # Among other things.
        annotate = "stemloop annotate - -o annotated"
        lines.append(f"{_piped(f'>{record.id}', record.sequence)} | {annotate}")
    for what, program in _PROGRAMS.items():
        if what in request.compute and not two:
            lines.append(f"{_piped(f'>{record.id}', record.sequence)} | stemloop {program} -")
    if "interaction" in request.compute and two:
        model = "" if task.interaction == NETWORK else f" --model {task.interaction}"
        lines.append(f"stemloop interact {shlex.quote(record.sequence)}{model}")
    return "\n".join(lines)


def _with_reactivities(
    words: list[str], reactivity: Reactivity, request: FoldRequest, lines: list[str]
) -> list[str]:
    """The command with the numbers: in a file where standard input is taken already."""
    known = enumerate(reactivity.values.tolist(), 1)
    numbers = _piped(*(f"{k} {value!r}" for k, value in known if value == value))
    if words[0].startswith("printf"):
        lines.append(f"{numbers} > reactivities.shape")
        words = [*words, "--shape reactivities.shape"]
    else:
        words = [f"{numbers} |", *words, "--shape /dev/stdin"]
    if request.shape_method:
        words.append(f"--shape-method {shlex.quote(request.shape_method)}")
    if request.reagent:
        words.append(f"--reagent {request.reagent}")
    return words


def _piped(*lines: str) -> str:
    return f"printf '%s\\n' {' '.join(map(shlex.quote, lines))}"
