"""EMBL flat files: records, their class and family, and what is refused."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from stemloop.errors import FormatError
from stemloop.formats.embl import read_embl

ENTRY = """\
ID   AB000001; SV 1; linear; genomic DNA; STD; PRO; 90 BP.
XX
AC   AB000001; X99999;
XX
DE   Escherichia coli ribonuclease P
DE   RNA component
DR   RFAM; RF00010; RNaseP_bact_a.
FH   Key             Location/Qualifiers
FT   source          1..90
FT                   /organism="Escherichia coli"
FT   ncRNA           1..90
FT                   /ncRNA_class="RNase_P_RNA"
SQ   Sequence 90 BP; 20 A; 30 C; 30 G; 10 T; 0 other;
     gaagctgacc agacagtcgc cgcttcgtcg tcgtcctctt cgggggagac gggcggaggg        60
     gaggaaagtc cgggctccat agggcagggt                                         90
//
"""


def test_record() -> None:
    (record,) = read_embl(io.StringIO(ENTRY))
    assert record.id == "AB000001"
    assert record.description == "Escherichia coli ribonuclease P RNA component"
    assert record.kind == "RNase_P_RNA"
    assert record.family == "RF00010"
    assert len(record.sequence) == 90
    assert record.sequence.startswith("gaagctgaccagacag")
    assert record.sequence.endswith("agggcagggt")


def test_feature_key_is_the_kind_where_there_is_no_class() -> None:
    text = "ID   X\nFT   tRNA            1..4\nSQ   S\n     acgu 4\n//\n"
    (record,) = read_embl(io.StringIO(text))
    assert (record.kind, record.family, record.id) == ("tRNA", "", "X")


def test_messenger_features_are_no_kind() -> None:
    text = "ID   X\nFT   mRNA            1..4\nSQ   S\n     acgu 4\n//\n"
    assert next(read_embl(io.StringIO(text))).kind == ""


def test_many_records_compressed_with_crlf(tmp_path: Path) -> None:
    path = tmp_path / "x.embl.gz"
    path.write_bytes(gzip.compress((ENTRY * 3).replace("\n", "\r\n").encode()))
    assert [len(r.sequence) for r in read_embl(path)] == [90, 90, 90]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "empty"),
        (ENTRY + ENTRY[:-3], ENTRY.count("\n") + 1, "ends within a record"),
        (">x\nACGU\n", 1, "before a record"),
        ("//\n", None, "without a record"),
    ],
)
def test_refused(text: str, line: int | None, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        list(read_embl(io.StringIO(text)))
    if line is not None:
        assert caught.value.line == line
