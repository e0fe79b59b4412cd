"""Pairs of RNAs from tables, two FASTA files side by side, or ``A&B``.

Strands are read 5' to 3' unless said otherwise. Tables of microRNA targets often store the microRNA
3' to 5', so that it stands under its site the way duplexes are drawn; the readers turn it round
when told to.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stemloop.alphabet import normalise
from stemloop.errors import AlphabetError, FormatError
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import Source, open_text, source_name

CUT = "&"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two RNAs that may interact, each 5' to 3'.

    Parameters
    ----------
    first, second : str
        Nucleotides in canonical letters; of microRNAs and their sites, the microRNA is the first.
    first_id, second_id : str
        Names.
    label : bool, optional
        Whether they interact, where that is known.
    index : int
        Place in the input, from 0.
    """

    first: str
    second: str
    first_id: str = ""
    second_id: str = ""
    label: bool | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns.

    Parameters
    ----------
    first, second : str
        Sequences.
    first_id, second_id : str, optional
        Names; the number of the row where there are none.
    label : str, optional
        1, true, yes or positive: they interact; 0, false, no or negative: they do not.
    """

    first: str = "first"
    second: str = "second"
    first_id: str | None = None
    second_id: str | None = None
    label: str | None = None


#: The table of DeepMirTar's and miRAW's pairs; its microRNAs are stored 3' to 5'.
MIRTAR = Columns("a_seq", "b_seq", "a_name", "b_name", "label")

_YES, _NO = {"1", "true", "yes", "positive"}, {"0", "false", "no", "negative"}


def read_table(
    source: Source, columns: Columns = Columns(), *, flip_first: bool = False
) -> Iterator[Pair]:
    """Read pairs from a TSV or CSV (plain or compressed; the header tells which it is).

    Parameters
    ----------
    source : path or file object
        Table with a header.
    columns : Columns
        Which columns to read.
    flip_first : bool
        The first strand is stored 3' to 5': turn it round.

    Raises
    ------
    FormatError
        A column is missing, a row is short, a label is neither yes nor no, a strand is empty, or
        there are no rows.
    AlphabetError
        A letter that is no nucleotide.

    Examples
    --------
    >>> import io
    >>> table = io.StringIO("first,second\\nACGG,ccgt\\n")
    >>> [(p.first, p.second) for p in read_table(table, flip_first=True)]
    [('GGCA', 'CCGU')]
    """
    path = source_name(source)
    with open_text(source) as handle:
        header = handle.readline()
        delimiter = "\t" if "\t" in header else ","
        names = next(csv.reader([header], delimiter=delimiter), [])
        wanted = [c for c in (columns.first, columns.second, columns.first_id, columns.second_id,
                              columns.label) if c is not None]  # fmt: skip
        for column in wanted:
            if column not in names:
                raise FormatError(
                    f"no column {column!r}", path=path, line=1,
                    expected=f"{', '.join(wanted)}; there are {', '.join(names)}",
                )  # fmt: skip
        reader = csv.DictReader(handle, names, delimiter=delimiter)
        index = -1
        for index, row in enumerate(reader):
            line = reader.line_num + 1
            if any(row[column] is None for column in wanted):
                raise FormatError("a field is missing", path=path, line=line)
            name = [row[c] if c else str(index + 1) for c in (columns.first_id, columns.second_id)]
            first, second = (
                _strand(row[column], name[k], path, line)
                for k, column in enumerate((columns.first, columns.second))
            )
            label = None
            if columns.label is not None:
                word = row[columns.label].strip().lower()
                if word not in _YES | _NO:
                    raise FormatError(
                        f"label {row[columns.label]!r}", path=path, line=line, expected="1 or 0"
                    )
                label = word in _YES
            yield Pair(first[::-1] if flip_first else first, second, *name, label, index)
        if index < 0:
            raise FormatError("no pairs: only a header", path=path, line=1)


def read_paired_fasta(first: Source, second: Source, *, flip_first: bool = False) -> Iterator[Pair]:
    """Read the records of two FASTA (or FASTQ) files side by side.

    Raises
    ------
    FormatError
        One file has more records than the other.
    """
    others = read_sequences(second)
    index = -1
    for index, a in enumerate(read_sequences(first)):
        b = next(others, None)
        if b is None:
            raise FormatError(
                "no partner: the second file has fewer records",
                path=source_name(first), record=a.id,
            )  # fmt: skip
        yield Pair(a.sequence[::-1] if flip_first else a.sequence, b.sequence, a.id, b.id, None,
                   index)  # fmt: skip
    if (b := next(others, None)) is not None:
        raise FormatError(
            "no partner: the first file has fewer records", path=source_name(second), record=b.id
        )


def read_joined(source: Source, *, flip_first: bool = False) -> Iterator[Pair]:
    """Read FASTA records of two strands with ``&`` between them.

    Raises
    ------
    FormatError
        A record does not have two strands.
    """
    path = source_name(source)
    for record in read_sequences(source, alphabet_check=False):
        yield split_joined(
            record.sequence, record.id, index=record.index, path=path, flip_first=flip_first
        )


def split_joined(
    text: str,
    name: str = "pair",
    *,
    index: int = 0,
    path: str | None = None,
    flip_first: bool = False,
) -> Pair:
    """Pair of the text ``A&B``; the strands are named ``NAME.1`` and ``NAME.2``.

    Raises
    ------
    FormatError
        There are not two strands.

    Examples
    --------
    >>> split_joined("acg&UU").second
    'UU'
    """
    strands = text.split(CUT)
    if len(strands) != 2 or not all(strands):
        count = sum(map(bool, strands))
        raise FormatError(
            f"{count} strand{'s' * (count != 1)}", path=path, record=name,
            expected="two, with & between them",
        )  # fmt: skip
    first, second = (_strand(strand, name, path, None) for strand in strands)
    first = first[::-1] if flip_first else first
    return Pair(first, second, f"{name}.1", f"{name}.2", None, index)


def _strand(text: str, name: str, path: str | None, line: int | None) -> str:
    try:
        sequence = normalise(text)
    except AlphabetError as error:
        raise AlphabetError(error.message, path=path, line=line, record=name) from None
    if not sequence:
        raise FormatError("no nucleotides", path=path, line=line, record=name)
    return sequence


def open_pairs(
    source: str | Path,
    second: str | Path | None = None,
    *,
    columns: Columns = Columns(),
    flip_first: bool = False,
) -> Iterator[Pair]:
    """Pairs of a file: two FASTA files, a table (by its suffix), or FASTA of ``A&B``."""
    if second is not None:
        return read_paired_fasta(source, second, flip_first=flip_first)
    suffixes = {suffix.lower() for suffix in Path(os.fspath(source)).suffixes[-2:]}
    if suffixes & {".tsv", ".csv"}:
        return read_table(source, columns, flip_first=flip_first)
    return read_joined(source, flip_first=flip_first)
