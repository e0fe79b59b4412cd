"""What travels between the rooms: a sequence, a structure on it, and a task's result.

All three are frozen and validated. Coordinates are 0-based and half-open in memory; the files
that stemloop writes count from 1 wherever their format says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType, ModuleType

import numpy as np
import numpy.typing as npt

from stemloop.errors import StructureError
from stemloop.pairs import check_pairs, dot_bracket_to_pairs, pairs_to_dot_bracket

PairArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SequenceRecord:
    """One sequence of a file.

    Parameters
    ----------
    id : str
        First word of the header, as it stands in the file.
    sequence : str
        Nucleotides. The readers hand over canonical text (upper case, U for T) unless told not to.
    description : str
        Header after the identifier.
    index : int
        Place in the input, from 0: it keeps records with the same identifier apart.
    quality : str, optional
        FASTQ quality string of the same length.

    Examples
    --------
    >>> SequenceRecord("trna", "GCGGAUUU").length
    8
    """

    id: str
    sequence: str
    description: str = ""
    index: int = 0
    quality: str | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and len(self.quality) != len(self.sequence):
            raise StructureError(
                f"{len(self.quality)} quality values for {len(self.sequence)} nucleotides",
                record=self.id,
            )

    @property
    def length(self) -> int:
        """Nucleotides."""
        return len(self.sequence)


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Base pairs on one sequence.

    Parameters
    ----------
    record : SequenceRecord
        The sequence.
    pairs : numpy.ndarray of int32, shape (n, 2)
        0-based positions with i < j, sorted by i. Crossing pairs (pseudoknots) are allowed,
        a position in two pairs is not.
    energy : float, optional
        kcal/mol.

    Raises
    ------
    StructureError
        A pair lies outside the sequence, joins a position to itself or uses one twice.

    Examples
    --------
    >>> s = Structure.from_dot_bracket(SequenceRecord("x", "GGGAAACCC"), "(((...)))")
    >>> s.pairs.tolist()
    [[0, 8], [1, 7], [2, 6]]
    >>> s.dot_bracket
    '(((...)))'
    """

    record: SequenceRecord
    pairs: PairArray
    energy: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "pairs", check_pairs(self.pairs, self.record.length, record=self.record.id)
        )

    @classmethod
    def from_dot_bracket(
        cls, record: SequenceRecord, text: str, energy: float | None = None
    ) -> Structure:
        """Read dot-bracket text (pseudoknot brackets and letters allowed)."""
        if len(text) != record.length:
            raise StructureError(
                f"structure of {len(text)} characters for {record.length} nucleotides",
                record=record.id,
            )
        return cls(record, dot_bracket_to_pairs(text, record=record.id), energy)

    @property
    def dot_bracket(self) -> str:
        """Dot-bracket text; crossing pairs take the brackets ``[] {} <>`` and letters."""
        return pairs_to_dot_bracket(self.pairs, self.record.length)

    def _repr_svg_(self) -> str | None:
        """Drawing, for notebooks."""
        picture: str | None = _notebook().structure_svg(self)
        return picture

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return (
            self.record == other.record
            and self.energy == other.energy
            and np.array_equal(self.pairs, other.pairs)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a task says of one sequence: scalars, arrays and, where there is one, a structure.

    Parameters
    ----------
    record : SequenceRecord
        The sequence.
    values : mapping of str to str, int or float
        Scalars; a column each in a table.
    arrays : mapping of str to numpy.ndarray
        Arrays, such as ``mean`` with shape (d,) or ``pair_probability`` with shape (L, L).
    structure : Structure, optional
        A predicted structure.

    Examples
    --------
    >>> Result(SequenceRecord("x", "ACGU"), {"score": 0.5}).values["score"]
    0.5
    """

    record: SequenceRecord
    values: Mapping[str, str | int | float] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    structure: Structure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))

    def _repr_html_(self) -> str:
        """Scalars and drawing, for notebooks."""
        text: str = _notebook().result_html(self)
        return text

    def __reduce__(self) -> tuple[type[Result], tuple[object, ...]]:
        # A read-only view cannot be pickled (results come back from worker processes).
        return Result, (self.record, dict(self.values), dict(self.arrays), self.structure)


def _notebook() -> ModuleType:
    # By its name: drawing is a room above this one, and nobody but a notebook asks for it.
    return import_module("stemloop.tasks.notebook")
