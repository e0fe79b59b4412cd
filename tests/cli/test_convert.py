"""``stemloop convert`` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from stemloop.cli.main import app
from stemloop.errors import OutputExistsError, WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.weights.store import load


@pytest.fixture
def official(tmp_path: Path) -> Path:
    config = EncoderConfig(vocab_size=22, hidden=40, layers=1, heads=20, ffn_inner=106)
    content = {f"lm.{key}": value for key, value in RiNALMo(config).state_dict().items()}
    content |= {"threshold": 0.05, "pred_head.conv_out.bias": torch.ones(1)}
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_there_and_back(official: Path, tmp_path: Path) -> None:
    there = CliRunner().invoke(app, ["convert", str(official), str(tmp_path / "m")])
    assert there.exit_code == 0
    assert there.stdout == f"{tmp_path / 'm'}\n"
    assert "official, flash, fine-tuned" in there.stderr
    assert "task head: structure, threshold 0.05" in there.stderr
    assert load(tmp_path / "m").config.layers == 1
    target = tmp_path / "b.pt"
    back = CliRunner().invoke(
        app, ["convert", str(tmp_path / "m"), str(target), "--to", "official"]
    )
    assert back.exit_code == 0
    a, b = (torch.load(path, weights_only=True) for path in (official, target))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a if key != "threshold")


def test_errors(official: Path, tmp_path: Path) -> None:
    taken = CliRunner().invoke(app, ["convert", str(tmp_path / "x"), str(tmp_path)])
    assert isinstance(taken.exception, OutputExistsError)
    official.write_bytes(official.read_bytes()[:1000])
    cut = CliRunner().invoke(app, ["convert", str(official), str(tmp_path / "m")])
    assert isinstance(cut.exception, WeightsError)
