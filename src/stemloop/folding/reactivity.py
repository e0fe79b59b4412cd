"""Chemical probing (SHAPE, DMS): reactivities of nucleotides and how they enter the energies.

A file of reactivities is what RNAfold and RNAstructure read: a line a nucleotide with its position
(from 1), optionally its letter, and its reactivity. Positions that are not listed, negative values
(-999), ``NA`` and ``nan`` are not known. Lines ``>identifier`` make one file serve several RNAs.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError, UsageError
from stemloop.formats.stream import Source, open_text, source_name
from stemloop.records import SequenceRecord

FloatArray = npt.NDArray[np.float64]

_METHOD = re.compile(
    r"(?P<name>deigan|zarringhalam|D|Z)(?:m(?P<m>-?[\d.]+))?(?:b(?P<b>-?[\d.]+))?", re.IGNORECASE
)
_ROW = "position, optionally nucleotide, reactivity"
#: Nucleotides that a reagent modifies where it pairs (at N1 of A and N3 of C: dimethyl sulfate).
_REACTS = {"shape": "ACGU", "dms": "AC"}


@dataclass(frozen=True, slots=True)
class ProbingOptions:
    """How reactivities become energies.

    Parameters
    ----------
    method : {"deigan", "zarringhalam"}
        ``deigan``: slope * ln(reactivity + 1) + intercept for each base of a stacked pair (Deigan
        et al. 2009). ``zarringhalam``: beta times the distance between what a base does, 0 unpaired
        or 1 paired, and what its reactivity says (Zarringhalam et al. 2012), with ViennaRNA's
        conversion of reactivities to probabilities.
    slope, intercept : float
        Of ``deigan``, kcal/mol.
    beta : float
        Of ``zarringhalam``, kcal/mol.
    reagent : {"shape", "dms"}
        Dimethyl sulfate tells of A and C only: values at other letters are not used.
    """

    method: Literal["deigan", "zarringhalam"] = "deigan"
    slope: float = 1.8
    intercept: float = -0.6
    beta: float = 0.89
    reagent: Literal["shape", "dms"] = "shape"

    @classmethod
    def parse(
        cls, method: str = "deigan", reagent: Literal["shape", "dms"] = "shape"
    ) -> ProbingOptions:
        """Read a method as it is written on a command line; RNAfold's spelling is understood.

        Raises
        ------
        UsageError
            No such method, or a number where it has none.

        Examples
        --------
        >>> ProbingOptions.parse("Dm1.9b-0.7").slope, ProbingOptions.parse("zarringhalam").beta
        (1.9, 0.89)
        """
        found = _METHOD.fullmatch(method)
        try:
            if found is None:
                raise ValueError
            numbers = {key: float(found[key]) for key in "mb" if found[key] is not None}
        except ValueError:
            raise UsageError(
                f"unknown method {method!r} for reactivities; known: deigan, zarringhalam, or with "
                "numbers as in Dm1.8b-0.6 and Zb0.89"
            ) from None
        if found["name"].lower().startswith("d"):
            fields = {"m": "slope", "b": "intercept"}
            options = cls("deigan", reagent=reagent)
        else:
            fields = {"b": "beta"}
            options = cls("zarringhalam", reagent=reagent)
        if set(numbers) - set(fields):
            raise UsageError("zarringhalam knows no slope: Zb0.89 sets its beta")
        settings = {fields[key]: number for key, number in numbers.items()}
        return cls(
            options.method,
            **{"slope": 1.8, "intercept": -0.6, "beta": 0.89} | settings,
            reagent=reagent,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reactivity:
    """Reactivities of one RNA.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (L,)
        Normalised reactivities; nan where nothing is known.
    options : ProbingOptions
        How they become energies.
    """

    values: FloatArray
    options: ProbingOptions = ProbingOptions()

    def informative(self, sequence: str) -> FloatArray:
        """Values with nan where the reagent says nothing of the letter, shape (L,).

        Raises
        ------
        InputError
            There are fewer or more values than nucleotides.
        """
        values = np.array(self.values, np.float64)
        if values.shape != (len(sequence),):
            raise InputError(f"{values.size} reactivities for {len(sequence)} nucleotides")
        telling = _REACTS[self.options.reagent]
        values[[base not in telling for base in sequence.upper().replace("T", "U")]] = np.nan
        return np.where(values >= 0.0, values, np.nan)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    position: int
    letter: str
    value: float


class ReactivityTable:
    """The reactivities that belong to the RNAs of a file.

    Parameters
    ----------
    source : str, path or file object
        A file for one RNA, a file with a line ``>identifier`` before the values of each of several,
        or a folder with a file ``identifier.shape`` for each (characters other than letters,
        digits and ``. _ -`` are ``_`` there).
    options : ProbingOptions
        How they become energies.

    Raises
    ------
    InputError
        The file cannot be read or is broken; file and line are named.
    """

    def __init__(self, source: Source, options: ProbingOptions = ProbingOptions()) -> None:
        self.source = Path(source_name(source))
        self.options = options
        self._blocks: Mapping[str | None, list[_Row]] = {}
        if not self.source.is_dir():
            self._blocks = _read(source)
        self._nameless_for: SequenceRecord | None = None

    def __call__(self, record: SequenceRecord) -> Reactivity:
        """Reactivities of one RNA.

        Raises
        ------
        InputError
            There are none for it, or they do not fit its sequence.
        UsageError
            Reactivities without a name are asked for by a second RNA.
        """
        path = self.source
        if path.is_dir():
            path = path / (re.sub(r"[^A-Za-z0-9._-]+", "_", record.id) + ".shape")
            rows = _only_block(path, record)
        elif None in self._blocks:
            if self._nameless_for not in (None, record):
                raise UsageError(
                    f"{path} holds the reactivities of one RNA and there are several: put a line "
                    "'>identifier' before the values of each, or give a folder"
                )
            self._nameless_for = record
            rows = self._blocks[None]
        elif record.id in self._blocks:
            rows = self._blocks[record.id]
        else:
            raise InputError("no reactivities for this RNA", path=str(path), record=record.id)
        return Reactivity(_fit(rows, record, str(path)), self.options)


def _only_block(path: Path, record: SequenceRecord) -> list[_Row]:
    if not path.is_file():
        raise InputError("no file of reactivities", path=str(path), record=record.id)
    blocks = _read(path)
    if len(blocks) > 1:
        raise InputError("reactivities of several RNAs", path=str(path), record=record.id)
    return next(iter(blocks.values()))


def _read(source: Source) -> dict[str | None, list[_Row]]:
    """Rows of each RNA by identifier; None where there are no headers."""
    path = source_name(source)
    blocks: dict[str | None, list[_Row]] = defaultdict(list)
    name: str | None = None
    with open_text(source) as handle:
        for number, line in enumerate(handle, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            if line.startswith(">"):
                name = line[1:].split(None, 1)[0] if line[1:].strip() else ""
                if name in blocks or None in blocks:
                    what = "values before the first header" if None in blocks else "a second block"
                    raise InputError(what, path=path, line=number, record=name)
                blocks[name] = []
            else:
                blocks[name].append(_row(words, path, number))
    if not any(blocks.values()):
        raise InputError("no reactivities", path=path, expected=f"lines of {_ROW}")
    return blocks


def _row(words: list[str], path: str, line: int) -> _Row:
    text = " ".join(words)
    if len(words) not in (2, 3):
        raise InputError(f"{len(words)} columns in {text!r}", path=path, line=line, expected=_ROW)
    letter = words[1].upper().replace("T", "U") if len(words) == 3 else ""
    try:
        position = int(words[0])
        missing = words[-1].upper() in ("NA", "NAN", "-")
        value = math.nan if missing else float(words[-1])
    except ValueError:
        raise InputError(f"no numbers in {text!r}", path=path, line=line, expected=_ROW) from None
    if math.isinf(value):
        raise InputError(f"a reactivity of {words[-1]}", path=path, line=line)
    return _Row(line, position, letter, value)


def _fit(rows: list[_Row], record: SequenceRecord, path: str) -> FloatArray:
    values = np.full(record.length, np.nan)
    seen = np.zeros(record.length, np.bool_)
    for row in rows:
        if not 1 <= row.position <= record.length:
            problem = f"position {row.position} of {record.length} nucleotides"
        elif seen[row.position - 1]:
            problem = f"position {row.position} for the second time"
        elif row.letter and row.letter != record.sequence[row.position - 1]:
            here = record.sequence[row.position - 1]
            problem = f"{row.letter!r} at position {row.position}, where the sequence has {here!r}"
        else:
            seen[row.position - 1] = True
            values[row.position - 1] = row.value
            continue
        raise InputError(problem, path=path, line=row.line, record=record.id)
    return values
