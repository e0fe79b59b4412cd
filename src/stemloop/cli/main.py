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
    annotate,
    benchmark,
    bulk,
    convert,
    corpus,
    doctor,
    embed,
    evaluate,
    evaluate_lm,
    finetune,
    fold,
    generate,
    interact,
    labels,
    pretrain,
    rbm,
    scan_mutations,
    serve,
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


# Commands, by the headings of ``stemloop --help`` ---------------------------------------------
PREDICT, TRAIN, MEASURE, MODELS = "Predict", "Train", "Measure", "Models"
app.command("fold", rich_help_panel=PREDICT)(fold.fold)
app.command("annotate", rich_help_panel=PREDICT)(annotate.annotate)
app.command("embed", rich_help_panel=PREDICT)(embed.embed)
app.command("classify", rich_help_panel=PREDICT)(labels.classify)
app.command("splice", rich_help_panel=PREDICT)(labels.splice)
app.command("ribosome-load", rich_help_panel=PREDICT)(labels.ribosome_load)
app.command("interact", rich_help_panel=PREDICT)(interact.interact)
app.command("scan-mutations", rich_help_panel=PREDICT)(scan_mutations.scan_mutations)
app.command("generate", rich_help_panel=PREDICT)(generate.generate)
app.command("merge", rich_help_panel=PREDICT)(bulk.merge)
app.command("serve", rich_help_panel=PREDICT)(serve.serve)
app.add_typer(corpus.app, name="corpus", rich_help_panel=TRAIN)
app.command("pretrain", rich_help_panel=TRAIN)(pretrain.pretrain)
app.add_typer(finetune.app, name="finetune", rich_help_panel=TRAIN)
finetune.app.command("interaction")(interact.finetune_interaction)
app.add_typer(rbm.app, name="rbm", rich_help_panel=TRAIN)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=MEASURE)
evaluate.app.command("lm")(evaluate_lm.language_model)
evaluate.app.command("interaction")(interact.evaluate_interaction)
app.command("benchmark", rich_help_panel=MEASURE)(benchmark.benchmark)
app.add_typer(weights.app, name="weights", rich_help_panel=MODELS)
app.command("convert", rich_help_panel=MODELS)(convert.convert)
app.command("doctor", rich_help_panel=MODELS)(doctor.doctor)


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
