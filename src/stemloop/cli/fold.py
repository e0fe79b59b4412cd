"""``stemloop fold``: structures of RNAs."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from stemloop.errors import UsageError

if TYPE_CHECKING:
    from stemloop.records import Result, Structure


class Layout(StrEnum):
    """Output formats."""

    dbn = "dbn"
    ct = "ct"
    bpseq = "bpseq"
    jsonl = "jsonl"


#: Columns of the table of pair probabilities.
_COLUMNS = ("index", "id", "i", "j", "probability")


class DecoderName(StrEnum):
    """Decoders."""

    mea = "mea"
    centroid = "centroid"
    mfe = "mfe"
    greedy = "greedy"
    matching = "matching"
    hybrid = "hybrid"


class Reagent(StrEnum):
    """Probing reagents."""

    shape = "shape"
    dms = "dms"


def sets_to_average(names: list[str] | None) -> tuple[str, ...] | None:
    """What ``--average`` says: nothing (the model's own choice), ``none``, or parameter sets."""
    if not names:
        return None
    return () if names == ["none"] else tuple(names)


def fold(
    source: Annotated[
        str,
        typer.Argument(metavar="[FASTA]", help="FASTA or FASTQ, plain or compressed; - = stdin."),
    ] = "-",
    sequence: Annotated[
        str | None, typer.Option("--sequence", "-s", help="Fold this sequence instead of a file.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("-"),
    layout: Annotated[Layout, typer.Option("--format", "-f", help="Output format.")] = Layout.dbn,
    model: Annotated[
        str,
        typer.Option(
            help="fold-crf, a model folder, or plain turner2004 (as RNAfold), turner1999, "
            "turner1999-measured, andronescu2007, langdon2018."
        ),
    ] = "fold-crf",
    decoder: Annotated[
        DecoderName | None,
        typer.Option(
            "--decoder",
            "-d",
            help="From probabilities to one structure: mea unless given (greedy for a model with "
            "a pair head). greedy, matching and hybrid find pseudoknots.",
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(help="Weight of pairs: 1.5 for centroid and 1 for the others unless given."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Least probability; greedy: of a pair (0.4), hybrid: of a crossing helix (0.95)."
        ),
    ] = None,
    average: Annotated[
        list[str] | None,
        typer.Option(
            help="Average in the pair probabilities of this parameter set (repeatable) instead "
            "of the model's own choice; none: one set, twice as fast. "
            "andronescu2007 and langdon2018 were fitted to known structures of common families."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", "-T", help="Celsius.")] = 37.0,
    max_span: Annotated[int, typer.Option(help="Longest j - i + 1 of a pair, 0 = any.")] = 0,
    window: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Fold RNAs longer than this in overlapping windows of this length (0: never); "
            "unless given, those of more than 3000 in windows of 1000.",
        ),
    ] = None,
    constraint: Annotated[
        bool,
        typer.Option(
            "--constraint", "-C", help="Each sequence is followed by a line of ( ) . x | < >."
        ),
    ] = False,
    shape: Annotated[
        Path | None,
        typer.Option(
            help="Reactivities: a file for one RNA, a file with >identifier lines, or a folder of "
            "identifier.shape files."
        ),
    ] = None,
    shape_method: Annotated[
        str | None,
        typer.Option(
            help="deigan or zarringhalam, or with numbers as in Dm1.8b-0.6 and Zb0.89 (RNAfold)."
        ),
    ] = None,
    reagent: Annotated[
        Reagent | None, typer.Option(help="Of --shape; dms: A and C only are looked at.")
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", "-n", min=0, help="Draw structures from the ensemble and write those."
        ),
    ] = 0,
    seed: Annotated[int | None, typer.Option(help="Of --samples, 0 unless given.")] = None,
    duplex: Annotated[
        bool,
        typer.Option(
            "--duplex", help="Records may be two strands, GGGG&CCCC: plain Turner energies."
        ),
    ] = False,
    circular: Annotated[bool, typer.Option("--circular", help="The RNAs are circles.")] = False,
    known: Annotated[
        bool,
        typer.Option(
            "--eval", help="The input holds structures: their energies, no prediction (RNAeval)."
        ),
    ] = False,
    bpp: Annotated[
        Path | None, typer.Option(help="Pair probabilities >= 0.001 to a .tsv, .csv or .parquet.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw each structure into this folder.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """Predict secondary structures: id, sequence, structure and energy of each RNA."""
    import torch

    from stemloop.cli.progress import counted
    from stemloop.errors import OutputError, OutputExistsError
    from stemloop.folding.reactivity import ProbingOptions, ReactivityTable
    from stemloop.formats.stream import atomic_output
    from stemloop.formats.tables import write_table
    from stemloop.records import SequenceRecord
    from stemloop.tasks.structure import FoldSettings, fold_stream
    from stemloop.tasks.structure_jobs import Job, read_jobs, read_strands

    settings = FoldSettings(
        model=model,
        decoder=None if decoder is None else decoder.value,
        gamma=gamma,
        average=sets_to_average(average),  # type: ignore[arg-type]
        temperature=temperature,
        max_span=max_span,
        probabilities=bpp is not None,
        threshold=threshold,
        samples=samples,
        seed=seed or 0,
        circular=circular,
        window=window,
    )
    two_strands = duplex or (sequence is not None and "&" in sequence)
    _check(
        (known, "--eval", sequence is not None, "--sequence"),
        (known, "--eval", constraint, "--constraint"),
        (known, "--eval", duplex, "--duplex"),
        (known, "--eval", bool(samples), "--samples"),
        (known, "--eval", decoder is not None, "--decoder"),
        (known, "--eval", gamma is not None, "--gamma"),
        (two_strands, "two strands", layout in (Layout.ct, Layout.bpseq), f"--format {layout}"),
        (two_strands, "two strands", svg is not None, "--svg"),
        (two_strands, "two strands", shape is not None, "--shape"),
    )
    for given, option, needed, other in (
        (seed, "--seed", samples, "--samples"),
        (shape_method, "--shape-method", shape, "--shape"),
        (reagent, "--reagent", shape, "--shape"),
    ):
        if given is not None and not needed:
            raise UsageError(f"{option} goes with {other}")
    table = None
    if shape is not None:
        probing = ProbingOptions.parse(
            shape_method or "deigan",
            reagent.value if reagent else "shape",
        )
        table = ReactivityTable(shape, probing)
    # The network is tiny: more threads only wait for each other. Processes (-j) are what scales.
    torch.set_num_threads(1)
    if sequence is not None and (source != "-" or constraint):
        raise UsageError("--sequence goes without a file and without --constraint")
    for path in (output, bpp):
        # Devices and pipes are there already and are written to as they are.
        if path is not None and path.is_file() and not force:
            raise OutputExistsError(f"{path} exists already; --force replaces it")
    if svg is not None:
        try:
            svg.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{svg}: no folder for drawings: {error.strerror}") from error
    if sequence is not None:
        record = SequenceRecord("sequence", read_strands(sequence, record="sequence"))
        work: Any = iter([Job(record, reactivity=table and table(record))])
    else:
        work = read_jobs(
            source, constraints=constraint, duplexes=duplex, known=known, reactivities=table
        )
    with atomic_output(output, force=force) as out:

        def rows() -> Iterator[dict[str, Any]]:
            for result in counted(fold_stream(work, settings, processes=jobs), "RNAs"):
                if "window" in result.values:
                    typer.echo(_in_windows(result), err=True)
                _write(result, layout, out)
                if str(output) == "-":
                    out.flush()
                if svg is not None:
                    _draw(result, svg, force)
                if bpp is not None:
                    yield from _probabilities(result)

        if bpp is not None:
            write_table(bpp, rows(), columns=_COLUMNS, force=force)
        else:
            deque(rows(), maxlen=0)


def _check(*clashes: tuple[bool, str, bool, str]) -> None:
    """Refuse options that exclude each other."""
    for one, name, other, option in clashes:
        if one and other:
            raise UsageError(f"{name} and {option} do not go together")


def _in_windows(result: Result) -> str:
    """What the user of a long RNA must know of its structure."""
    record, values = result.record, result.values
    return (
        f"note: record {record.id!r} of {record.length} nucleotides was folded in windows of "
        f"{values['window']}: no pair spans more than {values['longest_span']}"
    )


def _write(result: Result, layout: Layout, out: TextIO) -> None:
    from stemloop.formats.structure import format_structure

    if layout is Layout.jsonl:
        out.write(json.dumps(_as_json(result)) + "\n")
        return
    for structure in _sampled(result):
        text = format_structure(structure, layout.value)
        if "cut" in result.values:
            header, *lines = text.splitlines(keepends=True)
            text = header + "".join(_cut(line, result) for line in lines)
        out.write(text)


def _cut(text: str, result: Result) -> str:
    """Put the sign between two strands into text that has a character a nucleotide."""
    at = int(result.values.get("cut", 0))
    return f"{text[:at]}&{text[at:]}" if at else text


def _sampled(result: Result) -> Iterator[Structure]:
    """The structures drawn, as records of their own; the predicted one where none were."""
    from dataclasses import replace

    from stemloop.records import Structure

    assert result.structure is not None
    if "samples" not in result.arrays:
        yield result.structure
        return
    drawn = zip(result.arrays["samples"], result.arrays["sample_energy"], strict=True)
    for number, (text, energy) in enumerate(drawn, 1):
        title = f"{result.record.description} sample={number}".lstrip()
        record = replace(result.record, description=title)
        yield Structure.from_dot_bracket(record, str(text), float(energy))


def _as_json(result: Result) -> dict[str, Any]:
    structure, record, values = result.structure, result.record, result.values
    assert structure is not None
    line = {
        "index": record.index,
        "id": record.id,
        "description": record.description,
        "sequence": _cut(record.sequence, result),
        "structure": _cut(structure.dot_bracket, result),
        "energy": _number(values["energy"]),
        "ensemble_energy": _number(values["ensemble_energy"]),
        "confidence": [round(float(p), 4) for p in result.arrays["confidence"]],
        "ensemble_defect": round(float(values["ensemble_defect"]), 4),
    }
    if "window" in values:
        line |= {key: values[key] for key in ("window", "longest_span")}
    if "binding_energy" in values:
        line["binding_energy"] = _number(values["binding_energy"])
    if "samples" in result.arrays:
        drawn = zip(result.arrays["samples"], result.arrays["sample_energy"], strict=True)
        line["samples"] = [{"structure": str(s), "energy": _number(e)} for s, e in drawn]
    return line


def _number(energy: Any) -> float | None:
    """Energy with two decimals; JSON knows no infinity, and a pair head no energy."""
    return round(float(energy), 2) if math.isfinite(energy) else None


def _probabilities(result: Result) -> Iterator[dict[str, Any]]:
    import numpy as np

    matrix = result.arrays["pair_probability"]
    record = result.record
    rows, cols = np.nonzero(matrix >= 0.001)
    values = np.round(matrix[rows, cols], 6)
    for i, j, p in zip(rows.tolist(), cols.tolist(), values.tolist(), strict=True):
        yield dict(zip(_COLUMNS, (record.index, record.id, i + 1, j + 1, p), strict=True))


def _draw(result: Result, folder: Path, force: bool) -> None:
    from stemloop.draw import draw
    from stemloop.folding.thermo import layout
    from stemloop.formats.fasta import safe_filename
    from stemloop.formats.stream import atomic_output

    structure, record = result.structure, result.record
    assert structure is not None
    picture = draw(structure, layout(structure.dot_bracket), result.arrays["confidence"])
    with atomic_output(
        folder / f"{safe_filename(record.id, record.index)}.svg", force=force
    ) as out:
        out.write(picture)
