"""The worker: a process of its own, so that the server answers while an RNA folds.

ViennaRNA holds the interpreter's lock and can neither be interrupted nor shared by threads. A
process can be ended in the middle of an RNA, and takes nothing along when it crashes.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol

from stemloop.errors import StemloopError
from stemloop.web.compute import Outcome, Task
from stemloop.web.generate import MakeTask

#: Seconds that an RNA whose job was cancelled may still take before its process is ended, which
#: costs the next job the seconds of starting another.
GRACE = 1.0


class StoppedError(Exception):
    """Given up because the job was cancelled."""


class CrashedError(Exception):
    """The process ended without an answer."""


class TaskError(Exception):
    """The RNA or the settings cannot be used; the message is for the user."""


class Engine(Protocol):
    """Computes one task after the other."""

    def run(self, task: Task | MakeTask, cancelled: Callable[[], bool]) -> Outcome:
        """Answer; raises `TaskError`, `StoppedError` or `CrashedError`."""

    def close(self) -> None:
        """Stop at once."""


class ProcessEngine:
    """Computes in a process, which is started again after it was ended or crashed."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, if there is none; its models load in the background."""
        if self._process is not None and self._process.is_alive():
            return
        self.close()
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours

    def run(self, task: Task | MakeTask, cancelled: Callable[[], bool]) -> Outcome:
        """Compute a task.

        Raises
        ------
        TaskError
            The RNA or the settings cannot be used.
        StoppedError
            `cancelled` became true and the answer did not come within `GRACE` seconds.
        CrashedError
            The process crashed.
        """
        self.start()
        pipe, process = self._pipe, self._process
        assert pipe is not None
        assert process is not None
        given_up = None
        try:
            pipe.send(task)
            while not pipe.poll(0.1):
                if cancelled():
                    given_up = given_up or time.monotonic()
                    if time.monotonic() - given_up > GRACE:
                        self.close()
                        raise StoppedError
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            process.join(5)
            code = process.exitcode
            self.close()
            raise CrashedError(f"the computing process ended (exit code {code})") from error
        if isinstance(answer, Outcome):
            return answer
        raise TaskError(answer)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _work(pipe: Connection) -> None:
    """Answer tasks until the other end of the pipe is gone."""
    # Ctrl-C reaches every process of the terminal; the server ends this one when it is ready to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from stemloop.web.compute import Computer
    from stemloop.web.generate import make

    torch.set_num_threads(1)
    computer = Computer()
    warm = iter(computer.warm_up())
    while True:
        try:
            # Who is waiting already goes first.
            while not pipe.poll() and next(warm, None):
                pass
            task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(make(task) if isinstance(task, MakeTask) else computer(task))
        except StemloopError as error:
            pipe.send(str(error))
