"""From jobs to the bytes of answers and files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from stemloop.draw import draw, draw_arcs
from stemloop.folding.conditions import CUT
from stemloop.formats.fasta import safe_filename
from stemloop.formats.structure import format_structure
from stemloop.records import SequenceRecord, Structure
from stemloop.web.compute import Outcome
from stemloop.web.jobs import Job

#: Files that are made of the answer when they are asked for.
_MADE = ("dbn", "ct", "bpseq", "svg", "arcs.svg")

_KINDS = {"svg": "image/svg+xml", "csv": "text/csv", "json": "application/json"}

#: Columns of the table of a job.
_COLUMNS = (
    "index", "id", "length", "sequence", "structure", "energy", "ensemble_energy",
    "ensemble_defect", "class", "class_probability", "type", "type_probability", "site",
    "ribosome_load", "binding_energy", "interaction_probability", "duplex_energy", "error",
)  # fmt: skip


def job_answer(job: Job, ahead: int, start: int = 0) -> bytes:
    """JSON of a job, see `stemloop.web.schema.JobAnswer`; results are JSON already.

    Parameters
    ----------
    job : Job
        The job.
    ahead : int
        Jobs before it.
    start : int
        Results to leave out.
    """
    # Taken once: the job goes on while this is written.
    state, outcomes, errors = job.state, job.outcomes[:], job.errors[:]
    head: dict[str, Any] = {
        "id": job.id,
        "state": state,
        "total": len(job.tasks),
        "done": len(outcomes) + len(errors),
        "ahead": ahead,
        "seconds": round(job.seconds, 3),
        "message": job.message,
        "next": len(outcomes),
        "errors": [
            {
                "index": job.tasks[number].record.index,
                "id": job.tasks[number].record.id,
                "error": text,
            }
            for number, text in errors
        ],
    }
    results = b",".join(outcome.payload for _, outcome in outcomes[start:])
    return json.dumps(head).encode()[:-1] + b', "results": [' + results + b"]}"


def file_of(job: Job, name: str) -> tuple[str, str, str] | None:
    """File name, media type and text of a download; none if there is none.

    Parameters
    ----------
    job : Job
        The job.
    name : str
        ``0.dbn``: of the RNA of index 0; ``all.dbn``: of all, in their order; ``table.csv``.
    """
    which, _, format = name.partition(".")
    kind = _KINDS.get(format.rpartition(".")[2], "text/plain")
    if name == "table.csv":
        return "table.csv", kind, _table(job)
    outcomes = job.outcomes[:]
    if which == "all":
        texts = [text for _, outcome in outcomes if (text := text_of(outcome, format)) is not None]
        if not texts:
            return None
        if format == "json":
            return "rnas.json", kind, f"[{','.join(texts)}]"
        if format.endswith("csv"):
            # One header line.
            texts = [texts[0], *(text.partition("\n")[2] for text in texts[1:])]
        return f"rnas.{format}", kind, "".join(texts)
    for number, outcome in outcomes:
        record = job.tasks[number].record
        if record.index == int(which):
            text = text_of(outcome, format)
            file = f"{safe_filename(record.id, record.index)}.{format}"
            return None if text is None else (file, kind, text)
    return None


def text_of(outcome: Outcome, format: str) -> str | None:
    """Text of a file of one RNA; none where there is no such file.

    Parameters
    ----------
    outcome : Outcome
        Of the RNA.
    format : str
        ``dbn``, ``ct``, ``bpseq``, ``svg``, ``arcs.svg``, which are made of the answer, or what
        came with it.
    """
    if format not in _MADE:
        return outcome.text(format)
    answer = json.loads(outcome.payload)
    if answer.get("structure") is None:
        return None
    cut = answer["cut"] or 0
    record = SequenceRecord(
        answer["id"], answer["sequence"], answer["description"], answer["index"]
    )
    structure = Structure.from_dot_bracket(record, answer["structure"], answer["energy"])
    if format == "svg":
        return draw(structure, answer["layout"], answer["confidence"], cut=cut)
    probable = answer["pair_probabilities"]
    if format == "arcs.svg":
        others = [(i - 1, j - 1) for i, j, _ in probable]
        p = dict(zip(others, (p for *_, p in probable), strict=True))
        own = [p.get((i, j), 0.0) for i, j in structure.pairs.tolist()]
        return draw_arcs(
            structure, own, others=others, other_probabilities=list(p.values()), cut=cut
        )
    text = format_structure(structure, format)
    if not cut:
        return text
    if format != "dbn":
        return None
    header, *lines = text.splitlines(keepends=True)
    return header + "".join(f"{line[:cut]}{CUT}{line[cut:]}" for line in lines)


def _table(job: Job) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    rows: dict[int, dict[str, Any]] = {}
    for number, outcome in job.outcomes[:]:
        row = json.loads(outcome.payload)
        found = row.get("class") or {}
        row |= {"class": found.get("label"), "class_probability": found.get("probability")}
        found = row.get("type") or {}
        row |= {"type": found.get("label"), "type_probability": found.get("probability")}
        row["site"] = (row.get("splice") or {}).get("site")
        bound = row.get("interaction") or {}
        row |= {
            "interaction_probability": bound.get("probability"),
            "duplex_energy": bound.get("energy"),
        }
        rows[number] = row
    for number, error in job.errors[:]:
        record = job.tasks[number].record
        rows[number] = {
            "index": record.index, "id": record.id, "length": record.length,
            "sequence": record.sequence, "error": error,
        }  # fmt: skip
    writer.writerows(rows[number] for number in sorted(rows))
    return out.getvalue()
