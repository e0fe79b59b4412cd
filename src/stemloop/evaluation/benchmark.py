"""Protocols: which RNAs are predicted by which model, and the report that comes of it."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stemloop.data.structures import (
    ARCHIVEII_CLASSES,
    LabelledStructure,
    held_out_with,
    read_labelled,
)
from stemloop.errors import InputError, UsageError
from stemloop.evaluation.calibration import Calibration
from stemloop.evaluation.protocols import (
    PROTOCOLS,
    HomologKind,
    Protocol,
    Split,
    family_folds,
    narrowed,
    of_all,
    read_archiveii,
    sampled,
    with_homologs,
)
from stemloop.evaluation.scores import ScoreTable, evaluate_structures
from stemloop.folding.crf import save_crf
from stemloop.formats.stream import atomic_output, open_text
from stemloop.formats.structure import read_structures
from stemloop.records import Structure
from stemloop.tasks.structure import fold_stream
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.training.recipes import StructureRecipe
from stemloop.training.structure import Progress, StructureTrainer
from stemloop.weights.locate import sha256_file

__all__ = ["read_archiveii"]


def predict(
    items: Sequence[LabelledStructure],
    settings: FoldSettings,
    *,
    processes: int = 1,
    calibration: Calibration | None = None,
) -> Iterator[tuple[Structure, Structure, str]]:
    """Fold RNAs with known structures: (prediction, reference, family) of each, in their order.

    What `calibration` is given takes in the probabilities.
    """
    jobs = ((item.structure.record, None) for item in items)
    if calibration is not None:
        settings = replace(settings, probabilities=True)
    results = fold_stream(jobs, settings, processes=processes)
    for item, result in zip(items, results, strict=True):
        assert result.structure is not None
        if calibration is not None:
            calibration.add(
                item.family,
                result.arrays["pair_probability"],
                result.structure.pairs,
                result.arrays["confidence"],
                item.structure.pairs,
            )
        yield result.structure, item.structure, item.family


def read_references(path: str | Path) -> list[LabelledStructure]:
    """Read known structures: a structure file, or a CSV table with a structure column.

    In a structure file the family of an RNA is its identifier up to the first ``_``.
    """
    if Path(path).name.endswith((".csv", ".csv.xz")):
        return read_labelled(path)
    return [
        LabelledStructure(structure, structure.record.id.split("_", 1)[0])
        for structure in read_structures(path)
    ]


def pair_up(
    known: Sequence[LabelledStructure], predictions: str | Path
) -> Iterator[tuple[Structure, Structure, str]]:
    """Put predictions from a structure file beside the known structures, in their order.

    Raises
    ------
    InputError
        The files hold different numbers of RNAs.
    """
    predicted = list(read_structures(predictions))
    if len(predicted) != len(known):
        raise InputError(
            f"{len(predicted)} predictions", path=str(predictions), expected=f"{len(known)}"
        )
    for mine, item in zip(predicted, known, strict=True):
        yield mine, item.structure, item.family


def prepare(
    protocol: str,
    folder: str | Path,
    *,
    recipe: StructureRecipe | None = None,
    runs: str | Path | None = None,
    names: Sequence[str] | None = None,
    sample: int | None = None,
    homologs: HomologKind | None = None,
    jobs: int = 1,
    report: Callable[[str, Progress], None] | None = None,
) -> tuple[list[Split], dict[str, Path] | None, dict[str, Any]]:
    """Splits of a protocol, a trained model for each, and the facts of a report.

    Parameters
    ----------
    protocol : str
        Name in `stemloop.evaluation.protocols.PROTOCOLS`.
    folder : path
        Folder of the structure data.
    recipe, runs : StructureRecipe and path, optional
        Train so, in this folder; without them there are no models.
    names : sequence of str, optional
        Only these splits.
    sample : int, optional
        Only so many RNAs of each.
    homologs : {"known", "sequences"}, optional
        Fold with homologs, see `stemloop.evaluation.protocols.with_homologs`.
    jobs, report
        As in `train_splits`.
    """
    kind = PROTOCOLS[protocol]
    everything = kind.splits(Path(folder))
    if homologs is not None:
        everything = with_homologs(everything, homologs)
    splits = narrowed(everything, names)
    facts: dict[str, Any] = {"protocol": kind.name, "splits": [part.name for part in splits]}
    used = set(kind.files)
    models = None
    if recipe is not None and runs is not None:
        shared = of_all(everything) if kind.shares else None
        models = train_splits(
            kind, splits, recipe, folder, runs, shared=shared, jobs=jobs, report=report
        )
        facts |= {"recipe": recipe.name, "seed": recipe.seed, "unseen": kind.unseen}
        used |= {source.file for stage in recipe.stages for source in stage.sources}
    else:
        facts["unseen"] = "what this model was not trained on"
    facts["data"] = {name: sha256_file(Path(folder) / name) for name in sorted(used)}
    if homologs is not None:
        facts["homologs"] = homologs
    if sample is not None:
        splits = [sampled(part, sample) for part in splits]
        facts["sample"] = sample
    return splits, models, facts


def train_splits(
    protocol: Protocol,
    splits: Sequence[Split],
    recipe: StructureRecipe,
    folder: str | Path,
    runs: str | Path,
    *,
    shared: Split | None = None,
    jobs: int = 1,
    report: Callable[[str, Progress], None] | None = None,
) -> dict[str, Path]:
    """Train a model for each split of a protocol, or go on where an earlier call stopped.

    Parameters
    ----------
    protocol : Protocol
        What the splits are of.
    splits : sequence of Split
        Those to train for.
    recipe : StructureRecipe
        The training. Runs of another recipe or seed need another folder.
    folder : path
        Folder of the structure data.
    runs : path
        Where the runs are kept, one folder each.
    shared : Split, optional
        What must stay out of the stages that say ``each_fold: false``, which are then trained
        once, for all splits. They are trained for each split like the others unless given.
    jobs : int
        Processes.
    report : callable, optional
        Called with the name of the run and its progress.

    Returns
    -------
    dict of str to pathlib.Path
        Model folder of each split.

    Raises
    ------
    UsageError
        A run in the folder is of another recipe, seed or split.
    """
    folder, runs = Path(folder), Path(runs)

    def train(split: Split, part: StructureRecipe, start: Path | None) -> Path:
        # A finished run trains nothing; the trainer refuses one of another recipe or seed.
        output = runs / split.name
        data = without_sequences(part, folder, output / "data", split.without)
        held = split.hold_out
        trainer = StructureTrainer(part, data, output, hold_out=held, jobs=jobs, start=start)
        net = trainer.run((lambda p: report(split.name, p)) if report else None)
        card: dict[str, object] = {"recipe": recipe.name, "seed": recipe.seed}
        card |= {"held_out": held.names, "protocol": protocol.name, "split": split.name}
        card["sequences_left_out"] = len(split.without)
        save_crf(output / "model", net, card, recipe.average, trainer.evidence)
        return output

    first = None
    once = [stage for stage in recipe.stages if not stage.each_fold]
    if shared is not None and once:
        first = train(shared, recipe.model_copy(update={"stages": once}), None)
        if len(once) == len(recipe.stages):
            return {split.name: first / "model" for split in splits}
    return {split.name: train(split, recipe, first) / "model" for split in splits}


def without_sequences(
    recipe: StructureRecipe, folder: Path, copy: Path, left_out: frozenset[str]
) -> Path:
    """Folder of a recipe's data without some sequences: a copy, or the folder if there are none.

    Raises
    ------
    UsageError
        The copy is there, and was made without other sequences.
    """
    if not left_out:
        return folder
    columns = {source.file: source.sequence for stage in recipe.stages for source in stage.sources}
    facts = {
        "sequences": hashlib.sha256("\n".join(sorted(left_out)).encode()).hexdigest(),
        "files": sorted(columns),
    }
    note = copy / "left_out.json"
    if note.is_file():
        if json.loads(note.read_text(encoding="utf-8")) != facts:
            raise UsageError(f"{copy} belongs to another split; choose another folder for the runs")
        return copy
    for name, column in columns.items():
        if not (folder / name).is_file():
            raise InputError("no such data file", path=str(folder / name))
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        with open_text(folder / name) as handle, atomic_output(copy / name, force=True) as out:
            reader = csv.DictReader(handle)
            writer = csv.DictWriter(out, reader.fieldnames or (), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                row
                for row in reader
                if (row.get(column) or "").upper().replace("T", "U") not in left_out
            )
    # Last, so that a copy that was cut off is made anew.
    note.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return copy


def train_family_folds(
    recipe: StructureRecipe,
    folder: str | Path,
    runs: str | Path,
    *,
    classes: Iterable[str] = ARCHIVEII_CLASSES,
    jobs: int = 1,
    report: Callable[[str, Progress], None] | None = None,
) -> dict[str, Path]:
    """Train the models of the family folds of ArchiveII; see `train_splits`.

    The stages that say ``each_fold: false`` are trained once, without any of the nine classes and
    their Rfam families; the others are trained once a held-out class. Classes that are held out
    together share a model; all do where no stage is trained for a class.

    Returns
    -------
    dict of str to pathlib.Path
        Model folder of each class.
    """
    wanted = list(classes)
    models = train_splits(
        PROTOCOLS["archiveii-family-fold"],
        family_folds(folder, wanted),
        recipe,
        folder,
        runs,
        shared=of_all(family_folds(folder)),
        jobs=jobs,
        report=report,
    )
    return {name: models["+".join(sorted(held_out_with(name)))] for name in wanted}


def evaluate_splits(
    splits: Sequence[Split],
    models: Mapping[str, Path] | None = None,
    settings: FoldSettings = FoldSettings(),
    *,
    processes: int = 1,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
    calibration: Calibration | None = None,
) -> ScoreTable:
    """Predict the RNAs of each split with its model, and score all of them.

    Parameters
    ----------
    splits : sequence of Split
        What is tested.
    models : mapping of str to pathlib.Path, optional
        Model folder of each split, from `train_splits`; the model of the settings for all unless
        given.
    settings : FoldSettings
        Decoder and options.
    processes : int
        Processes to fold in.
    progress : callable, optional
        Wraps the iteration over the predictions of a split, given their number.
    calibration : Calibration, optional
        Takes in all probabilities.
    """
    triples: list[tuple[Structure, Structure, str]] = []
    for split in splits:
        # Longest first keeps all processes busy to the end.
        mine = sorted(split.test, key=lambda x: -len(x.sequence))
        own = replace(settings, model=str(models[split.name])) if models else settings
        if split.homologs:
            own = replace(own, homologs=split.homologs)
        predictions: Iterable[Any] = predict(
            mine, own, processes=processes, calibration=calibration
        )
        triples += progress(predictions, len(mine)) if progress else predictions
    return evaluate_structures(triples)
