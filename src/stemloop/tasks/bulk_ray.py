"""Bulk runs on a Ray cluster. The only file that imports Ray.

Ray Data hands the numbers of blocks to a pool of actors, each of which loads the models once; it
holds work back while they are busy, starts dead actors anew and repeats what they were at. Input
and results lie in the block folder beside the output, which every machine must see. A block's
results are written whole or not at all and a second time with the same bytes, so no death of a
worker or of this process loses or doubles anything (`stemloop.tasks.bulk`).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemloop.errors import ExtraError, OutputExistsError, StemloopError, UsageError
from stemloop.formats.parquet import table_writer
from stemloop.tasks.bulk import Job, Plan, Progress, block_folder, block_name
from stemloop.tasks.bulk_merge import merge
from stemloop.tasks.bulk_parts import Note, write_part

#: The input, a group of rows a block.
INPUT = "input.parquet"

#: Workers that may die over one block until it is given up.
TRIES = 5

#: Blocks that Ray holds as items of their own at most; beyond, items are several blocks.
ITEMS = 4096


def _ray() -> Any:
    # Before the import: nothing about a run is sent to anyone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraError("ray", "cluster") from error
    return ray


class Worker:
    """An actor: loads the models when the first block comes, and computes blocks.

    Ray starts a dead one anew and repeats what it was at, without end. A block that is too large
    for the memory would kill them all, so each notes down its name before it begins.
    """

    def __init__(self, job: Job, folder: str, note: Note) -> None:
        import torch

        # A command of its own would have them, so results have the same bits.
        torch.set_num_threads(job.threads)
        self._job, self._folder, self._note = job, Path(folder), note
        self._compute: Callable[[Any], Any] | None = None

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Compute a block, unless its results are there.

        An error that stemloop raised on purpose is handed over and not tried again.
        """
        import pyarrow.parquet as pq

        number = int(item["block"])
        path = self._folder / block_name(number)
        try:
            if not path.exists():
                _note_try(path.with_suffix(".tries"))
                self._compute = self._compute or self._job.start()
                with pq.ParquetFile(self._folder / INPUT) as file:
                    table = file.read_row_group(number)
                write_part(path, iter([self._compute(table)]), self._job.schema(), self._note)
        except StemloopError as error:
            return {"block": number, "error": str(error), "code": error.exit_code}
        return {"block": number, "error": "", "code": 0}


def _note_try(path: Path) -> None:
    """Add a line with this process to the file; too many of them are an error."""
    before = path.read_text().splitlines() if path.exists() else []
    if len(before) >= TRIES:
        raise StemloopError(
            f"block {path.stem.rpartition('-')[2]} killed {len(before)} workers (too little "
            f"memory?): {', '.join(before)}"
        )
    with open(path, "a") as out:
        out.write(f"{socket.gethostname()}:{os.getpid()}\n")


def run_ray(
    make_plan: Callable[[], Plan],
    output: Path,
    workers: int | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Compute all blocks on a Ray cluster and write the output, the same as without it.

    The cluster is that of ``RAY_ADDRESS``, or the one this machine belongs to, or one that is
    started here for the time of the run.

    Parameters
    ----------
    make_plan : callable
        Says what to do; called when Ray is there.
    output : pathlib.Path
        The file.
    workers : int, optional
        Actors; as many as the cluster's processors (or GPUs) hold unless given.
    force : bool
        Begin anew, and replace what is there.
    progress, report
        See `stemloop.tasks.bulk.run_shard`.

    Raises
    ------
    ExtraError
        Ray is not installed.
    OutputExistsError
        The output is there already.
    UsageError
        More workers than the cluster holds; or an unfinished run of another input or other options.
    StemloopError
        What a worker raised on purpose, with its exit code.
    """
    blocks = output.with_name(output.name + ".blocks")
    if output.exists() and not force and not blocks.exists():
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    ray = _ray()
    plan = make_plan()
    note = plan.note()
    with block_folder(output, note, restart=force) as folder:
        files = [folder.resolve() / block_name(k) for k in range(len(plan))]
        missing = [k for k, path in enumerate(files) if not path.exists()]
        if output.exists() and not force and missing:
            raise OutputExistsError(f"{output} exists already; --force replaces it")
        if report and len(missing) < len(files):
            report(f"resuming: {len(files) - len(missing)} of {len(files)} blocks are done")
        if missing:
            _write_input(plan, folder / INPUT)
            _compute(ray, plan, folder.resolve(), missing, workers, progress)
        # A run that was killed between this step and the next has left an output: the same bytes.
        merge(files, output, force=True)


def _write_input(plan: Plan, path: Path) -> None:
    if path.exists():
        return
    tables = (table for _, table in plan.blocks(lambda _: True))
    first = next(tables)
    with table_writer(path, first.schema) as write:
        write(first)
        for table in tables:
            write(table)


def _compute(
    ray: Any,
    plan: Plan,
    folder: Path,
    missing: list[int],
    workers: int | None,
    progress: Progress | None,
) -> None:
    for path in folder.glob("*.tries"):
        path.unlink()
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    mine = not ray.is_initialized()
    if mine:
        start_ray(ray)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        share, count = _share(ray, plan.job, workers)
        items = ray.data.from_items(
            [{"block": k} for k in missing], override_num_blocks=min(len(missing), ITEMS)
        )
        done = items.map(
            Worker,
            fn_constructor_args=(plan.job, str(folder), plan.note()),
            compute=ray.data.ActorPoolStrategy(size=min(count, len(missing))),
            **share,
        )
        finished = len(plan) - len(missing)
        for number, row in enumerate(done.iter_rows(), finished + 1):
            if row["code"]:
                error = StemloopError(row["error"])
                error.exit_code = int(row["code"])
                raise error
            if progress:
                progress(number, len(plan))
    finally:
        if mine:
            ray.shutdown()


def start_ray(ray: Any, **options: Any) -> None:
    """Connect to the cluster, or start one; a busy machine gets a second and a third chance."""
    for left in (2, 1, 0):
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False, **options)
            return
        except Exception as error:  # noqa: BLE001 - Ray has no narrower class for this
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise StemloopError(f"Ray does not start: {error}") from error


def _share(ray: Any, job: Job, workers: int | None) -> tuple[dict[str, float], int]:
    """What an actor takes of the cluster, and how many actors there are to be."""
    has = ray.cluster_resources()
    share: dict[str, float] = {"num_cpus": job.threads}
    room = int(has.get("CPU", 0)) // job.threads
    if job.device.startswith("cuda"):
        share = {"num_cpus": 1, "num_gpus": 1}
        room = int(has.get("GPU", 0))
    if (workers or 1) > room:
        what = "GPU" if "num_gpus" in share else f"{job.threads} processors"
        raise UsageError(f"{workers or 1} workers of {what} each: the cluster has room for {room}")
    return share, workers or room
