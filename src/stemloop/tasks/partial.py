"""Results on disk while they are computed, so that a killed run goes on where it stopped.

Beside the output lies a folder ``<output>.partial`` with one raw file an array, of its final size
from the start, and a file ``done`` with one byte a batch. A batch's rows are written to their
places, synced, and only then is its byte set and synced. Whatever interrupts a run, a batch whose
byte is set is on disk, and a batch whose byte is not set is computed again into the same places:
a resumed run ends with the same bytes as one that was not interrupted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import OutputError, UsageError

Floats = npt.NDArray[np.float32]

PLAN, DONE, LOCK = "plan.json", "done", "lock"


class PartialResults:
    """Arrays of float32 that fill up batch by batch.

    Parameters
    ----------
    folder : pathlib.Path
        Where; made by `open_partial`.
    shapes : mapping of str to (rows, columns)
        The arrays.
    batches : int
        Batches in all.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, int]], batches: int) -> None:
        self.folder = folder
        self._shapes = dict(shapes)
        self._files: dict[str, int] = {}
        for number, (name, (rows, columns)) in enumerate(self._shapes.items()):
            self._files[name] = self._open(f"array{number}.f32", rows * columns * 4)
        self._marks = self._open(DONE, batches)
        self.done = np.frombuffer(os.pread(self._marks, batches, 0), np.uint8) == 1

    def _open(self, name: str, size: int) -> int:
        handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(handle, size)
        return handle

    def write(self, batch: int, rows: Mapping[str, Iterable[tuple[int, Floats]]]) -> None:
        """Put a batch's rows in their places and mark it done."""
        for name, parts in rows.items():
            columns = self._shapes[name][1]
            for at, block in parts:
                _write_all(self._files[name], np.ascontiguousarray(block, "<f4"), at * columns * 4)
            os.fdatasync(self._files[name])
        os.pwrite(self._marks, b"\x01", batch)
        os.fdatasync(self._marks)

    def read(self, name: str, first: int, last: int) -> Floats:
        """Rows `first` to `last` of one array. Read, not mapped: mapped pages count as memory."""
        columns = self._shapes[name][1]
        data = bytearray((last - first) * columns * 4)
        view, offset = memoryview(data), first * columns * 4
        while view:
            size = os.preadv(self._files[name], [view], offset)
            if not size:
                raise OSError(f"{self.folder}: a file of it has been cut")
            view, offset = view[size:], offset + size
        return np.frombuffer(data, "<f4").reshape(last - first, columns)

    def close(self) -> None:
        """Close the files."""
        for handle in (*self._files.values(), self._marks):
            os.close(handle)


def _write_all(handle: int, block: Floats, offset: int) -> None:
    """pwrite until everything is written: the system may take a part only."""
    data = block.data.cast("B")
    while data:
        size = os.pwrite(handle, data, offset)
        data, offset = data[size:], offset + size


@contextmanager
def open_partial(
    output: Path,
    fingerprint: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, int]],
    batches: int,
    *,
    resume: bool,
    restart: bool,
) -> Iterator[PartialResults]:
    """Start or take up the folder beside `output`; it is removed when the block ends well.

    Parameters
    ----------
    output : pathlib.Path
        The file that will be written.
    fingerprint : mapping
        Everything that decides the numbers, as JSON values.
    shapes, batches
        See `PartialResults`.
    resume : bool
        Take up what an interrupted run has left.
    restart : bool
        Throw it away.

    Raises
    ------
    UsageError
        There is an unfinished run and neither was asked for; or it had another input, model or
        other options (the message says which).
    OutputError
        Another process is at work on the same output, or the folder cannot be written.
    """
    folder = output.with_name(output.name + ".partial")
    try:
        _check(folder, fingerprint, resume, restart)
        folder.mkdir(exist_ok=True)
        with open(folder / LOCK, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"{output}: another process is writing it") from None
            if not (resume and _has_results(folder)):
                _start(folder, fingerprint)
            results = PartialResults(folder, shapes, batches)
            try:
                yield results
            finally:
                results.close()
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"{output}: {error.strerror or error}; what is done stays in {folder.name}, "
            "--resume goes on from there"
        ) from error


def _check(folder: Path, fingerprint: Mapping[str, Any], resume: bool, restart: bool) -> None:
    if not _has_results(folder):
        return
    if not resume and not restart:
        raise UsageError(
            f"{folder} holds an unfinished run: --resume goes on with it, --force starts anew"
        )
    if not resume:
        return
    try:
        before = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        changed = sorted(
            k for k in before.keys() | fingerprint if before.get(k) != fingerprint.get(k)
        )
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{folder / PLAN} is damaged: --force starts anew") from error
    if changed:
        said = "; ".join(f"{k} was {before.get(k)}, is {fingerprint.get(k)}" for k in changed)
        raise UsageError(f"{folder} is of another run ({said}): --force starts anew")


def _has_results(folder: Path) -> bool:
    """Whether a batch was ever finished: otherwise nothing is lost by starting anew."""
    marks = folder / DONE
    return (folder / PLAN).exists() and marks.exists() and b"\x01" in marks.read_bytes()


def _start(folder: Path, fingerprint: Mapping[str, Any]) -> None:
    """Empty the folder and write down what it is for."""
    for path in folder.iterdir():
        if path.name != LOCK:
            path.unlink()
    fresh = folder / "plan.new"
    with open(fresh, "w", encoding="utf-8") as handle:
        json.dump(fingerprint, handle, indent=2)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(fresh, folder / PLAN)
