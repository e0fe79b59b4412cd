"""Structure files: what is written reads back, and what other programs write is understood."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stemloop.errors import FormatError, UsageError
from stemloop.formats.structure import (
    FORMATS,
    format_structure,
    read_structures,
    write_structures,
)
from stemloop.pairs import check_pairs, is_nested
from stemloop.records import SequenceRecord, Structure

names = st.text(
    st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda text: "=" not in text)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """Any sequence with pairs that cross in any way, with or without energy."""
    sequence = draw(st.text("ACGURYKMSWBDHVNI", min_size=1, max_size=40))
    places = draw(st.permutations(range(len(sequence))))
    n = draw(st.integers(0, len(sequence) // 2))
    pairs = check_pairs(np.array(places[: 2 * n], int).reshape(-1, 2), len(sequence))
    energy = draw(st.none() | st.integers(-9999, 9999).map(lambda e: e / 100))
    record = SequenceRecord(draw(names), sequence, draw(st.lists(names, max_size=2).map(" ".join)))
    return Structure(record, pairs, energy)


def numbered(found: list[Structure]) -> list[Structure]:
    return [
        Structure(
            SequenceRecord(s.record.id, s.record.sequence, s.record.description, i),
            s.pairs,
            s.energy,
        )
        for i, s in enumerate(found)
    ]


@pytest.mark.parametrize("format", FORMATS)
@given(some=st.lists(structures(), min_size=1, max_size=4).map(numbered), named=st.booleans())
def test_round_trip(format: str, some: list[Structure], named: bool) -> None:
    text = io.StringIO()
    write_structures(text, some, format)
    source = io.StringIO(text.getvalue())
    if named:
        # The suffix alone must be enough; without it the content is.
        source.name = f"x.{format}.gz"  # type: ignore[attr-defined]
    assert list(read_structures(source)) == some
    again = io.StringIO(text.getvalue().replace("\n", "\r\n"), newline="")
    assert list(read_structures(again, format)) == some


@pytest.mark.parametrize("format", FORMATS)
def test_files_by_suffix(tmp_path: Path, format: str) -> None:
    structure = Structure.from_dot_bracket(SequenceRecord("x", "GGAAACCU"), "((..[))]", -0.5)
    path = tmp_path / f"x.{format}"
    write_structures(path, [structure])
    assert path.read_text() == format_structure(structure, format)
    assert list(read_structures(path)) == [structure]
    packed = tmp_path / f"y.{format}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(read_structures(packed)) == [structure]


@given(structure=structures(), width=st.integers(1, 50))
def test_wrapped_dot_bracket(structure: Structure, width: int) -> None:
    lines = [f">{structure.record.id}"]
    for text in (structure.record.sequence, structure.dot_bracket):
        lines += [text[i : i + width] for i in range(0, len(text), width)]
    # A line that starts with > is a header, even if it was meant to close a pseudoknot.
    assume(not any(line.startswith(">") for line in lines[1:]))
    found = next(read_structures(io.StringIO("\n".join(lines)), "dbn"))
    assert np.array_equal(found.pairs, structure.pairs)
    assert found.record.sequence == structure.record.sequence


def read(text: str, format: str | None = None) -> list[Structure]:
    return list(read_structures(io.StringIO(text), format))


def test_dot_bracket_without_headers() -> None:
    found = read("GGGaaaTCC\n(((...))) ( -1.20)\n\nGCAAAAGC\n((....))\n")
    assert [s.record.id for s in found] == ["record_1", "record_2"]
    assert [s.energy for s in found] == [-1.2, None]
    assert found[0].record.sequence == "GGGAAAUCC"


@pytest.mark.parametrize("after", ["(-1.20)", "( -1.20)", "[-1.20]", "-1.2", "(-1.20 kcal/mol)"])
def test_energies(after: str) -> None:
    assert read(f">x\nGGGAAACCC\n(((...))) {after}\n")[0].energy == -1.2
    assert read(">ENERGY = -1.2  x yeast\nGAAAC\n(...)\n")[0].energy == -1.2


def test_bprna_dot_bracket_and_st() -> None:
    text = (
        "#Name: bpRNA_CRW_1\n#Length: 10\n#PageNumber: 1\n"
        "GGGAAAACCC\n(((....)))\nSSSHHHHSSS\nNNNNNNNNNN\n"
        'S1 1..3 "GGG" 8..10 "CCC"\nH1 4..7 "AAAA" (3,8) G:C\n'
        "#Name: bpRNA_CRW_2\n#Length: 5\n#PageNumber: 1\nGAAAC\n(...)\nSHHHS\nNNNNN\n"
    )
    for format in (None, "st", "dbn"):
        found = read(text, format)
        assert [s.record.id for s in found] == ["bpRNA_CRW_1", "bpRNA_CRW_2"]
        assert [len(s.pairs) for s in found] == [3, 1]


def test_ct_dialects() -> None:
    rows = "1 G 0 2 5 1\n2 a 1 3 0 2\n3 a 2 4 0 3\n4 a 3 5 0 4\n5 C 4 0 1 5\n"
    for header, expected in (
        ("5  ENERGY = -12.3  tRNA yeast", ("tRNA", "yeast", -12.3)),
        ("5\tdG = -12.3\ttRNA", ("tRNA", "", -12.3)),
        ("5 tRNA", ("tRNA", "", None)),
        ("  5", ("record_1", "", None)),
    ):
        (found,) = read(f"# a comment\n{header}\n{rows}")
        assert (found.record.id, found.record.description, found.energy) == expected
        assert found.record.sequence == "GAAAC"
        assert found.pairs.tolist() == [[0, 4]]
    twice = read(f"5 a\n{rows}\n5 b\n{rows}")
    assert [(s.record.id, s.record.index) for s in twice] == [("a", 0), ("b", 1)]


def test_bpseq_of_the_comparative_rna_web_site(tmp_path: Path) -> None:
    text = (
        "Filename: d.5.e.bpseq\nOrganism: Thing\nAccession Number: X1\n"
        "Citation and related information available at http://www.rna.example\n"
        "1 G 3\n2 N 0\n3 T 1\n"
    )
    (found,) = read(text)
    assert (found.record.id, found.record.sequence) == ("record_1", "GNU")
    path = tmp_path / "5s_thing.bpseq"
    path.write_text(text)
    assert next(read_structures(path)).record.id == "5s_thing"
    assert [s.record.id for s in read("1 G 0\n2 A 0\n1 C 0\n")] == ["record_1", "record_2"]


@pytest.mark.parametrize("format", FORMATS)
def test_unchecked_sequences_arrive_as_they_stand(format: str) -> None:
    record = SequenceRecord("x", "GaPTC")
    text = format_structure(Structure.from_dot_bracket(record, "(...)"), format)
    (found,) = read_structures(io.StringIO(text), format, alphabet_check=False)
    assert found.record == record


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match=r"unknown structure format 'pdb'; known: dbn, ct"):
        read("x", "pdb")


def test_archiveii(shared_data: Path) -> None:
    """Real BPSEQ files with pseudoknots survive every format."""
    archive = shared_data / "2_secstruct" / "ArchiveII_bpseq.tar.xz"
    if not archive.is_file():
        pytest.skip("ArchiveII is not present")
    found: list[Structure] = []
    with tarfile.open(archive) as files:
        for member in files:
            if "/._" in member.name or not member.name.endswith(".bpseq"):
                continue
            handle = files.extractfile(member)
            assert handle is not None
            found += read_structures(io.BytesIO(handle.read()), "bpseq")
            if len(found) == 60:
                break
    assert not all(is_nested(s.pairs) for s in found)
    found = numbered(found)
    for format in FORMATS:
        text = io.StringIO()
        write_structures(text, found, format)
        assert read(text.getvalue()) == found


def test_bprna_file(shared_data: Path) -> None:
    path = shared_data / "2_secstruct" / "bpRNA-1m_90_short.dbn.xz"
    if not path.is_file():
        pytest.skip("bpRNA is not present")
    # Unchecked: RNA STRAND writes P for pseudouridine.
    reader = read_structures(path, alphabet_check=False)
    found = [s for s, _ in zip(reader, range(300), strict=False)]
    assert len(found) == 300
    assert any("P" in s.record.sequence for s in found)
    assert all(s.record.id and s.record.length < 110 for s in found)


def test_empty_result_is_an_error() -> None:
    with pytest.raises(FormatError, match="no records"):
        read("\n\n")
