"""Records are frozen, validated and comparable."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from stemloop.errors import StructureError
from stemloop.records import Result, SequenceRecord, Structure


def test_records_are_frozen() -> None:
    record = SequenceRecord("x", "GGAAACC")
    with pytest.raises(FrozenInstanceError):
        record.id = "y"  # type: ignore[misc]
    result = Result(record, {"score": 1.0})
    with pytest.raises(TypeError):
        result.values["score"] = 2.0  # type: ignore[index]


def test_quality_has_the_length_of_the_sequence() -> None:
    assert SequenceRecord("x", "ACG", quality="III").quality == "III"
    with pytest.raises(StructureError, match="record 'x': 2 quality values for 3 nucleotides"):
        SequenceRecord("x", "ACG", quality="II")


def test_structure_sorts_and_validates_its_pairs() -> None:
    record = SequenceRecord("x", "GGAAACC")
    structure = Structure(record, np.array([[5, 1], [0, 6]]))
    assert structure.pairs.tolist() == [[0, 6], [1, 5]]
    assert structure.dot_bracket == "((...))"
    with pytest.raises(StructureError, match="record 'x': pair 1-8 is outside"):
        Structure(record, np.array([[0, 7]]))


def test_structure_equality() -> None:
    record = SequenceRecord("x", "GGAAACC")
    one = Structure.from_dot_bracket(record, "((...))", -1.0)
    assert one == Structure.from_dot_bracket(record, "((...))", -1.0)
    assert one != Structure.from_dot_bracket(record, "(.....)", -1.0)
    assert one != Structure.from_dot_bracket(record, "((...))")
    assert one != "((...))"


def test_structure_of_another_length() -> None:
    with pytest.raises(StructureError, match="structure of 3 characters for 2 nucleotides"):
        Structure.from_dot_bracket(SequenceRecord("x", "GC"), "...")
