"""``stemloop benchmark``: a leaderboard of protocols and models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer


def benchmark(
    board: Annotated[Path, typer.Argument(help="Recipe, such as recipes/leaderboard.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder that the recipe's data are relative to.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for tables, reports and trainings.")
    ],
    table: Annotated[
        list[str] | None, typer.Option(help="Only the table of this name (repeatable).")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes for folding.")] = 1,
) -> None:
    """Run protocols and models side by side; write a leaderboard as JSON, Markdown and HTML.

    Called again, it goes on where the last call stopped, and runs only what has changed.
    """
    import torch

    from stemloop.cli.progress import counted
    from stemloop.evaluation.leaderboard import run_board
    from stemloop.evaluation.leaderboard_page import to_markdown
    from stemloop.evaluation.leaderboard_recipe import load_board

    torch.set_num_threads(1)

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return counted(items, "RNAs", total)

    found = run_board(
        load_board(board),
        board.parent,
        data,
        output,
        only=table,
        jobs=jobs,
        report=lambda line: typer.echo(line, err=True),
        counted=show,
    )
    typer.echo(to_markdown(found))
    typer.echo(f"wrote {output / 'leaderboard.html'}", err=True)
