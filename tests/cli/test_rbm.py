"""``stemloop rbm``: every command on a tiny model, and what is said when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stemloop.formats.fasta import read_sequences

RECIPE = """\
task: rbm
name: tiny
hidden: 8
batch: 40
updates: 40
ages: 3
save_every: 20
log_every: 20
optimiser: {name: adam, learning_rate: 0.05}
data: {file: x.csv, name: id, labels: {column: label}, split: {test: 0.25}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["id,sequence,label"]
    for i in range(80):
        own, label = (("GGCAUGCCAA", "one"), ("AAUGCUUGGC", "two"))[i % 2]
        noise = rng.choice(list("-ACGU"), 10)
        lines.append(f"r{i},{''.join(np.where(rng.random(10) < 0.8, list(own), noise))},{label}")
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return tmp_path


def test_from_training_to_files(cli: Callable, folder: Path) -> None:
    run = folder / "run"
    command = ("rbm", "train", folder / "tiny.yaml", "--data", folder, "-o", run)
    ran = cli(*command)
    assert ran.code == 0, ran.err
    assert "update 40/40" in ran.err
    assert "label accuracy" in ran.err
    assert str(run / "model.safetensors") in ran.out
    before = (run / "model.safetensors").read_bytes()
    assert cli(*command).code == 0  # nothing left to do
    assert (run / "model.safetensors").read_bytes() == before
    ran = cli(*command, "--set", "hidden=9")
    assert ran.code == 2
    assert "another recipe" in ran.err

    ran = cli("rbm", "sample", run, "-n", 3, "--label", "two", "--seed", 1)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(">two-1 label=two label_probability=")
    again = cli("rbm", "sample", run / "model.safetensors", "-n", 3, "--label", "two", "--seed", 1)
    assert again.out == ran.out
    made = folder / "made.fa"
    keep = ("--start", "GGCAUGCCAA", "--keep", "1-3,10")
    assert cli("rbm", "sample", run, "-n", 4, "-o", made, *keep).code == 0
    rows = [r.sequence for r in read_sequences(made)]
    assert len(rows) == 8
    assert {(r[:3], r[9]) for r in rows} == {("GGC", "A")}
    assert cli("rbm", "sample", run, "-n", 4, "-o", made).code == 4
    assert cli("rbm", "sample", run, "-n", 4, "-o", made, "--force", "--age", 1).code == 0

    ran = cli("rbm", "classify", run, folder / "x.csv")
    header, first, *_ = ran.out.splitlines()
    assert header.split("\t") == ["id", "label", "label_probability", "p_one", "p_two"]
    assert first.split("\t")[:2] == ["r0", "one"]
    gibbs = cli("rbm", "classify", run, folder / "x.csv", "--steps", 10)
    assert len(gibbs.out.splitlines()) == 81
    table = folder / "scores.tsv"
    few = ("--likelihood", "--temperatures", 20, "--chains", 20)
    ran = cli("rbm", "score", run, folder / "x.csv", "-o", table, *few)
    assert "log Z" in ran.err
    assert "log_likelihood" in table.read_text().splitlines()[0]

    report = folder / "report.json"
    evaluated = cli(
        "rbm", "evaluate", run, "--data", folder, "-o", report, "--steps", "1,10",
        "--temperatures", 20, "--chains", 20,
    )  # fmt: skip
    assert evaluated.code == 0, evaluated.err
    assert "update 40, 10 steps: AAI truth" in evaluated.out
    assert set(json.loads(report.read_text())["ages"][0]["generation"]) == {"1", "10"}
    shown = cli("rbm", "inspect", run).out
    assert "labels          one, two" in shown
    assert "ages            1 6 40" in shown


def test_pictures_of_a_run(cli: Callable, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run = folder / "run"
    assert cli("rbm", "train", folder / "tiny.yaml", "--data", folder, "-o", run).code == 0
    for kind in ("pca", "logo"):
        path = folder / f"{kind}.svg"
        ran = cli("rbm", "plot", run, "--kind", kind, "--data", folder, "-n", 40, "-o", path)
        assert ran.code == 0, ran.err
        assert "two" in path.read_text()
    for words, message in (
        (("--kind", "pca"), "needs the folder of one run"),
        (("--kind", "pie", "--data", folder), "write steps, pca or logo"),
    ):
        ran = cli("rbm", "plot", run, *words, "-o", folder / "x.svg")
        assert (ran.code, message in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "tiny.yaml", "--data", ".", "-o", "r", "--set", "nonsense"), 2, "KEY=VALUE"),
        (("train", "tiny.yaml", "--data", ".", "-o", "r", "--set", "hiden=3"), 2, "'hiden=3'"),
        (("train", "tiny.yaml", "--data", ".", "-o", "r", "--set", "hidden=no"), 2, "hidden: "),
        (("train", "none.yaml", "--data", ".", "-o", "r"), 3, "cannot read the recipe"),
        (("train", "tiny.yaml", "--data", "..", "-o", "r"), 3, "no such file"),
        (("sample", "none", "-n", "1"), 5, "no such file or folder"),
        (("sample", "x.csv", "-n", "1"), 5, "no readable safetensors"),
        (("sample", ".", "-n", "1"), 5, "neither model.safetensors nor"),
        (("evaluate", ".", "--data", ".", "-o", "r.json"), 3, "no folder of a run"),
        (("evaluate", ".", "--data", ".", "-o", "r.json", "--steps", "a"), 2, "write numbers"),
    ],
)
def test_what_is_wrong_is_said(
    cli: Callable,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    ran = cli("rbm", *arguments)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert not (folder / "r").exists()
    assert not (folder / "r.json").exists()


def test_data_that_is_wrong_leaves_nothing(cli: Callable, folder: Path) -> None:
    text = (folder / "x.csv").read_text()
    command = ("rbm", "train", folder / "tiny.yaml", "--data", folder, "-o", folder / "r")
    for old, new, message in (
        ("r3,", "r3,A", "record 'r3': 11 columns where 'r0' has 10"),
        ("r3,A", "r3,J", "record 'r3': 'J' in column 1 is no rna letter"),
        (",two\nr4", ",three\nr4", "label 'three' is seen in 1 row(s) only"),
    ):
        assert old in text
        (folder / "x.csv").write_text(text.replace(old, new, 1))
        ran = cli(*command)
        assert (ran.code, message in ran.err) == (3, True), ran.err
        assert not (folder / "r").exists()
