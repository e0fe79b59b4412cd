"""Protocols: which RNAs are predicted by which model, and the report that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stemloop.data.structures import (
    ARCHIVEII_CLASSES,
    LabelledStructure,
    held_out_with,
    read_labelled,
)
from stemloop.errors import InputError
from stemloop.evaluation.scores import ScoreTable, evaluate_structures
from stemloop.folding.crf import save_crf
from stemloop.formats.structure import read_structures
from stemloop.records import Structure
from stemloop.tasks.structure import fold_stream
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.training.recipes import StructureRecipe
from stemloop.training.structure import Progress, StructureTrainer
from stemloop.training.structure_data import hold_out

#: File of ArchiveII inside the folder of the structure data.
ARCHIVEII_FILE = "ArchiveII.csv.xz"


def predict(
    items: Sequence[LabelledStructure], settings: FoldSettings, *, processes: int = 1
) -> Iterator[tuple[Structure, Structure, str]]:
    """Fold RNAs with known structures: (prediction, reference, family) of each, in their order."""
    jobs = ((item.structure.record, None) for item in items)
    results = fold_stream(jobs, settings, processes=processes)
    for item, result in zip(items, results, strict=True):
        assert result.structure is not None
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


def read_archiveii(folder: str | Path) -> list[LabelledStructure]:
    """Read the RNAs of ArchiveII with their classes.

    Raises
    ------
    InputError
        The file is not in the folder.
    """
    path = Path(folder) / ARCHIVEII_FILE
    if not path.is_file():
        raise InputError("no such data file", path=str(path))
    return read_labelled(path)


def train_family_folds(
    recipe: StructureRecipe,
    folder: str | Path,
    runs: str | Path,
    *,
    classes: Iterable[str] = ARCHIVEII_CLASSES,
    jobs: int = 1,
    report: Callable[[str, Progress], None] | None = None,
) -> dict[str, Path]:
    """Train the models of the family folds, or go on where an earlier call stopped.

    The stages that say ``each_fold: false`` are trained once, without any of the nine classes and
    their Rfam families; the others are trained once a held-out class. Classes that are held out
    together share a model; all do where no stage is trained for a class.

    Parameters
    ----------
    recipe : StructureRecipe
        The training. Runs of another recipe or seed need another folder.
    folder : path
        Folder of the structure data.
    runs : path
        Where the runs are kept, one folder each.
    classes : iterable of str
        Classes to hold out in turn.
    jobs : int
        Processes.
    report : callable, optional
        Called with the name of the run and its progress.

    Returns
    -------
    dict of str to pathlib.Path
        Model folder of each class.
    """
    folder, runs = Path(folder), Path(runs)
    items = read_archiveii(folder)

    def train(name: str, part: StructureRecipe, held: Sequence[str], start: Path | None) -> Path:
        # A finished run trains nothing; the trainer refuses one of another recipe or seed.
        trainer = StructureTrainer(
            part, folder, runs / name, hold_out=hold_out(held, items), jobs=jobs, start=start
        )
        net = trainer.run((lambda p: report(name, p)) if report else None)
        card = {"recipe": recipe.name, "seed": recipe.seed, "held_out": trainer.hold_out.names}
        save_crf(runs / name / "model", net, card, recipe.average, trainer.evidence)
        return runs / name

    shared = None
    once = [stage for stage in recipe.stages if not stage.each_fold]
    if once:
        first = recipe.model_copy(update={"stages": once})
        shared = train("shared", first, ARCHIVEII_CLASSES, None)
    if shared is not None and len(once) == len(recipe.stages):
        return dict.fromkeys(classes, shared / "model")
    models: dict[str, Path] = {}
    for name in classes:
        group = "+".join(sorted(held_out_with(name)))
        models[name] = train(group, recipe, sorted(held_out_with(name)), shared) / "model"
    return models


def archiveii_family_fold(
    models: dict[str, Path],
    folder: str | Path,
    settings: FoldSettings = FoldSettings(),
    *,
    processes: int = 1,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> ScoreTable:
    """Predict each ArchiveII class with the model that never saw it, and score all RNAs.

    Parameters
    ----------
    models : dict of str to pathlib.Path
        Model folder of each class, from `train_family_folds`.
    folder : path
        Folder of the structure data.
    settings : FoldSettings
        Decoder and options; its model is replaced.
    processes : int
        Processes to fold in.
    progress : callable, optional
        Wraps the iteration over the predictions of a class, given their number.
    """
    items = read_archiveii(folder)
    triples: list[tuple[Structure, Structure, str]] = []
    for name, model in models.items():
        # Longest first keeps all processes busy to the end.
        mine = sorted((x for x in items if x.family == name), key=lambda x: -len(x.sequence))
        predictions: Iterable[Any] = predict(
            mine, replace(settings, model=str(model)), processes=processes
        )
        triples += progress(predictions, len(mine)) if progress else predictions
    return evaluate_structures(triples)
