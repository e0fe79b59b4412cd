"""Jobs: a bounded queue, one job at a time, results kept in memory within bounds."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from stemloop.web.compute import Outcome, Task
from stemloop.web.engine import CrashedError, Engine, StoppedError, TaskError
from stemloop.web.generate import MakeTask
from stemloop.web.limits import Limits

State = Literal["waiting", "running", "done", "cancelled", "failed"]

log = logging.getLogger("stemloop.web")


class FullError(Exception):
    """The queue is full; ``seconds`` is when to try again."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"the queue is full: try again in {seconds} s")


@dataclass(eq=False)
class Job:
    """RNAs of one request.

    Parameters
    ----------
    tasks : sequence of Task
        What to compute.
    id : str
        Not to be guessed: who knows it may see and cancel the job.
    state : str
        How far it is.
    outcomes : list of (int, Outcome)
        Answers so far, with the number of their task.
    errors : list of (int, str)
        Tasks that could not be computed, and why.
    message : str
        Why it failed.
    finished : Future
        Done when nothing more will happen.
    """

    tasks: Sequence[Task | MakeTask]
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    errors: list[tuple[int, str]] = field(default_factory=list)
    message: str = ""
    cancelled: bool = False
    finished: Future[None] = field(default_factory=Future)
    began: float = 0.0
    ended: float = 0.0

    @property
    def done(self) -> int:
        """Tasks that are through."""
        return len(self.outcomes) + len(self.errors)

    @property
    def nucleotides_left(self) -> int:
        """Of the tasks that are not."""
        return sum(task.record.length for task in self.tasks[self.done :])

    @property
    def seconds(self) -> float:
        """Of computing."""
        if not self.began:
            return 0.0
        return (self.ended or time.monotonic()) - self.began

    @property
    def size(self) -> int:
        """Bytes of the answers, about."""
        return sum(outcome.size for _, outcome in self.outcomes)

    def end(self, state: State, message: str = "") -> None:
        """Nothing more will happen."""
        if self.finished.done():
            return
        self.state, self.message, self.ended = state, message, time.monotonic()
        self.finished.set_result(None)


class Jobs:
    """Runs jobs in a thread of its own, one after the other.

    Parameters
    ----------
    engine : Engine
        What computes.
    limits : Limits
        Of the queue and of what is kept.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits = engine, limits
        self._all: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._thread.start()

    def submit(self, tasks: Sequence[Task | MakeTask]) -> Job:
        """Put a job at the end of the queue.

        Raises
        ------
        FullError
            Too many are waiting.
        """
        with self._change:
            if self._closed:
                raise FullError(60)
            if len(self._waiting) >= self.limits.waiting:
                raise FullError(self._seconds_left())
            self._forget()
            job = Job(tasks)
            self._all[job.id] = job
            self._waiting.append(job)
            self._change.notify()
        return job

    def get(self, id: str) -> Job | None:
        """The job, if it is known and not forgotten."""
        with self._change:
            return self._all.get(id)

    def ahead(self, job: Job) -> int:
        """Jobs that come before it."""
        with self._change:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def cancel(self, job: Job) -> None:
        """Stop a job: a waiting one at once, a running one after its RNA or a second."""
        with self._change:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
                job.end("cancelled")

    def close(self) -> None:
        """Cancel everything and stop; the engine is closed."""
        with self._change:
            self._closed = True
            for job in self._all.values():
                job.cancelled = True
            while self._waiting:
                self._waiting.popleft().end("cancelled")
            self._change.notify()
        self._thread.join()
        self.engine.close()

    def _seconds_left(self) -> int:
        """When there may be room again: the running job, at some thousand nucleotides a second."""
        left = self._running.nucleotides_left if self._running else 0
        return max(1, min(60, left // 2000))

    def _loop(self) -> None:
        while True:
            with self._change:
                self._running = None
                self._forget()
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.state, job.began = "running", time.monotonic()
            try:
                self._run(job)
            except Exception:
                # A defect must not stop the queue: the user gets an answer, the log the reason.
                log.exception("job %s", job.id)
                job.end("failed", "internal error")

    def _run(self, job: Job) -> None:
        for number, task in enumerate(job.tasks):
            if job.cancelled:
                break
            try:
                job.outcomes.append((number, self.engine.run(task, lambda: job.cancelled)))
            except TaskError as error:
                job.errors.append((number, str(error)))
            except CrashedError as error:
                # The RNA that crashed it is named, the others go on in a new process.
                log.error("job %s, record %r: %s", job.id, task.record.id, error)
                job.errors.append((number, str(error)))
            except StoppedError:
                break
        job.end("cancelled" if job.cancelled and job.done < len(job.tasks) else "done")

    def _forget(self) -> None:
        """Drop the oldest finished jobs while there are too many or they take too much memory."""
        finished = [job for job in self._all.values() if job.finished.done()]
        size = sum(job.size for job in finished)
        for count, job in zip(range(len(finished), 1, -1), finished, strict=False):
            if count <= self.limits.kept and size <= self.limits.kept_bytes:
                break
            size -= job.size
            with contextlib.suppress(KeyError):
                del self._all[job.id]
