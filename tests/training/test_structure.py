"""Training the CRF: it learns, gives the same bits again, and never sees what is held out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stemloop.data.structures import ARCHIVEII_CLASSES, LabelledStructure
from stemloop.errors import InputError, UsageError
from stemloop.evaluation.benchmark import read_archiveii
from stemloop.models.foldnet import pair_features
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.training.recipes import Draw, Objective, Source, StructureRecipe, load_recipe
from stemloop.training.structure import (
    HoldOut,
    Problem,
    Progress,
    StructureTrainer,
    hold_out,
    load_source,
    reference_mask,
    solve,
)

State = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def recipe(tiny_structures: Path) -> StructureRecipe:
    return load_recipe(tiny_structures / "tiny.yaml")


@pytest.fixture(scope="session")
def finished(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, State]:
    """An uninterrupted run and its weights."""
    output = tmp_path_factory.mktemp("run")
    return output, train(recipe, tiny_structures, output)


def train(recipe: StructureRecipe, data: Path, output: Path, **options: object) -> State:
    trainer = StructureTrainer(recipe, data, output, **options)  # type: ignore[arg-type]
    net = trainer.run()
    assert not net.training
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: State, other: State) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def log(output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def changed(recipe: StructureRecipe, **update: object) -> StructureRecipe:
    return recipe.model_copy(update=update)


def test_the_log_tells_what_was_done(finished: tuple[Path, State]) -> None:
    entries = log(finished[0])
    assert [(e["stage"], e["epoch"]) for e in entries] == [
        ("families", 1),
        ("families", 2),
        ("archive", 1),
        ("archive", 2),
    ]
    # Five families of two; two RNAs of tRNA and 5s, one of each of the other seven classes.
    assert [e["rnas"] for e in entries] == [10, 10, 11, 11]
    assert all(0 < e["soft_f"] < 1 for e in entries)  # type: ignore[operator]


def test_training_improves_the_score(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path
) -> None:
    stage = recipe.stages[0].model_copy(update={"epochs": 8, "learning_rate": 0.03})
    net = recipe.net.model_copy(update={"dropout": 0.0})
    train(changed(recipe, stages=[stage], net=net), tiny_structures, tmp_path)
    scores = [float(entry["soft_f"]) for entry in log(tmp_path)]  # type: ignore[arg-type]
    assert 1 - scores[-1] < (1 - scores[0]) / 2


def test_same_seed_same_bits_other_seed_other_bits(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path, finished: tuple[Path, State]
) -> None:
    torch.manual_seed(987)  # what went on before must not matter
    assert same(train(recipe, tiny_structures, tmp_path / "again"), finished[1])
    other = train(changed(recipe, seed=1), tiny_structures, tmp_path / "other")
    assert not same(other, finished[1])


def test_two_processes_same_bits(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path, finished: tuple[Path, State]
) -> None:
    assert same(train(recipe, tiny_structures, tmp_path, jobs=2), finished[1])


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from stemloop.training.recipes import load_recipe
from stemloop.training.structure import StructureTrainer
data, output, stage, epoch = sys.argv[1:]
def report(p):
    if (p.stage, p.epoch, p.step) == (stage, int(epoch), 1):
        os.kill(os.getpid(), signal.SIGKILL)
StructureTrainer(load_recipe(data + "/tiny.yaml"), data, output).run(report)
"""


def test_killed_and_resumed_is_as_uninterrupted(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path, finished: tuple[Path, State]
) -> None:
    """SIGKILL in the second epoch of the first stage: the first epoch is kept, and only it."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tiny_structures, tmp_path, "families", "2"], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(log(tmp_path)) == 1
    assert same(train(recipe, tiny_structures, tmp_path), finished[1])
    assert len(log(tmp_path)) == 4


class StoppedError(Exception):
    """What the tests raise in the middle of a run."""


@pytest.mark.parametrize(("stage", "epoch"), [("families", 1), ("archive", 1), ("archive", 2)])
def test_stopped_anywhere_and_resumed(
    recipe: StructureRecipe,
    tiny_structures: Path,
    tmp_path: Path,
    finished: tuple[Path, State],
    stage: str,
    epoch: int,
) -> None:
    def report(progress: Progress) -> None:
        if (progress.stage, progress.epoch, progress.step) == (stage, epoch, 2):
            raise StoppedError

    with pytest.raises(StoppedError):
        StructureTrainer(recipe, tiny_structures, tmp_path).run(report)
    assert same(train(recipe, tiny_structures, tmp_path), finished[1])


def test_a_finished_run_is_not_trained_again(
    recipe: StructureRecipe, tiny_structures: Path, finished: tuple[Path, State]
) -> None:
    seen: list[Progress] = []
    net = StructureTrainer(recipe, tiny_structures, finished[0]).run(seen.append)
    assert same(net.state_dict(), finished[1])
    assert seen == []


def test_another_recipe_in_the_same_folder_is_refused(
    recipe: StructureRecipe, tiny_structures: Path, finished: tuple[Path, State]
) -> None:
    for other in (changed(recipe, seed=7), changed(recipe, batch_size=2)):
        with pytest.raises(UsageError, match="belongs to another recipe"):
            StructureTrainer(other, tiny_structures, finished[0]).run()
    held = HoldOut(classes=frozenset({"tRNA"}))
    with pytest.raises(UsageError, match="belongs to another recipe"):
        StructureTrainer(recipe, tiny_structures, finished[0], hold_out=held).run()


def test_stages_of_a_finished_run_are_taken_over(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path, finished: tuple[Path, State]
) -> None:
    """Stage one alone, then both starting from it: the same as both in one go."""
    first = changed(recipe, stages=recipe.stages[:1])
    before = train(first, tiny_structures, tmp_path / "first")
    start = tmp_path / "first"
    both = train(recipe, tiny_structures, tmp_path / "both", start=start)
    assert same(both, finished[1])
    assert not same(both, before)
    assert [entry["stage"] for entry in log(tmp_path / "both")] == ["archive", "archive"]
    # A run of another seed is no start, nor one that has seen what is held out now.
    with pytest.raises(UsageError, match="no finished run of this recipe's first stages"):
        train(changed(recipe, seed=3), tiny_structures, tmp_path / "x", start=start)
    held = hold_out(["tRNA"], read_archiveii(tiny_structures))
    with pytest.raises(UsageError, match="has seen what this run holds out"):
        train(recipe, tiny_structures, tmp_path / "y", hold_out=held, start=start)


def test_an_unfinished_run_is_no_start(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path
) -> None:
    def report(progress: Progress) -> None:
        if progress.epoch == 2:
            raise StoppedError

    first = changed(recipe, stages=recipe.stages[:1])
    with pytest.raises(StoppedError):
        StructureTrainer(first, tiny_structures, tmp_path / "first").run(report)
    with pytest.raises(UsageError, match="no finished run"):
        train(recipe, tiny_structures, tmp_path / "x", start=tmp_path / "first")


# What is held out -----------------------------------------------------------------------------


def families(items: list[LabelledStructure]) -> set[str]:
    return {item.family for item in items}


@pytest.mark.parametrize("name", ["tRNA", "16s", "5s"])
def test_held_out_classes_are_absent(
    recipe: StructureRecipe, tiny_structures: Path, name: str
) -> None:
    held = hold_out([name], read_archiveii(tiny_structures))
    table, archive = (stage.sources[0] for stage in recipe.stages)
    gone = {"tRNA": {"tRNA"}, "16s": {"16s", "grp1"}, "5s": {"5s"}}[name]
    assert families(load_source(archive, tiny_structures, held)) == set(ARCHIVEII_CLASSES) - gone
    kept = families(load_source(table, tiny_structures, held))
    others = {"RF90001", "RF90002", "RF90003"}
    assert kept == (others if name == "tRNA" else others | {"RF00005", "RF01852"})
    assert set(held.names) >= gone


def test_all_nine_held_out(recipe: StructureRecipe, tiny_structures: Path) -> None:
    held = hold_out(ARCHIVEII_CLASSES, read_archiveii(tiny_structures))
    archive = recipe.stages[1].sources[0]
    assert load_source(archive, tiny_structures, held) == []
    with pytest.raises(InputError, match="stage 'archive': no RNA is left"):
        StructureTrainer(recipe, tiny_structures, tiny_structures / "run", hold_out=held).run()


def test_rnas_that_share_words_with_held_out_ones_are_absent(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path
) -> None:
    """A family that is no tRNA by name, but holds a stretch of one, leaves with tRNA."""
    items = read_archiveii(tiny_structures)
    trna = next(item for item in items if item.family == "tRNA").sequence
    text = (tiny_structures / "families.csv").read_text()
    spy = "ACACC" + trna[:18] + "AAAAGGUGU"
    dots = "(((((" + "." * 22 + ")))))"
    (tmp_path / "families.csv").write_text(f"{text}spy,{spy},{dots},RF90009,Gene\n")
    source = recipe.stages[0].sources[0]
    assert "RF90009" in families(load_source(source, tmp_path, HoldOut()))
    assert "RF90009" in families(load_source(source, tmp_path, hold_out(["5s"], items)))
    assert "RF90009" not in families(load_source(source, tmp_path, hold_out(["tRNA"], items)))


def test_limits_of_a_source(recipe: StructureRecipe, tiny_structures: Path) -> None:
    source = recipe.stages[0].sources[0]
    items = load_source(source, tiny_structures, HoldOut())
    lengths = sorted(len(item.sequence) for item in items)
    assert lengths[0] < lengths[-1]
    for update, left in (
        ({"max_length": lengths[0]}, [lengths[0]] * lengths.count(lengths[0])),
        ({"min_length": lengths[-1]}, [lengths[-1]] * lengths.count(lengths[-1])),
        ({"min_pairs": 7}, []),
        ({"min_paired_fraction": 0.99}, []),
        ({"min_paired_fraction": 0.1}, lengths),
    ):
        kept = load_source(source.model_copy(update=update), tiny_structures, HoldOut())
        assert sorted(len(item.sequence) for item in kept) == left


def test_types_decide_and_default_to_the_family(
    recipe: StructureRecipe, tiny_structures: Path
) -> None:
    table, archive = (stage.sources[0] for stage in recipe.stages)
    assert {x.kind for x in load_source(table, tiny_structures, HoldOut())} == {
        "Gene; tRNA",
        "Cis-reg; riboswitch",
    }
    assert {x.kind for x in load_source(archive, tiny_structures, HoldOut())} == set(
        ARCHIVEII_CLASSES
    )


def test_missing_data_file(recipe: StructureRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"families\.csv: no such data file"):
        StructureTrainer(recipe, tmp_path, tmp_path / "run").run()


# One RNA --------------------------------------------------------------------------------------


def problem(step: float, bonus: np.ndarray | None = None, **objective: float) -> Problem:
    """A hairpin whose reference is its less stable fold."""
    sequence = "GGGCAAAAGCCCAAAAGGGC"
    pairs = dot_bracket_to_pairs("........((((....))))")
    features = pair_features(sequence)
    if bonus is None:
        bonus = np.zeros(len(features.i), np.float32)
    return Problem(sequence, pairs, bonus, step, Objective(**objective))


def test_reference_mask_marks_the_reference_pairs() -> None:
    p = problem(0.1)
    features = pair_features(p.sequence)
    mask = reference_mask(features, p.pairs)
    marked = np.stack([features.i[mask > 0], features.j[mask > 0]], axis=1)
    assert marked.tolist() == p.pairs.tolist()


@pytest.mark.parametrize("likelihood", [0.0, 0.5])
def test_a_step_against_the_gradient_improves_the_loss(likelihood: float) -> None:
    score, gradient = solve(problem(0.1, likelihood=likelihood))
    assert 0 < score < 0.5
    assert gradient.dtype == np.float32
    moved = (-2.0 * gradient / np.abs(gradient).max()).astype(np.float32)
    better, _ = solve(problem(0.1, moved, likelihood=likelihood))
    assert better > score + 0.05


def test_probes_of_either_sign_agree() -> None:
    plus, minus = (solve(problem(step, likelihood=0.0))[1] for step in (0.1, -0.1))
    assert np.corrcoef(plus, minus)[0, 1] > 0.97


def test_trainers_structures_are_training_references(tmp_path: Path) -> None:
    """A pair of A and A does not reach the training."""
    (tmp_path / "t.csv").write_text(
        "id,sequence,structure\nk_1,GGGGAAAACCCCAAAAAAAAAAA,((((....))))..(....)...\n"
    )
    (item,) = load_source(Source(file="t.csv", draw=[Draw()]), tmp_path, HoldOut())
    assert item.structure.dot_bracket == "((((....))))..........."
