"""What a recipe can ask for besides: classes, noise, groups held out, a head to start from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import FormatError, InputError, UsageError
from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.training.recipe_base import read_recipe
from stemloop.training.sequence import Progress, SequenceTrainer
from stemloop.training.sequence_classes import add_noise, told_by_length
from stemloop.training.sequence_data import read_data
from stemloop.training.sequence_groups import encoder_groups
from stemloop.training.sequence_leakage import resemblance
from stemloop.training.sequence_loss import loss_of
from stemloop.training.sequence_recipe import SequenceRecipe, hold_out
from stemloop.weights.sequence_head import LETTERS, load_base, load_sequence_model
from stemloop.weights.store import load, save_model_dir
from stemloop.weights.tensors import read_tensors

ROOT = Path(__file__).resolve().parents[2]
CONFIG = EncoderConfig(
    vocab_size=56, hidden=16, layers=2, heads=2, ffn_inner=24, alphabet="stemloop", max_length=64
)


def recipe(**changes: Any) -> SequenceRecipe:
    """Families of a Stockholm file, frozen encoder."""
    values: dict[str, Any] = {
        "task": "classify", "name": "tiny", "data": [{"file": "seed.sto", "label": "ID"}],
        "epochs": 2, "batch_size": 8, "leakage": None, "head": {"hidden": 8},
        "split": {"by": "random", "validation": 0.2, "test": 0.2}, "learning_rate": 0.01,
    }  # fmt: skip
    return SequenceRecipe.model_validate(values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four families: two alike in length, one told by it, one small; and an encoder."""
    folder = tmp_path_factory.mktemp("families")
    rng = np.random.default_rng(0)
    text = ""
    for name, many, low, high, letters in (
        ("rich", 30, 20, 30, "GGGC"), ("poor", 30, 20, 30, "AAAU"), ("long", 30, 50, 51, "ACGU"),
        ("few", 4, 20, 30, "ACGU"),
    ):  # fmt: skip
        text += f"# STOCKHOLM 1.0\n#=GF ID {name}\n\n"
        for k in range(many):
            row = "".join(rng.choice(list(letters), int(rng.integers(low, high))))
            text += f"{name}{k}  {row[:3]}-.{row[3:]}\n"
        text += f"{name}copy  {row}\n{name}odd  {row}N\n//\n"
    (folder / "seed.sto").write_text(text)
    torch.manual_seed(2)
    save_model_dir(folder / "tiny", CONFIG, new_encoder(CONFIG).state_dict())
    return folder


def test_families_of_alignments_are_classes(folder: Path) -> None:
    every = read_data(recipe(), folder)
    assert every.labels == ("few", "long", "poor", "rich")
    classes = {"smallest": 10, "told_by_length": 0.8, "largest": 20}
    found = read_data(recipe(classes=classes), folder)
    items = [x for part in found.parts.values() for x in part]
    assert Counter(x.label for x in items) == {"rich": 20, "poor": 20}
    assert not any(set(x.sequence) - set("ACGU") for x in items)
    assert len({x.sequence for x in items}) == 40


def test_classes_that_cannot_be(folder: Path) -> None:
    with pytest.raises(InputError, match="fewer than two are left"):
        read_data(recipe(classes={"shortest": 40}), folder)
    with pytest.raises(FormatError, match="alignment 1 has no tag #=GF AC"):
        read_data(recipe(data=[{"file": "seed.sto", "label": "AC"}]), folder)
    with pytest.raises(ValueError, match="classes are for task classify"):
        recipe(task="regress", classes={})


def test_length_tells_what_differs_in_length() -> None:
    pairs = [("a", 10 + k % 5) for k in range(40)] + [("b", 10 + k % 5) for k in range(40)]
    told = told_by_length([*pairs, *(("c", 30) for _ in range(40))])
    assert told["c"] == 1.0
    assert min(told["a"], told["b"]) < 0.7


@given(
    st.text("ACGU", min_size=1, max_size=60), st.sampled_from([0.5, 1.0, 2.0]), st.integers(0, 3)
)
def test_noise_is_made_of_the_sequence(sequence: str, share: float, seed: int) -> None:
    noisy = add_noise(sequence, share, seed)
    assert noisy == add_noise(sequence, share, seed)
    extra = len(noisy) - len(sequence)
    assert noisy[extra // 2 : extra // 2 + len(sequence)] == sequence
    assert abs(extra - share * len(sequence)) <= 4
    assert set(noisy) <= set(sequence)


def test_resemblance_is_that_of_the_sequences_without_noise(folder: Path) -> None:
    plain, noisy = (read_data(recipe(noise=noise), folder) for noise in (0.0, 2.0))
    assert plain.digest != noisy.digest
    assert [x.core for x in noisy.test] == [x.sequence for x in plain.test]
    assert resemblance(noisy, None, 0.8) == resemblance(plain, None, 0.8)


def test_a_group_held_out_is_the_test_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = []
    for group in ("fly", "worm", "cress"):
        for label, letters in (("donor", "GGGU"), ("donor n2", "AAAC")):
            name = f"{group}{label[-1]}.fa"
            rows = ("".join(rng.choice(list(letters), 12)) for _ in range(20))
            (tmp_path / name).write_text("".join(f">{k}\n{row}\n" for k, row in enumerate(rows)))
            data.append({"file": name, "value": f"{group} {label}"})
    whole = recipe(data=data, encoder="none", epochs=12, patience=12,
                   head={"kind": "window", "window": 12, "hidden": 8, "channels": 4})  # fmt: skip
    held = hold_out(whole, "fly")
    trainer = SequenceTrainer(held, load_base(LETTERS), tmp_path, tmp_path / "run")
    assert trainer.data.labels == ("donor", "donor n2")
    assert len(trainer.data.test) == 40
    assert len(trainer.data.train) + len(trainer.data.validation) == 80
    assert trainer.run()["test"]["accuracy"] > 0.9
    with pytest.raises(UsageError, match="nothing called 'ape' to hold out: there are cress, fly"):
        hold_out(whole, "ape")
    with pytest.raises(UsageError, match="a value such as 'fly donor'"):
        hold_out(recipe(), "fly")


def test_a_run_starts_from_the_head_of_another(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    SequenceTrainer(recipe(), load(folder / "tiny"), folder, first).run()
    chosen = recipe(encoder="full", start=str(first / "model"), learning_rate=1e-9,
                    encoder_rate=1e-9, storage="fp16")  # fmt: skip
    metrics = SequenceTrainer(chosen, load(folder / "tiny"), folder, second).run()
    before, after = (load_sequence_model(run / "model")[0] for run in (first, second))
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    # Kept as halves, and scored as kept.
    for file in ("model.safetensors", "head.safetensors"):
        kept = read_tensors(second / "model" / file)
        assert {tensor.dtype for tensor in kept.values()} == {torch.float16}
    found = json.loads((second / "metrics.json").read_text())
    assert found["test"] == metrics["test"]
    other = recipe(start=str(first / "model"), head={"hidden": 4})
    with pytest.raises(UsageError, match="another shape"):
        SequenceTrainer(other, load(folder / "tiny"), folder, tmp_path / "third")


def test_frozen_types_are_those_of_the_model(folder: Path, tmp_path: Path) -> None:
    """Rows from disk give what the model itself gives."""
    chosen = recipe(guide={"types": 3}, head={"hidden": 8, "pools": ["mean", "type"]})
    trainer = SequenceTrainer(chosen, load(folder / "tiny"), folder, tmp_path / "run")
    trainer.run()
    sequences = [x.sequence for x in trainer.data.test]
    cached = trainer.predict(sequences)
    with torch.inference_mode():
        torch.testing.assert_close(cached, trainer.model(sequences), atol=1e-4, rtol=1e-4)


def test_blocks_learn_the_slower_the_deeper() -> None:
    encoder = new_encoder(CONFIG)
    plain = encoder_groups(encoder, recipe(encoder="full"))
    assert len(plain) == 1
    groups = encoder_groups(encoder, recipe(encoder="full", encoder_rate=1.0, block_decay=0.1))
    names = {id(p): name for name, p in encoder.named_parameters()}
    found = {round(rate, 5): {names[id(p)] for p in members} for _, rate, members in groups}
    assert sorted(found) == [0.01, 0.1, 1.0]
    assert "embedding.weight" in found[0.01]
    assert any("final_layer_norm" in name for name in found[1.0])
    assert all("blocks.0." in name for name in found[0.1])
    assert set().union(*found.values()) == {names[id(p)] for p in plain[0][2]}


def test_smoothing_is_that_of_the_definition(folder: Path) -> None:
    data = read_data(recipe(), folder)
    trainer_meaning = SequenceTrainer(
        recipe(), load(folder / "tiny"), folder, folder / "unused"
    ).meaning
    items, outputs = data.train[:5], torch.randn(5, 4)
    logs = outputs.log_softmax(dim=1)
    known = [data.labels.index(str(x.label)) for x in items]
    wanted = -(0.8 * logs[range(5), known] + 0.2 * logs.mean(dim=1)).mean()
    torch.testing.assert_close(loss_of(items, outputs, trainer_meaning, smoothing=0.2), wanted)


def test_hidden_nucleotides_are_hidden_in_training_only(folder: Path) -> None:
    chosen = recipe(encoder="full", hide=0.5)
    trainer = SequenceTrainer(chosen, load(folder / "tiny"), folder, folder / "unused")
    model, sequence = trainer.model, "ACGU" * 10
    model.encoder.train()
    model.head.eval()
    torch.manual_seed(0)
    assert not torch.allclose(model([sequence]), model([sequence]))
    model.eval()
    assert torch.equal(model([sequence]), model([sequence]))


@pytest.mark.parametrize(
    "name", ["ncrna-class-full", "rfam-class", "splice-across", "splice-sites"]
)
def test_recipes_parse(name: str) -> None:
    parsed = read_recipe(ROOT / "recipes" / f"{name}.yaml", SequenceRecipe)
    if name == "splice-across":
        assert hold_out(parsed, "worm").name == "splice-without-worm"


def test_options_that_do_not_go_together() -> None:
    for changes in ({"hide": 0.1}, {"task": "regress", "smoothing": 0.1}, {"block_decay": 0.0}):
        with pytest.raises(ValueError, match=r"hide|smoothing|block_decay"):
            recipe(**changes)


def test_a_causal_head_learns_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Letters that only their order tells apart; the network knows it from those before."""
    rng = np.random.default_rng(2)
    data = []
    for label in ("pairs", "shuffled"):
        rows = []
        for _ in range(90):
            row = [pair for _ in range(6) for pair in rng.choice(["AC", "GU"])]
            rows.append("".join(rng.permutation(row) if label == "shuffled" else row))
        (tmp_path / f"{label}.fa").write_text("".join(f">{k}\n{r}\n" for k, r in enumerate(rows)))
        data.append({"file": f"{label}.fa", "value": label})
    chosen = recipe(data=data, encoder="none", epochs=8, patience=8, likelihood=0.5,
                    precision="bf16", save_every=4, learning_rate=0.02,
                    head={"kind": "causal", "window": 12, "hidden": 8, "channels": 8,
                          "blocks": 2})  # fmt: skip

    def stop(state: Progress) -> None:
        if (state.epoch, state.step) == (2, 3) and state.score is None:
            raise InterruptedError

    def run(name: str, report: Callable[[Progress], None] | None = None) -> list[torch.Tensor]:
        trainer = SequenceTrainer(chosen, load_base(LETTERS), tmp_path, tmp_path / name)
        assert trainer.run(report)["test"]["accuracy"] > 0.9
        return [tensor.clone() for tensor in trainer.model.state_dict().values()]

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("stopped", stop)
    again = run("stopped")
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))
