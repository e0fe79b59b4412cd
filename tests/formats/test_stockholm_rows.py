"""Rows of Stockholm files: the same as of the strict reader, and what it alone refuses."""

from __future__ import annotations

import io
import lzma
from itertools import islice
from pathlib import Path

import pytest

from stemloop.errors import FormatError
from stemloop.formats.alignment import read_alignments
from stemloop.formats.stockholm_rows import read_rows


def test_same_rows_as_the_strict_reader(shared_data: Path) -> None:
    path = shared_data / "1_pretrain/rfam_14.2/Rfam.14.2.seed.sto.xz"
    with lzma.open(path) as ours, lzma.open(path) as theirs:
        pairs = zip(read_rows(ours), read_alignments(theirs), strict=True)
        for rows, alignment in islice(pairs, 25):
            assert rows.rows == list(zip(alignment.ids, alignment.rows, strict=True))
            assert rows.gf["AC"] == " ".join(alignment.gf["AC"])
            assert rows.gf["TP"] == " ".join(alignment.gf["TP"])


def test_repeated_rows_and_annotation_of_another_width() -> None:
    text = "# STOCKHOLM 1.0\nx A-C\nx G.U\n#=GC SS_cons <.>.\n#=GR x R ab\n\nx AA\nx CC\n//\n"
    with pytest.raises(FormatError):
        list(read_alignments(io.StringIO(text)))
    assert next(read_rows(io.StringIO(text))).rows == [("x", "A-CAA"), ("x", "G.UCC")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (">x\nACGU\n", "before the header"),
        ("# STOCKHOLM 1.0\nx ACGU\n", "ends within an alignment"),
        ("# STOCKHOLM 1.0\nxACGU\n//\n", "no Stockholm line"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        list(read_rows(io.StringIO(text)))
