"""From a user's table to a trained head, its report and its predictions, by the program."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.weights.store import save_model_dir

CONFIG = EncoderConfig(
    vocab_size=56, hidden=16, layers=1, heads=2, ffn_inner=24, alphabet="stemloop", max_length=64
)
RECIPE = """\
task: {task}
name: tiny
data: [{{file: a.tsv, sequence: seq, label: what}}]
split: {{by: random, validation: 0.2, test: 0.3}}
leakage: null
head: {head}
epochs: 12
patience: 12
batch_size: 8
learning_rate: 0.01
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, tables, recipes and sequences."""
    folder = tmp_path_factory.mktemp("labels")
    torch.manual_seed(2)
    save_model_dir(folder / "tiny", CONFIG, new_encoder(CONFIG).state_dict())
    rng = np.random.default_rng(1)
    windows, rows = [], []
    for k in range(60):
        kind = ("fly donor", "fly donor n4", "worm acceptor")[k % 3]
        rich = {"fly donor": "AAAG", "fly donor n4": "CCCU", "worm acceptor": "UUUG"}[kind]
        window = "".join(rng.choice(list(rich), 12))
        windows.append(f">w{k}\n{window}\n")
        rows.append(f"{window}\t{kind}\t{window.count('A') / 4}")
    (folder / "a.tsv").write_text("seq\twhat\thow_much\n" + "\n".join(rows) + "\n")
    (folder / "w.fa").write_text("".join(windows))
    window_head = "{kind: window, window: 12, channels: 4, hidden: 16}"
    (folder / "class.yaml").write_text(RECIPE.format(task="classify", head=window_head))
    (folder / "number.yaml").write_text(RECIPE.format(task="regress", head="{hidden: 16}"))
    return folder


def rows_of(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


@pytest.fixture
def classes(cli, folder: Path, tmp_path: Path) -> Path:
    done = cli("finetune", "sequence", folder / "class.yaml", "-m", folder / "tiny", "--data",
               folder, "-o", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    assert "test: mcc" in done.out
    return tmp_path / "run"


def test_train_predict_evaluate(cli, folder: Path, classes: Path, tmp_path: Path) -> None:
    model = classes / "model"
    plain = cli("classify", folder / "w.fa", "-m", model)
    assert plain.code == 0, plain.err
    rows = rows_of(plain.out)
    assert len(rows) == 60
    assert {row["label"] for row in rows} == {"fly donor", "fly donor n4", "worm acceptor"}
    # The same from a stream, in another format, and sequence by sequence.
    lines = tmp_path / "out.jsonl"
    other = cli("classify", "-", "-m", model, "-o", lines, stdin=(folder / "w.fa").read_bytes())
    assert other.code == 0, other.err
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [str(r["p_fly donor"]) for r in read] == [row["p_fly donor"] for row in rows]
    again = cli("classify", folder / "w.fa", "-m", model, "-o", lines)
    assert again.code == 4  # there already

    report = tmp_path / "report.json"
    done = cli("evaluate", "sequence", classes, "--data", folder, "--decoys", "-o", report)
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    metrics = json.loads((classes / "metrics.json").read_text())
    assert set(found["methods"]) == {"model", "k-mers", "weight array"}
    for name, score in metrics["test"].items():
        assert found["methods"]["model"][name]["value"] == pytest.approx(score, abs=1e-4)
    assert list(found["decoys"]) == ["fly donor n4"]
    assert found["decoys"]["fly donor n4"]["model"]["accuracy"]["value"] == 1.0
    assert found["decoys"]["fly donor n4"]["weight array"]["accuracy"]["value"] == 1.0
    lead = found["decoys"]["fly donor n4"]["model minus weight array"]["accuracy"]
    assert found["called"]["fly donor"] == {
        "fly donor": {
            "0.5": 1.0,
            "0.9": pytest.approx(1.0, abs=0.5),
            "0.99": pytest.approx(0.5, abs=0.5),
        },
        "fly donor n4": {"0.5": 0.0, "0.9": 0.0, "0.99": 0.0},
    }
    assert lead == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert sum(row["records"] for row in found["classes"].values()) == 18
    assert "| weight array |" in done.out


def test_splice_sums_decoys_and_species(cli, folder: Path, classes: Path) -> None:
    model = classes / "model"
    labels = rows_of(cli("classify", folder / "w.fa", "-m", model).out)
    every = rows_of(cli("splice", folder / "w.fa", "-m", model).out)
    fly = rows_of(cli("splice", folder / "w.fa", "-m", model, "--species", "fly").out)
    for a, b, c in zip(labels, every, fly, strict=True):
        donor, decoy = float(a["p_fly donor"]), float(a["p_fly donor n4"])
        assert float(b["p_donor"]) == pytest.approx(donor, abs=2e-6)
        assert float(b["p_acceptor"]) == pytest.approx(float(a["p_worm acceptor"]), abs=2e-6)
        assert float(b["p_none"]) == pytest.approx(decoy, abs=2e-6)
        if donor + decoy > 0.01:
            assert float(c["p_donor"]) == pytest.approx(donor / (donor + decoy), abs=1e-3)
        assert float(c["p_acceptor"]) == 0
    # Without the decoys there is nothing that a fly's window could be but a donor.
    alone = cli("splice", folder / "w.fa", "-m", model, "--species", "fly", "--leave-out", "n3,n4")
    assert {row["p_donor"] for row in rows_of(alone.out)} == {"1.0"}
    unknown = cli("splice", folder / "w.fa", "-m", model, "--species", "yeast")
    assert (unknown.code, "it knows fly, worm" in unknown.err) == (2, True)


def test_a_genome(cli, folder: Path, classes: Path, tmp_path: Path) -> None:
    model, out = classes / "model", tmp_path / "sites.bed"
    contig = "".join(np.random.default_rng(8).choice(list("ACGT"), 500))
    (tmp_path / "g.fa").write_text(f">chr1\n{contig}\n")
    slide = ("splice", tmp_path / "g.fa", "-m", model, "--genome", "--threshold", "0")
    done = cli(*slide, "-o", out)
    assert done.code == 0, done.err
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    sites = sum(contig[5:-5].count(two) for two in ("GT", "AG", "AC", "CT"))
    assert len(lines) == sites
    assert {row[3] for row in lines} == {"donor", "acceptor"}
    # A site's probability is that of its window.
    row = next(row for row in lines if row[5] == "+" and row[3] == "donor")
    start = int(row[1]) - 5
    (tmp_path / "w.fa").write_text(f">w\n{contig[start : start + 12]}\n")
    window = rows_of(cli("splice", tmp_path / "w.fa", "-m", model).out)[0]
    assert float(window["p_donor"]) == pytest.approx(float(row[6]), abs=1e-5)
    # Within an interval, as a graph, and to standard output.
    (tmp_path / "i.bed").write_text("chr1\t100\t300\n")
    inside = [row for row in lines if 100 <= int(row[1]) <= 298]
    printed = cli(*slide, "--bed", tmp_path / "i.bed")
    assert printed.out.splitlines() == ["\t".join(row) for row in inside]
    done = cli(*slide, "--bed", tmp_path / "i.bed", "-o", tmp_path / "s.bedgraph")
    assert done.code == 0, done.err
    (tmp_path / "bad.bed").write_text("chr2\t100\t300\n")
    done = cli(*slide, "--bed", tmp_path / "bad.bed", "-o", tmp_path / "none.bed")
    assert (done.code, "not there: chr2" in done.err) == (3, True)
    assert not (tmp_path / "none.bed").exists()
    done = cli("splice", folder / "w.fa", "-m", model, "--threshold", "0.5")
    assert (done.code, "go with --genome" in done.err) == (2, True)


def test_from_nucleotides_alone_with_further_records(cli, folder: Path, tmp_path: Path) -> None:
    run, report = tmp_path / "run", tmp_path / "report.json"
    text = RECIPE.format(
        task="regress", head="{kind: frames, channels: 8, blocks: 1, kernel: 3, hidden: 16}"
    ).replace("label: what", "label: how_much")
    more = "further: {again: [{file: a.tsv, sequence: seq, label: how_much, take: 50}]}\n"
    (tmp_path / "letters.yaml").write_text(text + "encoder: none\n" + more)
    done = cli("finetune", "sequence", tmp_path / "letters.yaml", "--data", folder, "-o", run)
    assert done.code == 0, done.err
    assert not list((run / "model").glob("model.safetensors"))  # there is no encoder to keep
    assert "from the nucleotides alone" in (run / "model" / "README.md").read_text()
    done = cli("evaluate", "sequence", run, "--data", folder, "-o", report)
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    assert found["methods"]["model"]["r2"]["value"] > 0.8
    again = found["further"]["again"]
    assert again["records"] + again["left_out"] == 50
    assert 5 < again["records"] < 30  # what the model was trained on does not count
    assert set(again["methods"]) == {"model", "boosting", "ridge"}
    assert again["whole"]["model"]["r2"]["value"] > 0.8  # all fifty
    assert "again: " in done.out
    other = tmp_path / "other.yaml"
    other.write_text((tmp_path / "letters.yaml").read_text().replace("again:", "others:"))
    done = cli("evaluate", "sequence", run, "--data", folder, "--no-baselines", "--further", other)
    assert done.code == 0, done.err
    assert "others: " in done.out


def test_numbers_from_ones_own_table(cli, folder: Path, tmp_path: Path) -> None:
    """Own column names, own split, lora instead of the recipe's frozen encoder."""
    pytest.importorskip("peft")
    run = tmp_path / "run"
    done = cli("finetune", "sequence", folder / "number.yaml", "-m", folder / "tiny", "-o", run,
               "--table", folder / "a.tsv", "--sequence", "seq", "--label", "how_much",
               "--encoder", "lora")  # fmt: skip
    assert done.code == 0, done.err
    rows = rows_of(cli("ribosome-load", folder / "w.fa", "-m", run / "model").out)
    found = np.array([float(row["ribosome_load"]) for row in rows])
    assert (found >= 0).all()
    known = [line.split("\t")[2] for line in (folder / "a.tsv").read_text().splitlines()[1:]]
    assert np.corrcoef(found, np.array(known, float))[0, 1] > 0.9
    wrong = cli("splice", folder / "w.fa", "-m", run / "model")
    assert (wrong.code, "no splice model" in wrong.err) == (2, True)


def test_errors_leave_nothing_behind(cli, folder: Path, classes: Path, tmp_path: Path) -> None:
    model, out = classes / "model", tmp_path / "out.tsv"
    (tmp_path / "bad.fa").write_text(">good\nACGUACGUACGU\n>short\nACGU\n")
    done = cli("classify", tmp_path / "bad.fa", "-m", model, "-o", out)
    assert done.code == 3
    assert "record 'short': 4 nt (expected windows of 12 nt)" in done.err
    assert not out.exists()
    done = cli("classify", folder / "w.fa", "-m", folder / "tiny")
    assert (done.code, "no head" in done.err) == (5, True)
    done = cli("ribosome-load", folder / "w.fa", "-m", model)
    assert (done.code, "gives classes" in done.err) == (2, True)
    done = cli("finetune", "sequence", folder / "class.yaml", "-m", folder / "tiny", "--data",
               folder, "-o", tmp_path / "r", "--encoder", "thawed")  # fmt: skip
    assert (done.code, "encoder" in done.err) == (2, True)
    done = cli("evaluate", "sequence", tmp_path / "nowhere", "--data", folder)
    assert (done.code, "no finished run" in done.err) == (2, True)
    (folder / "b").mkdir(exist_ok=True)
    lines = (folder / "a.tsv").read_text().splitlines()
    (folder / "b" / "a.tsv").write_text("\n".join(lines[:-1]) + "\n")
    done = cli("evaluate", "sequence", classes, "--data", folder / "b")
    assert (done.code, "not those" in done.err) == (2, True)


def test_copies_of_training_records_are_scored_apart(cli, folder: Path, tmp_path: Path) -> None:
    lines = (folder / "a.tsv").read_text().splitlines()
    (tmp_path / "train.tsv").write_text("\n".join(lines[:40]) + "\n")
    (tmp_path / "test.tsv").write_text("\n".join([lines[0], *lines[1:4], *lines[40:49]]) + "\n")
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = cli("finetune", "sequence", folder / "class.yaml", "-m", folder / "tiny", "-o", run,
               "--table", f"train={tmp_path / 'train.tsv'}", "--sequence", "seq", "--label", "what",
               "--table", f"test={tmp_path / 'test.tsv'}")  # fmt: skip
    # PART=FILE with an absolute path.
    assert done.code == 0, done.err
    rows = rows_of((run / "split.tsv").read_text())
    copies = sum(row["in_training"] == "copy" for row in rows if row["part"] == "test")
    assert 0 < copies <= 3  # some of the three may be validation records
    done = cli("evaluate", "sequence", run, "-o", report)
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    assert found["leakage"]["test"] == {"records": 12, "copies": copies}
    assert found["unlike_records"] == 12 - copies
    assert set(found["unlike"]) == set(found["methods"])
    assert f"{12 - copies} test records that resemble none:" in done.out


def test_a_model_ships(cli) -> None:
    done = cli("classify", Path(__file__).resolve().parents[2] / "examples" / "rnas.fa")
    assert done.code == 0, done.err
    labels = {row["id"]: row["label"] for row in rows_of(done.out)}
    assert labels["tRNA-Phe"] == "tRNA"
    assert labels["5S-rRNA"] == "5S_rRNA"
    assert labels["TPP-riboswitch"] == "riboswitch"
