"""The family-fold protocol: who is trained on what, who predicts whom, and pairing of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stemloop.data.structures import ARCHIVEII_CLASSES, rfam_families_of
from stemloop.errors import FormatError, InputError, StructureError, UsageError
from stemloop.evaluation import benchmark
from stemloop.evaluation.protocols import family_folds
from stemloop.folding.crf import load_crf
from stemloop.formats.structure import write_structures
from stemloop.tasks.structure import FoldSettings
from stemloop.training.recipes import StructureRecipe, load_recipe
from stemloop.training.structure import Progress


@pytest.fixture(scope="session")
def recipe(tiny_structures: Path) -> StructureRecipe:
    return load_recipe(tiny_structures / "tiny.yaml")


@pytest.fixture(scope="session")
def trained(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Path], list[tuple[str, str]]]:
    """Folder of the runs, model folders, and (run, stage) of each batch in their order."""
    runs = tmp_path_factory.mktemp("runs")
    steps: list[tuple[str, str]] = []

    def report(name: str, progress: Progress) -> None:
        steps.append((name, progress.stage))

    classes = ["tRNA", "16s", "grp1"]
    models = benchmark.train_family_folds(
        recipe, tiny_structures, runs, classes=classes, report=report
    )
    return runs, models, steps


def test_first_stage_is_shared_and_last_is_per_class(trained) -> None:
    runs, models, steps = trained
    assert list(models) == ["tRNA", "16s", "grp1"]
    assert models["16s"] == models["grp1"] == runs / "16s+grp1" / "model"
    assert models["tRNA"] == runs / "tRNA" / "model"
    assert {name for name, _ in steps} == {"shared", "tRNA", "16s+grp1"}
    assert {stage for name, stage in steps if name == "shared"} == {"families"}
    assert {stage for name, stage in steps if name != "shared"} == {"archive"}


def test_one_model_serves_all_where_no_stage_is_per_class(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path
) -> None:
    once = recipe.model_copy(update={"stages": recipe.stages[:1]})
    models = benchmark.train_family_folds(once, tiny_structures, tmp_path)
    assert models == dict.fromkeys(ARCHIVEII_CLASSES, tmp_path / "shared" / "model")
    card = json.loads((tmp_path / "shared" / "model" / "config.json").read_text())["card"]
    everything = set(ARCHIVEII_CLASSES)
    assert set(card["held_out"]) == everything | rfam_families_of(everything)


def test_cards_name_what_was_held_out(trained) -> None:
    runs, models, _ = trained
    for folder, classes in (
        (models["tRNA"], {"tRNA"}),
        (models["16s"], {"16s", "grp1"}),
        (runs / "shared" / "model", set(ARCHIVEII_CLASSES)),
    ):
        card = json.loads((folder / "config.json").read_text())["card"]
        assert set(card["held_out"]) == classes | rfam_families_of(classes)
        assert (card["recipe"], card["seed"]) == ("tiny", 0)


def test_models_differ_by_what_they_saw(trained) -> None:
    _, models, _ = trained
    one, other = (
        load_crf(models[name]).energies("GGGAUACGAAACGUAUCCC") for name in ("tRNA", "16s")
    )
    assert one is not None
    assert other is not None
    assert not np.array_equal(one[0], other[0])


def test_called_again_trains_nothing(
    recipe: StructureRecipe, tiny_structures: Path, trained
) -> None:
    runs, models, _ = trained
    before = (models["tRNA"] / "model.safetensors").read_bytes()
    steps: list[str] = []
    again = benchmark.train_family_folds(
        recipe,
        tiny_structures,
        runs,
        classes=["tRNA"],
        report=lambda name, _: steps.append(name),
    )
    assert again == {"tRNA": models["tRNA"]}
    assert steps == []
    assert (models["tRNA"] / "model.safetensors").read_bytes() == before


def test_runs_of_another_seed_are_not_passed_off_as_this_ones(
    recipe: StructureRecipe, tiny_structures: Path, trained
) -> None:
    other = recipe.model_copy(update={"seed": 1})
    with pytest.raises(UsageError, match="belongs to another recipe"):
        benchmark.train_family_folds(other, tiny_structures, trained[0], classes=["tRNA"])


def test_each_class_is_predicted_by_its_own_model(
    tiny_structures: Path, trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, models, _ = trained
    used: list[tuple[str, set[str]]] = []
    real = benchmark.predict

    def spy(items, settings, **more):
        used.append((settings.model, {item.family for item in items}))
        return real(items, settings, **more)

    monkeypatch.setattr(benchmark, "predict", spy)
    splits = family_folds(tiny_structures, ["tRNA", "16s", "grp1"])
    by_split = {"tRNA": models["tRNA"], "16s+grp1": models["16s"]}
    table = benchmark.evaluate_splits(splits, by_split)
    assert used == [(str(models["tRNA"]), {"tRNA"}), (str(models["16s"]), {"16s", "grp1"})]
    assert len(table.rows) == 6
    assert set(table.families) == {"tRNA", "16s", "grp1"}


def test_predicting_keeps_the_order(tiny_structures: Path) -> None:
    items = benchmark.read_archiveii(tiny_structures)
    triples = list(benchmark.predict(items, FoldSettings(model="turner2004")))
    assert [known.record.id for _, known, _ in triples] == [x.structure.record.id for x in items]
    assert all(mine.record.sequence == known.record.sequence for mine, known, _ in triples)


def test_reading_archiveii(tiny_structures: Path, tmp_path: Path) -> None:
    items = benchmark.read_archiveii(tiny_structures)
    assert [item.family for item in items] == [c for c in ARCHIVEII_CLASSES for _ in range(2)]
    with pytest.raises(InputError, match=r"ArchiveII\.csv\.xz: no such data file"):
        benchmark.read_archiveii(tmp_path)


@pytest.mark.parametrize("suffix", [".dbn", ".ct", ".bpseq", ".st", ".csv"])
def test_references_of_every_format(tiny_structures: Path, tmp_path: Path, suffix: str) -> None:
    items = benchmark.read_archiveii(tiny_structures)
    path = tmp_path / f"known{suffix}"
    if suffix == ".csv":
        lines = [f"{x.structure.record.id},{x.sequence},{x.structure.dot_bracket}" for x in items]
        path.write_text("\n".join(["id,sequence,structure", *lines]) + "\n")
    else:
        write_structures(path, [x.structure for x in items], suffix[1:])
    read = benchmark.read_references(path)
    assert [(x.family, x.sequence) for x in read] == [(x.family, x.sequence) for x in items]
    for mine, known in zip(read, items, strict=True):
        np.testing.assert_array_equal(mine.structure.pairs, known.structure.pairs)


def test_pairing_files(tiny_structures: Path, tmp_path: Path) -> None:
    items = benchmark.read_archiveii(tiny_structures)
    structures = [x.structure for x in items]
    write_structures(tmp_path / "all.dbn", structures, "dbn")
    triples = list(benchmark.pair_up(items, tmp_path / "all.dbn"))
    assert [family for _, _, family in triples] == [x.family for x in items]
    write_structures(tmp_path / "few.dbn", structures[1:], "dbn")
    with pytest.raises(InputError, match=r"few\.dbn: 17 predictions \(expected 18\)"):
        list(benchmark.pair_up(items, tmp_path / "few.dbn"))


def test_predictions_in_another_order_are_an_error(tiny_structures: Path, tmp_path: Path) -> None:
    items = benchmark.read_archiveii(tiny_structures)
    write_structures(tmp_path / "x.dbn", [x.structure for x in items[::-1]], "dbn")
    with pytest.raises(StructureError, match="is on another sequence"):
        benchmark.evaluate_structures(benchmark.pair_up(items, tmp_path / "x.dbn"))


def test_a_missing_reference_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        benchmark.read_references(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="no column 'id'"):
        benchmark.read_references(tmp_path / "bad.csv")
