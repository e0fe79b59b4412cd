"""Files of rows that an RBM reads, and of sequences with values that it writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.data.aligned import FORMATS, format_of
from stemloop.data.labelled import Labelled
from stemloop.errors import InputError, UsageError
from stemloop.formats.alignment import Alignment, write_stockholm
from stemloop.formats.fasta import write_fasta
from stemloop.formats.tables import write_arrays, write_table
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.generate import loaded
from stemloop.training.rbm_recipe import DataRecipe
from stemloop.weights.rbm_store import StoredRBM

_ALIGNED = (".fa", ".fasta", ".afa")
_STOCKHOLM = (".sto", ".stk")


def read_rows(model: str | os.PathLike[str] | StoredRBM, path: str | os.PathLike[str]) -> Labelled:
    """Read rows the way the model's training data was read, and bring them to its sites.

    A file may have all the columns of the training alignment, or the model's sites only.

    Raises
    ------
    InputError
        Its columns are neither; or see `stemloop.data.aligned.read_alignment`.
    """
    stored = loaded(model)
    config = stored.machine.config
    reading: dict[str, Any] = dict(stored.facts.get("reading") or {})
    file = Path(path)
    if reading.get("kind") == "hdf5":
        if file.suffix in (".h5", ".hdf5"):
            recipe = DataRecipe.model_validate({**reading, "file": file.name, "split": None})
            return recipe.read(file.parent)
        reading = {}
    if config.kind == "binary":
        reading = reading or {"kind": "binary"}
    else:
        reading = reading or {"alphabet": "rna" if config.letters == "-ACGU" else "protein"}
        try:
            reading["format"] = format_of(file.name)
        except UsageError:
            if reading.get("format") not in FORMATS:
                raise
        if reading["format"] == "table" and reading.get("name") is None:
            reading["name"] = "id"
    recipe = DataRecipe.model_validate({**reading, "file": file.name, "split": None})
    if config.kind == "binary":
        return recipe.read(file.parent)
    matched = None
    if reading["format"] == "stockholm":
        matched = recipe.read(file.parent)  # its RF line may be the model's
    every = recipe.model_copy(update={"max_gaps": 1.0}).read(file.parent)
    if every.width == config.width and config.columns:
        sites = np.array(config.columns)
        return replace(every, states=every.states[:, sites], columns=config.columns)
    if every.width == config.visible:
        return every
    if matched is not None and matched.states.shape[1] == config.visible:
        return matched
    known = f"{config.visible} columns"
    if config.width != config.visible:
        known = f"{config.width} columns, or the model's {config.visible}"
    raise InputError(f"{every.width} columns", path=str(path), expected=known)


def write_results(
    path: str | os.PathLike[str],
    results: Sequence[Result],
    *,
    ungapped: bool = False,
    facts: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write sequences with their values; the suffix decides the format.

    Parameters
    ----------
    path : str or path
        ``.fa`` (values in the header), ``.sto`` (values as ``#=GS``), ``.npz`` (one array a value),
        or a table: ``.tsv``, ``.csv``, ``.parquet``; ``-`` writes FASTA to standard output.
    results : sequence of Result
        What to write.
    ungapped : bool
        Leave out gaps (FASTA and tables).
    facts : mapping, optional
        Lines about the whole, for Stockholm.
    columns : mapping, optional
        Lines by column, such as ``SS_cons``, for Stockholm.
    force : bool
        Replace an existing file.

    Raises
    ------
    UsageError
        Unknown suffix, or `ungapped` for an alignment.
    OutputError
        The file exists already or cannot be written.
    """
    text = os.fspath(path)
    suffixes = [s for s in Path(text).suffixes if s not in (".gz", ".zst", ".xz")]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix in _STOCKHOLM:
        if ungapped:
            raise UsageError("Stockholm is for alignments: gaps stay")
        notes = {r.record.id: {k: (_short(v),) for k, v in r.values.items()} for r in results}
        alignment = Alignment(
            tuple(r.record.id for r in results), tuple(r.record.sequence for r in results),
            {k: (v,) for k, v in (facts or {}).items()}, notes, columns or {},
        )  # fmt: skip
        write_stockholm(path, [alignment], force=force)
        return
    rows = [(r.record.id, _sequence(r, ungapped), r.values) for r in results]
    if text == "-" or suffix in _ALIGNED:
        records = (
            SequenceRecord(name, seq, " ".join(f"{k}={_short(v)}" for k, v in values.items()))
            for name, seq, values in rows
        )
        write_fasta(path, records, force=force)
    elif suffix == ".npz":
        arrays = {"id": np.array([r[0] for r in rows]), "sequence": np.array([r[1] for r in rows])}
        for key in rows[0][2] if rows else ():
            arrays[key] = np.array([values[key] for _, _, values in rows])
        write_arrays(path, arrays, force=force)
    else:
        write_table(
            path, [{"id": n, "sequence": s, **values} for n, s, values in rows], force=force
        )


def _sequence(result: Result, ungapped: bool) -> str:
    text = result.record.sequence
    return text.replace("-", "") if ungapped else text


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
