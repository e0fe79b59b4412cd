"""Every model directory that is written, or ships, has a card that a hub can read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from stemloop.folding.crf import save_crf
from stemloop.models.foldnet import FoldNet, FoldNetConfig
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.training.rbm import train_rbm
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.weights.card import KINDS, front_matter, write_card
from stemloop.weights.interaction_store import load_interaction, save_interaction
from stemloop.weights.locate import bundled
from stemloop.weights.store import Head, save_model_dir

ROOT = bundled("stemloop-pico").parent
SHIPPED = sorted(path.name for path in ROOT.iterdir() if path.is_dir())


def card_of(folder: Path) -> ModelCard:
    """Card of a directory, read as the hub's own library does."""
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert data.library_name == "stemloop"
    assert "rna" in data.tags
    assert data.pipeline_tag in {kind.pipeline for kind in KINDS.values()}
    assert data.license
    assert isinstance(data.datasets, list)
    assert isinstance(data.metrics, list)
    assert card.text.lstrip().startswith("# ")
    return card


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_has_a_card(name: str) -> None:
    card = card_of(ROOT / name)
    assert card.data.license == "apache-2.0"
    assert card.data.datasets


@pytest.mark.parametrize("kind", KINDS)
def test_front_matter_says_what_it_was_given(kind: str, tmp_path: Path) -> None:
    text = front_matter(kind, licence="CC BY 4.0", datasets=["Rfam"], metrics=["mse"])
    (tmp_path / "README.md").write_text(f"{text}\n# x\n")
    data = card_of(tmp_path).data
    assert (data.license, data.datasets, data.metrics) == ("cc-by-4.0", ["Rfam"], ["mse"])


def test_own_front_matter_is_kept(tmp_path: Path) -> None:
    write_card(tmp_path, "structure", body="---\nlicense: mit\n---\n# mine\n")
    assert (tmp_path / "README.md").read_text() == "---\nlicense: mit\n---\n# mine\n"


@pytest.mark.parametrize(
    ("head", "pipeline"),
    [(None, "fill-mask"), ("structure", "other"), ("classifier", "text-classification")],
)
def test_encoders_are_written_with_one(head: str | None, pipeline: str, tmp_path: Path) -> None:
    config = EncoderConfig(vocab_size=22, hidden=16, layers=1, heads=2, ffn_inner=16)
    given = Head(head, "lm", {"pred_head.x": torch.zeros(1)}) if head else None
    source = {"name": "mine", "licence": "CC BY 4.0", "steps": 7}
    save_model_dir(tmp_path / "m", config, RiNALMo(config).state_dict(), head=given, source=source)
    card = card_of(tmp_path / "m")
    assert (card.data.pipeline_tag, card.data.license) == (pipeline, "cc-by-4.0")
    assert "# mine\n" in card.text
    assert "| steps | 7 |" in card.text


def test_folding_models_are_written_with_one(tmp_path: Path) -> None:
    net = FoldNet(FoldNetConfig(channels=4, hidden=8))
    save_crf(tmp_path, net, {"recipe": "fold-crf", "seed": 3, "held_out": []})
    card = card_of(tmp_path)
    assert (card.data.license, card.data.pipeline_tag) == ("unknown", "other")
    assert "| seed | 3 |" in card.text


def test_runs_of_an_rbm_are_written_with_one(tmp_path: Path) -> None:
    rows = [f"r{k},{'ACGU'[k % 4] * 3}GC,{'ab'[k % 2]}" for k in range(20)]
    (tmp_path / "toy.csv").write_text("\n".join(["id,sequence,label", *rows]) + "\n")
    data = {"file": "toy.csv", "name": "id", "labels": {"column": "label"}, "split": None}
    recipe = {"task": "rbm", "name": "toy", "hidden": 3, "updates": 2, "batch": 5, "data": data}
    train_rbm(RBMRecipe.model_validate(recipe), tmp_path, tmp_path / "run")
    card = card_of(tmp_path / "run")
    assert (card.data.pipeline_tag, card.data.license) == ("text-generation", "unknown")
    assert "| update | 2 |" in card.text


def test_models_of_interactions_are_written_with_one(tmp_path: Path) -> None:
    stored = load_interaction("mirna-target")
    save_interaction(tmp_path / "m", stored, card="# mine\n")
    card = card_of(tmp_path / "m")
    assert card.data.metrics == ["roc_auc"]
    assert card.text.strip() == "# mine"
