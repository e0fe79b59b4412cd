"""``stemloop weights`` as a user types it; nothing here touches the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from stemloop.cli.main import app
from stemloop.errors import FetchError, UsageError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.weights.catalog import CATALOG
from stemloop.weights.store import save_model_dir


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path))
    monkeypatch.setenv("STEMLOOP_OFFLINE", "1")
    return tmp_path


def test_list(cache: Path) -> None:
    config = EncoderConfig(vocab_size=22, hidden=16, layers=1, heads=2, ffn_inner=16)
    for name in ("rinalmo-micro", "mine"):
        save_model_dir(cache / "models" / name, config, RiNALMo(config).state_dict())
    result = CliRunner().invoke(app, ["weights", "list"])
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()}
    assert set(CATALOG) | {"mine"} <= set(lines)
    assert (lines["rinalmo-micro"], lines["mine"], lines["rinalmo-giga"]) == ("here", "here", "-")
    assert str(cache) in result.stderr


def test_get_what_is_here(cache: Path) -> None:
    config = EncoderConfig(vocab_size=22, hidden=16, layers=1, heads=2, ffn_inner=16)
    path = save_model_dir(cache / "models" / "rinalmo-giga", config, RiNALMo(config).state_dict())
    result = CliRunner().invoke(app, ["weights", "get", "rinalmo-giga"])
    assert result.stdout == f"{path}\n"


def test_get_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMLOOP_OFFLINE", "")
    result = CliRunner().invoke(app, ["weights", "get", "rinalmo-micro", "--offline"])
    assert isinstance(result.exception, FetchError)
    assert "switched off" in str(result.exception)


def test_get_unknown(cache: Path) -> None:
    result = CliRunner().invoke(app, ["weights", "get", "gpt"])
    assert isinstance(result.exception, UsageError)
