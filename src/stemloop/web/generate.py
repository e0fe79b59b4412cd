"""Sequences of a family from its generator, as JSON and files. Runs in the worker process."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stemloop.errors import WeightsError
from stemloop.formats.fasta import header_text
from stemloop.records import Result, SequenceRecord
from stemloop.web.compute import Outcome
from stemloop.weights.locate import bundled, bundled_configs

#: ``model_type`` of a generator's folder.
_TYPE = "rbm-generator"


@dataclass(frozen=True, slots=True)
class MakeTask:
    """Sequences of one family.

    Parameters
    ----------
    family : str
        Its name.
    folder : pathlib.Path
        Its generator.
    count, steps, seed : int
        Sequences, Gibbs steps, and what they are drawn with.
    labels : mapping of str to float
        Shares of the labels; those of the training data when empty.
    unique : bool
        No sequence twice.
    command : str
        Command line that makes the same.
    """

    family: str
    folder: Path
    count: int
    steps: int
    seed: int
    labels: Mapping[str, float]
    unique: bool
    command: str

    @property
    def record(self) -> SequenceRecord:
        """What messages name."""
        return SequenceRecord(self.family, "")


def families(own: tuple[Path, ...] = ()) -> dict[str, tuple[Path, list[str]]]:
    """Name of each family, with the folder of its generator and its labels.

    Parameters
    ----------
    own : tuple of pathlib.Path
        Folders beside those that ship.

    Raises
    ------
    WeightsError
        A folder is no generator.
    """
    found = dict(_shipped())
    for folder in own:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            found[config["name"]] = (folder, list(config["labels"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{folder} is no generator: {error}") from error
    return found


@cache
def _shipped() -> dict[str, tuple[Path, list[str]]]:
    return {
        config["name"]: (bundled(folder), list(config["labels"]))
        for folder, config in bundled_configs(_TYPE).items()
    }


def command_of(task: MakeTask, shipped: bool) -> str:
    """Command line that makes the same."""
    where = f"--family {shlex.quote(task.family)}"
    if not shipped:
        # Where the server keeps it is nobody's business.
        where = f"--model {shlex.quote(task.folder.name)}"
    words = [f"stemloop generate {where} -n {task.count} --steps {task.steps} --seed {task.seed}"]
    words += [f"--label {shlex.quote(f'{name}={share:g}')}" for name, share in task.labels.items()]
    return " ".join([*words, *(["--unique"] if task.unique else [])])


def make(task: MakeTask) -> Outcome:
    """Make the sequences.

    Raises
    ------
    StemloopError
        The generator is damaged, or the order makes no sense.
    """
    from stemloop.tasks import generate_family as maker
    from stemloop.tasks.generators import open_generator

    generator = open_generator(task.folder)
    order = maker.Order(
        labels=dict(task.labels), steps=task.steps, seed=task.seed, unique=task.unique
    )
    made = maker.make(generator, task.count, order)
    answer = {
        "family": task.family,
        "structure": generator.facts.get("structure") or None,
        "labels": list(generator.stored.machine.config.labels),
        "notes": maker.report(made, generator),
        "command": task.command,
        "sequences": [
            {"id": r.record.id, "aligned": r.record.sequence, "values": _values(r)}
            for r in made.results
        ],
    }
    files = {"fa": _fasta(made.results), "csv": _table(made.results)}
    packed = {name: zlib.compress(text.encode(), 1) for name, text in files.items()}
    return Outcome(json.dumps(answer, separators=(",", ":")).encode(), packed)


def _values(result: Result) -> dict[str, Any]:
    def shown(value: str | int | float) -> str | int | float | None:
        if isinstance(value, float):
            return round(value, 4) if math.isfinite(value) else None
        return value

    return {name: shown(value) for name, value in result.values.items()}


def _fasta(results: list[Result]) -> str:
    lines = []
    for result in results:
        lines.append(f">{header_text(result.record)}\n{result.record.sequence.replace('-', '')}\n")
    return "".join(lines)


def _table(results: list[Result]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for result in results for name in result.values))
    writer = csv.DictWriter(out, ["id", "aligned", *names], lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = {"id": result.record.id, "aligned": result.record.sequence}
        writer.writerow(row | dict(result.values))
    return out.getvalue()
