"""From a request to tasks: what can be refused is refused before anything is computed."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

from stemloop.alphabet import normalise
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.folding.thermo import check_constraint
from stemloop.formats.fasta import read_sequences
from stemloop.records import SequenceRecord
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.web.compute import LABELLERS, Task
from stemloop.web.generate import MakeTask, command_of, families
from stemloop.web.limits import Limits
from stemloop.web.schema import FoldRequest, GenerateRequest, Options, Wanted
from stemloop.weights.locate import bundled

#: Commands that do what a request asks for beside the structure.
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
        for record, constraint in _records(request):
            if len(tasks) == limits.rnas:
                raise RequestError(413, f"more than {limits.rnas} sequences", record.id)
            if record.length > limits.length:
                text = f"{record.length} nucleotides, the limit is {limits.length}"
                raise RequestError(413, text, record.id)
            total += record.length
            if total > limits.total:
                text = f"more than {limits.total} nucleotides in all"
                raise RequestError(413, text, record.id)
            if constraint is not None:
                if settings is None:
                    raise UsageError("a constraint goes with 'structure'")
                _check_constraint(record, constraint)
            if settings is not None:
                settings.window_of(record, settings.decoder or "")
            command = _command(record, request, constraint)
            tasks.append(Task(record, settings, wanted, constraint, command))
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


def _check_constraint(record: SequenceRecord, constraint: str) -> None:
    if len(constraint) != record.length:
        text = f"constraint of {len(constraint)} characters for {record.length} nucleotides"
        raise InputError(text, record=record.id)
    try:
        check_constraint(record.sequence, constraint)
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


def _records(request: FoldRequest) -> Iterator[tuple[SequenceRecord, str | None]]:
    for index, rna in enumerate(request.sequences or ()):
        name = rna.id or f"sequence{index + 1}"
        sequence = normalise(rna.sequence, record=name)
        if not sequence:
            raise InputError("no nucleotides", record=name)
        yield SequenceRecord(name, sequence, "", index), rna.constraint
    if request.fasta is None:
        return
    text = request.fasta.lstrip("\ufeff \t\r\n\v\f")
    if text.startswith((">", "@")):
        # Only text that starts like this reaches the reader, which would decompress other data.
        for record in read_sequences(io.BytesIO(text.encode())):
            yield record, None
        return
    lines = (line for line in text.splitlines() if line.strip())
    index = -1
    for index, line in enumerate(lines):
        name = f"sequence{index + 1}"
        yield SequenceRecord(name, normalise(line, record=name), "", index), None
    if index < 0:
        raise InputError("no sequences", expected="FASTA, or a sequence a line")


def _command(record: SequenceRecord, request: Options, constraint: str | None) -> str:
    """Shell commands with the same result, a line each."""
    lines = []
    sequence = shlex.quote(record.sequence)
    if "structure" in request.compute:
        words = [f"stemloop fold -s {sequence}"]
        if constraint is not None:
            words = [_piped(record.id, record.sequence, constraint) + " | stemloop fold -C"]
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
        lines.append(" ".join(words))
    for what, program in _PROGRAMS.items():
        if what in request.compute:
            lines.append(_piped(record.id, record.sequence) + f" | stemloop {program} -")
    return "\n".join(lines)


def _piped(name: str, *lines: str) -> str:
    text = " ".join(shlex.quote(part) for part in (f">{name}", *lines))
    return f"printf '%s\\n' {text}"
