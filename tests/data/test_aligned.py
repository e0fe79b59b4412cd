"""Alignments as states: formats, choice of columns, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.data.aligned import LETTERS, format_of, read_alignment
from stemloop.data.labelled import Labelled
from stemloop.errors import AlphabetError, FormatError, UsageError

FASTA = ">x first\nGG-AC\n>y\ng.tca\n>z\nGGUA-\n"
STOCKHOLM = """\
# STOCKHOLM 1.0
#=GS x DE Bacillus subtilis
x        GGu-AC
y        GG.CA-
#=GC RF  xx.xxx
//
"""
TABLE = "name,seq,kind\nx,GG-AC,one\ny,G-UCA,\n"


def read(text: str, **options: object) -> Labelled:
    return read_alignment(io.StringIO(text), **options)  # type: ignore[arg-type]


def rows(data: Labelled) -> list[str]:
    return [data.text(i) for i in range(len(data))]


def test_fasta() -> None:
    data = read(FASTA, format="fasta")
    assert rows(data) == ["GG-AC", "G-UCA", "GGUA-"]
    assert data.ids == ("x", "y", "z")
    assert data.descriptions == ("first", "", "")
    assert (data.width, data.columns, data.letters) == (5, (), "-ACGU")
    assert data.states.dtype == np.uint8
    assert data.labels.tolist() == [-1, -1, -1]


def test_a2m_insertions_are_left_out() -> None:
    data = read(">x\nGGaa-.AC\n>y\nG-u.CAC\n", format="a2m")
    assert rows(data) == ["GG-AC", "G-CAC"]


def test_stockholm_match_columns() -> None:
    data = read(STOCKHOLM, format="stockholm")
    assert rows(data) == ["GG-AC", "GGCA-"]
    assert data.descriptions == ("Bacillus subtilis", "")
    assert (data.width, data.columns) == (6, (0, 1, 3, 4, 5))
    # By gaps: columns 3, 4 and 6 have one gap in two rows.
    assert rows(read(STOCKHOLM, format="stockholm", max_gaps=0.4)) == ["GGA", "GGA"]
    assert read(STOCKHOLM, format="stockholm", max_gaps=0.5).columns == ()


def test_table() -> None:
    data = read(TABLE, format="table", columns=("name", "seq", "kind"))
    assert rows(data) == ["GG-AC", "G-UCA"]
    assert data.given == ("one", "")
    tabs = read(TABLE.replace(",", "\t"), format="table", columns=(None, "seq", None))
    assert tabs.ids == ("row_1", "row_2")
    assert tabs.given == ()


def test_protein() -> None:
    data = read(">x\nMKV-\n>y\nmKWY\n", format="fasta", alphabet="protein")
    assert rows(data) == ["MKV-", "MKWY"]
    assert len(data.letters) == 21


@given(
    st.lists(st.text("-ACGU", min_size=4, max_size=4), min_size=1, max_size=8),
    st.sampled_from([str.upper, str.lower]),
    st.sampled_from("-._~"),
)
def test_states_are_the_letters(texts: list[str], case: Callable[[str], str], gap: str) -> None:
    """Any spelling; the columns that are left are those with something in them."""
    spelt = [case(t).replace("U", "T").replace("u", "t").replace("-", gap) for t in texts]
    fasta = "".join(f">{i}\n{t}\n" for i, t in enumerate(spelt))
    full = [i for i in range(4) if any(t[i] != "-" for t in texts)]
    if not full:
        with pytest.raises(FormatError, match="no column is left"):
            read(fasta, format="fasta", max_gaps=0.99)
        return
    data = read(fasta, format="fasta", max_gaps=0.99)
    assert rows(data) == ["".join(t[i] for i in full) for t in texts]
    assert (data.columns or tuple(range(4))) == tuple(full)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (">x\nGGA\n>y\nGG\n", {"format": "fasta"}, "record 'y': 2 columns where 'x' has 3"),
        (">x\nGGa\n>y\nGGA\n", {"format": "a2m"}, "record 'y': 3 match columns where 'x' has 2"),
        ("id,sequence\nx,GGA\ny,GGAA\n", {"format": "table", "columns": ("id", "sequence", None)},
         "record 'y': 4 columns where 'x' has 3"),
        (">x\nG-A\n>y\nG-C\n", {"format": "fasta"}, "column 2 has nothing but gaps"),
        (">x\n--A\n>y\n--C\n", {"format": "fasta"}, "column 1 and 1 more has nothing but gaps"),
        (">x\nG\n>y\n-\n", {"format": "fasta", "max_gaps": 0.1}, "no column is left"),
        ("id,seq\nx,GGA\n", {"format": "table"}, "no column 'header'"),
        ("id,seq\nx\n", {"format": "table", "columns": ("id", "seq", None)},
         "line 2: 1 cells where the header has 2|:2: 1 cells"),
        ("id,seq\n", {"format": "table", "columns": ("id", "seq", None)}, "no rows"),
        ("", {"format": "fasta"}, "the file is empty"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, options: dict, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(text, **options)


def test_letters_that_are_none() -> None:
    with pytest.raises(AlphabetError, match="record 'y': 'J' in column 2 is no rna letter"):
        read(">x\nGGA\n>y\nGJA\n", format="fasta")
    with pytest.raises(AlphabetError, match="'é'|'\\\\\\\\' in column"):
        read(">x\nGéA\n", format="fasta")


def test_ambiguous_letters() -> None:
    text = ">x\nGGA\n>y\nGNA\n"
    with pytest.raises(AlphabetError, match="record 'y': 'N' in column 2 is ambiguous .*gap reads"):
        read(text, format="fasta")
    assert rows(read(text, format="fasta", ambiguous="gap")) == ["GGA", "G-A"]
    dropped = read(text, format="fasta", ambiguous="drop")
    assert (dropped.ids, rows(dropped)) == (("x",), ["GGA"])
    with pytest.raises(AlphabetError, match="every row"):
        read(">x\nN\n", format="fasta", ambiguous="drop")


def test_formats_by_suffix() -> None:
    assert [format_of(n) for n in ("a.fa.gz", "b.A2M", "c.sto.xz", "d.tsv")] == [
        "fasta", "a2m", "stockholm", "table",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="format unknown"):
        format_of("x.txt")
    with pytest.raises(UsageError, match="unknown alphabet"):
        read(FASTA, format="fasta", alphabet="dna")
    with pytest.raises(UsageError, match="unknown format"):
        read(FASTA, format="clustal")
    assert set(LETTERS) == {"rna", "protein"}
