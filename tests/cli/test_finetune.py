"""``stemloop finetune structure``: from a recipe to a model that folds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stemloop.data.structures import rfam_families_of


@pytest.fixture(scope="session")
def quick(tiny_structures: Path) -> Path:
    """The tiny recipe with one epoch a stage."""
    path = tiny_structures / "quick.yaml"
    text = (tiny_structures / "tiny.yaml").read_text()
    path.write_text(text.replace("epochs: 2", "epochs: 1").replace("name: tiny", "name: quick"))
    return path


def test_a_trained_model_folds(cli, tiny_structures: Path, quick: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("finetune", "structure", quick, "--data", tiny_structures, "-o", run)
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert ran.out == f"wrote {run / 'model'}: stemloop fold --model {run / 'model'} ...\n"
    progress = ran.err.splitlines()
    assert progress[0].startswith("quick: stage families, epoch 1/1, batch 3/3, soft F 0.")
    assert progress[-1].startswith("quick: stage archive, epoch 1/1, batch 3/3")
    card = json.loads((run / "model" / "config.json").read_text())["card"]
    assert card == {"recipe": "quick", "seed": 0, "held_out": []}
    corrected = cli("fold", "-s", "GGGAUACGAAACGUAUCCC", "--model", run / "model", "-f", "jsonl")
    plain = cli("fold", "-s", "GGGAUACGAAACGUAUCCC", "--model", "turner2004", "-f", "jsonl")
    assert corrected.code == 0
    assert corrected.out != plain.out
    # Called again: nothing is left to do, and the model is the same.
    before = (run / "model" / "model.safetensors").read_bytes()
    again = cli(*command)
    assert (again.code, again.err) == (0, "")
    assert (run / "model" / "model.safetensors").read_bytes() == before
    # Another seed is another training.
    ran = cli(*command, "--seed", 4)
    assert ran.code == 2
    assert "belongs to another recipe; choose another output folder" in ran.err


def test_holding_out(cli, tiny_structures: Path, quick: Path, tmp_path: Path) -> None:
    ran = cli(
        "finetune", "structure", quick, "--data", tiny_structures, "-o", tmp_path / "run",
        "--hold-out", "tRNA", "--hold-out", "grp1", "--seed", 3,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    card = json.loads((tmp_path / "run/model/config.json").read_text())["card"]
    classes = {"tRNA", "grp1", "16s"}
    assert set(card["held_out"]) == classes | rfam_families_of(classes)
    assert card["seed"] == 3
    entries = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    # Three of five families; 5s twice and the five other classes once.
    assert [entry["rnas"] for entry in entries] == [6, 7]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--hold-out": "trna"}, 2, "unknown RNA class 'trna'; known: 5s"),
        ({"--data": "nowhere"}, 3, "nowhere/families.csv: no such data file"),
        ({"recipe": "none.yaml"}, 3, "none.yaml: cannot read the recipe"),
        ({"recipe": "bad.yaml"}, 3, "bad.yaml: sede: Extra inputs are not permitted"),
        ({"-j": "0"}, 2, "--jobs"),
    ],
)
def test_mistakes(
    cli, tiny_structures: Path, quick: Path, tmp_path: Path, change: dict[str, str], code: int,
    message: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(quick.read_text() + "sede: 3\n")
    options = {"--data": str(tiny_structures), "-o": "run"} | change
    recipe = options.pop("recipe", str(quick))
    ran = cli("finetune", "structure", recipe, *[x for pair in options.items() for x in pair])
    assert ran.code == code
    assert message in ran.err
    assert not Path("run/model").exists()
