"""Pre-training through its public function: what a run leaves, and what it does not depend on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from stemloop.alphabet import STEMLOOP
from stemloop.data.masking import NO_TARGET
from stemloop.errors import StemloopError, UsageError
from stemloop.training.pack_trainer import PATIENCE, FiniteSteps, PackedLM, collate
from stemloop.training.pretrain import pretrain, recipe_config
from stemloop.training.pretrain_recipe import PretrainRecipe
from stemloop.training.recipe_base import read_recipe
from stemloop.weights.store import load

Rows = list[dict[str, Any]]

BASE: dict[str, Any] = {
    "task": "pretrain",
    "name": "test",
    "model": "stemloop-pico",
    "overrides": {
        "hidden": 32, "layers": 2, "heads": 2, "ffn_inner": 48, "residual_dropout": 0.0
    },
    "sampling": {"window": 124},
    "batch": {"tokens": 512, "packs": 2},
    "optimiser": {"learning_rate": 0.01, "warm_up": 2},
    "steps": 8,
    "log_every": 2,
    "save_every": 4,
    "evaluate_every": 4,
    "evaluate_packs": 2,
}  # fmt: skip


def recipe(**changes: Any) -> PretrainRecipe:
    return PretrainRecipe.model_validate(BASE | changes)


@pytest.fixture
def corpus(write_corpus: Callable[..., Path], random_rows: Callable[..., Rows]) -> Path:
    return write_corpus(train=random_rows(120), validation_clusters=random_rows(30, seed=1))


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load(run / "model").encoder.state_dict()


def test_a_run_leaves_metrics_checkpoints_and_a_model(corpus: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    model = pretrain(recipe(), corpus, tmp_path / "run", report=seen.append)
    assert model == tmp_path / "run" / "model"
    found = lines(tmp_path / "run")
    assert [x["step"] for x in found if "loss" in x] == [2, 4, 6, 8]
    assert [x["step"] for x in found if "eval_loss" in x] == [4, 8]
    assert len(seen) == len(found)
    assert found[0]["tokens"] <= 2 * 2 * 512
    assert found[0]["tokens_per_second"] > 0
    assert 0 <= found[-1]["eval_masked_accuracy"] <= 1
    # A model that learns nothing but the letters' frequencies is at ln 4.
    assert found[-1]["eval_loss"] < found[0]["loss"]
    loaded = load(model)
    assert loaded.config.hidden == 32
    assert loaded.config.max_length == 128
    facts = json.loads((model / "stemloop.json").read_text())
    assert facts["source"]["step"] == 8
    checkpoints = {p.name for p in (tmp_path / "run").glob("checkpoint-*")}
    assert checkpoints == {"checkpoint-4", "checkpoint-8"}


def test_same_seed_same_weights_and_another_seed_others(corpus: Path, tmp_path: Path) -> None:
    short = {"steps": 4, "evaluate_packs": 0, "overrides": BASE["overrides"] | {
        "residual_dropout": 0.1
    }}  # fmt: skip
    runs = [(0, "a"), (0, "b"), (1, "c")]
    for seed, name in runs:
        pretrain(recipe(seed=seed, **short), corpus, tmp_path / name)
    a, b, c = (weights(tmp_path / name) for _, name in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_a_finished_run_is_left_alone_and_another_recipe_is_refused(
    corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pretrain(recipe(), corpus, run)
    before = (run / "model" / "model.safetensors").read_bytes()
    pretrain(recipe(), corpus, run)
    assert (run / "model" / "model.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="another recipe"):
        pretrain(recipe(seed=5), corpus, run)


def test_a_folder_of_other_things_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="holds other things"):
        pretrain(recipe(), corpus, tmp_path / "run")


def test_training_starts_from_given_weights(corpus: Path, tmp_path: Path) -> None:
    pretrain(recipe(evaluate_packs=0), corpus, tmp_path / "a")
    tiny = {"learning_rate": 1e-12, "weight_decay": 0.0}
    pretrain(
        recipe(optimiser=tiny, steps=2, save_every=2, evaluate_packs=0),
        corpus,
        tmp_path / "b",
        start=tmp_path / "a" / "model",
    )
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)


@pytest.mark.parametrize("model", ["rinalmo-nano", "rnaernie-base"])
def test_published_encoders_train(model: str, corpus: Path, tmp_path: Path) -> None:
    small = {"hidden": 32, "layers": 1, "heads": 2, "ffn_inner": 48}
    pretrain(recipe(model=model, overrides=small, steps=4), corpus, tmp_path / "run")
    found = [x for x in lines(tmp_path / "run") if "loss" in x]
    assert found[-1]["loss"] < found[0]["loss"]
    # RiNALMo's alphabet has no types, RNAErnie's has.
    assert ("type_accuracy" in found[0]) == (model == "rnaernie-base")


def test_muon_trains_and_resumes(corpus: Path, tmp_path: Path) -> None:
    muon = {"name": "muon", "learning_rate": 0.01, "muon_learning_rate": 0.01}
    pretrain(recipe(optimiser=muon), corpus, tmp_path / "a")
    found = [x for x in lines(tmp_path / "a") if "loss" in x]
    assert found[-1]["loss"] < found[0]["loss"]
    b = tmp_path / "b"
    pretrain(recipe(optimiser=muon), corpus, b)
    _forget(b / "checkpoint-8")
    pretrain(recipe(optimiser=muon), corpus, b)
    one, other = weights(tmp_path / "a"), weights(b)
    assert all(torch.equal(one[k], other[k]) for k in one)


def _forget(checkpoint: Path) -> None:
    """As if the run had been killed while it wrote this checkpoint."""
    (checkpoint / "complete.json").unlink()
    (checkpoint / "trainer_state.json").unlink()
    (checkpoint / "model.safetensors").write_bytes(b"cut")


def test_an_incomplete_checkpoint_is_passed_over(corpus: Path, tmp_path: Path) -> None:
    changes = {"overrides": BASE["overrides"] | {"residual_dropout": 0.1}}
    pretrain(recipe(**changes), corpus, tmp_path / "a")
    pretrain(recipe(**changes), corpus, tmp_path / "b")
    _forget(tmp_path / "b" / "checkpoint-8")
    with open(tmp_path / "b" / "metrics.jsonl", "a") as out:
        out.write('{"step": 9, "lo')
    pretrain(recipe(**changes), corpus, tmp_path / "b")
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[k], b[k]) for k in a)
    for one, other in zip(lines(tmp_path / "a"), lines(tmp_path / "b"), strict=True):
        for key in one.keys() - {"tokens_per_second"}:
            assert one[key] == other[key], key


def test_a_resumed_run_equals_one_that_was_not(corpus: Path, tmp_path: Path) -> None:
    """The optimiser's state, the order of packs and the dropout all come back."""
    changes = {"overrides": BASE["overrides"] | {"residual_dropout": 0.2}, "steps": 12}
    pretrain(recipe(**changes), corpus, tmp_path / "a")

    class StopError(Exception):
        pass

    def stop(line: dict[str, Any]) -> None:
        if line["step"] == 10:
            raise StopError

    with pytest.raises(StopError):
        pretrain(recipe(**changes), corpus, tmp_path / "b", report=stop)
    pretrain(recipe(**changes), corpus, tmp_path / "b")
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_steps_without_finite_gradient_are_left_out_and_end_the_run() -> None:
    layer = torch.nn.Linear(2, 1)
    guard = FiniteSteps()

    class State:
        global_step = 6

    def call() -> None:
        guard.on_pre_optimizer_step(None, State, None, model=layer)

    layer.weight.grad = torch.ones(1, 2)
    call()
    assert layer.weight.grad is not None
    for _ in range(PATIENCE - 1):
        layer.weight.grad = torch.tensor([[1.0, float("nan")]])
        call()
        assert layer.weight.grad is None
    layer.weight.grad = torch.ones(1, 2)
    call()  # a good one in between: the count starts anew
    for _ in range(PATIENCE - 1):
        layer.weight.grad = torch.tensor([[1.0, float("inf")]])
        call()
    layer.weight.grad = torch.tensor([[1.0, float("inf")]])
    with pytest.raises(StemloopError, match="step 7: no finite gradient in 10 steps"):
        call()
    assert guard.skipped == 2 * PATIENCE - 1


def test_one_bad_step_does_not_spoil_the_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PackedLM.forward
    calls = iter(range(1000))

    def spoiled(self: PackedLM, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        out = whole(self, *args, **kwargs)
        if next(calls) == 5:
            out["loss"] = out["loss"] * float("nan")
        return out

    monkeypatch.setattr(PackedLM, "forward", spoiled)
    pretrain(recipe(evaluate_packs=0), corpus, tmp_path / "run")
    assert all(torch.isfinite(w).all() for w in weights(tmp_path / "run").values())
    assert [x.get("skipped_steps") for x in lines(tmp_path / "run")][-1] == 1


def test_loss_is_the_cross_entropy_of_the_targets() -> None:
    """Against the model's own logits on every token, and a plain cross-entropy."""
    from stemloop.models.build import new_encoder

    torch.manual_seed(0)
    config = recipe_config(recipe())
    encoder = new_encoder(config).eval()
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(5, 9, 20))
    labels = torch.full((20,), NO_TARGET)
    labels[torch.tensor([3, 4, 15])] = torch.tensor([5, 8, STEMLOOP.ids["tRNA"]])
    pack = {
        "tokens": tokens,
        "labels": labels,
        "cu_seqlens": torch.tensor([0, 12, 20], dtype=torch.int32),
        "lengths": [12, 8],
    }
    model = PackedLM(encoder, torch.tensor([STEMLOOP.ids["tRNA"]]))
    with torch.no_grad():
        out = model(**collate([pack]))
        logits = encoder(tokens, pack["cu_seqlens"], need_logits=True).logits
        wanted = F.cross_entropy(logits, labels, ignore_index=NO_TARGET)
        part = model(**collate([pack]), num_items_in_batch=torch.tensor(12))
    assert torch.isclose(out["loss"], wanted)
    assert torch.isclose(part["loss"], wanted * 3 / 12)
    assert out["counts"][1] == 2
    assert out["counts"][3] == 1
    assert torch.isclose(out["nll"].sum(), 3 * wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "unknown model 'bert'"),
        ({"overrides": {"hiden": 3}}, "unknown key 'hiden'"),
        ({"masking": {"motif": 1.0}, "motifs": {"files": ["m.txt"]}}, "say where"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], message: str, corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(StemloopError, match=message):
        pretrain(recipe(**changes), corpus, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"save_every": 3}, "multiple of log_every"),
        ({"optimiser": {"learning_rate": 0.1, "warm_up": 8}}, "warm_up"),
        ({"sampling": {"window": 600}}, "does not fit"),
        ({"masking": {"motif": 1.0}}, "needs motifs"),
        ({"masking": {"ratio": 0.0}}, "ratio"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_recipes_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


def test_compiled_feed_forward_is_the_same_function(corpus: Path, tmp_path: Path) -> None:
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("compiling for a CPU needs g++")
    short = {"steps": 4, "evaluate_packs": 0}
    pretrain(recipe(**short), corpus, tmp_path / "a")
    pretrain(recipe(compile=True, **short), corpus, tmp_path / "b")
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a)


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_that_ship_are_good(path: Path) -> None:
    text = path.read_text()
    if "task: pretrain" not in text:
        pytest.skip("another task's recipe")
    found = read_recipe(path, PretrainRecipe)
    config = recipe_config(found)
    assert config.hidden % config.heads == 0
    assert found.masking.options().budget(100) == 15
    for line in text.splitlines():
        assert len(line) <= 120
