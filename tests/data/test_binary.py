"""Matrices of zeros and ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemloop.data.binary import read_binary
from stemloop.errors import FormatError, InputError, UsageError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.txt"
    path.write_text(text)
    return path


def test_haplotypes(tmp_path: Path) -> None:
    data = read_binary(write(tmp_path, "Real a 0 1\nReal b 1 1\n"), name=1, skip=(0,))
    assert (data.ids, data.states.tolist(), data.letters) == (("a", "b"), [[0, 1], [1, 1]], "01")


@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_images(tmp_path: Path, delimiter: str) -> None:
    text = "a,b,digit\n0,200,7\n128,127,1\n\n".replace(",", delimiter)
    data = read_binary(write(tmp_path, text), label=-1, threshold=127, header=True)
    assert data.states.tolist() == [[0, 1], [1, 0]]
    assert (data.given, data.ids) == (("7", "1"), ("row_1", "row_2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n0 1 1\n", "x.txt:2: 3 cells where the first row has 2"),
        ("0 1\n0 x\n", "x.txt:2: 'x' is no number"),
        ("0 1\n0 2\n", "x.txt:2: value 2 .expected 0 or 1, or a threshold"),
        ("0 1\n0 nan\n", "x.txt:2: value nan"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_binary(write(tmp_path, text))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        read_binary(write(tmp_path, "\n"))
    with pytest.raises(InputError, match="cannot be read"):
        read_binary(tmp_path / "none")
    with pytest.raises(UsageError, match="column 3 of 2"):
        read_binary(write(tmp_path, "0 1\n"), label=3)
    with pytest.raises(UsageError, match="no column is left"):
        read_binary(write(tmp_path, "0 1\n"), skip=(0, 1))
