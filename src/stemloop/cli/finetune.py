"""``stemloop finetune``: train heads and folding models by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stemloop.training import pair_head as pair_head_training
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


def show_pair_head(name: str, state: pair_head_training.Progress) -> None:
    """Print a line of progress now and then, and one for every validation."""
    place = f"{name}: epoch {state.epoch}/{state.epochs}"
    if state.f1 is not None:
        typer.echo(
            f"{place}: validation F1 {state.f1:.4f} above {state.threshold:.2f}, "
            f"loss {state.loss:.5f}, {state.seconds:.0f} s",
            err=True,
        )
    elif state.step % 200 == 0:
        typer.echo(
            f"{place}, RNA {state.step}/{state.steps}, loss {state.loss:.5f}, "
            f"{state.seconds:.0f} s",
            err=True,
        )


@app.command("pair-head")
def pair_head(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/pair-head.yaml.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Encoder: a folder or a name.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's data files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Leave out this ArchiveII class and its Rfam families (repeatable)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the head alone, whatever the recipe says.")
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Folder for a frozen encoder's output, which runs may share."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads, on a CPU.")] = 1,
) -> None:
    """Train RiNALMo's pair head. Called again, it goes on where the last call stopped."""
    import torch

    from stemloop.cli.progress import count_progress
    from stemloop.errors import UsageError
    from stemloop.evaluation.benchmark import read_archiveii
    from stemloop.tasks.base import pick_device
    from stemloop.training.pair_head import PairHeadTrainer
    from stemloop.training.pair_head_recipe import PairHeadRecipe
    from stemloop.training.recipe_base import read_recipe
    from stemloop.training.structure import HoldOut
    from stemloop.training.structure import hold_out as leave_out
    from stemloop.weights.store import load

    torch.set_num_threads(threads)
    parsed = read_recipe(recipe, PairHeadRecipe)
    changes = {} if seed is None else {"seed": seed}
    if frozen:
        changes["unfreeze"] = None
    parsed = PairHeadRecipe.model_validate(parsed.model_dump() | changes)
    if embeddings is not None and parsed.unfreeze is not None:
        raise UsageError("--embeddings is for a frozen encoder: give --frozen too")
    held = leave_out(hold_out, read_archiveii(data)) if hold_out else HoldOut()
    trainer = PairHeadTrainer(
        parsed,
        load(model),
        data,
        output,
        hold_out=held,
        device=str(pick_device(device)),
        embeddings=embeddings,
    )
    with count_progress("RNAs embedded") as progress:
        trainer.embed(progress)
    trainer.run(lambda state: show_pair_head(parsed.name, state))
    typer.echo(f"wrote {output / 'model'}: stemloop fold --model {output / 'model'} ...")
