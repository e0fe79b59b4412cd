"""Alignments as FASTA: plain aligned FASTA, and A2M with its insertions.

In A2M (SAM, HMMER, HH-suite) upper-case letters and ``-`` stand in match columns; lower-case
letters are insertions between them and ``.`` fills up where others have insertions. Rows may differ
in length: only their match columns are aligned.
"""

from __future__ import annotations

from stemloop.errors import FormatError
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import Source, source_name
from stemloop.records import SequenceRecord

_INSERTIONS = {ord(c): None for c in "abcdefghijklmnopqrstuvwxyz."}


def read_aligned_fasta(source: Source, *, a2m: bool = False) -> list[SequenceRecord]:
    """Read aligned rows; letters and gap signs as they stand in the file.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input.
    a2m : bool
        Leave out insertions (lower case and ``.``).

    Returns
    -------
    list of SequenceRecord
        Of one length.

    Raises
    ------
    FormatError
        No FASTA, no records, or rows of different length.

    Examples
    --------
    >>> import io
    >>> text = ">x\\nGG-aaAC\\n>y\\nG.GGA-\\n"
    >>> [r.sequence for r in read_aligned_fasta(io.StringIO(text), a2m=True)]
    ['GG-AC', 'GGGA-']
    """
    path = source_name(source)
    rows: list[SequenceRecord] = []
    for record in read_sequences(source, alphabet_check=False):
        text = record.sequence
        if a2m:
            text = text.translate(_INSERTIONS)
        if rows and len(text) != rows[0].length:
            what = "match columns" if a2m else "columns"
            raise FormatError(
                f"{len(text)} {what} where {rows[0].id!r} has {rows[0].length}",
                path=path,
                record=record.id,
                expected="aligned rows: the same number of columns in each",
            )
        rows.append(SequenceRecord(record.id, text, record.description, record.index))
    return rows
