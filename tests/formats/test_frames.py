"""Results as data frames."""

from __future__ import annotations

import sys

import numpy as np
import pandas
import pytest

import stemloop
from stemloop.errors import ExtraError, UsageError
from stemloop.formats.frames import to_frame
from stemloop.records import Result, SequenceRecord, Structure

HAIRPIN = SequenceRecord("h", "GGGAAACCC", "a hairpin")


def results() -> list[Result]:
    structure = Structure.from_dot_bracket(HAIRPIN, "(((...)))", -1.5)
    arrays = {"confidence": np.ones(9), "p": np.zeros((9, 9))}
    return [
        Result(HAIRPIN, {"energy": -1.5, "n": 2}, arrays, structure),
        Result(SequenceRecord("x", "ACGU"), {"energy": 0.25, "note": "short"}),
    ]


def test_a_row_each_and_all_columns() -> None:
    frame = to_frame(results())
    assert isinstance(frame, pandas.DataFrame)
    columns = ["id", "description", "sequence", "structure", "energy", "n", "confidence", "note"]
    assert list(frame.columns) == columns
    assert frame["structure"].tolist()[0] == "(((...)))"
    assert frame["energy"].tolist() == [-1.5, 0.25]
    assert frame["confidence"][0].tolist() == [1.0] * 9
    assert frame[["structure", "n", "confidence"]].isna().values.tolist()[1] == [True] * 3


def test_columns_that_nothing_has_are_left_out() -> None:
    frame = to_frame([Result(SequenceRecord("x", "ACGU"), {"score": 0.5})])
    assert list(frame.columns) == ["id", "sequence", "score"]
    assert len(to_frame([])) == 0


def test_structures_of_files_too() -> None:
    frame = stemloop.to_frame([results()[0].structure])
    assert frame.loc[0, ["structure", "energy"]].tolist() == ["(((...)))", -1.5]


def test_arrow_says_the_same() -> None:
    table = to_frame(results(), "arrow")
    assert table.to_pylist()[1]["note"] == "short"
    assert table.column("confidence").to_pylist() == [[1.0] * 9, None]


def test_polars_says_the_same() -> None:
    polars = pytest.importorskip("polars")
    frame = to_frame(results(), "polars")
    assert isinstance(frame, polars.DataFrame)
    assert frame["energy"].to_list() == [-1.5, 0.25]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ExtraError, match=r"pip install 'stemloop\[frames\]'"):
        to_frame(results(), "polars")
    with pytest.raises(UsageError, match="unknown library 'excel'"):
        to_frame(results(), "excel")  # type: ignore[arg-type]
