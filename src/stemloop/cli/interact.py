"""``stemloop interact``, ``finetune interaction`` and ``evaluate interaction``: pairs of RNAs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace output that exists.")]


def finetune_interaction(
    recipe: Annotated[Path, typer.Argument(help="Recipe, such as recipes/mirna-target.yaml.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")],
    data: Annotated[Path, typer.Option(help="Folder of the recipe's table.")] = Path(),
    encoder: Annotated[
        str | None, typer.Option(help="none or frozen (read states); instead of the recipe's.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Language model whose states are read.")
    ] = "stemloop-pico",
    embeddings: Annotated[
        Path | None, typer.Option(help="Folder for its states, which runs may share.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's seed.")] = None,
    threads: ThreadsOption = 1,
) -> None:
    """Train a network that tells true pairs of RNAs from decoys.

    Called again, it goes on where the last call stopped.
    """
    import torch

    from stemloop.cli.progress import count_progress
    from stemloop.errors import UsageError
    from stemloop.training.interaction import InteractionTrainer, Progress
    from stemloop.training.interaction_recipe import InteractionRecipe
    from stemloop.training.recipe_base import read_recipe, revise
    from stemloop.weights.store import load

    torch.set_num_threads(threads)
    parsed = read_recipe(recipe, InteractionRecipe)
    changes = {"seed": seed, "encoder": encoder}
    parsed = revise(parsed, {k: v for k, v in changes.items() if v is not None})
    if embeddings is not None and parsed.encoder != "frozen":
        raise UsageError("--embeddings is for a frozen encoder")
    source = load(model) if parsed.encoder == "frozen" else None
    trainer = InteractionTrainer(parsed, data, output, encoder=source, embeddings=embeddings)
    with count_progress("pairs folded, strands read") as progress:
        trainer.prepare(progress)

    def show(state: Progress) -> None:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in state.scores.items())
        best = ", the best so far" if state.best else ""
        typer.echo(
            f"{parsed.name}: epoch {state.epoch}/{state.epochs}: validation {scores}{best}, "
            f"loss {state.loss:.4f}, {state.seconds:.0f} s",
            err=True,
        )

    metrics = trainer.run(show)
    for part in ("validation", "test"):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics[part].items())
        typer.echo(f"{part}: areas under the curve: {scores}")
    typer.echo(f"wrote {output / 'model'}: stemloop interact pairs.tsv --model {output / 'model'}")


def interact(
    source: Annotated[
        str,
        typer.Argument(
            help="Pairs: a .tsv or .csv with a header, FASTA of A&B, FASTA of first strands (with "
            "a second file), or the text A&B itself."
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(help="FASTA of second strands, record by record beside the first."),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", help=".tsv, .csv or .parquet; - prints TSV.")
    ] = "-",
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="mirna-target, a model folder, duplex, accessible or cofold."
        ),
    ] = "mirna-target",
    first_column: Annotated[
        str, typer.Option("--first", help="Column of first strands.")
    ] = "first",
    second_column: Annotated[
        str, typer.Option("--second", help="Column of second strands.")
    ] = "second",
    first_id: Annotated[str | None, typer.Option(help="Column of the first name.")] = None,
    second_id: Annotated[str | None, typer.Option(help="Column of the second name.")] = None,
    flip_first: Annotated[
        bool,
        typer.Option(
            "--flip-first", help="First strands are stored 3' to 5', as in tables of microRNAs."
        ),
    ] = False,
    threads: ThreadsOption = 1,
    force: ForceOption = False,
) -> None:
    """Whether and where two RNAs bind: microRNAs and sites, or energies for any RNAs."""
    import torch

    from stemloop.cli.progress import counted
    from stemloop.data.interactions import CUT, Columns, open_pairs, split_joined
    from stemloop.errors import OutputExistsError, UsageError
    from stemloop.formats.tables import write_table
    from stemloop.tasks.interaction import Interactor

    torch.set_num_threads(threads)
    if output != "-" and Path(output).is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    if CUT in source and not Path(source).exists():
        if second is not None:
            raise UsageError("a pair on the command line goes without a second file")
        pairs = iter([split_joined(source, flip_first=flip_first)])
    else:
        columns = Columns(first_column, second_column, first_id, second_id)
        pairs = open_pairs(source, second, columns=columns, flip_first=flip_first)
    interactor = Interactor.load(model)
    write_table(output, counted(interactor.results(pairs), "pairs"), force=force)


def evaluate_interaction(
    run: Annotated[Path, typer.Argument(help="Folder of a `stemloop finetune interaction` run.")],
    data: Annotated[Path, typer.Option(help="Folder of its table.")] = Path(),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write: .json or .md.")
    ] = None,
    published: Annotated[
        bool,
        typer.Option(help="Also the table's own labels: random split and family split."),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    force: ForceOption = False,
) -> None:
    """Areas under the curve on the run's test pairs, beside energies and what words alone tell."""
    import torch

    from stemloop.errors import OutputExistsError
    from stemloop.evaluation import interaction
    from stemloop.evaluation.markdown import write_result

    if output is not None and output.is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    torch.set_num_threads(1)
    result = interaction.examine_run(
        run, data, published=published, seed=seed, report=lambda line: typer.echo(line, err=True)
    )
    typer.echo(interaction.to_markdown(result))
    if output is not None:
        write_result(output, result, interaction.to_markdown, force=force)
