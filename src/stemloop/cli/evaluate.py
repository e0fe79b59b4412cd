"""``stemloop evaluate``: scores of predictions against known structures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from stemloop.cli.fold import DecoderName
from stemloop.errors import UsageError

if TYPE_CHECKING:
    from stemloop.evaluation.protocols import HomologKind

app = typer.Typer(no_args_is_help=True, help="Score predictions against what is known.")


class ProtocolName(StrEnum):
    """Protocols of structure prediction."""

    archiveii_family_fold = "archiveii-family-fold"
    archiveii_random = "archiveii-random"
    rfam_clans = "rfam-clans"
    bprna_ts0 = "bprna-ts0"


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
    model: Annotated[
        str | None, typer.Option(help="Predict with this, as in 'fold'; fold-crf unless given.")
    ] = None,
    decoder: Annotated[
        DecoderName, typer.Option("--decoder", "-d", help="As in 'fold'.")
    ] = DecoderName.mea,
    gamma: Annotated[float | None, typer.Option(help="Of the decoder.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Of the decoder.")] = None,
    against: Annotated[
        list[DecoderName] | None,
        typer.Option(help="Predict with this decoder, too, and compare (repeatable)."),
    ] = None,
    average: Annotated[list[str] | None, typer.Option(help="As in 'fold'.")] = None,
    protocol: Annotated[
        ProtocolName | None,
        typer.Option(help="Test on these RNAs: a trained model each split, or one --model."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Train the models of a protocol so.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the structure data.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of the protocol's trainings.")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the protocol (repeatable).")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many RNAs of each split, drawn at random.")
    ] = None,
    homologs: Annotated[
        str | None,
        typer.Option(
            help="As in 'fold'; of a protocol 'known', the structures of its other splits, or "
            "'sequences', the other RNAs of the split without structures."
        ),
    ] = None,
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
    """Precision, recall and F1 (strict and +-1), MCC, with bootstrap intervals; calibration."""
    from importlib.metadata import version

    import torch

    from stemloop.cli.finetune import show
    from stemloop.cli.fold import sets_to_average
    from stemloop.cli.progress import counted
    from stemloop.errors import OutputExistsError
    from stemloop.evaluation import benchmark, report
    from stemloop.evaluation.calibration import Calibration
    from stemloop.evaluation.protocols import Split
    from stemloop.evaluation.scores import evaluate_structures, read_scores, write_scores
    from stemloop.folding.homologs import read_homologs
    from stemloop.tasks.structure import FoldSettings
    from stemloop.training.recipes import load_recipe
    from stemloop.weights.locate import sha256_file

    began = time.monotonic()
    for path in (output, scores):
        if path is not None and path.is_file() and not force:
            raise OutputExistsError(f"{path} exists already; --force replaces it")
    if peer and peers is None:
        raise UsageError("--peer needs --peers, the file with their scores")
    trained = recipe is not None or runs is not None
    if protocol is not None:
        complete = data is not None and references is None and predictions is None
        if not complete or (trained and None in (recipe, runs)) or trained == bool(model):
            raise UsageError(
                "a protocol takes --recipe, --data and --runs, or --model and --data, and no "
                "references"
            )
    elif references is None:
        raise UsageError("give a file of known structures, or a --protocol")
    elif predictions is not None and (against or model or homologs):
        raise UsageError("--predictions go without --model, --homologs and --against")
    elif trained or split or sample or seed is not None:
        raise UsageError("--recipe, --runs, --split, --sample and --seed are of a --protocol")
    if protocol is not None and homologs not in (None, "known", "sequences"):
        raise UsageError("--homologs of a protocol are 'known' or 'sequences'")
    settings = FoldSettings(
        model=model or "fold-crf",
        homologs=read_homologs(homologs) if homologs and protocol is None else (),
        decoder=decoder.value,
        gamma=gamma,
        threshold=threshold,
        average=sets_to_average(average),  # type: ignore[arg-type]
    )
    torch.set_num_threads(1)

    def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
        return counted(items, "RNAs", total)

    facts: dict[str, Any] = {
        "decoder": decoder.value,
        "gamma": gamma,
        "average": average or "the model's own",
    }
    if threshold is not None:
        facts["threshold"] = threshold
    models = None
    if protocol is not None:
        assert data is not None
        parsed = load_recipe(recipe) if recipe is not None else None
        if parsed is not None and seed is not None:
            parsed = parsed.model_copy(update={"seed": seed})
        splits, models, prepared = benchmark.prepare(
            protocol.value,
            data,
            recipe=parsed,
            runs=runs,
            names=split,
            sample=sample,
            homologs=cast("HomologKind | None", homologs),
            jobs=jobs,
            report=show,
        )
        facts |= prepared
        if parsed is None:
            facts["model"] = model
        else:
            facts["average"] = average or list(parsed.average)
    else:
        assert references is not None
        known = benchmark.read_references(references)
        splits = [Split("all", tuple(known))]
        if predictions is not None:
            facts = {"predictions": predictions.name}
        else:
            facts["model"] = settings.model
            if homologs is not None:
                facts["homologs"] = Path(homologs).name
        facts |= {"references": references.name, "data": {references.name: sha256_file(references)}}
    calibration = Calibration()
    if predictions is not None:
        triples = benchmark.pair_up(known, predictions)
        table = evaluate_structures(progress(triples, len(known)))
    else:
        options = {"processes": jobs, "progress": progress}
        table = benchmark.evaluate_splits(
            splits, models, settings, calibration=calibration, **options
        )
        facts["calibration"] = calibration.summary()
    comparisons = []
    for name in against or ():
        other = replace(settings, decoder=name.value, gamma=None, threshold=None)
        scored = benchmark.evaluate_splits(splits, models, other, **options)
        comparisons.append(report.paired(table, scored, name=f"decoder {name.value}"))
    facts["versions"] = {name: version(name) for name in ("stemloop", "ViennaRNA", "torch")}
    facts["seconds"] = round(time.monotonic() - began, 1)
    summary = report.summarise(table) | facts
    for name in peer or ():
        assert peers is not None
        comparisons.append(report.paired(table, read_scores(peers, model=name), name=name))
    typer.echo(report.to_markdown(summary, comparisons))
    if scores is not None:
        write_scores(scores, table, force=force)
    if output is not None:
        report.write_report(output, summary, comparisons, force=force)


@app.command("leakage")
def leakage(
    protocol: Annotated[ProtocolName, typer.Argument(help="Protocol whose splits are examined.")],
    recipe: Annotated[Path, typer.Option(help="Recipe that says what is trained on.")],
    data: Annotated[Path, typer.Option(help="Folder of the structure data.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the protocol (repeatable).")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Only so many RNAs of each split, drawn at random.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write (JSON).")
    ] = None,
    hits: Annotated[
        Path | None,
        typer.Option(help="Nearest training RNA of each test RNA to write: .tsv, .csv, .parquet."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of MMseqs2.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """What splits share with their training data: families, sequences, near copies (MMseqs2)."""
    from stemloop.errors import OutputExistsError
    from stemloop.evaluation import leakage as leaks
    from stemloop.evaluation.protocols import PROTOCOLS, narrowed, sampled
    from stemloop.formats.stream import atomic_output
    from stemloop.formats.tables import write_table
    from stemloop.training.recipes import load_recipe

    for path in (output, hits):
        if path is not None and path.is_file() and not force:
            raise OutputExistsError(f"{path} exists already; --force replaces it")
    kind = PROTOCOLS[protocol.value]
    splits = narrowed(kind.splits(data), split)
    if sample is not None:
        splits = [sampled(part, sample) for part in splits]
    summary, rows = leaks.examine(
        kind, splits, load_recipe(recipe), data, threads=threads, report=typer.echo
    )
    if hits is not None:
        write_table(hits, rows, force=force)
    if output is not None:
        with atomic_output(output, force=force) as out:
            out.write(json.dumps(summary, indent=2) + "\n")


@app.command("sequence")
def sequence_labels(
    run: Annotated[Path, typer.Argument(help="Folder of a `stemloop finetune sequence` run.")],
    data: Annotated[Path, typer.Option(help="Folder of its data files.")] = Path(),
    baselines: Annotated[
        bool, typer.Option(help="Score plain methods, trained on the same records, too.")
    ] = True,
    decoys: Annotated[
        bool, typer.Option("--decoys", help="Splice models: each site against each kind of decoy.")
    ] = False,
    further: Annotated[
        Path | None,
        typer.Option(help="Recipe whose `further` records are scored, not those of the run's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report to write: .json or .md.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """Classes or numbers of the run's test records, with intervals, beside plain methods."""
    import torch

    from stemloop.errors import OutputExistsError
    from stemloop.evaluation import labels
    from stemloop.evaluation.markdown import write_result
    from stemloop.training.recipe_base import read_recipe
    from stemloop.training.sequence_recipe import SequenceRecipe

    if output is not None and output.is_file() and not force:
        raise OutputExistsError(f"{output} exists already; --force replaces it")
    torch.set_num_threads(1)
    result = labels.examine_run(
        run,
        data,
        baselines=baselines,
        decoys=decoys,
        further=read_recipe(further, SequenceRecipe) if further else None,
        seed=seed,
        report=lambda line: typer.echo(line, err=True),
    )
    typer.echo(labels.to_markdown(result))
    if output is not None:
        write_result(output, result, labels.to_markdown, force=force)
