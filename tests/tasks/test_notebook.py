"""What a notebook shows."""

from __future__ import annotations

from xml.etree import ElementTree

import stemloop
from stemloop.records import Result, SequenceRecord, Structure
from stemloop.tasks.notebook import LONGEST


def test_a_structure_draws_itself(trna_phe: tuple[str, str]) -> None:
    structure = Structure.from_dot_bracket(SequenceRecord("tRNA", trna_phe[0]), trna_phe[1])
    svg = structure._repr_svg_()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg.count("<circle") >= 76


def test_a_folded_rna_is_a_table_and_a_drawing() -> None:
    html = stemloop.fold("GGGGAAAACCCC", model="turner2004")[0]._repr_html_()
    ElementTree.fromstring(f"<div>{html}</div>")
    assert "<b>sequence1</b>, 12 nt" in html
    assert "<th>energy</th>" in html
    assert "<svg" in html
    assert "probability of the state drawn" in html
    assert "Arrays: confidence 12" in html


def test_no_text_of_a_file_becomes_markup() -> None:
    record = SequenceRecord("<script>", "ACGU", "a & b")
    html = Result(record, {"<b>": "<i>"})._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt; a &amp; b" in html
    assert "&lt;i&gt;" in html


def test_long_and_empty_ones_are_text() -> None:
    record = SequenceRecord("long", "A" * (LONGEST + 1))
    structure = Structure.from_dot_bracket(record, "." * (LONGEST + 1))
    assert structure._repr_svg_() is None
    assert "<pre>" in Result(record, structure=structure)._repr_html_()
    assert Structure.from_dot_bracket(SequenceRecord("none", ""), "")._repr_svg_() is None
