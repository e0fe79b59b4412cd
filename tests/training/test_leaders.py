"""Which rows of GSE114002's tables the published protocols take, on made tables."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from stemloop.errors import FormatError
from stemloop.training import leaders
from stemloop.training.leaders import rows_of_rule
from stemloop.training.sequence_data import read_data
from stemloop.training.sequence_recipe import SequenceRecipe

COLUMNS = ["", "utr", "set", "total_reads", "rl"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaders of 24 to 27 nt, of three sets, with copies, few reads and loads that are missing."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(3000):
        length = int(rng.integers(24, 28))
        if number % 10 == 9:
            leader = rows[int(rng.integers(len(rows)))][1]
        else:
            leader = "".join(rng.choice(list("ACGT"), length))
        which = ("random", "human", "snv")[int(rng.integers(3))]
        load = "" if rng.random() < 0.05 else f"{rng.normal(6):.4f}"
        rows.append([number, leader, which, int(rng.integers(1, 300)), load])
    path = tmp_path_factory.mktemp("geo") / "varying.csv.gz"
    with gzip.open(path, "wt", newline="") as out:
        csv.writer(out).writerows([COLUMNS, *rows])
    return path


def by_hand(path: Path) -> dict[str, list[int]]:
    """The rule, step by step as it is written down."""
    with gzip.open(path, "rt") as lines:
        rows = [(k, r) for k, r in enumerate(csv.DictReader(lines)) if r["rl"]]
    rows = [(k, r) for k, r in rows if r["set"] in ("random", "human")]
    rows = [(k, r) for k, r in rows if int(r["total_reads"]) >= 10]
    leaders_ = [r["utr"] for _, r in rows]
    rows = [(k, r) for k, r in rows if leaders_.count(r["utr"]) == 1]
    result = {}
    for which in ("random", "human"):
        of_length = defaultdict(list)
        for k, r in rows:
            if r["set"] == which and 25 <= len(r["utr"]) <= 100:
                of_length[len(r["utr"])].append((-int(r["total_reads"]), k))
        result[f"{which}7600"] = [k for each in of_length.values() for _, k in sorted(each)[:100]]
    known = set(result["random7600"])
    result["random-rest"] = [k for k, r in rows if r["set"] == "random" and k not in known]
    return result


def test_the_published_rule(table: Path) -> None:
    expected = by_hand(table)
    assert len(expected["random7600"]) == 300
    assert len(expected["random-rest"]) > 300
    for rule, rows in expected.items():
        assert rows_of_rule(table, rule, "utr", "rl") == set(rows)  # type: ignore[arg-type]


def test_a_recipe_takes_its_parts_by_rule(table: Path) -> None:
    entry = {"file": table.name, "sequence": "utr", "label": "rl"}
    recipe = SequenceRecipe.model_validate({
        "task": "regress", "name": "published",
        "data": [
            entry | {"rule": "random-rest", "part": "train"},
            entry | {"rule": "random7600", "part": "validation"},
            entry | {"rule": "human7600", "part": "test"},
        ],
    })  # fmt: skip
    data = read_data(recipe, table.parent)
    expected = by_hand(table)
    assert len(data.train) == len(expected["random-rest"])
    assert len(data.validation) == len(expected["random7600"])
    assert {x.id for x in data.test} == {f"{k + 1}" for k in expected["human7600"]}
    assert not {x.sequence for x in data.train} & {x.sequence for x in data.validation}


def test_the_fifty_mers_by_their_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaders, "TESTED", 3)
    monkeypatch.setattr(leaders, "TRAINED", 4)
    path = tmp_path / "a.csv"
    reads = [5, 9, 2, 9, 7, 1, 8, 3]
    path.write_text("utr,total,rl\n" + "".join(f"ACGT,{n},1\n" for n in reads))
    assert rows_of_rule(path, "most-read", "utr", "rl") == {1, 3, 6}
    assert rows_of_rule(path, "next-read", "utr", "rl") == {4, 0, 7, 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("utr,rl\nACGT,1\n", "no column 'total'"),
        ("utr,rl,total_reads\nACGT,1,20\n", "no column 'set'"),
        ("utr,rl,total_reads,set\nACGT,1,many,random\n", "'many'"),
        ("utr,rl,total_reads,set\nACGT,1,20,random\n", "no rows for human7600"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        rows_of_rule(path, "human7600", "utr", "rl")
