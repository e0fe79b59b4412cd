"""Score tables, means with intervals, comparisons with peers, and what is written of them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from stemloop.errors import (
    FormatError,
    InputError,
    OutputExistsError,
    StructureError,
    UsageError,
)
from stemloop.evaluation.report import paired, summarise, to_markdown, write_report
from stemloop.evaluation.scores import (
    ScoreRow,
    ScoreTable,
    evaluate_structures,
    read_scores,
    write_scores,
)
from stemloop.records import SequenceRecord, Structure


def _table(sizes, seed=0, shift=0.0, metrics=("f1", "relaxed_f1")):
    generator = np.random.default_rng(seed)
    rows = []
    for family, size in sizes.items():
        for k in range(size):
            f1 = float(np.clip(generator.normal(0.6 + shift, 0.1), 0, 1))
            scores = dict.fromkeys(metrics, f1)
            rows.append(ScoreRow(f"{family}_{k}", family, 100 + k, scores))
    return ScoreTable(rows)


SIZES = {"5S": 40, "tRNA": 25, "srp": 4}


def test_table_refuses_rows_that_do_not_belong_together():
    with pytest.raises(InputError, match="no RNA"):
        ScoreTable([])
    with pytest.raises(InputError, match="record 'b': scores mcc .expected f1"):
        ScoreTable([ScoreRow("a", "x", 1, {"f1": 1.0}), ScoreRow("b", "x", 1, {"mcc": 1.0})])


def test_evaluate_structures():
    record = SequenceRecord("x", "GGGAAACCC")
    found = Structure.from_dot_bracket(SequenceRecord("y", "gggaaaccc"), "((.....))")
    known = Structure.from_dot_bracket(record, "(((...)))")
    (row,) = evaluate_structures([(found, known, "hairpin")]).rows
    assert (row.id, row.family, row.length) == ("x", "hairpin", 9)
    assert row.scores["precision"] == 1.0
    assert row.scores["recall"] == pytest.approx(2 / 3)
    other = Structure.from_dot_bracket(SequenceRecord("z", "GGGAAACC"), "((....))")
    with pytest.raises(StructureError, match="record 'x'.*'z' is on another sequence"):
        evaluate_structures([(other, known, "hairpin")])


def test_summary_means_and_intervals():
    table = _table(SIZES)
    summary = summarise(table, seed=1, resamples=500)
    by_family = {f: np.mean([r.scores["f1"] for r in table.rows if r.family == f]) for f in SIZES}
    macro = summary["macro"]["f1"]
    assert macro["mean"] == pytest.approx(np.mean(list(by_family.values())), abs=1e-6)
    assert macro["low"] < macro["mean"] < macro["high"]
    assert macro["high"] - macro["low"] < 0.12
    for family, mean in by_family.items():
        entry = summary["families"][family]
        assert entry["rnas"] == SIZES[family]
        assert entry["scores"]["f1"]["mean"] == pytest.approx(mean, abs=1e-6)
    assert summary["all_rnas"]["f1"] == pytest.approx(table.values("f1").mean(), abs=1e-6)
    assert summary["rnas"] == 69
    assert "mcc" not in summary["definitions"]
    assert json.loads(json.dumps(summary)) == summary


def test_summary_does_not_depend_on_the_order_of_rows_but_on_the_seed():
    table = _table(SIZES)
    turned = ScoreTable(table.rows[::-1])
    assert summarise(table, resamples=200) == summarise(turned, resamples=200)
    a, b = (summarise(table, seed=s, resamples=200)["macro"]["f1"] for s in (0, 1))
    assert a["mean"] == b["mean"]
    assert a != b


def test_intervals_cover_the_truth_as_often_as_they_say():
    hits = 0
    for seed in range(120):
        macro = summarise(_table({"a": 30, "b": 60}, seed), resamples=200)["macro"]["f1"]
        hits += macro["low"] <= 0.6 <= macro["high"]
    assert 0.87 < hits / 120 <= 1.0


def test_pairing_is_sharper_than_two_intervals():
    ours = _table(SIZES)
    noise = np.random.default_rng(5).normal(0, 0.01, len(ours.rows))
    peer = ScoreTable(
        [
            ScoreRow(r.id, "another name", r.length, {"f1": r.scores["f1"] - 0.02 + e})
            for r, e in zip(ours.rows, noise, strict=True)
        ]
        + [ScoreRow("only theirs", "5S", 9, {"f1": 0.0})]
    )
    result = paired(ours, peer, name="RNAfold", resamples=500)
    macro = result["macro"]["f1"]
    assert list(result["macro"]) == ["f1"]
    assert 0.01 < macro["low"] < macro["difference"] < macro["high"] < 0.03
    assert macro["difference"] == pytest.approx(macro["ours"] - macro["peer"], abs=2e-6)
    assert (result["rnas"], result["only_ours"], result["only_peer"]) == (69, 0, 1)
    assert sum(result["counts"]["f1"].values()) == 69
    assert list(result["families"]) == ["5S", "srp", "tRNA"]
    own = summarise(ours, resamples=500)["macro"]["f1"]
    assert macro["high"] - macro["low"] < 0.5 * (own["high"] - own["low"])


def test_rounded_scores_are_ties():
    ours = ScoreTable([ScoreRow("a", "x", 9, {"f1": 0.66667}), ScoreRow("b", "x", 9, {"f1": 0.5})])
    peer = ScoreTable([ScoreRow("a", "x", 9, {"f1": 0.6667}), ScoreRow("b", "x", 9, {"f1": 0.6})])
    assert paired(ours, peer)["counts"]["f1"] == {"better": 0, "equal": 1, "worse": 1}


def test_pairing_needs_something_in_common():
    ours = _table({"a": 3})
    with pytest.raises(InputError, match="no RNA in common with them"):
        paired(ours, _table({"b": 3}), name="them")
    with pytest.raises(InputError, match="no score in common"):
        paired(ours, _table({"a": 3}, metrics=("mcc",)))
    twice = ScoreTable([*ours.rows, ours.rows[0]])
    with pytest.raises(InputError, match="a_0.*told apart"):
        paired(twice, ours)


def test_markdown():
    ours = _table({"5S|x": 3, "tRNA": 2})
    text = to_markdown(
        summarise(ours, resamples=50),
        [paired(ours, _table({"tRNA": 2}, 1), name="a|b", resamples=50)],
    )
    lines = text.splitlines()
    assert lines[0] == "| family | RNAs | F1 | relaxed F1 |"
    assert lines[2].startswith("| **macro** | 5 | **0.")
    assert lines[4].startswith(r"| 5S\|x | 3 |")
    assert r"| family | RNAs | F1 | a\|b | difference | relaxed F1 | a\|b | difference |" in lines
    tables = [line for line in lines if line.startswith("|")]
    for line in tables:
        assert line.replace(r"\|", "").count("|") in (5, 9)
    assert text.endswith("\n")


def test_reports_are_written_whole_and_not_over_others(tmp_path):
    summary = {**summarise(_table(SIZES), resamples=50), "model": "fold-crf"}
    comparison = paired(_table(SIZES), _table(SIZES, 1), resamples=50)
    target = tmp_path / "scores.json"
    write_report(target, summary, [comparison])
    content = json.loads(target.read_text())
    assert content["schema_version"] == 1
    assert content["model"] == "fold-crf"
    assert content["comparisons"] == [comparison]
    with pytest.raises(OutputExistsError):
        write_report(target, summary)
    write_report(target, summary, force=True)
    assert "comparisons" not in json.loads(target.read_text())
    write_report(tmp_path / "scores.md", summary)
    assert (tmp_path / "scores.md").read_text() == to_markdown(summary)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scores.json", "scores.md"]


@pytest.mark.parametrize("name", ["rows.tsv", "rows.csv", "rows.tsv.gz"])
def test_rows_come_back(tmp_path, name):
    table = ScoreTable(
        [ScoreRow('a, or "b"', "x", 76, {"f1": 1 / 3, "mcc": -0.25}), *_rows_with_mcc()]
    )
    write_scores(tmp_path / name, table)
    back = read_scores(tmp_path / name)
    assert back.rows == table.rows
    with pytest.raises(OutputExistsError):
        write_scores(tmp_path / name, table)
    with pytest.raises(UsageError):
        write_scores(tmp_path / "rows.docx", table)


def _rows_with_mcc():
    return [ScoreRow(f"r{k}", "y", 50 + k, {"f1": k / 7, "mcc": k / 9}) for k in range(4)]


def test_published_layout(tmp_path):
    path = tmp_path / "peers.csv.gz"
    with gzip.open(path, "wt") as out:
        out.write("dataset,family,id,model,f1,f1_shift,precision,recall,len\n")
        out.write("A,5s,one,RNAfold,0.5,0.6,0.4,0.7,120\nA,5s,one,Other,0.1,0.2,0.3,0.4,120\n")
    (row,) = read_scores(path, model="RNAfold").rows
    assert (row.id, row.family, row.length) == ("one", "5s", 120)
    assert dict(row.scores) == {"f1": 0.5, "precision": 0.4, "recall": 0.7, "relaxed_f1": 0.6}
    with pytest.raises(InputError, match="several models.*one of Other, RNAfold"):
        read_scores(path)
    with pytest.raises(InputError, match="no rows of model 'X'.*Other, RNAfold"):
        read_scores(path, model="X")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.tsv:1: no column family, id, len"),
        ("id\tfamily\tlength\n", "no column with a score"),
        ("id\tfamily\tlength\tf1\n", "no rows"),
        ("id\tfamily\tlength\tf1\na\tx\t5\t0.5\nb\tx\t5\n", "x.tsv:3: a field is missing"),
        ("id\tfamily\tlength\tf1\na\tx\tlong\t0.5\n", "x.tsv:2: a field is missing or no number"),
    ],
)
def test_broken_score_files_are_named(tmp_path, content, message):
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises((FormatError, InputError), match=message):
        read_scores(path)


def test_published_means_are_reproduced(shared_data):
    """Macro means of all 3,864 RNAs as published, from the per-RNA file."""
    path = shared_data / "peers" / "ss_per_sequence.csv.gz"
    expected = {"RNAfold-MFE": (0.562, 0.586), "LinearPartition-C": (0.595, 0.619)}
    tables = {name: read_scores(path, model=name) for name in expected}
    for name, (strict, relaxed) in expected.items():
        summary = summarise(tables[name])
        assert summary["rnas"] == 3864
        assert summary["macro"]["f1"]["mean"] == pytest.approx(strict, abs=6e-4)
        assert summary["macro"]["relaxed_f1"]["mean"] == pytest.approx(relaxed, abs=6e-4)
    result = paired(tables["LinearPartition-C"], tables["RNAfold-MFE"])
    assert result["macro"]["f1"]["low"] > 0
