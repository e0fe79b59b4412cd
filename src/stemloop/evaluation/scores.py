"""The table of scored RNAs: made from structures, read from and written to CSV or TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from stemloop.errors import FormatError, InputError, StructureError
from stemloop.evaluation.metrics import METRICS, FloatArray, structure_scores
from stemloop.formats.stream import open_text
from stemloop.formats.tables import write_table
from stemloop.pairs import is_nested
from stemloop.records import Structure

#: Columns of published score files and the score they hold.
_COLUMNS = {name: name for name in METRICS} | {"f1_shift": "relaxed_f1"}
#: Strata by length and their longest RNAs; longer ones are ``long``.
STRATA = (("short", 100), ("medium", 300))


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Scores of one RNA.

    Parameters
    ----------
    id : str
        Identifier.
    family : str
        Family whose mean the RNA enters.
    length : int
        Nucleotides.
    scores : mapping of str to float
        Score by name, see :data:`stemloop.evaluation.metrics.METRICS`.
    pseudoknot : bool, optional
        The known structure has pairs that cross; None where that is not known.
    """

    id: str
    family: str
    length: int
    scores: Mapping[str, float]
    pseudoknot: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", MappingProxyType(dict(self.scores)))


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores of many RNAs, all with the same score names.

    Parameters
    ----------
    rows : sequence of ScoreRow
        The RNAs. They are kept sorted by family and identifier, so that resampling does not
        depend on the order in which they came.

    Raises
    ------
    InputError
        There are no rows, or rows differ in their score names.

    Examples
    --------
    >>> table = ScoreTable([ScoreRow("b", "tRNA", 76, {"f1": 1.0}),
    ...                     ScoreRow("a", "5S", 120, {"f1": 0.5})])
    >>> table.families, table.metrics, table.values("f1").tolist()
    (('5S', 'tRNA'), ('f1',), [0.5, 1.0])
    """

    rows: Sequence[ScoreRow]

    def __post_init__(self) -> None:
        rows = tuple(sorted(self.rows, key=lambda row: (row.family, row.id, row.length)))
        if not rows:
            raise InputError("no RNA to score")
        for row in rows:
            if row.scores.keys() != rows[0].scores.keys():
                raise InputError(
                    f"scores {', '.join(row.scores)}",
                    record=row.id,
                    expected=", ".join(rows[0].scores),
                )
        object.__setattr__(self, "rows", rows)

    @property
    def families(self) -> tuple[str, ...]:
        """Family of each row."""
        return tuple(row.family for row in self.rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(self.rows[0].scores)

    def values(self, *metrics: str) -> FloatArray:
        """Scores as an array, shape (rows,) for one name and (rows, names) for several."""
        array = np.array([[row.scores[name] for name in metrics] for row in self.rows], np.float64)
        return array[:, 0] if len(metrics) == 1 else array


def evaluate_structures(
    triples: Iterable[tuple[Structure, Structure, str]],
) -> ScoreTable:
    """Score predicted structures.

    Parameters
    ----------
    triples : iterable of (Structure, Structure, str)
        Prediction, reference and family of each RNA.

    Raises
    ------
    StructureError
        Prediction and reference are not on the same sequence.
    InputError
        There is nothing to score.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> record = SequenceRecord("x", "GGGAAACCC")
    >>> found = Structure.from_dot_bracket(record, "((.....))")
    >>> known = Structure.from_dot_bracket(record, "(((...)))")
    >>> table = evaluate_structures([(found, known, "hairpin")])
    >>> round(table.rows[0].scores["f1"], 3)
    0.8
    """
    rows = []
    for predicted, reference, family in triples:
        record = reference.record
        if _plain(predicted.record.sequence) != _plain(record.sequence):
            raise StructureError(
                f"the predicted structure {predicted.record.id!r} is on another sequence",
                record=record.id,
            )
        scores = structure_scores(predicted.pairs, reference.pairs, record.length)
        knotted = not is_nested(reference.pairs)
        rows.append(ScoreRow(record.id, family, record.length, scores, knotted))
    return ScoreTable(rows)


def strata(table: ScoreTable) -> dict[str, ScoreTable]:
    """The same scores with strata in the place of families.

    Returns
    -------
    dict of str to ScoreTable
        ``length``: ``short`` (up to 100 nucleotides), ``medium`` (up to 300) and ``long``.
        ``pseudoknots``: ``with`` and ``without`` pairs that cross in the known structure; only
        where that is known of all RNAs and there are both. Only kinds that tell RNAs apart.

    Examples
    --------
    >>> table = ScoreTable([ScoreRow("a", "tRNA", 76, {"f1": 1.0}),
    ...                     ScoreRow("b", "tRNA", 101, {"f1": 0.5})])
    >>> {kind: part.families for kind, part in strata(table).items()}
    {'length': ('medium', 'short')}
    """
    kinds = {"length": [_length_stratum(row.length) for row in table.rows]}
    if None not in {row.pseudoknot for row in table.rows}:
        kinds["pseudoknots"] = ["with" if row.pseudoknot else "without" for row in table.rows]
    return {
        kind: ScoreTable(
            [replace(row, family=name) for row, name in zip(table.rows, names, strict=True)]
        )
        for kind, names in kinds.items()
        if len(set(names)) > 1
    }


def _length_stratum(length: int) -> str:
    return next((name for name, longest in STRATA if length <= longest), "long")


def _plain(sequence: str) -> str:
    return sequence.upper().replace("T", "U")


def read_scores(path: str | Path, *, model: str | None = None) -> ScoreTable:
    """Read the scores of single RNAs from CSV or TSV.

    Reads what :func:`write_scores` writes, and published files with columns ``id``, ``family``,
    ``length`` or ``len``, any of the scores (``f1_shift`` is ``relaxed_f1``), and ``model`` where
    one file holds several predictors.

    Parameters
    ----------
    path : str or Path
        File, plain or compressed.
    model : str, optional
        Keep only the rows of this predictor.

    Raises
    ------
    FormatError
        A column is missing or a number is none.
    InputError
        No row is left, or the file holds several predictors and none was named.
    """
    with open_text(path) as lines:
        iterator = iter(lines)
        header = next(iterator, "").rstrip("\r\n")
        delimiter = "\t" if "\t" in header else ","
        columns = header.split(delimiter)
        length = "length" if "length" in columns else "len"
        missing = {"id", "family", length}.difference(columns)
        kept = [column for column in _COLUMNS if column in columns]
        if missing or not kept:
            what = ", ".join(sorted(missing)) or "with a score"
            raise FormatError(f"no column {what}", path=str(path), line=1)
        rows: list[ScoreRow] = []
        models: set[str] = set()
        for number, row in enumerate(csv.DictReader(iterator, columns, delimiter=delimiter), 2):
            models.add(row.get("model") or "")
            if model is not None and row.get("model") != model:
                continue
            try:
                scores = {_COLUMNS[column]: float(row[column]) for column in kept}
                rows.append(ScoreRow(row["id"], row["family"], int(row[length]), scores))
            except (TypeError, ValueError) as error:
                raise FormatError(
                    "a field is missing or no number", path=str(path), line=number
                ) from error
    known = ", ".join(sorted(models))
    if model is None and len(models) > 1:
        raise InputError("several models in one file", path=str(path), expected=f"one of {known}")
    if not rows:
        what = f"no rows of model {model!r}" if model else "no rows"
        raise InputError(what, path=str(path), expected=known or None)
    return ScoreTable(rows)


def write_scores(path: str | Path, table: ScoreTable, *, force: bool = False) -> None:
    """Write one row an RNA: id, family, length and the scores (.tsv, .csv or .parquet).

    Parameters
    ----------
    path : str or Path
        File; its suffix names the format.
    table : ScoreTable
        Scores of the RNAs.
    force : bool
        Replace an existing file.

    Raises
    ------
    OutputExistsError
        The file is there and ``force`` is not given.
    OutputError
        It cannot be written.
    """
    rows = [
        {"id": row.id, "family": row.family, "length": row.length, **row.scores}
        for row in table.rows
    ]
    write_table(path, rows, force=force)
