"""What commands share for bulk runs: ``--shard``, ``--engine``; and ``stemloop merge``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemloop.errors import UsageError

if TYPE_CHECKING:
    from stemloop.tasks.bulk import Plan


class Engine(StrEnum):
    """What computes."""

    ray = "ray"


PANEL = "Large inputs"
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Compute the I-th of N shares and write a part for `stemloop merge`.",
        rich_help_panel=PANEL,
    ),
]
EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine", help="ray: share the work out on a Ray cluster.", rich_help_panel=PANEL
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Of --engine: processes; as many as the cluster holds unless given.",
        rich_help_panel=PANEL,
    ),
]


def is_bulk(
    shard: str | None, engine: Engine | None, workers: int | None, *clashes: tuple[object, str]
) -> bool:
    """Whether a bulk run is asked for; options that do not go with one are refused."""
    if workers is not None and engine is None:
        raise UsageError("--workers goes with --engine")
    if shard is None and engine is None:
        return False
    if shard is not None and engine is not None:
        raise UsageError("--shard and --engine do not go together")
    for given, option in clashes:
        if given:
            raise UsageError(f"{option} does not go with {'--shard' if shard else '--engine'}")
    return True


def run_bulk(
    make_plan: Callable[[], Plan],
    output: Path,
    *,
    shard: str | None,
    workers: int | None,
    force: bool,
) -> None:
    """Plan and run."""
    from stemloop.cli.progress import count_progress
    from stemloop.tasks.bulk import parse_share, run_shard

    def report(text: str) -> None:
        typer.echo(text, err=True)

    share = None if shard is None else parse_share(shard)
    with count_progress("blocks") as progress:
        if share is not None:
            run_shard(make_plan(), output, share, force=force, progress=progress, report=report)
            return
        from stemloop.tasks.bulk_ray import run_ray

        run_ray(make_plan, output, workers, force=force, progress=progress, report=report)


def merge(
    parts: Annotated[
        list[Path], typer.Argument(help="Parts, or folders with files NAME.part, in any order.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="What the command without --shard would write.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
) -> None:
    """Put the parts of `--shard` runs together: the same bytes as a run in one piece.

    Parts that are missing, there twice, damaged, or of another input, model, version or options
    are refused by name.
    """
    from stemloop.tasks.bulk_merge import merge as run
    from stemloop.tasks.bulk_merge import parts_of

    files = parts_of(parts)
    run(files, output, force=force)
    typer.echo(f"wrote {output} of {len(files)} parts", err=True)
