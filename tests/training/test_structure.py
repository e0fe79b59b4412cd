"""Training the CRF: it learns, gives the same bits again, and never sees what is held out."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stemloop.data.structures import ARCHIVEII_CLASSES, LabelledStructure
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.evaluation.benchmark import read_archiveii
from stemloop.folding import thermo
from stemloop.folding.crf import ThermodynamicCRF, load_crf, save_crf
from stemloop.folding.evidence import open_evidence
from stemloop.models.foldnet import pair_features
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.pairs import dot_bracket_to_pairs
from stemloop.training.recipes import (
    Draw,
    LanguageModel,
    Objective,
    Source,
    StructureRecipe,
    load_recipe,
)
from stemloop.training.structure import Progress, StructureTrainer
from stemloop.training.structure_data import HoldOut, hold_out, load_source
from stemloop.training.structure_objective import (
    Problem,
    margin_violation,
    reference_mask,
    solve,
)
from stemloop.weights.store import load, save_model_dir

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


def all_structures(sequence: str) -> list[str]:
    """Every nested structure of canonical pairs."""
    features = pair_features(sequence)
    may = set(zip(features.i.tolist(), features.j.tolist(), strict=True))

    def fold(i: int, j: int) -> list[str]:
        if i > j:
            return [""]
        found = ["." + rest for rest in fold(i + 1, j)]
        for k in range(i, j + 1):
            if (i, k) in may:
                found += [
                    f"({inner}){rest}" for inner in fold(i + 1, k - 1) for rest in fold(k + 1, j)
                ]
        return found

    return fold(0, len(sequence) - 1)


def test_margin_is_that_of_the_enumeration() -> None:
    """Over all structures: the worst violation, its gradient, and none once the margins hold."""
    sequence, known = "GGGCAAAAGCCCAAAAGGGC", "........((((....))))"
    features = pair_features(sequence)
    texts = all_structures(sequence)
    energies = thermo.structure_energies(sequence, texts)
    rng = np.random.default_rng(0)
    for scale in (0.0, 1.0):
        bonus = (scale * rng.normal(size=len(features.i))).round(2).astype(np.float32)
        masks = [reference_mask(features, dot_bracket_to_pairs(text)) for text in texts]
        truth = reference_mask(features, dot_bracket_to_pairs(known))
        # Margins on the grid of the energies, so that nothing is rounded.
        worst, rival = max(
            (1.5 * float((truth * (1 - y)).sum()) + 0.5 * float((y * (1 - truth)).sum())
             - energy - float((bonus * y).sum()), k)
            for k, (y, energy) in enumerate(zip(masks, energies, strict=True))
            if np.isfinite(energy)
        )  # fmt: skip
        own = energies[texts.index(known)] + float((bonus * truth).sum())
        keys = {"soft_f": 0.0, "likelihood": 0.0, "margin": 1.0}
        asked = problem(0.1, bonus, margin_missed=1.5, margin_false=0.5, **keys)
        violation, found = margin_violation(
            torch.from_numpy(bonus), features, torch.from_numpy(truth), asked
        )
        assert float(violation) == pytest.approx(worst + own, abs=0.02)
        assert np.array_equal(found.numpy(), masks[rival])
        _, gradient = solve(asked)
        np.testing.assert_allclose(gradient, (truth - masks[rival]) / len(sequence), atol=1e-6)
    settled = (-3.0 * truth + 3.0 * (1 - truth)).astype(np.float32)
    score, gradient = solve(problem(0.1, settled, **keys))
    assert score == 1.0
    assert not gradient.any()


# Evidence -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    config = EncoderConfig(vocab_size=56, hidden=32, layers=2, heads=2, ffn_inner=48)
    config = replace(config, alphabet="stemloop")
    encoder = RiNALMo(config)
    folder = tmp_path_factory.mktemp("lm") / "model"
    return save_model_dir(folder, config, encoder.state_dict())


@pytest.mark.parametrize("training", ["frozen", "full", "lora"])
def test_a_language_model_is_evidence(
    training: str,
    recipe: StructureRecipe,
    tiny_structures: Path,
    tmp_path: Path,
    language_model: Path,
) -> None:
    """It reaches the energies, learns only where asked, and folds the same from its files."""
    if training == "lora":
        pytest.importorskip("peft")
    wanted = LanguageModel(model=str(language_model), training=training, rank=2, divide=1.0)
    stage = recipe.stages[0].model_copy(update={"epochs": 2, "learning_rate": 0.05})
    asked = changed(recipe, language_model=wanted, sets=("turner1999",), stages=[stage])
    trainer = StructureTrainer(asked, tiny_structures, tmp_path / "run")
    net = trainer.run()
    assert (net.config.states, net.config.maps) == (32, 5)
    assert bool(net.states.weight.any())
    assert bool(net.maps.weight.any())
    before = load(language_model).encoder.state_dict()
    assert trainer.evidence is not None
    assert trainer.evidence.encoder is not None
    after = trainer.evidence.encoder.state_dict()
    assert after.keys() == before.keys()
    learned = {name for name in before if not torch.equal(before[name], after[name])}
    assert bool(learned) == (training != "frozen")
    if training == "lora":
        assert all(".blocks." in name for name in learned)
    save_crf(tmp_path / "model", net, {}, (), trainer.evidence)
    assert (tmp_path / "model" / "encoder").is_dir() == (training != "frozen")
    sequence = "GGGCAAAAGCCCAAAAGGGC"
    crf = ThermodynamicCRF(net, (), trainer.evidence)
    again = load_crf(tmp_path / "model")
    one, other = (x.ensemble(sequence).pair_probability for x in (crf, again))
    np.testing.assert_allclose(one, other, atol=1e-6)

    # Stopped after the first epoch and resumed: the same bits.
    def report(progress: Progress) -> None:
        if progress.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        StructureTrainer(asked, tiny_structures, tmp_path / "again").run(report)
    second = StructureTrainer(asked, tiny_structures, tmp_path / "again")
    assert same(second.run().state_dict(), net.state_dict())
    assert second.evidence is not None
    assert second.evidence.encoder is not None
    assert same(second.evidence.encoder.state_dict(), after)


def test_another_language_model_is_refused(
    recipe: StructureRecipe, tiny_structures: Path, tmp_path: Path, language_model: Path
) -> None:
    copy = tmp_path / "lm"
    shutil.copytree(language_model, copy)
    asked = changed(recipe, language_model=LanguageModel(model=str(copy)), stages=recipe.stages[:1])
    trainer = StructureTrainer(asked, tiny_structures, tmp_path / "run")
    save_crf(tmp_path / "model", trainer.run(), {}, (), trainer.evidence)
    load_crf(tmp_path / "model")
    model = load(copy)
    state = {name: value + 1 for name, value in model.encoder.state_dict().items()}
    save_model_dir(copy, model.config, state, force=True)
    with pytest.raises(WeightsError, match="not the language model"):
        load_crf(tmp_path / "model")
    with pytest.raises(UsageError, match="belongs to another recipe"):
        StructureTrainer(asked, tiny_structures, tmp_path / "run").run()


def test_evidence_does_not_depend_on_neighbours(language_model: Path) -> None:
    source = open_evidence(language_model, sets=("turner2004",))
    sequences = ["GGGCAAAAGCCC", "GGGCAAAAGCCCAAAAGGGCUUUUGCUU", "ACGU"]
    features = [pair_features(sequence) for sequence in sequences]
    with torch.inference_mode():
        for found, sequence, pairs in zip(
            source(sequences, features), sequences, features, strict=True
        ):
            (alone,) = source([sequence], [pairs])
            torch.testing.assert_close(found.states, alone.states, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.maps, alone.maps, atol=1e-5, rtol=0)
    # The last column is the log odds of the plain ensemble.
    p = thermo.fold_ensemble(sequences[0]).pair_probability[features[0].i, features[0].j]
    expected = np.log(p.clip(1e-4, 1 - 1e-4)) - np.log1p(-p.clip(1e-4, 1 - 1e-4))
    np.testing.assert_allclose(source(sequences[:1], features[:1])[0].maps[:, -1].detach(),
                               expected, atol=1e-4)  # fmt: skip


def test_settings_that_teach_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to learn"):
        Objective(soft_f=0, likelihood=0)
    with pytest.raises(ValidationError, match="neither states nor attention"):
        LanguageModel(model="x", states=False, attention=False)


def test_trainers_structures_are_training_references(tmp_path: Path) -> None:
    """A pair of A and A does not reach the training."""
    (tmp_path / "t.csv").write_text(
        "id,sequence,structure\nk_1,GGGGAAAACCCCAAAAAAAAAAA,((((....))))..(....)...\n"
    )
    (item,) = load_source(Source(file="t.csv", draw=[Draw()]), tmp_path, HoldOut())
    assert item.structure.dot_bracket == "((((....))))..........."
