"""The folder of a pre-training run: metrics, complete checkpoints, the newest model.

A checkpoint counts once it is complete (`COMPLETE` is written last): a run that was killed while
writing goes on from the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from stemloop.data.corpus import Corpus
from stemloop.errors import OutputError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.training.pretrain_recipe import PretrainRecipe

#: Written into a checkpoint when all else is in it.
COMPLETE = "complete.json"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"

#: Seconds until what one machine wrote must be seen by the others.
PATIENCE = 60.0


class Records(TrainerCallback):
    """Metrics as JSON lines, complete checkpoints, and the newest model as a folder."""

    def __init__(
        self, run: Path, save: Callable[[Path, int], None], report: Callable[[dict], None] | None
    ) -> None:
        self.run, self.save, self.report = run, save, report

    def on_log(self, args, state, control, logs=None, **kwargs):  # type: ignore[no-untyped-def]
        """Append a line."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        line = {"step": state.global_step, **{k: _short(v) for k, v in logs.items()}}
        line.pop("epoch", None)
        with open(self.run / METRICS_FILE, "a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        if self.report:
            self.report({**line, "steps": state.max_steps})

    def on_save(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """Mark the checkpoint as complete; bring the model folder up to date."""
        if torch.distributed.is_initialized():
            # Each process writes the state of its own generators.
            torch.distributed.barrier()
        if not state.is_world_process_zero:
            return
        folder = self.run / f"checkpoint-{state.global_step}"
        _sync(folder)
        with atomic_output(folder / COMPLETE, force=True) as out:
            out.write(json.dumps({"step": state.global_step}) + "\n")
        self.save(folder, state.global_step)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _sync(folder: Path) -> None:
    """Make sure that what was written is on the disk."""
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def last_checkpoint(run: Path) -> Path | None:
    """Newest complete checkpoint of a run."""
    found = [p.parent for p in run.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)


def agreed(run: Path, last: Path | None) -> Path | None:
    """The checkpoint that the first process goes on from, in every process.

    Raises
    ------
    UsageError
        This process does not see the first one's folder: it is on another disk.
    """
    if not torch.distributed.is_initialized():
        return last
    names: list[str | None] = [last and last.name]
    torch.distributed.broadcast_object_list(names, src=0)
    last = names[0] and run / names[0]
    needed = last / COMPLETE if last else run / RUN_FILE
    until = time.monotonic() + PATIENCE
    while not needed.exists():
        if time.monotonic() > until:
            raise UsageError(
                f"{socket.gethostname()} does not see {needed}: the run's folder must be one that "
                "all machines share"
            )
        time.sleep(0.5)
    return last


def open_run(run: Path, recipe: PretrainRecipe, corpus: Corpus) -> Path | None:
    """Make the run's folder or check that it belongs to this recipe; the checkpoint to go on from.

    Raises
    ------
    UsageError
        The folder holds another recipe's or another corpus' run.
    OutputError
        The folder cannot be made.
    """
    facts = {
        "recipe": recipe.model_dump(mode="json"),
        "corpus": hashlib.sha256((corpus.folder / "manifest.json").read_bytes()).hexdigest(),
    }
    path = run / RUN_FILE
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: no folder for the run: {error.strerror}") from error
    if not path.exists():
        if any(run.iterdir()):
            raise UsageError(f"{run} holds other things: choose another output folder")
        with atomic_output(path) as out:
            out.write(json.dumps(facts, indent=2) + "\n")
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    different = [k for k in facts if known.get(k) != facts[k]]
    if different:
        raise UsageError(
            f"{run} belongs to another {' and '.join(different)}; choose another output folder"
        )
    last = last_checkpoint(run)
    for folder in run.glob("checkpoint-*"):
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)  # cut short by a kill
    _cut_metrics(run / METRICS_FILE, int(last.name.rsplit("-", 1)[1]) if last else 0)
    return last


def _cut_metrics(path: Path, step: int) -> None:
    """Drop what was recorded after the checkpoint: those steps are done again."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line + "\n")
        except ValueError:
            break  # the last line of a killed run
    with atomic_output(path, force=True) as out:
        out.write("".join(lines))
