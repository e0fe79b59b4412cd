"""``stemloop embed`` as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stemloop.cli.main import app
from stemloop.errors import AlphabetError, FormatError, InputError, WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.weights.store import save_model_dir


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=48, max_length=52)
    folder = tmp_path_factory.mktemp("cache") / "models" / "tiny"
    return save_model_dir(folder, config, RiNALMo(config).state_dict())


def run(
    *arguments: str | Path, text: str | None = None, cache: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stemloop.cli.main", "embed", *map(str, arguments)],
        input=text, capture_output=True, text=True, timeout=120, check=False,
        env=os.environ | {"STEMLOOP_CACHE": str(cache)},
    )  # fmt: skip


def test_standard_input_by_name_with_all_options(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.npz"
    done = run(
        "-", "-o", out, "-m", "tiny", "--pool", "mean", "--pool", "tokens", "--layer", "-1",
        "--layer", "0", "--long", "window", "--window", "40", "--overlap", "10",
        "--dtype", "bfloat16", "--device", "cpu", "--threads", "1", "--token-budget", "64",
        text=f">a\n{'ACGU' * 30}\n>a\nGGCC\n", cache=model.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    content = np.load(out)
    assert content["id"].tolist() == ["a", "a"]
    assert content["tokens.layer-1"].shape == (124, 32)
    assert content["mean.layer0"].shape == (2, 32)


def test_errors_are_one_line_and_a_code(model: Path, tmp_path: Path) -> None:
    done = run(
        "-", "-o", tmp_path / "o.npz", "-m", "nano", text=">a\nACGU\n", cache=model.parents[1]
    )
    assert done.returncode == 5
    assert done.stderr.startswith("error: no model directory 'nano' and no weights of that name; ")
    assert done.stderr.count("\n") == 1


def test_the_model_that_ships_is_the_default(tmp_path: Path) -> None:
    text = ">a\nGCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA\n"
    done = run("-", "-o", tmp_path / "o.npz", text=text, cache=tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "o.npz")["mean"].shape == (1, 128)


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("rinalmo-giga", ">a\nA\n", WeightsError, "run 'stemloop weights get rinalmo-giga'"),
        ("tiny", "", FormatError, "no records"),
        ("tiny", "ACGU\n", FormatError, "no header"),
        ("tiny", f">a\n{'A' * 51}\n", InputError, "record 'a': 51 nt"),
        ("tiny", ">a\nMKVLE\n", AlphabetError, "looks like protein"),
    ],
)
def test_bad_input(
    name: str,
    text: str,
    kind: type[Exception],
    said: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STEMLOOP_CACHE", str(model.parents[1]))
    out = tmp_path / "o.npz"
    done = CliRunner().invoke(app, ["embed", "-", "-o", str(out), "-m", name], input=text)
    assert type(done.exception) is kind
    assert said in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_the_command_never_imports_transformers(model: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['stemloop', 'embed', sys.argv[1], '-o', sys.argv[2], '-m', "
        "sys.argv[3]]\n"
        "from stemloop.cli.main import app\n"
        "try:\n    app()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'transformers' not in sys.modules\n"
    )
    (tmp_path / "a.fa").write_text(">a\nACGU\n")
    arguments = [tmp_path / "a.fa", tmp_path / "o.npz", model]
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, timeout=120)
