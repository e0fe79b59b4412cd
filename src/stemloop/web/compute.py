"""What is computed of one RNA, and how it becomes JSON and files. Runs in the worker process."""

from __future__ import annotations

import csv
import io
import json
import math
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop.folding.conditions import CUT
from stemloop.folding.reactivity import Reactivity
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.structure_settings import FoldSettings

if TYPE_CHECKING:
    from stemloop.tasks.interaction import Interactor
    from stemloop.tasks.labels import Labeller
    from stemloop.tasks.mutations import MutationScanner
    from stemloop.tasks.structure import Folder

#: Pairs of less than this probability are left out, as ``stemloop fold --bpp`` does.
LEAST = 0.001

#: Models of sequences by what they tell.
LABELLERS = {"class": "ncrna-class", "splice": "splice", "ribosome_load": "ribosome-load"}

#: Network for two strands whose first is short: a microRNA.
NETWORK = "mirna-target"

#: Nucleotides of the leaders that the model for ribosome load was made for.
LEADERS = (25, 100)

#: Folding models with their settings that are kept in memory.
_FOLDERS = 4


@dataclass(frozen=True, slots=True)
class Task:
    """One RNA and what is to be computed.

    Parameters
    ----------
    record : SequenceRecord
        The RNA, or two strands with ``&`` between them.
    settings : FoldSettings, optional
        How to fold it; not at all without.
    wanted : frozenset of str
        What else: ``class``, ``type``, ``mutations``, ``splice``, ``ribosome_load``,
        ``interaction``.
    constraint : str, optional
        Of the fold.
    reactivity : Reactivity, optional
        Chemical probing, for the fold.
    interaction : str
        Model for two strands.
    command : str
        Command line that computes the same; goes into the answer.
    """

    record: SequenceRecord
    settings: FoldSettings | None
    wanted: frozenset[str] = frozenset()
    constraint: str | None = None
    reactivity: Reactivity | None = None
    interaction: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer for one RNA.

    Parameters
    ----------
    payload : bytes
        JSON object, see `stemloop.web.schema.Answer`.
    files : dict of str to bytes
        Compressed texts by format.
    """

    payload: bytes
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return len(self.payload) + sum(map(len, self.files.values())) + 500

    def text(self, format: str) -> str | None:
        """A file's text; none where there is no such file."""
        if format == "json":
            return self.payload.decode()
        packed = self.files.get(format)
        return None if packed is None else zlib.decompress(packed).decode()


class Computer:
    """Folds and classifies; models are loaded when they are first needed and kept.

    Examples
    --------
    >>> task = Task(SequenceRecord("x", "GGGGAAAACCCC"), FoldSettings(model="turner2004"))
    >>> answer = Computer()(task)
    >>> json.loads(answer.payload)["structure"], sorted(answer.files)
    ('((((....))))', ['csv'])
    """

    def __init__(self) -> None:
        self._folders: OrderedDict[FoldSettings, Folder] = OrderedDict()
        self._labellers: dict[str, Labeller] = {}
        self._scanner: MutationScanner | None = None
        self._interactors: dict[str, Interactor] = {}

    def warm_up(self) -> Iterator[str]:
        """Load what most requests need, a step at a time; yields what was loaded."""
        hairpin = SequenceRecord("x", "GGGGAAAACCCC")
        self(Task(hairpin, FoldSettings()))
        yield "structure"
        self(Task(hairpin, None, frozenset({"class"})))
        yield "class"

    def __call__(self, task: Task) -> Outcome:
        """Compute.

        Raises
        ------
        StemloopError
            The RNA or the settings cannot be used.
        """
        record = task.record
        first, _, second = record.sequence.partition(CUT)
        answer: dict[str, Any] = {
            "index": record.index,
            "id": record.id,
            "description": record.description,
            "length": len(first + second),
            "sequence": first + second,
            "cut": len(first) if second else None,
            "constraint": task.constraint,
            "command": task.command,
        }
        files: dict[str, str] = {}
        if task.settings is not None:
            settings = replace(task.settings, probabilities=True)
            result = self._folder(settings)(record, task.constraint, task.reactivity)
            answer |= _structure(result)
            files["csv"] = _table(result)
            if task.reactivity is not None:
                known = task.reactivity.informative(record.sequence).tolist()
                answer["reactivities"] = [None if math.isnan(v) else round(v, 4) for v in known]
        for what, compute in (
            ("class", self._class), ("type", self._type), ("splice", self._splice),
            ("ribosome_load", self._load),
        ):  # fmt: skip
            if what in task.wanted:
                answer[what] = None if second else compute(record)
        if "interaction" in task.wanted:
            answer["interaction"] = self._interaction(record, task.interaction) if second else None
        if "mutations" in task.wanted:
            answer["mutations"] = None
            if not second:
                answer["mutations"], files["mutations.csv"] = self._mutations(record)
        packed = {name: zlib.compress(text.encode(), 1) for name, text in files.items()}
        return Outcome(json.dumps(answer, separators=(",", ":")).encode(), packed)

    def _folder(self, settings: FoldSettings) -> Folder:
        from stemloop.tasks.structure import Folder

        if settings not in self._folders:
            self._folders[settings] = Folder(settings)
            while len(self._folders) > _FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(settings)
        return self._folders[settings]

    def _labeller(self, what: str) -> Labeller:
        from stemloop.tasks.labels import Labeller

        if what not in self._labellers:
            self._labellers[what] = Labeller.load(LABELLERS[what])
        return self._labellers[what]

    def _class(self, record: SequenceRecord) -> dict[str, Any]:
        values = next(iter(self._labeller("class").results([record]))).values
        return {
            "label": values["label"],
            "probability": values["probability"],
            "probabilities": {
                name.removeprefix("p_"): p for name, p in values.items() if name[:2] == "p_"
            },
        }

    @property
    def _language(self) -> MutationScanner:
        """The language model that ships."""
        from stemloop.tasks.mutations import MutationScanner

        if self._scanner is None:
            self._scanner = MutationScanner.load()
        return self._scanner

    def _type(self, record: SequenceRecord) -> dict[str, Any]:
        from stemloop.tasks.rna_types import type_probabilities

        p = type_probabilities(self._language.model, record.sequence)
        best = max(p, key=p.__getitem__)
        return {
            "label": best,
            "probability": round(p[best], 5),
            "probabilities": {name: round(value, 5) for name, value in p.items()},
        }

    def _splice(self, record: SequenceRecord) -> dict[str, Any] | None:
        """Site in the middle; only windows of the model's length have one."""
        from stemloop.tasks.labels import splice_sites

        labeller = self._labeller("splice")
        if record.length != labeller.model.head.config.length:
            return None
        say = splice_sites(labeller.meaning)
        return dict(next(iter(labeller.results([record], say))).values)

    def _load(self, record: SequenceRecord) -> float | None:
        if not LEADERS[0] <= record.length <= LEADERS[1]:
            return None
        # A load below zero has no meaning.
        return round(max(float(self._labeller("ribosome_load").outputs([record])[0, 0]), 0.0), 4)

    def _interaction(self, record: SequenceRecord, model: str) -> dict[str, Any]:
        from stemloop.data.interactions import split_joined
        from stemloop.tasks.interaction import Interactor

        if model not in self._interactors:
            self._interactors[model] = Interactor.load(model)
        row = self._interactors[model](split_joined(record.sequence, record.id))
        return {"model": model} | {k: v for k, v in row.items() if k not in ("first", "second")}

    def _mutations(self, record: SequenceRecord) -> tuple[list[list[float] | None], str]:
        from stemloop.tasks.mutations import substitutions

        result = self._language(record)
        out = io.StringIO()
        names = ("id", "position", "reference", "substitution", "score")
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(substitutions(result))
        scores = np.asarray(result.arrays["score"], np.float64).round(4)
        # JSON knows no nan.
        rows = [None if np.isnan(row).any() else row.tolist() for row in scores]
        return rows, out.getvalue()


def _structure(result: Result) -> dict[str, Any]:
    structure, values = result.structure, result.values
    assert structure is not None
    return {
        "structure": structure.dot_bracket,
        "pairs": (structure.pairs + 1).tolist(),
        "energy": _number(values["energy"]),
        "ensemble_energy": _number(values["ensemble_energy"]),
        "ensemble_defect": round(float(values["ensemble_defect"]), 4),
        "confidence": [round(float(p), 4) for p in result.arrays["confidence"]],
        "pair_probabilities": [[i, j, round(p, 4)] for i, j, p in _probable(result)],
        "window": values.get("window"),
        "longest_span": values.get("longest_span"),
        "binding_energy": _number(values["binding_energy"]) if "binding_energy" in values else None,
        "layout": _layout(result),
    }


def _number(value: Any) -> float | None:
    """Two decimals; JSON knows no infinity."""
    return round(float(value), 2) if math.isfinite(value) else None


def _layout(result: Result) -> list[list[float]]:
    """Places of the nucleotides in a drawing, neighbours about 1 apart."""
    from stemloop.folding.thermo.places import layout

    structure = result.structure
    assert structure is not None
    brackets, cut = structure.dot_bracket, int(result.values.get("cut", 0))
    xy = layout(brackets, cut)
    steps = np.linalg.norm(np.diff(xy, axis=0), axis=1) if len(xy) > 1 else np.ones(1)
    return np.round(xy / (np.median(steps) or 1.0), 3).tolist()


def _table(result: Result) -> str:
    """Pair probabilities, as ``stemloop fold --bpp`` writes them."""
    record = result.record
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("index", "id", "i", "j", "probability"))
    for i, j, p in _probable(result):
        writer.writerow((record.index, record.id, i, j, round(p, 6)))
    return out.getvalue()


def _probable(result: Result) -> Iterator[tuple[int, int, float]]:
    """Pairs of probability `LEAST` or more, positions from 1."""
    matrix = np.asarray(result.arrays["pair_probability"], np.float64)
    rows, cols = np.nonzero(matrix >= LEAST)
    # Rounding of sums can lead above 1.
    p = matrix[rows, cols].clip(max=1.0)
    return zip((rows + 1).tolist(), (cols + 1).tolist(), p.tolist(), strict=True)
