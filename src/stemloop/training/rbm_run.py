"""The folder of an RBM's training: whose it is, and what is dropped before going on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemloop.errors import OutputError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.weights.rbm_store import AGES

RUN_FILE, METRICS_FILE = "run.json", "metrics.jsonl"


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
