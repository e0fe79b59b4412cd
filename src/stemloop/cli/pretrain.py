"""``stemloop pretrain``: train a language model on a corpus by a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def show(line: dict[str, Any]) -> None:
    """Print a line of progress, for terminals and log files alike."""
    place = f"step {line['step']}/{line['steps']}"
    if "eval_loss" in line:
        text = (
            f"held out: loss {line['eval_loss']:.4f}, accuracy {line['eval_masked_accuracy']:.4f}"
        )
        if "eval_type_accuracy" in line:
            text += f", type accuracy {line['eval_type_accuracy']:.4f}"
    else:
        text = (
            f"loss {line['loss']:.4f}, masked accuracy {line['masked_accuracy']:.4f}, "
            f"rate {line['learning_rate']:.2e}, {line['tokens_per_second']:.0f} tokens/s, "
            f"{line['tokens'] / 1e6:.2f} M tokens"
        )
        if line.get("skipped_steps"):
            text += f", {line['skipped_steps']} steps left out (gradient not finite)"
    typer.echo(f"{place}: {text}", err=True)


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/pretrain-pico.yaml.")],
    corpus: Annotated[Path, typer.Option(help="Folder made by `stemloop corpus build`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    motifs: Annotated[Path | None, typer.Option(help="Folder of the recipe's motif files.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Model whose weights to start from (folder or name).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Instead of the recipe's number of steps.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process, on a CPU.")] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that make batches beside the training.")
    ] = 0,
    parallel: Annotated[
        str, typer.Option(help="With torchrun: ddp, or fsdp2 (parameters are shared out).")
    ] = "ddp",
    device: Annotated[
        str | None, typer.Option(help="cpu: keep off an accelerator that is there.")
    ] = None,
) -> None:
    """Train a masked language model. Called again, it goes on where the last call stopped.

    Runs under `torchrun` and `accelerate launch` without change.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    from stemloop.errors import UsageError
    from stemloop.training.pretrain import pretrain as train
    from stemloop.training.pretrain_recipe import PretrainRecipe
    from stemloop.training.recipe_base import read_recipe, revise

    if parallel not in ("ddp", "fsdp2"):
        raise UsageError(f"unknown --parallel {parallel!r}; known: ddp, fsdp2")
    torch.set_num_threads(threads)
    changes = {k: v for k, v in (("seed", seed), ("steps", steps)) if v is not None}
    parsed = revise(read_recipe(recipe, PretrainRecipe), changes)
    first = int(os.environ.get("RANK", 0)) == 0
    model = train(
        parsed,
        corpus,
        output,
        motifs=motifs,
        start=start,
        workers=workers,
        parallel=parallel,
        device=device,
        report=show if first else None,
    )
    if torch.distributed.is_initialized():
        # A process that leaves while another still talks to it may abort; they leave together.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if first:
        typer.echo(f"wrote {model}: stemloop embed --model {model} ...")
