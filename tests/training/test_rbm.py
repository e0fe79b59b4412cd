"""Training of RBMs: modes, missing labels, resuming, and stopping before a bad state is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemloop.data.labelled import Labelled, label_rows
from stemloop.errors import FormatError, InputError, ResultError, UsageError
from stemloop.models.rbm import RBM
from stemloop.models.rbm_chains import generate, guess_labels
from stemloop.models.rbm_config import RBMConfig
from stemloop.training.rbm import RBMTrainer, train_rbm
from stemloop.training.rbm_optimiser import Ascent
from stemloop.training.rbm_recipe import Optimiser, RBMRecipe
from stemloop.training.rbm_run import ages_of
from stemloop.training.recipe_base import read_recipe
from stemloop.weights.rbm_store import MODEL, load_rbm, rbm_ages

ROOT = Path(__file__).resolve().parents[2]


def consensus(sites: int, q: int) -> np.ndarray:
    """A state a site for each of two labels; they differ at every site."""
    first = np.arange(sites) % q
    return np.stack([first, (first + 1) % q])


def planted(rows: int = 300, sites: int = 10, seed: int = 0, letters: str = "-ACGU") -> Labelled:
    """Two labels, and rows that have the state of their label at most sites."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, rows)
    noise = rng.integers(0, len(letters), (rows, sites))
    own = consensus(sites, len(letters))[kind]
    states = np.where(rng.random((rows, sites)) < 0.7, own, noise).astype(np.uint8)
    data = Labelled(tuple(f"r{i}" for i in range(rows)), (), states, letters, np.full(rows, -1))
    return label_rows(data, ["one" if k == 0 else "two" for k in kind])


def recipe(**changes: Any) -> RBMRecipe:
    base: dict[str, Any] = {
        "task": "rbm",
        "name": "tiny",
        "data": {"file": "x.csv", "split": None},
        "hidden": 20,
        "batch": 100,
        "updates": 150,
        "optimiser": {"name": "adam", "learning_rate": 0.03},
        "save_every": 100,
        "ages": 3,
    }
    return RBMRecipe.model_validate(base | changes)


def agreement(trainer: RBMTrainer, label: int, steps: int = 10) -> float:
    """Share of sites with the state of the label, in samples from random states."""
    labels = torch.full((500,), label)
    made = generate(trainer.machine, labels, steps, torch.Generator().manual_seed(1)).numpy()
    own = consensus(trainer.config.visible, trainer.config.states)[label]
    return float((made == own).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradients": "combined"},
        {"label_gradient": "exact"},
        {"hidden_chain": "mean"},
        {"final_steps": 5},
        {"optimiser": {"name": "adam", "learning_rate": 0.02, "final_learning_rate": 0.005}},
        {"mode": "pcd", "steps": 30},
    ],
    ids=str,
)
def test_samples_obey_their_label(changes: dict[str, Any], tmp_path: Path) -> None:
    data = planted()
    trainer = RBMTrainer(recipe(**changes), data, tmp_path)
    before = agreement(trainer, 0), agreement(trainer, 1)
    trainer.run_all()
    assert max(before) < 0.5  # the two labels' states are as frequent
    for label in (0, 1):
        assert agreement(trainer, label) > 0.65  # 0.76 in the data
    found = trainer.machine.label_posterior(torch.tensor(data.states)).argmax(1).numpy()
    assert (found == data.labels).mean() > 0.95
    drawn, _ = guess_labels(trainer.machine, trainer.states, 10, torch.Generator().manual_seed(3))
    assert (drawn.numpy() == data.labels).mean() > 0.8


def test_reweighted_rows_count_less(tmp_path: Path) -> None:
    data = planted()
    many = data.take([*range(len(data)), *[0] * 300])
    trainer = RBMTrainer(recipe(reweight=1.0), many, tmp_path)
    assert trainer.effective == pytest.approx(len(np.unique(data.states, axis=0)))
    assert trainer.weights[0] <= 1 / 301
    plain = RBMTrainer(recipe(reweight=1.0), data, tmp_path / "plain")
    torch.testing.assert_close(trainer.frequencies, plain.frequencies)
    trainer.run_all()
    for label in (0, 1):
        assert agreement(trainer, label) > 0.65


def test_cd_and_published_sgd_run(tmp_path: Path) -> None:
    sgd = {"learning_rate": 0.2, "momentum": 0.9, "nesterov": True, "l1": 1e-5, "l2": 1e-4}
    trainer = RBMTrainer(recipe(mode="cd", optimiser=sgd), planted(), tmp_path)
    start = trainer.metrics()["train_free_energy"]
    trainer.run_all()
    assert trainer.metrics()["weight_rms"] > 0.01
    assert trainer.metrics()["train_free_energy"] < start


def test_binary_units(tmp_path: Path) -> None:
    data = planted(letters="01")
    trainer = RBMTrainer(recipe(), data, tmp_path)
    trainer.run_all()
    assert trainer.config.kind == "binary"
    assert agreement(trainer, 0) > 0.75
    assert agreement(trainer, 1) > 0.75


@pytest.mark.parametrize("missing", ["exact", "gibbs"])
def test_a_few_labels_are_enough(missing: str, tmp_path: Path) -> None:
    """Rows without labels are learnt from; those with labels say which is which."""
    data = planted(rows=600)
    truth = data.labels.copy()
    data.labels[60:] = -1
    trainer = RBMTrainer(recipe(missing=missing), data, tmp_path)
    trainer.run_all()
    found = trainer.machine.label_posterior(torch.tensor(data.states)).argmax(1).numpy()
    assert (found == truth)[60:].mean() > 0.9


def test_without_labels(tmp_path: Path) -> None:
    data = planted()
    bare = Labelled(data.ids, (), data.states, data.letters, np.full(len(data), -1))
    trainer = RBMTrainer(recipe(updates=20), bare, tmp_path)
    trainer.run_all()
    assert trainer.config.labels == ("",)
    assert trainer.machine.label_weights.abs().max() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": {"momentum": 0.5}},
        {"mode": "pcd"},
        {"data": {"file": "x.csv", "split": {"test": 0.3}}},
        {"optimiser": {"name": "adam", "learning_rate": 0.05, "average": 0.9}},
    ],
    ids=str,
)
def test_resumed_to_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    job = recipe(updates=60, save_every=20, log_every=10, **changes)
    data = planted()
    whole = RBMTrainer(job, data, tmp_path / "whole").run_all()
    halved = RBMTrainer(job, data, tmp_path / "halved")
    for _ in range(20):
        halved.step()
    halved._save(tmp_path / "halved" / "last.safetensors")
    for _ in range(7):
        halved.step()  # lost
    again = RBMTrainer(job, data, tmp_path / "halved")
    assert again.update == 20
    assert again.run_all().read_bytes() == whole.read_bytes()
    lines = (tmp_path / "halved" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == [30, 40, 50, 60]


def test_the_rate_rises_then_falls() -> None:
    config = RBMConfig("potts", 3, 2, "-ACGU", ("x", "y"))
    machine = RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()})
    rule = Optimiser(learning_rate=0.1, final_learning_rate=0.01, warmup=4)
    ascent = Ascent(machine, rule, 11)
    direction = {name: torch.zeros_like(tensor) for name, tensor in machine.tensors().items()}
    direction["hidden_bias"] = torch.ones(2)
    for update in range(11):
        before = machine.hidden_bias.clone()
        ascent.step(direction, update)
        rate = 0.1 ** (1 + update / 10) * min(1, (update + 1) / 5)
        torch.testing.assert_close(machine.hidden_bias - before, torch.full((2,), rate))


def test_the_average_of_the_weights_is_kept(tmp_path: Path) -> None:
    rates = {"name": "adam", "learning_rate": 0.03}
    data = planted()
    plain = RBMTrainer(recipe(optimiser=rates), data, tmp_path / "plain")
    trainer = RBMTrainer(recipe(optimiser={**rates, "average": 0.8}), data, tmp_path / "averaged")
    mean = plain.machine.weights.clone()
    for update in range(1, 61):
        plain.step()
        trainer.step()
        kept = min(0.8, update / (update + 9))
        mean = kept * mean + (1 - kept) * plain.machine.weights
    assert torch.equal(trainer.machine.weights, plain.machine.weights)
    trainer._save(tmp_path / "x.safetensors")
    torch.testing.assert_close(load_rbm(tmp_path / "x.safetensors").machine.weights, mean)
    assert not torch.allclose(mean, plain.machine.weights)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    job = recipe(updates=100, data={"file": "x.csv", "split": {"test": 0.2}})
    trainer = RBMTrainer(job, planted(), tmp_path)
    path = trainer.run_all(lines.append)
    assert path == tmp_path / MODEL
    assert list(rbm_ages(tmp_path)) == ages_of(100, 3) == [1, 10, 100]
    stored = load_rbm(tmp_path)
    assert stored.machine.config.labels == ("one", "two")
    assert stored.machine.config.letters == "-ACGU"
    assert stored.facts["update"] == 100
    assert {"visible_frequencies"} == set(stored.extra)
    young = load_rbm(tmp_path, age=12)
    assert young.facts["update"] == 10
    assert "generator" in young.extra
    assert lines[-1]["update"] == 100
    assert 0 <= lines[-1]["test_label_accuracy"] <= 1


def test_exploding_weights_stop_and_keep_the_last_good_state(tmp_path: Path) -> None:
    wild = {"learning_rate": 0.01, "final_learning_rate": 1e9}
    job = recipe(updates=200, save_every=10, log_every=10, optimiser=wild)
    trainer = RBMTrainer(job, planted(), tmp_path)
    with pytest.raises(ResultError, match="training stops; the last good state is in") as caught:
        trainer.run_all()
    assert caught.value.exit_code == 8
    kept = load_rbm(tmp_path / "last.safetensors")
    assert 0 < kept.facts["update"] < 200
    assert max(t.abs().max() for t in kept.machine.tensors().values()) <= job.max_weight
    assert not (tmp_path / MODEL).exists()


def test_numbers_that_are_none_stop(tmp_path: Path) -> None:
    trainer = RBMTrainer(recipe(), planted(), tmp_path)
    trainer.machine.label_weights[0, 0] = float("nan")
    with pytest.raises(ResultError, match="no numbers at update 0: .*no state was saved"):
        trainer._check()


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    data = planted()
    RBMTrainer(recipe(updates=5), data, tmp_path / "a").run_all()
    with pytest.raises(UsageError, match="another recipe"):
        RBMTrainer(recipe(updates=6), data, tmp_path / "a")
    with pytest.raises(UsageError, match="another data"):
        RBMTrainer(recipe(updates=5), planted(seed=1), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="holds other things"):
        RBMTrainer(recipe(), data, tmp_path / "b")


RECIPE = """\
task: rbm
name: x
hidden: 4
updates: 20
data: {file: x.csv, name: id, labels: {column: label}}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden: 4", "hidden: 0", "hidden: Input should be greater"),
        ("updates: 20", "updates: 20\nupdate: 3", "update: Extra inputs"),
        ("labels: {column: label}", "labels: {}", "data.labels: .*give one of column"),
        ("name: id", "name: 0", "data: .*name: a number for binary data"),
        ("updates: 20", "updates: 20\nsave_every: 150", "multiple of log_every"),
        ("updates: 20", "updates: 20\noptimiser: {nesterov: true}", "nesterov needs momentum"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new))
    with pytest.raises(FormatError, match=message):
        read_recipe(path, RBMRecipe)


def test_from_a_recipe_to_a_model(tmp_path: Path) -> None:
    data = planted()
    lines = ["id,sequence,label"]
    for i, name in enumerate(data.ids):
        lines.append(f"{name},{data.text(i)},{data.names[data.labels[i]]}")
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "r.yaml").write_text(RECIPE)
    job = read_recipe(tmp_path / "r.yaml", RBMRecipe)
    assert train_rbm(job, tmp_path, tmp_path / "run").name == MODEL
    with pytest.raises(InputError, match="no such file"):
        train_rbm(job, tmp_path / "run", tmp_path / "other")


def test_shipped_recipes_parse() -> None:
    shipped = sorted((ROOT / "recipes").glob("rbm-*.yaml"))
    assert len(shipped) >= 3
    for path in shipped:
        assert read_recipe(path, RBMRecipe).name == path.stem
