"""``stemloop doctor``: is this installation complete, and does it compute what it should?"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stemloop.errors import ResultError


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for bug reports and scripts.")
    ] = False,
) -> None:
    """Show versions and devices, verify the bundled weights, recompute known results.

    Ends with exit code 8 if a check fails.
    """
    from stemloop.tasks.doctor import examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(report)
    failed = [check["name"] for check in report["checks"] if not check["passed"]]
    if failed:
        total = len(report["checks"])
        raise ResultError(f"{len(failed)} of {total} checks failed: {', '.join(failed)}")


def _show(report: dict[str, Any]) -> None:
    """Sections of aligned lines; checks last, where a reader looks first."""
    for section, values in report["facts"].items():
        typer.secho(section, bold=True)
        width = max(map(len, values), default=0)
        for name, value in values.items():
            typer.echo(f"  {name:<{width}}  {value}")
    typer.secho("checks", bold=True)
    width = max(len(check["name"]) for check in report["checks"])
    for check in report["checks"]:
        word, colour = ("ok", "green") if check["passed"] else ("FAILED", "red")
        mark = typer.style(f"{word:<6}", fg=colour)
        typer.echo(f"  {check['name']:<{width}}  {mark}  {check['detail']}")
