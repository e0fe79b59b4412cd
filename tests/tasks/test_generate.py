"""Sequences for labels and labels for sequences: samples, scores, files, measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemloop.data.labelled import Labelled
from stemloop.errors import InputError, OutputExistsError, UsageError
from stemloop.formats.alignment import read_stockholm
from stemloop.formats.fasta import read_sequences
from stemloop.formats.tables import read_arrays
from stemloop.models.rbm import RBM
from stemloop.models.rbm_chains import annealed_log_partition
from stemloop.models.rbm_config import RBMConfig
from stemloop.tasks.generate import classify, sample, score
from stemloop.tasks.generate_files import read_rows, write_results
from stemloop.tasks.generate_quality import evaluate_run
from stemloop.training.rbm import train_rbm
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.weights.rbm_store import StoredRBM

#: What the two labels look like.
OWN = {"one": "GGCAUGCC-A", "two": "AAUGCUU-GC"}


def write_table(path: Path, rows: int = 200, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    lines = ["id,sequence,label"]
    for i in range(rows):
        label = ("one", "two")[i % 2]
        noise = rng.choice(list("-ACGU"), 10)
        text = "".join(np.where(rng.random(10) < 0.75, list(OWN[label]), noise))
        lines.append(f"r{i},{text},{label}")
    path.write_text("\n".join(lines) + "\n")


RECIPE: dict[str, Any] = {
    "task": "rbm",
    "name": "tiny",
    "data": {"file": "x.csv", "name": "id", "labels": {"column": "label"}},
    "hidden": 16,
    "batch": 80,
    "updates": 150,
    "ages": 2,
    "optimiser": {"name": "adam", "learning_rate": 0.03},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run; its data is in the folder above."""
    folder = tmp_path_factory.mktemp("rbm")
    write_table(folder / "x.csv")
    train_rbm(RBMRecipe.model_validate(RECIPE), folder, folder / "run")
    return folder / "run"


def blank(**changes: Any) -> StoredRBM:
    """A machine without preferences."""
    values = {"kind": "potts", "visible": 4, "hidden": 2, "letters": "-ACGU", "labels": ("x", "y")}
    config = RBMConfig(**(values | changes))
    return StoredRBM(RBM(config, {k: torch.zeros(s) for k, s in config.shapes().items()}), {})


def test_samples_carry_their_label(run: Path) -> None:
    results = sample(run, 100, seed=3)
    assert [r.values["label"] for r in results] == ["one"] * 100 + ["two"] * 100
    for label, own in OWN.items():
        texts = [r.record.sequence for r in results if r.values["label"] == label]
        assert np.mean([[a == b for a, b in zip(t, own, strict=True)] for t in texts]) > 0.65
    assert np.mean([float(r.values["label_probability"]) for r in results]) > 0.9
    assert results[0].record.id == "one-1"
    again = sample(run, 100, seed=3)
    assert [r.record.sequence for r in again] == [r.record.sequence for r in results]
    other = sample(run, 100, labels=["two"], seed=4)
    assert [r.record.sequence for r in other] != [r.record.sequence for r in results[100:]]
    fewer = sample(run, 7, labels=["two"], seed=3)
    assert [r.record.sequence for r in fewer] == [r.record.sequence for r in results[100:107]]


def test_parallel_tempering(run: Path) -> None:
    results = sample(run, 100, labels=["two"], steps=30, temperatures=4, seed=2)
    texts = [r.record.sequence for r in results]
    assert np.mean([[a == b for a, b in zip(t, OWN["two"], strict=True)] for t in texts]) > 0.65
    again = sample(run, 5, labels=["two"], steps=30, temperatures=4, seed=2)
    assert [r.record.sequence for r in again] == texts[:5]


def test_sites_that_are_kept(run: Path) -> None:
    results = sample(run, 50, labels=["two"], start="GGCATTTTTT", keep=[0, 1, 2])
    assert {r.record.sequence[:3] for r in results} == {"GGC"}
    assert len({r.record.sequence[3:] for r in results}) > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["three"]}, "no label 'three'; the model has: one, two"),
        ({"keep": [1]}, "only be kept of a sequence"),
        ({"start": "GGC"}, "3 of 10 sites"),
        ({"start": "GGCAJGCC-A"}, "'J' in the sequence"),
        ({"start": "GGCAAGCC-A", "keep": [10]}, "site 10 of 10"),
        ({"steps": -1}, "after -1 steps"),
        ({"start": "GGCAUGCC-A", "temperatures": 3}, "starts at random states"),
    ],
)
def test_what_cannot_be_drawn(run: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sample(run, 2, **options)


def test_scores_are_the_machines(run: Path) -> None:
    data = read_rows(run, run.parent / "x.csv")
    results = score(run, data, log_partition=2.0)
    truth = ["one", "two"] * 100
    assert np.mean([r.values["label"] == t for r, t in zip(results, truth, strict=True)]) > 0.95
    first = results[0].values
    assert first["p_one"] + first["p_two"] == pytest.approx(1)  # type: ignore[operator]
    assert first["label_probability"] == max(first["p_one"], first["p_two"])
    assert first["log_likelihood"] == pytest.approx(-first["free_energy"] - 2.0)  # type: ignore
    assert results[0].record.id == "r0"
    guessed = classify(run, data, steps=20, seed=1)
    same = np.mean([r.values["label"] == t for r, t in zip(guessed, truth, strict=True)])
    assert same > 0.9
    exact = classify(run, data)
    assert "free_energy" not in exact[0].values
    assert [r.values["label"] for r in exact] == [r.values["label"] for r in results]


def test_rows_of_another_shape() -> None:
    rows = Labelled(("a",), (), np.zeros((1, 5), np.uint8), "-ACGU", np.full(1, -1))
    with pytest.raises(InputError, match=r"5 sites of -ACGU \(expected 4 sites"):
        score(blank(), rows)


def test_columns_of_the_training_alignment(tmp_path: Path) -> None:
    """A file may have all columns, the model's, or a line that marks them."""
    stored = blank(visible=3, width=5, columns=(0, 2, 4))
    files = {
        "all.fa": ">x\nGaC-U\n>y\nG-CAU\n",
        "sites.fa": ">x\nGCU\n>y\nGCU\n",
        "match.sto": "# STOCKHOLM 1.0\nx  GaC-U.\ny  G-CAU.\n#=GC RF  x.x.x.\n//\n",
        "table.csv": "id,sequence\nx,GACAU\ny,GACAU\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        data = read_rows(stored, tmp_path / name)
        assert [data.text(i) for i in range(2)] == ["GCU", "GCU"], name
    (tmp_path / "four.fa").write_text(">x\nGACA\n")
    with pytest.raises(InputError, match="4 columns .expected 5 columns, or the model's 3"):
        read_rows(stored, tmp_path / "four.fa")
    with pytest.raises(UsageError, match="format unknown"):
        read_rows(stored, tmp_path / "x.bam")


def test_binary_rows(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("0 1 1\n1 1 0\n")
    stored = blank(kind="binary", visible=3, letters="01")
    assert read_rows(stored, tmp_path / "x.txt").states.tolist() == [[0, 1, 1], [1, 1, 0]]
    made = sample(stored, 2)
    assert set(made[0].record.sequence) <= set("01")


def test_files(run: Path, tmp_path: Path) -> None:
    results = sample(run, 5, seed=1)
    write_results(tmp_path / "x.fa", results)
    records = list(read_sequences(tmp_path / "x.fa"))
    assert [r.sequence for r in records] == [r.record.sequence for r in results]
    assert records[0].description.startswith("label=one label_probability=")
    write_results(tmp_path / "bare.fa", results, ungapped=True)
    assert "-" not in "".join(r.sequence for r in read_sequences(tmp_path / "bare.fa"))
    write_results(tmp_path / "x.sto", results, facts={"CC": "made"})
    alignment = read_stockholm(tmp_path / "x.sto")
    assert alignment.gs["two-5"]["label"] == ("two",)
    assert alignment.gf["CC"] == ("made",)
    write_results(tmp_path / "x.npz", results)
    arrays = read_arrays(tmp_path / "x.npz")
    assert arrays["free_energy"].dtype == np.float64
    assert arrays["label"].tolist() == ["one"] * 5 + ["two"] * 5
    write_results(tmp_path / "x.tsv", results)
    assert (tmp_path / "x.tsv").read_text().startswith("id\tsequence\tlabel\t")
    with pytest.raises(OutputExistsError):
        write_results(tmp_path / "x.fa", results)
    with pytest.raises(UsageError, match="gaps stay"):
        write_results(tmp_path / "y.sto", results, ungapped=True)
    with pytest.raises(UsageError, match="suffix"):
        write_results(tmp_path / "y.pdf", results)


def test_measurements(run: Path) -> None:
    lines: list[str] = []
    found = evaluate_run(
        run, run.parent, ages=[1, 150], steps=[10, 2], annealing=(50, 50), report=lines.append
    )
    young, old = found["ages"]
    assert (young["update"], old["update"]) == (1, 150)
    # A fifth of the distinct rows is held out; copies follow them.
    assert found["rows"]["train"] + found["rows"]["test"] == 200
    assert found["rows"]["test"] >= 40
    assert list(old["generation"]) == ["2", "10"]
    made = old["generation"]["10"]
    assert made["label_accuracy"] > 0.9 > young["generation"]["10"]["label_accuracy"]
    assert set(made["by_label"]) == {"one", "two"}
    assert 0.3 < made["aai_truth"] < 0.7
    assert old["classification"]["exact"] > 0.9
    assert set(old["classification"]["gibbs"]) == {"2", "10"}
    assert old["likelihood"]["test"] > young["likelihood"]["test"]
    # Two ways to log Z: one machine tempered, and the ages of the run.
    assert old["trajectory"]["ages"] == 2
    for age in (young, old):
        one, two = age["likelihood"], age["trajectory"]
        error = one["log_partition_error"] + two["log_partition_error"]
        assert one["log_partition"] == pytest.approx(two["log_partition"], abs=5 * error + 0.1)
    assert found["natural"]["rows"] == found["rows"]["test"]
    assert any("log-likelihood" in line for line in lines)


def test_log_likelihood_is_a_probability(run: Path) -> None:
    """Likelihoods of all sequences of a small machine sum to one."""
    rng = np.random.default_rng(0)
    config = RBMConfig("potts", 3, 4, "-AC", ("x", "y"))
    stored = StoredRBM(
        RBM(config, {k: torch.tensor(rng.normal(0, 0.7, s)) for k, s in config.shapes().items()}),
        {},
    )
    log_z = annealed_log_partition(stored.machine, torch.Generator().manual_seed(0)).value
    states = np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3).astype(np.uint8)
    rows = Labelled(tuple(map(str, range(27))), (), states, "-AC", np.full(27, -1))
    values = [r.values["log_likelihood"] for r in score(stored, rows, log_partition=log_z)]
    assert np.exp(np.array(values, float)).sum() == pytest.approx(1, abs=0.05)


def test_measuring_needs_the_run_and_its_data(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of a run"):
        evaluate_run(tmp_path, run.parent)
    write_table(tmp_path / "x.csv", seed=1)
    with pytest.raises(InputError, match="not the data of this run"):
        evaluate_run(run, tmp_path)
    with pytest.raises(UsageError, match="steps of at least 1"):
        evaluate_run(run, run.parent, steps=[0])
