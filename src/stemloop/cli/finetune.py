"""``stemloop finetune``: train heads and folding models by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stemloop.training.structure import Progress

app = typer.Typer(no_args_is_help=True, help="Train a model for a task by a recipe.")


@app.callback()
def options() -> None:
    """Train a model for a task by a recipe."""


def show(name: str, state: Progress) -> None:
    """Print a line of progress now and then, for terminals and log files alike."""
    if state.step % 20 == 0 or state.step == state.steps:
        typer.echo(
            f"{name}: stage {state.stage}, epoch {state.epoch}/{state.epochs}, "
            f"batch {state.step}/{state.steps}, soft F {state.soft_f:.4f}, {state.seconds:.0f} s",
            err=True,
        )


@app.command("structure")
def structure(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/fold-crf.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Leave out this ArchiveII class and its Rfam families (repeatable)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
) -> None:
    """Train the thermodynamic CRF. Called again, it goes on where the last call stopped."""
    import torch

    from stemloop.evaluation.benchmark import read_archiveii
    from stemloop.folding.crf import save_crf
    from stemloop.training import structure as training
    from stemloop.training.recipes import load_recipe

    torch.set_num_threads(1)
    parsed = load_recipe(recipe)
    if seed is not None:
        parsed = parsed.model_copy(update={"seed": seed})
    held = training.HoldOut()
    if hold_out:
        held = training.hold_out(hold_out, read_archiveii(data))
    trainer = training.StructureTrainer(parsed, data, output, hold_out=held, jobs=jobs)
    net = trainer.run(lambda state: show(parsed.name, state))
    card = {"recipe": parsed.name, "seed": parsed.seed, "held_out": held.names}
    save_crf(output / "model", net, card, parsed.average)
    typer.echo(f"wrote {output / 'model'}: stemloop fold --model {output / 'model'} ...")
