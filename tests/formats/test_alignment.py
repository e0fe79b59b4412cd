"""Stockholm: annotation, wrapping, round trips, and projection of the consensus structure."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import FormatError, StructureError
from stemloop.formats.alignment import (
    Alignment,
    format_alignment,
    read_alignments,
    read_stockholm,
    write_stockholm,
)
from stemloop.pairs import check_pairs, pairs_to_wuss

WRAPPED = """# STOCKHOLM 1.0
#=GF ID   hairpins
#=GF CC   first line
#=GF CC   second line

#=GS y/1-9 DE  of something
x/1-11        GGGg.
y/1-9         GG-GA
#=GR x/1-11 SS  <<<..
#=GC SS_cons  <<<<.

x/1-11        aaACCCC
y/1-9         AA-.-CC
#=GC SS_cons  ___>>>>
//
"""


def test_wrapped_blocks_and_annotation() -> None:
    text = WRAPPED.replace("#=GR x/1-11 SS  <<<..\n", "")
    alignment = read_stockholm(io.StringIO(text))
    assert alignment.ids == ("x/1-11", "y/1-9")
    assert alignment.rows == ("GGGg.aaACCCC", "GG-GAAA-.-CC")
    assert alignment.gf == {"ID": ("hairpins",), "CC": ("first line", "second line")}
    assert alignment.gs == {"y/1-9": {"DE": ("of something",)}}
    assert alignment.name == "hairpins"
    assert (len(alignment), alignment.width) == (2, 12)
    first, second = alignment.structures()
    assert first.record.sequence == "GGGGAAACCCC"
    assert first.dot_bracket == "((((...))))"
    assert second.record.sequence == "GGGAAACC"
    assert second.dot_bracket == "((....))"
    assert second.record.description == "of something"
    assert second == alignment.project("y/1-9")


def test_column_annotation_of_a_row_has_the_width() -> None:
    with pytest.raises(FormatError, match=r"'#=GR x/1-11 SS': 5 columns where row 'x/1-11' has 12"):
        read_stockholm(io.StringIO(WRAPPED))


def contents(a: Alignment) -> tuple[object, ...]:
    def plain(value: object) -> object:
        return {k: plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    return tuple(plain(x) for x in (a.ids, a.rows, a.gf, a.gs, a.gc, a.gr))


names = st.text(
    st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=8
).filter(lambda text: not text.startswith(("#", "//")))
tags = st.from_regex(r"[A-Z]{2}", fullmatch=True)
lines = st.lists(names, min_size=1, max_size=3).map(lambda words: (" ".join(words),))


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    width = draw(st.integers(1, 30))
    text = st.text("ACGUNacgu.-", min_size=width, max_size=width)
    ids = tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True)))
    places = draw(st.permutations(range(width)))
    n = draw(st.integers(0, width // 2))
    pairs = check_pairs(np.array(places[: 2 * n], int).reshape(-1, 2), width)
    known = st.sampled_from(ids)
    return Alignment(
        ids,
        tuple(draw(text) for _ in ids),
        draw(st.dictionaries(tags, lines, max_size=3)),
        draw(st.dictionaries(known, st.dictionaries(tags, lines, min_size=1), max_size=2)),
        {"SS_cons": pairs_to_wuss(pairs, width), "RF": "x" * width},
        draw(st.dictionaries(known, st.dictionaries(tags, text, min_size=1), max_size=2)),
    )


@given(st.lists(alignments(), min_size=1, max_size=3))
def test_round_trip(some: list[Alignment]) -> None:
    text = "".join(format_alignment(a) for a in some)
    for end in ("\n", "\r\n"):
        found = list(read_alignments(io.StringIO(text.replace("\n", end), newline="")))
        assert [contents(a) for a in found] == [contents(a) for a in some]


@given(alignments())
def test_projection_keeps_the_pairs_of_filled_columns(alignment: Alignment) -> None:
    for number, row in enumerate(alignment.rows):
        structure = alignment.project(number)
        column = [c for c, sign in enumerate(row) if sign not in ".-"]
        expected = [(i, j) for i, j in alignment.pairs.tolist() if {i, j} <= set(column)]
        assert [(column[i], column[j]) for i, j in structure.pairs.tolist()] == expected
        assert structure.record.length == len(column)


def test_one_alignment_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "x.sto"
    one = Alignment(("x",), ("GAC",), gc={"SS_cons": "<.>"})
    write_stockholm(path, [one, one])
    with pytest.raises(FormatError, match="more than one alignment"):
        read_stockholm(path)
    write_stockholm(path, [one], force=True)
    assert contents(read_stockholm(path)) == contents(one)


def test_no_consensus() -> None:
    with pytest.raises(StructureError, match=r"no consensus structure \(expected #=GC SS_cons\)"):
        Alignment(("x",), ("GAC",)).project(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no records"),
        (">x\nACG\n", r":1: '>x' before the header \(expected '# STOCKHOLM 1.0'\)"),
        ("# STOCKHOLM 1.0\nx ACG\n", r":1: the file ends within an alignment \(expected '//'\)"),
        ("# STOCKHOLM 1.0\nx ACG\nx ACG\n//\n", ":3: record 'x': the row stands twice"),
        ("# STOCKHOLM 1.0\nx ACG\ny AC\n//\n", ":1: record 'y': 2 columns where row 'x' has 3"),
        ("# STOCKHOLM 1.0\nx ACG\n#=GC SS_cons <>\n//\n", "'#=GC SS_cons': 2 columns"),
        ("# STOCKHOLM 1.0\nACG\n//\n", ":2: 'ACG' is no Stockholm line"),
        ("# STOCKHOLM 1.0\nx AC G\n//\n", ":2: 'x AC G' is no Stockholm line"),
        ("# STOCKHOLM 1.0\n//\n", "0 names for 0 rows"),
    ],
)
def test_broken_files(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        list(read_alignments(io.StringIO(text)))
    assert "<StringIO>" in str(caught.value)


def test_rfam(shared_data: Path) -> None:
    path = shared_data / "1_pretrain" / "rfam_14.2" / "Rfam.14.2.seed.sto.xz"
    if not path.is_file():
        pytest.skip("the Rfam seeds are not present")
    sample = [a for a, _ in zip(read_alignments(path), range(25), strict=False)]
    assert sample[0].name == "5S_rRNA"
    assert len(sample[0]) == int(sample[0].gf["SQ"][0])
    for alignment in sample:
        again = next(read_alignments(io.StringIO(format_alignment(alignment))))
        assert contents(again) == contents(alignment)
        for structure in (alignment.project(0), alignment.project(len(alignment) - 1)):
            assert structure.record.length == sum(
                sign not in ".-" for sign in alignment.rows[structure.record.index]
            )
            assert len(structure.pairs) <= len(alignment.pairs)
