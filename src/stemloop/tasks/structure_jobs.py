"""What is to be folded: records with their constraints, reactivities or known structures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from stemloop.alphabet import normalise
from stemloop.errors import AlphabetError, InputError
from stemloop.folding.conditions import CUT
from stemloop.folding.reactivity import Reactivity, ReactivityTable
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import Source, source_name
from stemloop.formats.structure import read_structures
from stemloop.records import SequenceRecord, Structure

_CONSTRAINT = re.compile(r"([A-Za-z~&-]*?)([().|<>x&]*)")


class Job(NamedTuple):
    """An RNA to fold with what is known of it, or whose known structure is to be evaluated."""

    record: SequenceRecord
    constraint: str | None = None
    reactivity: Reactivity | None = None
    known: Structure | None = None


def read_jobs(
    source: Source,
    *,
    constraints: bool = False,
    duplexes: bool = False,
    known: bool = False,
    reactivities: ReactivityTable | None = None,
) -> Iterator[Job]:
    """Read what is to be folded.

    Parameters
    ----------
    source : str, path or file object
        FASTA or FASTQ; a structure file with ``known``.
    constraints : bool
        Under each sequence follows its constraint line.
    duplexes : bool
        Records may hold two strands with ``&`` between them.
    known : bool
        Structures to evaluate, in any format of `stemloop.formats.structure`.
    reactivities : ReactivityTable, optional
        Where those of each RNA are.

    Raises
    ------
    FormatError, AlphabetError
        The input breaks its format, or holds something else than nucleotides.
    InputError
        A record has no constraint of its sequence's length, or no reactivities that fit.
    """
    if known:
        jobs: Iterator[Job] = (Job(s.record, known=s) for s in read_structures(source))
    else:
        jobs = _read_records(source, constraints, duplexes)
    for job in jobs:
        yield job if reactivities is None else job._replace(reactivity=reactivities(job.record))


def _read_records(source: Source, constraints: bool, duplexes: bool) -> Iterator[Job]:
    if not (constraints or duplexes):
        try:
            yield from (Job(record) for record in read_sequences(source))
        except AlphabetError as error:
            if repr(CUT) in error.message:
                error.expected = "one strand; two are folded with --duplex"
            raise
        return
    for record in read_sequences(source, alphabet_check=False):
        letters, constraint = record.sequence, None
        if constraints:
            match = _CONSTRAINT.fullmatch(letters)
            letters, constraint = match.groups() if match else (letters, "")
        where = {"record": record.id, "path": source_name(source)}
        sequence = (read_strands if duplexes else normalise)(letters, **where)
        if constraint is not None and len(constraint) != len(sequence):
            raise InputError(
                f"constraint of {len(constraint)} characters for {len(sequence)} nucleotides",
                path=source_name(source),
                record=record.id,
                expected="a line of ( ) . x | < > under the sequence",
            )
        yield Job(replace(record, sequence=sequence, quality=None), constraint)


def read_strands(text: str, *, record: str | None = None, path: str | None = None) -> str:
    """Canonical text of an RNA, or of two strands with ``&`` between them.

    Examples
    --------
    >>> read_strands("ggg&ccct")
    'GGG&CCCU'
    """
    return CUT.join(normalise(part, record=record, path=path) for part in text.split(CUT))
