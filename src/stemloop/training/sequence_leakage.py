"""How much the parts of a data set have in common, counted and written down before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stemloop.data.clusters import mmseqs_version
from stemloop.errors import UsageError
from stemloop.formats.stream import atomic_output
from stemloop.formats.tables import write_table
from stemloop.training.sequence_data import Labelled, SequenceData, cluster


def resemblance(
    data: SequenceData, identity: float | None, coverage: float
) -> tuple[dict[str, list[str]], str]:
    """What of the training records the validation and test records resemble.

    Parameters
    ----------
    data : SequenceData
        Parts.
    identity : float, optional
        Records that MMseqs2 clusters with a training record at this identity are ``similar``; None,
        or no MMseqs2 on this machine, leaves that out.
    coverage : float
        Of both sequences.

    Returns
    -------
    marks : dict of str to list of str
        For ``validation`` and ``test``, of each record: ``copy`` (the same sequence is in
        training), ``similar``, or empty.
    method : str
        How similarity was found.
    """
    known = {_core(x) for x in data.train}
    similar: set[str] = set()
    method = "not counted"
    if identity is not None:
        try:
            method = f"MMseqs2 {mmseqs_version()}, {identity:g} identity, {coverage:g} coverage"
            every = [_core(x) for items in data.parts.values() for x in items]
            groups = cluster(every, identity, coverage)
            trained = set(groups[: len(data.train)])
            similar = {s for s, group in zip(every, groups, strict=True) if group in trained}
        except UsageError:
            method = "not counted: MMseqs2 is not installed"

    def mark(sequence: str) -> str:
        return "copy" if sequence in known else "similar" if sequence in similar else ""

    parts = {"validation": data.validation, "test": data.test}
    return {name: [mark(_core(x)) for x in items] for name, items in parts.items()}, method


def _core(item: Labelled) -> str:
    """Sequence of a record, without the noise that was added."""
    return item.core or item.sequence


def leakage_report(data: SequenceData, marks: dict[str, list[str]], method: str) -> dict[str, Any]:
    """Counts of `resemblance`: ``records``, ``copies``, and ``similar``, copies among them."""
    report: dict[str, Any] = {"train": {"records": len(data.train)}}
    for name, found in marks.items():
        report[name] = {"records": len(found), "copies": found.count("copy")}
        if not method.startswith("not"):
            report[name]["similar"] = len(found) - found.count("")
    return report | {"clusters": method}


def write_split(folder: Path, data: SequenceData, identity: float | None, coverage: float) -> None:
    """Write ``split.tsv``, a line a record, and ``leakage.json``, the counts; once for a run."""
    report = folder / "leakage.json"
    if report.exists():
        return
    marks, method = resemblance(data, identity, coverage)
    rows = [
        {"id": x.id, "part": name, "label": x.label, "place": x.where, "in_training": mark}
        for name, items in data.parts.items()
        for x, mark in zip(items, marks.get(name, [""] * len(items)), strict=True)
    ]
    write_table(folder / "split.tsv", rows, force=True)
    with atomic_output(report, force=True) as out:
        out.write(json.dumps(leakage_report(data, marks, method), indent=2) + "\n")
