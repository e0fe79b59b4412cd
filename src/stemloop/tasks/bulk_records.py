"""Bulk runs of tasks that say something of one RNA at a time: ``fold`` and ``annotate``."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop import __version__
from stemloop.errors import UsageError, WeightsError
from stemloop.folding.conditions import CUT
from stemloop.records import SequenceRecord
from stemloop.tasks.annotate import AnnotateOptions
from stemloop.tasks.annotate_table import start_rows
from stemloop.tasks.bulk import Compute, Job, Plan, cut_blocks
from stemloop.tasks.structure import Folder
from stemloop.tasks.structure_jobs import Job as FoldInput
from stemloop.tasks.structure_jobs import read_jobs
from stemloop.tasks.structure_output import render
from stemloop.tasks.structure_settings import PLAIN_MODELS, FoldSettings
from stemloop.weights.locate import bundled, find_model, sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

#: About what a block may cost: a few minutes of folding.
CAP = 100_000_000


@dataclass(frozen=True, slots=True)
class FoldJob:
    """Fold every RNA of a block; see `stemloop.tasks.bulk.Job`."""

    settings: FoldSettings
    layout: str
    command: str = "fold"
    threads: int = 1
    device: str = "cpu"

    def schema(self) -> pa.Schema:
        """A text an RNA."""
        return _schema()

    def start(self) -> Compute:
        """Load the model."""
        folder = Folder(self.settings)

        def one(record: SequenceRecord, constraint: str | None) -> str:
            return render(folder(record, constraint), self.layout)

        return lambda table: _each(table, one)


@dataclass(frozen=True, slots=True)
class AnnotateJob:
    """A row of the table of ``stemloop annotate`` for every RNA of a block."""

    options: AnnotateOptions
    threads: int = 1
    command: str = "annotate"
    device: str = "cpu"

    def schema(self) -> pa.Schema:
        """A row, as JSON, an RNA."""
        return _schema()

    def start(self) -> Compute:
        """Load the models."""
        row = start_rows(self.options)
        return lambda table: _each(table, lambda record, _: json.dumps(row(record)))


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("unit", pa.int64()), ("text", pa.large_string())])


def _each(table: pa.Table, one: Callable[[SequenceRecord, str | None], str]) -> pa.Table:
    import pyarrow as pa

    texts = [
        one(SequenceRecord(row["id"], row["sequence"], row["description"], row["unit"]),
            row["constraint"])
        for row in table.to_pylist()
    ]  # fmt: skip
    return pa.table([table["unit"], pa.array(texts, pa.large_string())], schema=_schema())


def plan_fold(
    source: str | Path,
    settings: FoldSettings,
    layout: str,
    *,
    constraints: bool = False,
    duplexes: bool = False,
) -> Plan:
    """Plan a bulk run of ``fold``; the input is read twice.

    Parameters
    ----------
    source : str or path
        What `stemloop.formats.fasta.read_sequences` reads; not standard input.
    settings : FoldSettings
        How to fold.
    layout : str
        ``dbn``, ``ct``, ``bpseq``, ``jsonl`` or ``parquet``.
    constraints, duplexes : bool
        As in `stemloop.tasks.structure_jobs.read_jobs`.

    Raises
    ------
    UsageError
        Standard input.
    InputError
        The input is broken somewhere.
    """

    def read() -> Iterator[FoldInput]:
        return read_jobs(source, constraints=constraints, duplexes=duplexes)

    facts = {
        "settings": json.loads(json.dumps(settings.facts())),
        "layout": layout,
        "viennarna": version("ViennaRNA"),
        "weights": {} if settings.model in PLAIN_MODELS else _weights(settings.model),
    }
    return _plan(FoldJob(settings, layout), source, read, facts)


def plan_annotate(source: str | Path, options: AnnotateOptions, threads: int) -> Plan:
    """Plan a bulk run of ``annotate``; see `plan_fold`."""

    def read() -> Iterator[FoldInput]:
        return read_jobs(source)

    models = [options.classes, options.language_model, options.splice, options.ribosome_load]
    facts = {
        "options": asdict(options),
        "threads": threads,
        "viennarna": version("ViennaRNA"),
        "weights": {name: _weights(name) for name in models if name is not None},
    }
    return _plan(AnnotateJob(options, threads), source, read, facts)


def _weights(model: str) -> dict[str, str]:
    """Checksums of the files of a model."""
    folder = Path(model)
    if not folder.is_dir():
        try:
            folder = bundled(model)
        except WeightsError:
            folder = find_model(model)
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")])
    return {path.name: sha256_file(path) for path in files}


def _plan(
    job: Job, source: str | Path, read: Callable[[], Iterable[FoldInput]], facts: dict[str, Any]
) -> Plan:
    if str(source) == "-":
        raise UsageError("standard input cannot be read by several processes: give a file")
    digest = hashlib.sha256()
    costs = array("q")  # an input may have many millions of records
    for record, constraint, *_ in read():
        values = [record.id, record.description, record.sequence, constraint]
        digest.update(json.dumps(values).encode())
        length = len(record.sequence.replace(CUT, ""))
        # Seconds grow faster than the length, by windows once it is long.
        costs.append(length * min(max(length, 100), 3000))
    facts = {
        "stemloop": __version__, "torch": version("torch"), "records": len(costs),
        "input_sha256": digest.hexdigest(), **facts,
    }  # fmt: skip
    cuts = cut_blocks(np.frombuffer(costs, np.int64), CAP)
    return Plan(job, facts, cuts, lambda wanted: _blocks(read(), cuts, wanted))


def _blocks(
    jobs: Iterable[FoldInput], cuts: list[int], wanted: Callable[[int], bool]
) -> Iterator[tuple[int, pa.Table]]:
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    block, take = 0, wanted(0)
    for unit, (record, constraint, *_) in enumerate(jobs):
        if take:
            rows.append(
                {
                    "unit": unit, "id": record.id, "description": record.description,
                    "sequence": record.sequence, "constraint": constraint,
                }
            )  # fmt: skip
        if unit + 1 == cuts[block + 1]:
            if take:
                yield block, pa.Table.from_pylist(rows, schema=input_schema())
                rows = []
            block += 1
            take = block + 1 < len(cuts) and wanted(block)


def input_schema() -> pa.Schema:
    """Columns of a block of the input."""
    import pyarrow as pa

    names = ("id", "description", "sequence", "constraint")
    return pa.schema([("unit", pa.int64()), *((name, pa.string()) for name in names)])
