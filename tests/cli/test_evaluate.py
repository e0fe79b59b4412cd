"""``stemloop evaluate structure``: files against files, models against files, the protocol."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from stemloop.data.structures import ARCHIVEII_CLASSES
from stemloop.evaluation.benchmark import read_archiveii, read_references
from stemloop.evaluation.metrics import METRICS
from stemloop.formats.structure import write_structures
from stemloop.tasks.structure import fold


@pytest.fixture(scope="session")
def known(tiny_structures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Known structures as dot-bracket."""
    path = tmp_path_factory.mktemp("known") / "known.dbn"
    write_structures(path, [x.structure for x in read_archiveii(tiny_structures)], "dbn")
    return path


def test_a_perfect_prediction(cli, known: Path, tmp_path: Path) -> None:
    report, scores = tmp_path / "r.json", tmp_path / "s.csv"
    ran = cli(
        "evaluate", "structure", known, "--predictions", known, "-o", report, "--scores", scores
    )
    assert ran.code == 0, ran.err
    summary = json.loads(report.read_text())
    assert summary["rnas"] == 18
    assert set(summary["families"]) == set(ARCHIVEII_CLASSES)
    for name in METRICS:
        assert summary["macro"][name] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert summary["references"] == summary["predictions"] == "known.dbn"
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert len(rows) == 18
    assert all(float(row["f1"]) == 1.0 for row in rows)
    assert ran.out.startswith("| family |")


def test_a_file_of_predictions_and_the_model_that_made_it_score_alike(
    cli, known: Path, tmp_path: Path
) -> None:
    items = fold([x.structure.record for x in read_references(known)], model="turner2004")
    predictions = tmp_path / "p.ct"
    write_structures(predictions, [r.structure for r in items if r.structure], "ct")
    reports = []
    for options in (["--predictions", predictions], ["--model", "turner2004"]):
        path = tmp_path / f"{len(reports)}.json"
        assert cli("evaluate", "structure", known, *options, "-o", path).code == 0
        reports.append(json.loads(path.read_text()))
    assert reports[0]["macro"] == reports[1]["macro"]
    assert 0.3 < reports[0]["macro"]["f1"]["mean"] < 1.0
    assert reports[1]["model"] == "turner2004"
    assert reports[1]["decoder"] == "mea"


def test_markdown_report(cli, known: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.md"
    ran = cli("evaluate", "structure", known, "--predictions", known, "-o", path)
    assert ran.code == 0
    assert path.read_text().strip() == ran.out.strip()


def test_comparison_with_a_peer(cli, known: Path, tmp_path: Path) -> None:
    """A peer that is ourselves differs by nothing."""
    scores, report = tmp_path / "s.csv", tmp_path / "r.json"
    command = ("evaluate", "structure", known, "--model", "turner2004")
    assert cli(*command, "--scores", scores).code == 0
    lines = scores.read_text().splitlines()
    peers = tmp_path / "peers.csv"
    peers.write_text("\n".join([f"model,{lines[0]}", *[f"me,{line}" for line in lines[1:]]]) + "\n")
    ran = cli(*command, "--peers", peers, "--peer", "me", "-o", report)
    assert ran.code == 0, ran.err
    (comparison,) = json.loads(report.read_text())["comparisons"]
    assert comparison["peer"] == "me"
    assert comparison["macro"]["f1"]["difference"] == 0.0
    assert cli(*command, "--peer", "me").code == 2
    assert cli(*command, "--peers", peers, "--peer", "you").code == 3


def test_mistakes(cli, known: Path, tmp_path: Path, tiny_structures: Path) -> None:
    few = tmp_path / "few.dbn"
    write_structures(few, [x.structure for x in read_archiveii(tiny_structures)][:5], "dbn")
    taken = tmp_path / "taken.json"
    taken.write_text("precious")
    for arguments, code, message in (
        ([known, "--predictions", few], 3, "few.dbn: 5 predictions (expected 18)"),
        ([few, "--predictions", known], 3, "known.dbn: 18 predictions (expected 5)"),
        ([tmp_path / "none.dbn"], 3, "none.dbn: cannot be read"),
        ([tmp_path / "none.csv"], 3, "none.csv: cannot be read"),
        ([], 2, "give a file of known structures, or a --protocol"),
        ([known, "--model", "turner2004", "-d", "best"], 2, "'--decoder'"),
        ([known, "--predictions", known, "-o", taken], 4, "exists already"),
        (["--protocol", "archiveii-family-fold"], 2, "takes --recipe, --data and --runs"),
        (["--protocol", "bprna-ts0", "--data", tmp_path], 2, "takes --recipe, --data and --runs"),
        (
            ["--protocol", "bprna-ts0", "--data", tmp_path, "--model", "turner2004", "--runs", few],
            2,
            "takes --recipe, --data and --runs",
        ),
        (
            ["--protocol", "bprna-ts0", "--data", tmp_path, "--model", "turner2004"],
            3,
            "no such data file",
        ),
        (
            [
                "--protocol",
                "archiveii-family-fold",
                "--data",
                tiny_structures,
                "--split",
                "5S",
                "--model",
                "turner2004",
            ],
            2,
            "no split '5S'; known: 5s, 16s+grp1",
        ),
        ([known, "--split", "5s"], 2, "are of a --protocol"),
        ([known, "--predictions", known, "--against", "mea"], 2, "go without"),
    ):
        ran = cli("evaluate", "structure", *arguments)
        assert (ran.code, message in ran.err) == (code, True), ran.err
    assert taken.read_text() == "precious"


def test_the_protocol_from_end_to_end(cli, tiny_structures: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.yaml"
    text = (tiny_structures / "tiny.yaml").read_text()
    recipe.write_text(text.replace("epochs: 2", "epochs: 1"))
    report, scores, runs = tmp_path / "r.json", tmp_path / "s.tsv", tmp_path / "runs"
    command = (
        "evaluate", "structure", "--protocol", "archiveii-family-fold", "--recipe", recipe,
        "--data", tiny_structures, "--runs", runs, "--seed", 5,
    )  # fmt: skip
    ran = cli(*command, "-o", report, "--scores", scores)
    assert ran.code == 0, ran.err
    summary = json.loads(report.read_text())
    assert summary["rnas"] == 18
    assert set(summary["families"]) == set(ARCHIVEII_CLASSES)
    assert all(family["rnas"] == 2 for family in summary["families"].values())
    assert {key: summary[key] for key in ("protocol", "recipe", "seed", "decoder")} == {
        "protocol": "archiveii-family-fold",
        "recipe": "tiny",
        "seed": 5,
        "decoder": "mea",
    }
    folders = {path.name for path in runs.iterdir()}
    groups = {"16s+grp1"} | (set(ARCHIVEII_CLASSES) - {"16s", "grp1"})
    assert folders == groups | {"shared"}
    # The first stage was trained once: the others only have the last one in their logs.
    for folder in runs.iterdir():
        stages = {json.loads(x)["stage"] for x in (folder / "log.jsonl").read_text().splitlines()}
        assert stages == ({"families"} if folder.name == "shared" else {"archive"})
    # Again, with another decoder: nothing is trained, the scores are others.
    other = cli(*command, "-d", "centroid", "--gamma", 0.3, "-o", tmp_path / "r.md")
    assert other.code == 0, other.err
    assert "stage" not in other.err
    assert other.out != ran.out
    assert (tmp_path / "r.md").read_text().strip() == other.out.strip()


def test_strata_calibration_and_another_decoder(cli, tmp_path: Path) -> None:
    """Two RNAs with and one without a pseudoknot, of different lengths."""
    knot = "GGGGCAAAACCCGAAAGCCCCAACGGGAA", "(((((....[[[[...)))))..]]]].."
    tail = "A" * 90
    known = tmp_path / "known.dbn"
    known.write_text(
        f">k_1\n{knot[0]}\n{knot[1]}\n>k_2\n{knot[0]}{tail}\n{knot[1]}{'.' * 90}\n"
        ">h_1\nGGGGGAAAACCCCC\n(((((....)))))\n"
    )
    report = tmp_path / "r.json"
    command = ("evaluate", "structure", known, "--model", "turner2004", "-d", "greedy")
    ran = cli(*command, "--threshold", 0.3, "--against", "mea", "--against", "hybrid", "-o", report)
    assert ran.code == 0, ran.err
    summary = json.loads(report.read_text())
    assert {k: v["rnas"] for k, v in summary["strata"]["length"].items()} == {
        "medium": 1,
        "short": 2,
    }
    assert {k: v["rnas"] for k, v in summary["strata"]["pseudoknots"].items()} == {
        "with": 2,
        "without": 1,
    }
    assert summary["strata"]["pseudoknots"]["without"]["scores"]["f1"]["mean"] == 1.0
    assert [c["peer"] for c in summary["comparisons"]] == ["decoder mea", "decoder hybrid"]
    parts = summary["comparisons"][0]["strata"]["pseudoknots"]
    assert parts["with"]["rnas"] == 2
    assert parts["without"]["scores"]["f1"]["difference"] == 0.0
    bases = summary["calibration"]["bases"]
    assert sum(row["count"] for row in bases["bins"]) == 2 * len(knot[0]) + 90 + 14
    assert 0.0 <= bases["expected_calibration_error"] < 0.6
    for words in ("Expected calibration error", "*pseudoknots: with*", "short: to 100"):
        assert words in ran.out


def test_a_protocol_with_a_fixed_model(cli, tiny_structures: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    command = ("evaluate", "structure", "--protocol", "archiveii-family-fold")
    command += ("--data", tiny_structures, "--model", "turner2004")
    ran = cli(*command, "-o", report)
    assert ran.code == 0, ran.err
    summary = json.loads(report.read_text())
    assert summary["rnas"] == 18
    assert (summary["model"], summary["protocol"]) == ("turner2004", "archiveii-family-fold")
    assert "recipe" not in summary
    ran = cli(
        *command, "--split", "tRNA", "--split", "16s+grp1", "--sample", 3, "-o", report, "--force"
    )
    assert ran.code == 0, ran.err
    summary = json.loads(report.read_text())
    assert (summary["splits"], summary["sample"], summary["rnas"]) == (["tRNA", "16s+grp1"], 3, 5)
