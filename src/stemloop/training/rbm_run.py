"""The folder of an RBM's training: whose it is, its data, and what is dropped before going on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemloop.data.labelled import Labelled, split_rows
from stemloop.errors import InputError, OutputError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.weights.rbm_store import AGES

RUN_FILE, METRICS_FILE = "run.json", "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Parts:
    """Data of a run: to train on, and held out (None: nothing)."""

    train: Labelled
    test: Labelled | None


def split(recipe: RBMRecipe, data: Labelled) -> Parts:
    """Divide data as the recipe says."""
    rule = recipe.data.split
    if rule is None:
        return Parts(data, None)
    train, test = split_rows(data, rule.test, seed=rule.seed, group=rule.group)
    return Parts(data.take(train), data.take(test))


def ages_of(updates: int, count: int) -> list[int]:
    """Updates at which a machine is kept: geometric, from 1 to the last.

    Examples
    --------
    >>> ages_of(1000, 4)
    [1, 10, 100, 1000]
    """
    return sorted({round(updates ** (k / max(count - 1, 1))) for k in range(count)} | {updates})


def open_run(run: Path, facts: Mapping[str, Any]) -> None:
    """Make the run's folder, or check that it belongs to this recipe and data.

    Parameters
    ----------
    run : pathlib.Path
        The folder.
    facts : mapping
        What makes this run: JSON values, kept in ``run.json``.

    Raises
    ------
    UsageError
        The folder holds another run, or other things.
    OutputError
        It cannot be made.
    """
    path = run / RUN_FILE
    try:
        (run / AGES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: no folder for the run: {error.strerror}") from error
    if not path.exists():
        if any(p.name != AGES for p in run.iterdir()):
            raise UsageError(f"{run} holds other things: choose another output folder")
        with atomic_output(path) as out:
            out.write(json.dumps(dict(facts), indent=2) + "\n")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is damaged: choose another output folder") from error
    different = [k for k in facts if known.get(k) != facts[k]]
    if different:
        raise UsageError(
            f"{run} belongs to another {' and '.join(different)}; choose another output folder"
        )
    for left in run.rglob(".stemloop-*.tmp"):
        left.unlink(missing_ok=True)  # of a process that was killed while writing


def cut_metrics(path: Path, update: int) -> None:
    """Drop what was recorded after the checkpoint: those updates are done again."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["update"] <= update:
                lines.append(line + "\n")
        except ValueError:
            break  # the last line of a killed run
    with atomic_output(path, force=True) as out:
        out.write("".join(lines))


def read_run(
    run: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> tuple[RBMRecipe, Labelled]:
    """Recipe of a run, and all its data.

    Raises
    ------
    InputError
        No run, or the data in the folder is not that of the run.
    """
    try:
        facts = json.loads((Path(run) / RUN_FILE).read_text(encoding="utf-8"))
        recipe = RBMRecipe.model_validate(facts["recipe"])
        digest = facts["data"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError("no folder of a run", path=str(run), expected=RUN_FILE) from error
    data = recipe.data.read(Path(folder))
    if data.digest() != digest:
        raise InputError(
            "not the data of this run", path=os.fspath(folder), expected=f"SHA-256 {digest[:12]}"
        )
    return recipe, data
