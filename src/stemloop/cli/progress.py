"""Progress bars on standard error, only where it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn
from typing import TypeVar

Callback = Callable[[int, int | None], None]
T = TypeVar("T")


@contextmanager
def bytes_progress() -> Iterator[Callback]:
    """A bar for downloads; yields what to call with (bytes so far, bytes in all or None)."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bar(DownloadColumn(), TransferSpeedColumn()) as callback:
        yield callback


@contextmanager
def count_progress(unit: str) -> Iterator[Callback]:
    """A bar for work done; yields what to call with (done, in all)."""
    from rich.progress import MofNCompleteColumn, TextColumn

    with _bar(MofNCompleteColumn(), TextColumn(unit)) as callback:
        yield callback


def counted(items: Iterable[T], unit: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how many have passed."""
    with count_progress(unit) as callback:
        for number, item in enumerate(items, 1):
            yield item
            callback(number, total)


@contextmanager
def _bar(*columns: ProgressColumn) -> Iterator[Callback]:
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    with Progress(
        BarColumn(), *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=None)

        def callback(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield callback


StageCallback = Callable[[str, int, int | None], None]


@contextmanager
def stage_progress() -> Iterator[StageCallback]:
    """One bar a stage; yields what to call with (stage, done, in all or None).

    Where standard error is no terminal, a line is printed as each stage begins.
    """
    from contextlib import ExitStack

    seen: set[str] = set()
    with ExitStack() as stack:
        bar: list[Callback] = []

        def callback(stage: str, done: int, total: int | None) -> None:
            if stage not in seen:
                seen.add(stage)
                stack.close()
                if sys.stderr.isatty():
                    bar[:] = [stack.enter_context(count_progress(stage))]
                else:
                    print(f"{stage} ...", file=sys.stderr, flush=True)
            if bar:
                bar[0](done, total)

        yield callback
