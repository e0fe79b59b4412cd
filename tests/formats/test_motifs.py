"""Motif files: every format as typed by hand, what is wrong in them, and the real ones."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from stemloop.errors import AlphabetError, FormatError, InputError
from stemloop.formats.motifs import AttractMotif, MotifMatrix, read_attract, read_motifs

ATTRACT = (
    "Gene_name\tGene_id\tMutated\tOrganism\tMotif\tLen\tMatrix_id\tScore\n"
    'PUM2\tENSG1\tno\tHomo_sapiens\tUGUANAUA\t8\tM1\t0.2"\n'
    "A1CF\tENSG2\tyes\tMus_musculus\tttaa\t4\ts36\t1.0**\n"
)
ATTRACT_MATRICES = ">904\t2\n0.01\t0.01\t0.01\t0.97\n0.5 0.25 0.25 0\n>s36\t1\n0 0 1 0\n"
MEME = """\
MEME version 4

ALPHABET= ACGT

strands: +

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF M001_0.6 A1CF
letter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0
  0.010000\t 0.010000\t 0.010000\t 0.970000
  0.500000\t 0.250000\t 0.250000\t 0.000000
URL http://example.org

MOTIF s36
letter-probability matrix: alength=4 w=1
0 0 1 0
"""
MEME_SPELLED_OUT = """\
MEME version 5.5.2
ALPHABET "RNA" RNA-LIKE
U "Uracil" CC0000
G "Guanine" FFB300
C "Cytosine" 0000CC
A "Adenine" 008000
N = ACGU
END ALPHABET
MOTIF 904
letter-probability matrix: alength= 4 w= 2
0.97 0.01 0.01 0.01
0 0.25 0.25 0.5
MOTIF s36
letter-probability matrix: w= 1
0 1 0 0
"""
TRANSFAC = """\
VV  TRANSFAC MATRIX TABLE
XX
//
AC  M00001
XX
ID  904
XX
P0      T     G     C     A
01     97     1     1     1      T
02      0     1     1     2      A
XX
//
AC  s36
PO  A C G T
1   0 0 47 0
//
"""
EXPECTED = [[[0.01, 0.01, 0.01, 0.97], [0.5, 0.25, 0.25, 0]], [[0, 0, 1, 0]]]


def test_words() -> None:
    text = "# header\nUGUA\n\n  acgt  # a comment\nUGUA\r\n"
    assert read_motifs(io.StringIO(text)) == ["UGUA", "ACGT", "UGUA"]


def test_attract() -> None:
    assert read_motifs(io.StringIO(ATTRACT)) == ["UGUANAUA", "TTAA"]
    assert read_attract(io.StringIO(ATTRACT)) == [
        AttractMotif("PUM2", "Homo_sapiens", "UGUANAUA", "M1", False),
        AttractMotif("A1CF", "Mus_musculus", "TTAA", "s36", True),
    ]


@pytest.mark.parametrize("text", [ATTRACT_MATRICES, MEME, MEME_SPELLED_OUT, TRANSFAC])
def test_matrices(text: str) -> None:
    found = read_motifs(io.StringIO(text))
    assert [type(motif) for motif in found] == [MotifMatrix, MotifMatrix]
    for motif, expected in zip(found, EXPECTED, strict=True):
        assert isinstance(motif, MotifMatrix)
        assert motif.name in ("904", "M001_0.6", "s36")
        assert np.allclose(motif.probabilities, expected)


def test_matrix_names() -> None:
    for text, names in ((MEME, ["M001_0.6", "s36"]), (TRANSFAC, ["904", "s36"])):
        assert [motif.name for motif in read_motifs(io.StringIO(text))] == names  # type: ignore[union-attr]


def test_rounded_probabilities_are_brought_to_one() -> None:
    (motif,) = read_motifs(io.StringIO(">x\t1\n0.01\t0.48\t0.01\t0.48\n"))
    assert isinstance(motif, MotifMatrix)
    assert motif.probabilities.sum() == pytest.approx(1)


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "meme"
    path.write_bytes(gzip.compress(MEME.encode()))
    assert len(read_motifs(path)) == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "no motifs"),
        ("# nothing\n", None, "no motifs"),
        ("ACGU\nACG U\n", 2, "'ACG U' is more than a word"),
        ("Gene_name\tMotif\nX\tACGU\n", 1, "no column 'Organism'"),
        (ATTRACT + "short\tline\n", 4, "a field is missing"),
        (">a\t2\n1 0 0 0\n", 1, "record 'a': 1 positions (expected 2, as the header says)"),
        (">a\n", 1, "record 'a': 0 positions (expected at least one)"),
        (">a\t1\n1 0 0\n", 2, "record 'a': '1 0 0' (expected four probabilities"),
        (">a\t1\n1 0 0 x\n", 2, "'1 0 0 x'"),
        (">a\t1\n1 -1 1 0\n", 2, "'1 -1 1 0'"),
        (">a\t1\n0.4 0.1 0.1 0.1\n", 2, "add up to 1"),
        (">a\t1\nnan 0 0 1\n", 2, "'nan 0 0 1'"),
        ("MEME\nMOTIF a\n", 1, "no MEME file"),
        ("MEME version 4\nMOTIF a\n", None, "no motifs"),
        ("MEME version 4\nALPHABET= ACDEFGHIKLMNPQRSTVWY\n", 2, "expected ACGU or ACGT"),
        (MEME.replace("w= 2", "w= two"), 11, "record 'M001_0.6': 'letter-probability"),
        (MEME.replace("alength= 4", "alength= 20"), 11, "expected alength= 4"),
        (MEME.replace("w= 2", "w= 3"), 14, "'URL http://example.org'"),
        (MEME.replace("w=1", "w=9"), 17, "record 's36': 1 positions (expected 9)"),
        ("ID  a\nP0 A C G N\n1 1 0 0 0\n//\n", 2, "columns 'A C G N'"),
        ("ID  a\nP0 A C G T\n1 1 0 0 0\n", 2, "the file ends within a motif"),
        ("ID  a\nP0 A C G T\n1 0 0 0 0\n//\n", 3, "four counts"),
        ("ID  a\nP0 A C G T\n//\n", 2, "0 positions"),
        ("ID  a\nXX\n//\n", None, "no motifs"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    path = tmp_path / "motifs.txt"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_motifs(path)
    assert caught.value.line == line
    assert caught.value.path == str(path)
    assert message in str(caught.value)


def test_letters_that_are_none() -> None:
    with pytest.raises(AlphabetError, match=r"StringIO>:2: .*'Z' at position 3"):
        read_motifs(io.StringIO("ACGU\nACZ\n"))
    with pytest.raises(AlphabetError, match="record 'A1CF'"):
        read_attract(io.StringIO(ATTRACT.replace("ttaa", "tt1a")))


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_motifs(tmp_path / "absent")


@pytest.mark.parametrize(
    ("file", "count", "kind"),
    [
        ("RNAErnie_ATtRACT.txt", 4439, str),
        ("RNAErnie_SpliceAid.txt", 2571, str),
        ("RNAErnie_Statistics.txt", 10_000, str),
        ("concise_attract_metadata.txt.xz", 4882, str),
        ("concise_attract_pwm.txt.xz", 1583, MotifMatrix),
        ("ATtRACT_2017_12.tf.xz", 1322, MotifMatrix),
        ("RBPDB_2017_12.tf", 71, MotifMatrix),
    ],
)
def test_real_files(shared_data: Path, file: str, count: int, kind: type) -> None:
    motifs = read_motifs(shared_data / "8_motifs" / file)
    assert len(motifs) == count
    assert {type(motif) for motif in motifs} == {kind}
