"""``stemloop weights``: list what can be had by name, and get it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

app = typer.Typer(help="Named weights: list them, download them.", no_args_is_help=True)


@app.command("list")
def list_weights() -> None:
    """List the names, what they are, and whether they are here."""
    from stemloop.weights.catalog import CATALOG
    from stemloop.weights.locate import available, cache_dir

    here = available()
    rows = [(name, "here", "") for name in here if name not in CATALOG]
    rows += [
        (name, "here" if name in here else "-", f"{entry.summary} ({entry.licence})")
        for name, entry in CATALOG.items()
    ]
    width = max(len(name) for name, _, _ in rows)
    for name, state, text in rows:
        typer.echo(f"{name:{width}}  {state:4}  {text}".rstrip())
    typer.echo(f"cache folder: {cache_dir()}", err=True)


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="A name of 'stemloop weights list'.")],
    sha256: Annotated[
        str | None, typer.Option(help="Insist on this checksum of the downloaded file.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Fetch from a mirror; the first time with --sha256.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the downloaded file too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is here.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not touch the network (STEMLOOP_OFFLINE=1).")
    ] = False,
) -> None:
    """Download weights, verify them, and turn them into a model directory.

    Interrupted downloads go on where they stopped. The checksum is that of --sha256, else the one
    recorded at the first download, else the one that the record states.
    """
    from stemloop.cli.progress import bytes_progress
    from stemloop.weights.install import install

    if offline:
        os.environ["STEMLOOP_OFFLINE"] = "1"
    with bytes_progress() as progress:
        path = install(
            name,
            sha256=sha256,
            url=url,
            keep=keep,
            force=force,
            progress=progress,
            report=lambda text: typer.echo(text, err=True),
        )
    typer.echo(path)
