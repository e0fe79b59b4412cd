"""``stemloop evaluate``: scores of predictions against known structures."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from stemloop.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Score predictions against what is known.")


class Protocol(StrEnum):
    """Protocols with their own training."""

    archiveii_family_fold = "archiveii-family-fold"


@app.callback()
def options() -> None:
    """Score predictions against what is known."""


@app.command("structure")
def structure(
    references: Annotated[
        Path | None, typer.Argument(help="Known structures (.dbn, .ct, .bpseq, .st, or .csv).")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Predicted structures of the same RNAs, in their order.")
    ] = None,
    model: Annotated[str, typer.Option(help="Predict with this, as in 'fold'.")] = "fold-crf",
    decoder: Annotated[str, typer.Option("--decoder", "-d", help="mea, centroid or mfe.")] = "mea",
    gamma: Annotated[float | None, typer.Option(help="Of the decoder.")] = None,
    average: Annotated[list[str] | None, typer.Option(help="As in 'fold'.")] = None,
    protocol: Annotated[
        Protocol | None, typer.Option(help="Train and predict by this protocol instead.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe of the protocol.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the structure data.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of the protocol's trainings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training.")] = None,
    peers: Annotated[
        Path | None, typer.Option(help="Scores of peers on single RNAs (CSV, with a model column).")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Compare with these peers.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write: .json or .md.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Scores of single RNAs to write: .tsv, .csv, .parquet.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """Precision, recall and F1 (strict and +-1), MCC, with bootstrap intervals."""
    from stemloop.cli.finetune import show
    from stemloop.cli.fold import sets_to_average
    from stemloop.cli.progress import counted
    from stemloop.errors import OutputExistsError
    from stemloop.evaluation import benchmark, report
    from stemloop.evaluation.scores import evaluate_structures, read_scores, write_scores
    from stemloop.tasks.structure import FoldSettings
    from stemloop.weights.locate import sha256_file

    began = time.monotonic()
    for path in (output, scores):
        if path is not None and path.is_file() and not force:
            raise OutputExistsError(f"{path} exists already; --force replaces it")
    settings = FoldSettings(
        model=model,
        decoder=decoder,  # type: ignore[arg-type]
        gamma=gamma,
        average=sets_to_average(average),  # type: ignore[arg-type]
    )

    def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
        return counted(items, "RNAs", total)

    facts: dict[str, Any] = {"decoder": decoder, "gamma": gamma, "average": average or "the model's own"}
    if protocol is not None:
        if recipe is None or data is None or runs is None or references is not None:
            raise UsageError("a protocol takes --recipe, --data and --runs, and no references")
        import torch

        from stemloop.training.recipes import load_recipe

        torch.set_num_threads(1)
        parsed = load_recipe(recipe)
        if seed is not None:
            parsed = parsed.model_copy(update={"seed": seed})
        models = benchmark.train_family_folds(parsed, data, runs, jobs=jobs, report=show)
        table = benchmark.archiveii_family_fold(
            models, data, settings, processes=jobs, progress=progress
        )
        facts |= {"protocol": protocol.value, "recipe": parsed.name, "seed": parsed.seed}
        facts["average"] = average or list(parsed.average)
        used = {source.file for stage in parsed.stages for source in stage.sources}
        used.add(benchmark.ARCHIVEII_FILE)
        facts["data"] = {name: sha256_file(data / name) for name in sorted(used)}
    elif references is None:
        raise UsageError("give a file of known structures, or a --protocol")
    else:
        known = benchmark.read_references(references)
        if predictions is not None:
            triples = benchmark.pair_up(known, predictions)
            facts = {"predictions": predictions.name}
        else:
            triples = benchmark.predict(known, settings, processes=jobs)
            facts["model"] = model
        table = evaluate_structures(progress(triples, len(known)))
        facts |= {"references": references.name, "data": {references.name: sha256_file(references)}}
    facts["versions"] = {name: version(name) for name in ("stemloop", "ViennaRNA", "torch")}
    facts["seconds"] = round(time.monotonic() - began, 1)
    summary = report.summarise(table) | facts
    if peer and peers is None:
        raise UsageError("--peer needs --peers, the file with their scores")
    comparisons = []
    for name in peer or ():
        assert peers is not None
        comparisons.append(report.paired(table, read_scores(peers, model=name), name=name))
    typer.echo(report.to_markdown(summary, comparisons))
    if scores is not None:
        write_scores(scores, table, force=force)
    if output is not None:
        report.write_report(output, summary, comparisons, force=force)
