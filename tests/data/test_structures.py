"""Labelled structures: cleaning, holding out, drawing, and reading them from tables."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from stemloop.data.structures import (
    ARCHIVEII_CLASSES,
    LabelledStructure,
    TypeRule,
    draw_epoch,
    held_out_with,
    read_labelled,
    rfam_families_of,
    shares_words,
    training_reference,
)
from stemloop.errors import FormatError, InputError, StructureError, UsageError
from stemloop.records import SequenceRecord, Structure


def structure(sequence: str, text: str, name: str = "x") -> Structure:
    return Structure.from_dot_bracket(SequenceRecord(name, sequence), text)


@pytest.mark.parametrize(
    ("sequence", "text", "expected"),
    [
        ("GGGAAACCC", "(((...)))", "(((...)))"),
        # A-A is no canonical pair, G-U is one.
        ("GAGAAAUAC", "(((...)))", "(.(...).)"),
        # A hairpin of two cannot form; its enclosing pair stays.
        ("GGAACC", "((..))", "(....)"),
        # Of two crossing helices the larger one stays.
        ("GGGAACCAACCCAAGG", "(((..[[..)))..]]", "(((......)))...."),
        ("GGAAGGGAACCAACCC", "((..[[[..))..]]]", "....(((......)))"),
        # N and its like pair with nothing.
        ("GNGAAACNC", "(((...)))", "(.(...).)"),
        ("AAAAAAAAA", ".........", "........."),
    ],
)
def test_training_reference(sequence: str, text: str, expected: str) -> None:
    kept = training_reference(structure(sequence, text))
    assert kept.dot_bracket == expected
    assert kept.record.sequence == sequence


def test_16s_and_grp1_leave_together() -> None:
    assert held_out_with("16s") == held_out_with("grp1") == {"16s", "grp1"}
    for name in set(ARCHIVEII_CLASSES) - {"16s", "grp1"}:
        assert held_out_with(name) == {name}


def test_every_class_has_rfam_families_and_no_family_two_classes() -> None:
    families = {name: rfam_families_of([name]) for name in ARCHIVEII_CLASSES}
    assert all(families.values())
    assert sum(map(len, families.values())) == len(rfam_families_of(ARCHIVEII_CLASSES))
    assert all(f.startswith("RF") and len(f) == 7 for f in rfam_families_of(ARCHIVEII_CLASSES))
    for name, accession in {
        "5s": "RF00001",
        "tRNA": "RF00005",
        "tmRNA": "RF00023",
        "RNaseP": "RF00010",
        "srp": "RF00017",
        "grp1": "RF00028",
        "16s": "RF00177",
        "23s": "RF02541",
        "telomerase": "RF00024",
    }.items():
        assert accession in families[name]


def test_unknown_class() -> None:
    with pytest.raises(UsageError, match="unknown RNA class 'trna'; known: 5s"):
        rfam_families_of(["trna"])


def test_shares_words() -> None:
    other = "ACGUACGUACGGGAUUUCCA"
    items = [
        LabelledStructure(structure(sequence, "." * len(sequence)), "f")
        for sequence in (
            other,
            "UU" + other[1:19] + "UU",  # a word of 18
            "UU" + other[1:18] + "UU",  # only 17
            other[:10],  # shorter than a word
        )
    ]
    assert shares_words(items, [other, "GG"]) == [True, True, False, False]
    assert shares_words(items, [other, "GG"], size=17) == [True, True, True, False]
    assert shares_words(items, []) == [False] * 4


def items() -> list[LabelledStructure]:
    result = []
    for kind, families, members in (("riboswitch", 6, 5), ("miRNA", 8, 3), ("other", 4, 1)):
        for f in range(families):
            for m in range(members):
                name = f"{kind}-{f}-{m}"
                s = structure("GGGAAACCC", "(((...)))", name)
                result.append(LabelledStructure(s, f"{kind}-{f}", f"Gene; {kind};"))
    return result


def names(drawn: list[LabelledStructure]) -> list[str]:
    return [item.structure.record.id for item in drawn]


RULES = [
    TypeRule("miRNA", families=3, members=2),
    TypeRule("ribo|miR", members=4),
    TypeRule(".", 0),
]


def test_drawing_obeys_the_rules() -> None:
    drawn = draw_epoch(items(), RULES, np.random.default_rng(0))
    assert len(set(names(drawn))) == len(drawn)
    counts: dict[str, dict[str, int]] = {}
    for item in drawn:
        family = counts.setdefault(item.kind, {})
        family[item.family] = family.get(item.family, 0) + 1
    # The first rule that matches counts, so miRNA is not drawn again by the second.
    assert sorted(counts["Gene; miRNA;"].values()) == [2] * 3
    assert sorted(counts["Gene; riboswitch;"].values()) == [4] * 6
    assert "Gene; other;" not in counts


def test_members_beyond_a_family_and_types_without_a_rule() -> None:
    drawn = draw_epoch(items(), [TypeRule("other", members=9)], np.random.default_rng(0))
    assert sorted(names(drawn)) == [f"other-{k}-0" for k in range(4)]
    assert draw_epoch(items(), [TypeRule("tRNA")], np.random.default_rng(0)) == []


def test_drawing_is_a_function_of_the_generator() -> None:
    first, again, other = (
        names(draw_epoch(items(), RULES, np.random.default_rng(seed))) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other
    assert set(first) != set(other)


TABLE = "id,sequence,structure\ntRNA_a,ggGaaaCCT,(((...)))\n5s_b,GGGAAACCC,.........\n"


@pytest.mark.parametrize("packed", [False, True])
def test_reading_a_table(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("t.csv.xz" if packed else "t.csv")
    path.write_bytes(lzma.compress(TABLE.encode()) if packed else TABLE.encode())
    first, second = read_labelled(path)
    assert (first.family, second.family) == ("tRNA", "5s")
    assert first.sequence == "GGGAAACCU"
    assert first.structure.dot_bracket == "(((...)))"
    assert second.structure.record == SequenceRecord("5s_b", "GGGAAACCC", index=1)
    assert first.kind == ""


def test_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('seq,db,name,fam,what\nGGGAAACCC,(((...))),a_b,RF1,"Gene; tRNA"\n')
    (item,) = read_labelled(
        path, id="name", sequence="seq", structure="db", family="fam", kind="what"
    )
    assert (item.family, item.kind, item.structure.record.id) == ("RF1", "Gene; tRNA", "a_b")


@pytest.mark.parametrize(
    ("text", "error", "line", "message"),
    [
        ("", FormatError, 1, "no column 'id'"),
        ("id,structure\nx,...\n", FormatError, 1, r"no column 'sequence' \(expected columns id"),
        (TABLE + "c,GGGAAACCC,(((...))\n", StructureError, 4, "record 'c'.*8 characters for 9"),
        (TABLE + "c,GGGAAACCC,(((...)).\n", StructureError, 4, "record 'c'"),
        (TABLE + "c,GGGAAACCC\n", FormatError, 4, "a field is missing"),
    ],
)
def test_broken_tables(
    tmp_path: Path, text: str, error: type[InputError], line: int, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(error, match=message) as caught:
        read_labelled(path)
    assert caught.value.path == str(path)
    assert caught.value.line == line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: cannot be read"):
        read_labelled(tmp_path / "nothing.csv")
    packed = lzma.compress(("id,sequence,structure\n" + "x,GGGAAACCC,(((...)))\n" * 999).encode())
    path = tmp_path / "t.csv.xz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(FormatError, match=r"t\.csv\.xz: compressed data is truncated"):
        read_labelled(path)
