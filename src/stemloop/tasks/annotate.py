"""Everything the models that ship say of RNAs, in one folder: table, structures, drawings, report.

======================  =========================================================================
in the folder           what
======================  =========================================================================
``table.tsv``           a row an RNA: see `COLUMNS`, and ``site`` or ``ribosome_load`` if asked for
``structures.dbn``      sequence, dot-bracket and energy
``structures/*.svg``    drawings, of RNAs up to `LONGEST_DRAWN` nucleotides
``mutations.tsv``       scores of all substitutions, if asked for
``mutations/*.svg``     heat maps of them
``report.html``         all of this on a page that needs nothing else
======================  =========================================================================

The folder appears when everything is in it; there is never a part of one under its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from stemloop.draw import draw
from stemloop.draw_heatmap import heatmap
from stemloop.errors import InputError, OutputExistsError, UsageError, WeightsError
from stemloop.folding.thermo.places import layout
from stemloop.formats.fasta import records_of, safe_filename
from stemloop.formats.folder import new_dir
from stemloop.formats.stream import Source
from stemloop.formats.structure import format_structure
from stemloop.formats.tables import write_table
from stemloop.records import SequenceRecord
from stemloop.tasks.annotate_report import Page, Section, write_report
from stemloop.tasks.labels import RANDOM, Labeller, splice_sites
from stemloop.tasks.mutations import LEGENDS, MutationScanner, substitutions
from stemloop.tasks.rna_types import guess_type
from stemloop.tasks.structure import Folder
from stemloop.weights.store import Model, load

TABLE, REPORT = "table.tsv", "report.html"

#: Columns that every table has.
COLUMNS = (
    "index", "id", "length", "gc", "structure", "energy", "ensemble_defect", "ncrna_class",
    "class_probability", "rna_type", "type_probability",
)  # fmt: skip

#: Longer RNAs are folded, but not drawn; heat maps and their scores stop at the second.
LONGEST_DRAWN, LONGEST_SCANNED = 1000, 2000

#: Leaders that a model for ribosome load was made for, nucleotides.
LEADERS = (25, 100)

Row = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class AnnotateOptions:
    """What to do beside structure, class and type.

    Parameters
    ----------
    mutations : bool
        Score every substitution of RNAs up to `LONGEST_SCANNED` nucleotides.
    splice : str, optional
        Model for splice sites, ``splice`` being the one that ships where it does; for RNAs that
        have the length of its windows.
    species : str, optional
        Of the splice sites.
    ribosome_load : str, optional
        Model for ribosome load, likewise; for RNAs of the lengths `LEADERS`.
    classes : str
        Model for classes.
    language_model : str
        For types and mutations.
    """

    mutations: bool = False
    splice: str | None = None
    species: str | None = None
    ribosome_load: str | None = None
    classes: str = "ncrna-class"
    language_model: str = "stemloop-pico"


@dataclass(slots=True)
class Tools:
    """Models, loaded before anything is written."""

    fold: Folder
    classes: Labeller
    language: Model
    scan: MutationScanner | None = None
    splice: Labeller | None = None
    load: Labeller | None = None
    notes: list[str] = field(default_factory=list)


def annotate(
    source: Source | Iterable[SequenceRecord],
    output: str | os.PathLike[str],
    options: AnnotateOptions = AnnotateOptions(),
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Annotate RNAs and write a folder.

    Parameters
    ----------
    source : path, file object, or iterable of SequenceRecord
        RNAs.
    output : str or path
        The folder.
    options : AnnotateOptions
        What to do.
    force : bool
        Replace a folder that this function has written; never another one.
    progress : callable, optional
        Called with (RNAs done, RNAs in all).

    Returns
    -------
    list of dict
        Rows of the table.

    Raises
    ------
    InputError
        No records, or one that cannot be folded.
    OutputExistsError, OutputError
        The folder is there already, or cannot be written.
    WeightsError, UsageError
        A model that is asked for is not there, or is for another task.
    """
    target = Path(output)
    refuse_existing(target, force)
    records = list(records_of(source))
    if not records:
        raise InputError("no sequences")
    tools = load_tools(options)
    began = time.monotonic()
    rows: list[Row] = []
    sections: list[Section] = []
    scores: list[Row] = []
    with new_dir(target) as folder:
        (folder / "structures").mkdir()
        if tools.scan is not None:
            (folder / "mutations").mkdir()
        with open(folder / "structures.dbn", "w", encoding="utf-8") as dbn:
            for number, record in enumerate(records, 1):
                try:
                    section, scanned = _draw(annotate_one(record, tools, options), tools, folder)
                except InputError as error:
                    error.record = error.record or record.id
                    raise
                assert section.folded.structure is not None
                dbn.write(format_structure(section.folded.structure, "dbn"))
                rows.append(dict(section.row))
                sections.append(section)
                scores += scanned
                if progress:
                    progress(number, len(records))
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_table(folder / TABLE, rows, columns=columns)
        if tools.scan is not None:
            names = ("id", "position", "reference", "substitution", "score")
            write_table(folder / "mutations.tsv", scores, columns=names)
        page = Page(
            [*_about(options), *tools.notes], round(time.monotonic() - began, 1),
            version("stemloop"),
        )  # fmt: skip
        write_report(folder / REPORT, page, sections, columns, rows)
    return rows


def refuse_existing(target: Path, force: bool) -> None:
    """Nothing in the way, or a folder of an earlier call that may be replaced.

    Raises
    ------
    OutputExistsError
        Something is there, and `force` is false or it is something else.
    """
    if not target.exists():
        return
    if not force:
        raise OutputExistsError(f"{target} exists already; --force replaces it")
    if not (target / TABLE).is_file() or not (target / REPORT).is_file():
        # A mistyped path must not cost somebody a folder of other things.
        raise OutputExistsError(f"{target} exists and is no folder of 'annotate': not replaced")


def load_tools(options: AnnotateOptions) -> Tools:
    """Load the models that the options ask for.

    Raises
    ------
    WeightsError, UsageError
        A model is not there, or is for another task.
    """
    language = load(options.language_model)
    if "[IND]" not in language.alphabet.ids:
        raise UsageError(f"{options.language_model} knows no RNA types")
    tools = Tools(Folder(), Labeller.load(options.classes), language)
    if tools.classes.meaning.task != "classify":
        raise UsageError(f"{options.classes} gives a number, no classes")
    if options.mutations:
        tools.scan = MutationScanner(language)
    if options.splice is not None:
        tools.splice = _asked(options.splice, "splice")
        splice_sites(tools.splice.meaning, options.species)
    if options.ribosome_load is not None:
        tools.load = _asked(options.ribosome_load, "ribosome-load")
        if tools.load.meaning.task != "regress":
            raise UsageError(f"{options.ribosome_load} gives classes, no ribosome load")
    return tools


def _asked(name: str, shipped: str) -> Labeller:
    try:
        return Labeller.load(name)
    except WeightsError as error:
        if name != shipped:
            raise
        raise WeightsError(
            f"no model called {shipped!r} is here: give the folder of a trained one"
        ) from error


def annotate_one(record: SequenceRecord, tools: Tools, options: AnnotateOptions) -> Section:
    """All that is said of one RNA, without drawings.

    Raises
    ------
    InputError
        It cannot be folded.
    """
    folded = tools.fold(record)
    structure = folded.structure
    assert structure is not None
    classes = next(iter(tools.classes.results([record]))).values
    rna_type, sure = guess_type(tools.language, record.sequence)
    known = max(sum(record.sequence.count(letter) for letter in "ACGU"), 1)
    row: Row = {
        "index": record.index + 1,
        "id": record.id,
        "length": record.length,
        "gc": round(sum(record.sequence.count(letter) for letter in "GC") / known, 4),
        "structure": structure.dot_bracket,
        "energy": round(float(folded.values["energy"]), 2),
        "ensemble_defect": round(float(folded.values["ensemble_defect"]), 4),
        "ncrna_class": classes["label"],
        "class_probability": round(float(classes["probability"]), 4),
        "rna_type": rna_type,
        "type_probability": round(sure, 4),
    }
    if tools.splice is not None:
        row |= {"site": "", "p_donor": "", "p_acceptor": ""}
        if record.length == tools.splice.model.head.config.length:
            say = splice_sites(tools.splice.meaning, options.species, RANDOM)
            found = say(tools.splice.outputs([record])[0])
            row |= {name: found[name] for name in ("site", "p_donor", "p_acceptor")}
    if tools.load is not None:
        row["ribosome_load"] = ""
        if LEADERS[0] <= record.length <= LEADERS[1]:
            row["ribosome_load"] = round(max(float(tools.load.outputs([record])[0, 0]), 0.0), 3)
    top = sorted(
        ((k.removeprefix("p_"), float(v)) for k, v in classes.items() if k.startswith("p_")),
        key=lambda item: -item[1],
    )[:3]
    return Section(folded, row, "", "", top)


def _draw(section: Section, tools: Tools, folder: Path) -> tuple[Section, list[Row]]:
    """The same with drawings, which are in the folder too, and scores of substitutions."""
    record, structure = section.folded.record, section.folded.structure
    assert structure is not None
    name = safe_filename(record.id, record.index)
    drawing = chart = ""
    if record.length <= LONGEST_DRAWN:
        confidence = section.folded.arrays["confidence"]
        drawing = draw(structure, layout(structure.dot_bracket), confidence)
        (folder / "structures" / f"{name}.svg").write_text(drawing, encoding="utf-8")
    scores: list[Row] = []
    if tools.scan is not None and record.length <= LONGEST_SCANNED:
        scanned = tools.scan(record)
        scores = list(substitutions(scanned))
        chart = heatmap(record, scanned.arrays["score"], legend=LEGENDS["masked"])
        (folder / "mutations" / f"{name}.svg").write_text(chart, encoding="utf-8")
    return replace(section, drawing=drawing, heatmap=chart), scores


def _about(options: AnnotateOptions) -> list[str]:
    """What the reader of the report must know."""
    lines = [
        "Structures: fold-crf, nested pairs only; colours are probabilities of the state drawn. "
        f"RNAs of more than {LONGEST_DRAWN} nt are not drawn; beyond 3000 nt they are folded in "
        "windows of 1000.",
        f"Class ({options.classes}): the most probable of its classes. A sequence of none of them "
        "gets one all the same, and the probabilities are not calibrated.",
        f"Type: what the language model {options.language_model} expects behind the sequence.",
    ]
    if options.mutations:
        lines.append(
            "Substitutions: below zero (blue), the language model finds them less likely than what "
            f"is there; for RNAs up to {LONGEST_SCANNED} nt. No measure of function."
        )
    if options.splice is not None:
        lines.append("Splice sites: only sequences of the model's window length are looked at.")
    if options.ribosome_load is not None:
        lines.append(f"Ribosome load: sequences of {LEADERS[0]} to {LEADERS[1]} nt, as leaders.")
    return lines
