"""``stemloop fold``: structures of RNAs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemloop.cli.bulk import EngineOption, ShardOption, WorkersOption, is_bulk, run_bulk
from stemloop.errors import UsageError

if TYPE_CHECKING:
    from stemloop.records import Result


class Layout(StrEnum):
    """Output formats."""

    dbn = "dbn"
    ct = "ct"
    bpseq = "bpseq"
    jsonl = "jsonl"
    parquet = "parquet"


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
    layout: Annotated[
        Layout | None,
        typer.Option("--format", "-f", help="dbn unless given; parquet for -o NAME.parquet."),
    ] = None,
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
    homologs: Annotated[
        Path | None,
        typer.Option(
            help="RNAs of the same families: FASTA, or structures (.dbn, .ct, .bpseq, .st, .sto). "
            "Those that align well add what they say of each pair."
        ),
    ] = None,
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
    shard: ShardOption = None,
    engine: EngineOption = None,
    workers: WorkersOption = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    force: Annotated[bool, typer.Option(help="Replace output that exists.")] = False,
) -> None:
    """Predict secondary structures: id, sequence, structure and energy of each RNA."""
    import torch

    from stemloop.cli.progress import counted
    from stemloop.errors import OutputError, OutputExistsError
    from stemloop.folding.homologs import read_homologs
    from stemloop.folding.reactivity import ProbingOptions, ReactivityTable
    from stemloop.formats.tables import write_table
    from stemloop.records import SequenceRecord
    from stemloop.tasks.structure import FoldSettings, fold_stream
    from stemloop.tasks.structure_jobs import Job, read_jobs, read_strands
    from stemloop.tasks.structure_output import (
        PROBABILITY_COLUMNS,
        check_layout,
        open_output,
        probability_rows,
        render,
    )

    if layout is None:
        layout = Layout.parquet if output.suffix == ".parquet" else Layout.dbn
    if shard is None:
        check_layout(output, layout.value)

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
        homologs=read_homologs(homologs) if homologs is not None else (),
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
    if is_bulk(
        shard, engine, workers,
        (str(output) == "-", "standard output"), (sequence is not None, "--sequence"),
        (known, "--eval"), (shape is not None, "--shape"), (bpp is not None, "--bpp"),
        (svg is not None, "--svg"), (jobs > 1, "--jobs"),
    ):  # fmt: skip
        from stemloop.tasks.bulk_records import plan_fold

        run_bulk(
            lambda: plan_fold(
                source, settings, layout.value, constraints=constraint, duplexes=duplex
            ),
            output, shard=shard, workers=workers, force=force,
        )  # fmt: skip
        return
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
    with open_output(output, layout, settings, force=force) as write:

        def rows() -> Iterator[dict[str, Any]]:
            for result in counted(fold_stream(work, settings, processes=jobs), "RNAs"):
                if "window" in result.values:
                    typer.echo(_in_windows(result), err=True)
                write(render(result, layout))
                if svg is not None:
                    _draw(result, svg, force)
                if bpp is not None:
                    yield from probability_rows(result)

        if bpp is not None:
            write_table(bpp, rows(), columns=PROBABILITY_COLUMNS, force=force)
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


def _draw(result: Result, folder: Path, force: bool) -> None:
    from stemloop.draw import draw
    from stemloop.folding.thermo.places import layout
    from stemloop.formats.fasta import safe_filename
    from stemloop.formats.stream import atomic_output

    structure, record = result.structure, result.record
    assert structure is not None
    cut = int(result.values.get("cut", 0))
    xy = layout(structure.dot_bracket, cut)
    picture = draw(structure, xy, result.arrays["confidence"], cut=cut)
    with atomic_output(
        folder / f"{safe_filename(record.id, record.index)}.svg", force=force
    ) as out:
        out.write(picture)
