"""Covariance models of RNA families (Infernal): building, aligning, bit scores.

Bit scores are found in process by pyinfernal. It reads models and searches with them, no more
(0.1.1): building a model from a seed alignment and aligning to it is left to Infernal's programs
``cmbuild`` and ``cmalign``, which have to be on the path then.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stemloop.errors import ExtraError, FormatError, InputError, ResultError, UsageError
from stemloop.formats.alignment import (
    Alignment,
    format_alignment,
    read_alignments,
    read_stockholm,
)
from stemloop.formats.stream import Source, open_text, source_name
from stemloop.records import SequenceRecord


@dataclass(frozen=True, slots=True)
class CovarianceModel:
    """A covariance model, as the text of its file.

    Parameters
    ----------
    text : str
        Infernal's ASCII format.
    name : str
        Name of the family.
    accession : str
        Such as ``RF00162``; may be empty.
    length : int
        Match columns.
    gathering : float, optional
        Bit score from which a sequence belongs to the family (Rfam's GA).
    calibrated : bool
        Whether searches can be made with it (``cmcalibrate``).
    """

    text: str
    name: str
    accession: str
    length: int
    gathering: float | None
    calibrated: bool


def read_model(source: Source) -> CovarianceModel:
    """Read a model (ASCII, plain or compressed).

    Raises
    ------
    FormatError
        It is none.
    """
    path = source_name(source)
    with open_text(source) as handle:
        text = "".join(handle)
    if not text.startswith("INFERNAL1/a"):
        raise FormatError("no covariance model", path=path, expected="INFERNAL1/a in line 1")
    head: dict[str, str] = {}
    for line in text.split("\nCM\n", 1)[0].splitlines():
        key, _, value = line.partition(" ")
        head[key] = value.strip()
    try:
        gathering = float(head["GA"]) if "GA" in head else None
        return CovarianceModel(
            text, head["NAME"], head.get("ACC", ""), int(head["CLEN"]), gathering, "ECMLC" in head
        )
    except (KeyError, ValueError) as error:
        raise FormatError(f"damaged covariance model: {error}", path=path) from error


def find_family(source: Source, family: str) -> Alignment:
    """Alignment of a family out of a Stockholm file of many, by accession or name.

    Raises
    ------
    InputError
        The file has no such family.
    """
    for alignment in read_alignments(source):
        names = {*alignment.gf.get("AC", ()), *alignment.gf.get("ID", ())}
        if family in names or family in {name.split(".")[0] for name in names}:
            return alignment
    raise InputError(f"no family {family!r}", path=source_name(source), expected="#=GF AC or ID")


def build(seed: Alignment, *, calibrate: float = 0.0) -> CovarianceModel:
    """Build a model from a seed alignment with ``SS_cons`` (``cmbuild``, default settings).

    Parameters
    ----------
    seed : Alignment
        Its ``#=GF`` name, accession and GA go into the model.
    calibrate : float
        Megabases of random sequence to calibrate with (``cmcalibrate -L``; the program's default
        is 1.6). 0: do not; the model can align but not search. It takes minutes. Bit scores do not
        depend on it, E-values do.

    Raises
    ------
    UsageError
        Infernal is not installed.
    ResultError
        A program failed; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seed.sto").write_text(format_alignment(seed), encoding="utf-8")
        _run("cmbuild", ["-F", "family.cm", "seed.sto"], folder)
        if calibrate:
            _run("cmcalibrate", ["--cpu", "0", "-L", f"{calibrate:g}", "family.cm"], folder)
        return read_model(folder / "family.cm")


def align(model: CovarianceModel, records: Iterable[SequenceRecord]) -> Alignment:
    """Align sequences to a model (``cmalign``): match columns by ``RF``, insertions lower-case.

    Parameters
    ----------
    model : CovarianceModel
        The family.
    records : iterable of SequenceRecord
        Names may repeat: a repeated one gets ``/2``, ``/3``, ...

    Returns
    -------
    Alignment
        Rows in the order of the records, ``#=GS`` ``DE`` their descriptions, ``#=GC`` ``SS_cons``
        and ``RF``.

    Raises
    ------
    UsageError, ResultError
        As for `build`.
    """
    texts: list[str] = []
    seen: dict[str, int] = {}
    names: list[str] = []
    notes: dict[str, dict[str, tuple[str, ...]]] = {}
    for record in records:
        seen[record.id] = seen.get(record.id, 0) + 1
        name = record.id if seen[record.id] == 1 else f"{record.id}/{seen[record.id]}"
        names.append(name)
        # The program sees numbers: names are data and may hold anything.
        texts.append(f">{len(names)}\n{record.sequence}\n")
        if record.description:
            notes[name] = {"DE": (record.description,)}
    if not texts:
        raise InputError("no sequences to align")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "family.cm").write_text(model.text, encoding="utf-8")
        (Path(folder) / "rows.fa").write_text("".join(texts), encoding="ascii")
        options = ["--cpu", "0", "--noprob", "--outformat", "Pfam", "-o", "rows.sto"]
        _run("cmalign", [*options, "family.cm", "rows.fa"], Path(folder))
        made = read_stockholm(Path(folder) / "rows.sto")
    rows = dict(zip(made.ids, made.rows, strict=True))
    ordered = tuple(rows[str(number)] for number in range(1, len(names) + 1))
    gf = {"ID": (model.name,)} | ({"AC": (model.accession,)} if model.accession else {})
    gc = {tag: made.gc[tag] for tag in ("SS_cons", "RF")}
    return Alignment(tuple(names), ordered, gf, notes, gc)


def _run(program: str, arguments: Sequence[str], folder: Path) -> None:
    if shutil.which(program) is None:
        raise UsageError(
            f"this needs {program} of Infernal 1.1 (Debian: apt install infernal; bioconda: "
            "infernal)"
        )
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise ResultError(f"{program} failed: {said}")


def bit_scores(model: CovarianceModel, sequences: Sequence[str]) -> npt.NDArray[np.float64]:
    """Bit scores of sequences without gaps, as ``cmsearch`` gives them (its best hit, this strand).

    Parameters
    ----------
    model : CovarianceModel
        A calibrated one.
    sequences : sequence of str
        RNA.

    Returns
    -------
    numpy.ndarray of float64, shape (M,)
        0 where the search finds nothing.

    Raises
    ------
    ExtraError
        pyinfernal is not installed.
    InputError
        The model is not calibrated.
    """
    try:
        from pyhmmer import easel
        from pyinfernal import cm
    except ImportError as error:
        raise ExtraError("pyinfernal", "generate") from error
    if not model.calibrated:
        raise InputError(f"covariance model {model.name} is not calibrated", expected="cmcalibrate")
    alphabet = easel.Alphabet.rna()
    with cm.CMFile(io.BytesIO(model.text.encode()), alphabet=alphabet) as file:
        query = file.read()
    block = easel.DigitalSequenceBlock(alphabet)
    for number, text in enumerate(sequences):
        named = easel.TextSequence(name=str(number).encode(), sequence=text)
        block.append(named.digitize(alphabet))
    pipeline = cm.Pipeline(alphabet, max(1, sum(map(len, sequences))), T=0.0, incT=0.0)
    scores = np.zeros(len(sequences))
    for hit in pipeline.search_cm(query, block):
        number = int(hit.name)
        if hit.strand == "+":
            scores[number] = max(scores[number], hit.score)
    return scores
