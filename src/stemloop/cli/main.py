"""The ``stemloop`` program: commands are registered here and live in a module each.

Command modules import typer and the standard library at the top, everything heavy inside their
functions, so that ``stemloop --help`` stays instant.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from stemloop import __version__
from stemloop.cli import (
    convert,
    corpus,
    doctor,
    embed,
    evaluate,
    finetune,
    fold,
    labels,
    pretrain,
    rbm,
    weights,
)
from stemloop.errors import StemloopError

app = typer.Typer(
    name="stemloop",
    help="RNA foundation models in one toolkit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"stemloop {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """RNA foundation models in one toolkit."""


# Commands -----------------------------------------------------------------------------------
app.command("fold")(fold.fold)
app.command("pretrain")(pretrain.pretrain)
app.add_typer(corpus.app, name="corpus")
app.add_typer(finetune.app, name="finetune")
app.add_typer(evaluate.app, name="evaluate")
app.command("embed")(embed.embed)
app.command("classify")(labels.classify)
app.command("splice")(labels.splice)
app.command("ribosome-load")(labels.ribosome_load)
app.add_typer(rbm.app, name="rbm")
app.command("convert")(convert.convert)
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)


def run() -> None:
    """Entry point: run the app; an error that stemloop raised on purpose is one line and a code."""
    # Two OpenMP threads beside a busy process spin at barriers and slow torch 2 to 30 times;
    # waiting passively cures it, but only when it is set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except StemloopError as error:
        sys.stdout.flush()
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        # The reader of our output went away (``stemloop fold x.fa | head``). Typer makes that
        # exit code 1, which would say that something is wrong with stemloop.
        if isinstance(stop.__context__, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(141)
        raise
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    run()
