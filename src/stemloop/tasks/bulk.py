"""Bulk runs: a large input cut into blocks whose results are written one by one.

The input is cut into numbered blocks by a rule that knows nothing but the input and the options.
The results of a block are a file of their own in ``<output>.blocks/``, written whole or not at all
and named after the block; the output is made of them in their order, in one step, when all are
there. So whatever is killed, and whoever computes a block twice, the output is that of a run in
one piece, and the same command goes on where the last one stopped.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from stemloop.errors import OutputError, OutputExistsError, UsageError
from stemloop.formats.stream import atomic_output
from stemloop.tasks.bulk_parts import Note, note_of, read_tables, write_part

if TYPE_CHECKING:
    import pyarrow as pa

#: Blocks that an input is cut into, fewer where it has fewer units; more where they get too large.
BLOCKS = 256

Ints = npt.NDArray[np.int64]
Compute = Callable[["pa.Table"], "pa.Table"]
Progress = Callable[[int, int], None]


class Job(Protocol):
    """What is done to every block. It is small, and can be sent to other machines.

    Parameters
    ----------
    command : str
        Whose results they are.
    threads : int
        CPU threads of a worker.
    device : str
        ``cpu`` or ``cuda``.
    """

    @property
    def command(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def device(self) -> str: ...

    def schema(self) -> pa.Schema:
        """Columns of the results, ``unit`` first."""
        ...

    def start(self) -> Compute:
        """Load the models; what is returned maps a block of the input to its results."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to which input.

    Parameters
    ----------
    job : Job
        What.
    facts : dict
        Everything that decides the results, as JSON values.
    cuts : list of int
        Block k holds the units from ``cuts[k]`` to ``cuts[k + 1]``.
    blocks : callable
        Says, asked with a rule for numbers of blocks, those blocks in order: (number, table).
    """

    job: Job
    facts: dict[str, Any]
    cuts: list[int]
    blocks: Callable[[Callable[[int], bool]], Iterator[tuple[int, pa.Table]]]

    def note(self, number: int = 0, parts: int = 0) -> Note:
        """Of a part of the results."""
        return Note(self.job.command, self.facts, self.cuts[-1], (number, parts))

    def __len__(self) -> int:
        return len(self.cuts) - 1


def cut_blocks(costs: Ints, cap: int) -> list[int]:
    """Where to cut units into about `BLOCKS` blocks of similar cost.

    Parameters
    ----------
    costs : numpy.ndarray of int64
        Cost of each unit.
    cap : int
        About the most that a block may cost.

    Examples
    --------
    >>> cut_blocks(np.ones(1000, np.int64), 2)[:4], cut_blocks(np.array([5, 1, 9]), 3)
    ([0, 2, 4, 6], [0, 1, 2, 3])
    """
    ends = np.cumsum(costs)
    target = min(max(int(ends[-1]) // BLOCKS, 1), cap)
    cuts, used = [0], 0
    while cuts[-1] < len(costs):
        cuts.append(int(np.searchsorted(ends, used + target)) + 1)
        cuts[-1] = min(cuts[-1], len(costs))
        used = int(ends[cuts[-1] - 1])
    return cuts


def parse_share(text: str) -> tuple[int, int]:
    """``3/8`` to (3, 8).

    Raises
    ------
    UsageError
        It is something else, or outside of 1 to 8.
    """
    number, slash, total = text.partition("/")
    if slash and number.isascii() and number.isdigit() and total.isascii() and total.isdigit():
        found = int(number), int(total)
        if 1 <= found[0] <= found[1]:
            return found
    raise UsageError(f"--shard {text}: needed is I/N with I from 1 to N, such as 3/8")


def run_shard(
    plan: Plan,
    output: Path,
    share: tuple[int, int],
    *,
    force: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Compute every N-th block and write them as one part.

    Parameters
    ----------
    plan : Plan
        What to do.
    output : pathlib.Path
        The part. Where it is there already, nothing is done.
    share : tuple of int
        Which, from 1, and of how many.
    force : bool
        Begin anew, and replace what is there.
    progress : callable, optional
        Called with (blocks done, blocks in all).
    report : callable, optional
        Called with a line of text about what is there already.

    Raises
    ------
    OutputExistsError
        The output is there and is something else.
    UsageError
        An unfinished run of another input or other options lies beside it.
    """
    note = plan.note(*share)
    if output.exists() and not force:
        if note_of(output) != note:
            raise OutputExistsError(f"{output} exists already and is another; --force replaces it")
        if report:
            report(f"{output} is there already")
        return
    mine = range(share[0] - 1, len(plan), share[1])
    with block_folder(output, note, restart=force) as folder:
        files = {k: folder / block_name(k) for k in mine}
        done = {k for k, path in files.items() if path.exists()}
        if report and done:
            report(f"resuming: {len(done)} of {len(mine)} blocks are done")
        compute = None
        for count, (k, table) in enumerate(
            plan.blocks(lambda k: k in files and k not in done), len(done) + 1
        ):
            compute = compute or plan.job.start()
            write_part(files[k], iter([compute(table)]), plan.job.schema(), plan.note())
            if progress:
                progress(count, len(mine))
        tables = (table for k in mine for table in read_tables(files[k]))
        write_part(output, tables, plan.job.schema(), note)


def block_name(number: int) -> str:
    """File of a block."""
    return f"block-{number:06d}.part"


@contextmanager
def block_folder(output: Path, note: Note, *, restart: bool) -> Iterator[Path]:
    """Folder for the blocks of an output; it is removed when the block ends well.

    Raises
    ------
    UsageError
        It is of another run and `restart` is false.
    OutputError
        Another process is at work on the same output, or it cannot be made.
    """
    folder = output.with_name(output.name + ".blocks")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"{output}: another process is writing it") from None
            _claim(folder, note, restart)
            yield folder
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"{output}: {error.strerror or error}; what is done stays in {folder.name}, the same "
            "command goes on from there"
        ) from error


def _claim(folder: Path, note: Note, restart: bool) -> None:
    plan = folder / "plan.json"
    if not restart and plan.exists():
        try:
            before = json.loads(plan.read_text(encoding="utf-8"))
            now = json.loads(note.text())
            old, new = (x["facts"] | {k: x[k] for k in ("command", "share")} for x in (before, now))
        except (ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{plan} is damaged: --force starts anew") from error
        if changed := sorted(k for k in old.keys() | new if old.get(k) != new.get(k)):
            said = "; ".join(f"{k} was {old.get(k)}, is {new.get(k)}" for k in changed)
            raise UsageError(f"{folder} is of another run ({said}): --force starts anew")
        if before == now:
            return
    for path in folder.iterdir():
        if path.name != "lock":
            path.unlink()
    with atomic_output(plan, force=True) as out:
        out.write(note.text())
