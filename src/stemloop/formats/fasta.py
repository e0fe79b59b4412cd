"""FASTA and FASTQ: streaming reader with bounded memory, and writer.

The format is told by the first character. FASTA may be wrapped in any way; FASTQ has four lines
a record. Records are kept apart by their place (`SequenceRecord.index`), so identifiers may
repeat, and headers are data: they never become paths (:func:`safe_filename`).

FASTQ is parsed by dnaio. FASTA is split here: no slower (benchmarks/alphabet_speed.py), and errors
can tell the line inside a record, headers may be in any encoding, and pipes are read as they fill.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BufferedReader
from typing import cast

import dnaio

from stemloop.alphabet import first_unknown, normalise
from stemloop.errors import AlphabetError, FormatError
from stemloop.formats.parquet import read_sequence_table
from stemloop.formats.stream import BLOCK, Source, atomic_output, open_binary, source_name
from stemloop.records import SequenceRecord

_BLANKS = b" \t\r\n\v\f"
_HEADER = "a header line '>identifier'"


def records_of(source: Source | Iterable[SequenceRecord]) -> Iterator[SequenceRecord]:
    """Records of a file (path, ``-`` or open file), or of an iterable of records as they are.

    Examples
    --------
    >>> [record.id for record in records_of([SequenceRecord("a", "ACGU")])]
    ['a']
    """
    if isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return read_sequences(cast("Source", source))
    return iter(source)


def read_sequences(
    source: Source, *, alphabet_check: bool = True, allow_empty: bool = False
) -> Iterator[SequenceRecord]:
    """Read FASTA or FASTQ, one record at a time.

    Parameters
    ----------
    source : str, path or file object
        Plain or compressed; ``-`` is standard input. ``NAME.parquet`` is a table
        (`stemloop.formats.parquet.read_sequence_table`); of a folder, all its files are read in the
        order of their names.
    alphabet_check : bool
        Bring sequences into canonical form (:func:`stemloop.alphabet.normalise`). Otherwise
        they arrive as they stand, without blanks.
    allow_empty : bool
        Hand over records without sequence (FASTA only) instead of refusing the file.

    Yields
    ------
    SequenceRecord
        With `index` counting from 0.

    Raises
    ------
    FormatError
        No records, text before the first header, a record without sequence, broken FASTQ,
        damaged compression.
    AlphabetError
        A character is no nucleotide code; file, line, record and position are named.

    Examples
    --------
    >>> import io
    >>> [r.sequence for r in read_sequences(io.StringIO(">a first\\nacg\\nt\\n>b\\nGGN\\n"))]
    ['ACGU', 'GGN']
    """
    path = source_name(source)
    if isinstance(source, str | os.PathLike):
        if os.path.isdir(path):
            yield from _folder(path, alphabet_check, allow_empty)
            return
        if path.endswith(".parquet"):
            yield from read_sequence_table(path, alphabet_check=alphabet_check)
            return
    with open_binary(source) as stream:
        line = 1
        while (head := stream.peek(1)[:1]) and head in _BLANKS:
            line += stream.read(1) == b"\n"
        if not head:
            raise FormatError("no records: the file is empty", path=path, expected=_HEADER)
        if head == b">":
            yield from _fasta(stream, line, path, alphabet_check, allow_empty)
        elif head == b"@":
            yield from _fastq(stream, line, path, alphabet_check)
        else:
            shown = stream.readline(20).rstrip().decode("ascii", "backslashreplace")
            raise FormatError(f"no header before {shown!r}", path=path, line=line, expected=_HEADER)


def _folder(folder: str, check: bool, allow_empty: bool) -> Iterator[SequenceRecord]:
    """Records of all files of a folder, numbered through; hidden files are none of them."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not names:
        raise FormatError("no records: the folder is empty", path=folder)
    index = 0
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            raise FormatError("a folder in a folder of sequences", path=path, expected="files")
        for record in read_sequences(path, alphabet_check=check, allow_empty=allow_empty):
            yield replace(record, index=index)
            index += 1


def _fasta(
    stream: BufferedReader, line: int, path: str, check: bool, allow_empty: bool
) -> Iterator[SequenceRecord]:
    for index, raw in enumerate(_split(stream)):
        header, _, body = raw.partition(b"\n")
        name, description = _header(header)
        if check:
            try:
                sequence = normalise(body)
            except AlphabetError as error:
                offset = first_unknown(body.decode("latin-1")) or 0
                where = line + 1 + body.count(b"\n", 0, offset)
                raise AlphabetError(error.message, path=path, line=where, record=name) from None
        else:
            sequence = body.translate(None, _BLANKS).decode("utf-8", "backslashreplace")
        if not sequence and not allow_empty:
            raise FormatError(
                "no sequence", path=path, line=line, record=name, expected="nucleotides"
            )
        yield SequenceRecord(name, sequence, description, index)
        line += raw.count(b"\n") + 1


def _split(stream: BufferedReader) -> Iterator[bytes]:
    """Records of FASTA text without their ``>``; holds one record and one block at a time."""
    parts = [stream.read(1)[1:]]
    # read1 hands over what a pipe has by now instead of waiting for a full block.
    while block := stream.read1(BLOCK):
        # A header starts a line; whether this block starts one, the end of the last one tells.
        seam = parts[-1][-1:] == b"\n" and block[:1] == b">"
        parts.append(block)
        if seam or b"\n>" in block:
            *records, last = b"".join(parts).split(b"\n>")
            yield from records
            parts = [last]
    yield b"".join(parts)


def _header(raw: bytes) -> tuple[str, str]:
    """Identifier and description."""
    name, *rest = raw.split(None, 1) or [b""]
    description = rest[0].rstrip() if rest else b""
    return name.decode("utf-8", "backslashreplace"), description.decode("utf-8", "backslashreplace")


def _fastq(stream: BufferedReader, line: int, path: str, check: bool) -> Iterator[SequenceRecord]:
    try:
        for index, record in enumerate(dnaio.FastqReader(stream)):
            name, description = _header(record.name.encode())
            where = line + 4 * index + 1
            sequence = record.sequence
            if not sequence:
                raise FormatError("no sequence", path=path, line=where, record=name)
            if check:
                sequence = normalise(sequence, path=path, line=where, record=name)
            yield SequenceRecord(name, sequence, description, index, record.qualities)
    except dnaio.FastqFormatError as error:
        at = None if error.line is None else line + error.line
        raise FormatError(
            f"broken FASTQ: {error.message}", path=path, line=at, expected="four lines a record"
        ) from error


def header_text(record: SequenceRecord, number: int | None = None) -> str:
    """Identifier and description on one line, as they stand after ``>``.

    Line ends inside them would start a new line of the file and become blanks; a record without
    identifier is called ``record_N``.

    Examples
    --------
    >>> header_text(SequenceRecord("x", "A", "two\\nlines"))
    'x two lines'
    """
    name = record.id or f"record_{(record.index if number is None else number) + 1}"
    return re.sub(r"[\r\n]+", " ", f"{name} {record.description}".rstrip(" "))


def write_fasta(
    path: str | os.PathLike[str],
    records: Iterable[SequenceRecord],
    *,
    width: int = 0,
    force: bool = False,
) -> None:
    """Write FASTA.

    Parameters
    ----------
    path : str or path
        ``-`` is standard output; ``.gz``, ``.zst`` and ``.xz`` are compressed.
    records : iterable of SequenceRecord
        Records.
    width : int
        Nucleotides a line; 0 puts each sequence on one line.
    force : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        The file exists already or cannot be written.

    Examples
    --------
    >>> write_fasta("-", [SequenceRecord("x", "GGAAACC", "a hairpin")], width=5)
    >x a hairpin
    GGAAA
    CC
    """
    with atomic_output(path, force=force) as out:
        for record in records:
            step = width or max(record.length, 1)
            lines = (record.sequence[i : i + step] for i in range(0, record.length, step))
            out.write(f">{header_text(record)}\n" + "\n".join(lines) + "\n")


def safe_filename(identifier: str, index: int) -> str:
    """File name (without suffix) for a record: no folders, short, unique within the input.

    Parameters
    ----------
    identifier : str
        Anything.
    index : int
        Place of the record in the input.

    Examples
    --------
    >>> safe_filename("../../etc/passwd", 0), safe_filename("tRNA|Phe", 11)
    ('etc_passwd-1', 'tRNA_Phe-12')
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", identifier)[:80].strip("._-")
    return f"{stem or 'record'}-{index + 1}"
