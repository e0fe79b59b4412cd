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

    facts: dict[str, Any] = {
        "decoder": decoder,
        "gamma": gamma,
        "average": average or "the model's own",
    }
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


class Part(StrEnum):
    """Parts of the examination of a language model."""

    nucleotides = "nucleotides"
    types = "types"
    pairs = "pairs"
    embeddings = "embeddings"


class Prompt(StrEnum):
    """What follows a sequence whose hidden nucleotides are guessed."""

    none = "none"
    mask = "mask"


class Turns(StrEnum):
    """What takes turns in the sample of held-out clusters."""

    type = "type"
    cluster = "cluster"


@app.command("lm")
def language_model(
    models: Annotated[
        list[str], typer.Argument(help="Model folders or names; the first is compared with all.")
    ],
    corpus: Annotated[Path, typer.Option(help="Folder of the corpus (its held-out parts count).")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the structure data, for base pairs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write: .json or .md.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for t-SNE pictures (needs matplotlib).")
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="Only these parts.")] = None,
    prompt: Annotated[
        Prompt, typer.Option(help="'mask': show '[IND] <mask>' after sequences.")
    ] = Prompt.none,
    rnas: Annotated[int, typer.Option(min=10, help="RNAs of each held-out part.")] = 1500,
    turns: Annotated[
        Turns, typer.Option(help="Held-out clusters: types take turns, or as in the corpus.")
    ] = Turns.type,
    single_rnas: Annotated[int, typer.Option(min=1, help="RNAs for the pseudo-perplexity.")] = 100,
    single_positions: Annotated[int, typer.Option(min=1, help="Positions of each of them.")] = 24,
    window: Annotated[int, typer.Option(min=10, help="Crop longer RNAs to this.")] = 510,
    baseline_tokens: Annotated[
        int, typer.Option(min=1000, help="Nucleotides that the ten-neighbour network sees.")
    ] = 3_000_000,
    type_rnas: Annotated[int, typer.Option(min=10, help="RNAs that words are fitted on.")] = 5000,
    pair_rnas: Annotated[int, typer.Option(min=1, help="RNAs with structures to test on.")] = 150,
    pair_longest: Annotated[int, typer.Option(min=20, help="Longest of them.")] = 200,
    family_rnas: Annotated[int, typer.Option(min=6, help="RNAs whose embeddings compare.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="Of draws, masks and bootstraps.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """What a language model knows: nucleotides, RNA types, base pairs, families."""
    from stemloop.errors import OutputExistsError
    from stemloop.evaluation.lm import report as reports
    from stemloop.evaluation.lm.model import LanguageModel, tell_apart
    from stemloop.evaluation.lm.run import RFAM_FILE, examine
    from stemloop.evaluation.lm.settings import Settings

    if output is not None and output.is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    began = time.monotonic()

    def show(line: str) -> None:
        typer.echo(f"{time.monotonic() - began:6.0f} s  {line}", err=True)

    settings = Settings(
        rnas=rnas,
        turns=turns.value,
        window=window,
        single_rnas=single_rnas,
        single_positions=single_positions,
        baseline_tokens=baseline_tokens,
        type_rnas=type_rnas,
        pair_rnas=pair_rnas,
        pair_longest=pair_longest,
        family_rnas=family_rnas,
        seed=seed,
    )
    result = examine(
        [
            LanguageModel.load(m, name=name, device=device, prompt=prompt is Prompt.mask)
            for m, name in zip(models, tell_apart(models), strict=True)
        ],
        corpus,
        structures=data / RFAM_FILE if data is not None else None,
        parts=[p.value for p in part or Part],
        settings=settings,
        pictures=plots,
        force=force,
        report=show,
    )
    typer.echo(reports.to_markdown(result))
    if output is not None:
        reports.write_report(output, result, force=force)
