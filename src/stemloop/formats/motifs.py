"""Reading motifs: lists of words, ATtRACT's two files, MEME and TRANSFAC matrices.

==================  ================================================================================
format              told by
==================  ================================================================================
list of words       a word a line; blank lines and ``#`` comments are passed over
ATtRACT, motifs     a table with tabs and a column ``Motif``
ATtRACT, matrices   ``>name``, the width after a tab, then a line of four numbers a position
MEME                ``MEME version``; its letter-probability matrices are read
TRANSFAC            two-letter tags; ``P0`` opens a matrix of counts, ``//`` ends it
==================  ================================================================================

Matrices come out as probabilities of A, C, G and U; a T in a file means U.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemloop.alphabet import normalise
from stemloop.errors import FormatError
from stemloop.formats.stream import Source, open_text, source_name

Lines = list[tuple[int, str]]

#: How far the probabilities of a position may be from a sum of 1: files round them.
_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class MotifMatrix:
    """A motif as the probabilities of the letters at each position.

    Parameters
    ----------
    name : str
        Identifier in the file.
    probabilities : numpy.ndarray of float64, shape (width, 4)
        Columns A, C, G, U; every row adds up to 1.
    """

    name: str
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AttractMotif:
    """A line of ATtRACT's table: a word that a protein was seen to bind.

    Parameters
    ----------
    gene, organism : str
        The protein.
    word : str
        What it binds, as it is spelled in the table.
    matrix : str
        Name of the matrix that the word belongs to.
    mutated : bool
        The protein was mutated for the experiment.
    """

    gene: str
    organism: str
    word: str
    matrix: str
    mutated: bool


def read_motifs(source: Source) -> list[str] | list[MotifMatrix]:
    """Read motifs in any format of the table above: words, or matrices.

    Words keep the spelling they have in the file, in upper case, and their repetitions.

    Raises
    ------
    InputError
        The file cannot be read.
    FormatError
        It breaks its format, or has no motif.
    AlphabetError
        A word has a character that is no nucleotide code.

    Examples
    --------
    >>> import io
    >>> read_motifs(io.StringIO("# poly(A) signals\\nAAUAAA\\nattaaa\\n"))
    ['AAUAAA', 'ATTAAA']
    >>> read_motifs(io.StringIO(">PUM2\\t2\\n0 0 0 1\\n.25 .25 .5 0\\n"))[0].probabilities.tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.25, 0.25, 0.5, 0.0]]
    """
    path = source_name(source)
    lines = _lines(source)
    first = next((text for _, text in lines if text.strip()), "")
    if first.startswith(">"):
        return list(_attract_matrices(lines, path))
    if "\t" in first:
        return [entry.word for entry in _attract(lines, path)]
    if first.startswith("MEME") or first.startswith("*****"):
        return list(_meme(lines, path))
    if re.match(r"(AC|ID|VV|XX|NA|DE)(\s|$)", first):
        return list(_transfac(lines, path))
    return _words(lines, path)


def read_attract(source: Source) -> list[AttractMotif]:
    """Read ATtRACT's table of motifs (``ATtRACT_db.txt``).

    Raises
    ------
    FormatError
        A column or a field is missing.

    Examples
    --------
    >>> import io
    >>> header = "Gene_name\\tMutated\\tOrganism\\tMotif\\tMatrix_id"
    >>> table = io.StringIO(header + "\\nPUM2\\tno\\tHomo_sapiens\\tUGUANAUA\\tM1\\n")
    >>> read_attract(table)[0].word
    'UGUANAUA'
    """
    return list(_attract(_lines(source), source_name(source)))


def _lines(source: Source) -> Lines:
    with open_text(source) as handle:
        return [(number, line.rstrip("\n")) for number, line in enumerate(handle, start=1)]


def _words(lines: Lines, path: str) -> list[str]:
    words = []
    for number, line in lines:
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        if len(text.split()) > 1:
            shown = f"{text[:40]!r} is more than a word"
            raise FormatError(shown, path=path, line=number, expected="a word a line")
        normalise(text, path=path, line=number)
        words.append(text.upper())
    if not words:
        raise FormatError("no motifs", path=path, expected="a word a line")
    return words


def _attract(lines: Lines, path: str) -> Iterator[AttractMotif]:
    reader = csv.DictReader((text for _, text in lines), delimiter="\t", quoting=csv.QUOTE_NONE)
    wanted = ("Gene_name", "Organism", "Motif", "Matrix_id", "Mutated")
    for column in wanted:
        if column not in (reader.fieldnames or ()):
            raise FormatError(
                f"no column {column!r}",
                path=path,
                line=1,
                expected=f"ATtRACT's columns {', '.join(wanted)}",
            )
    for row in reader:
        line = reader.line_num
        gene, organism, word, matrix, mutated = (row[column] for column in wanted)
        if None in (gene, organism, word, matrix, mutated):
            raise FormatError("a field is missing", path=path, line=line)
        normalise(word, record=gene, path=path, line=line)
        yield AttractMotif(gene, organism, word.upper(), matrix, mutated.lower() == "yes")


def _attract_matrices(lines: Lines, path: str) -> Iterator[MotifMatrix]:
    blocks: list[tuple[int, str, Lines]] = []
    for number, line in lines:
        if line.startswith(">"):
            blocks.append((number, line[1:], []))
        elif line.strip():
            blocks[-1][2].append((number, line))
    for number, header, rows in blocks:
        name, *rest = header.split() or [""]
        matrix = _matrix(name, rows, path, number)
        if rest and rest[0].isdigit() and int(rest[0]) != len(rows):
            raise FormatError(
                f"{len(rows)} positions",
                path=path,
                line=number,
                record=name,
                expected=f"{rest[0]}, as the header says",
            )
        yield matrix


def _meme(lines: Lines, path: str) -> Iterator[MotifMatrix]:
    letters, name, found = "ACGU", "", False
    rest = iter(lines)
    if not any(text.startswith("MEME version") for _, text in lines):
        raise FormatError("no MEME file", path=path, line=1, expected="'MEME version 4'")
    for number, line in rest:
        text = line.strip()
        if text.startswith("ALPHABET"):
            letters = text.partition("=")[2].strip().upper().replace("T", "U")
            if not letters:
                letters = _meme_alphabet(rest)
            if sorted(letters) != list("ACGU"):
                raise FormatError(
                    f"alphabet {letters or text!r}", path=path, line=number, expected="ACGU or ACGT"
                )
        elif text.startswith("MOTIF"):
            name = " ".join(text.split()[1:2])
        elif text.startswith("letter-probability matrix"):
            settings = dict(re.findall(r"(\w+)\s*=\s*(\S+)", text))
            width = settings.get("w", "")
            if not width.isdigit() or settings.get("alength", "4") != "4":
                raise FormatError(
                    f"{text[:60]!r}",
                    path=path,
                    line=number,
                    record=name,
                    expected="alength= 4 w= ...",
                )
            rows = [row for _, row in zip(range(int(width)), rest, strict=False)]
            found = True
            yield _matrix(name, rows, path, number, letters=letters, width=int(width))
    if not found:
        raise FormatError("no motifs", path=path, expected="a letter-probability matrix")


def _meme_alphabet(rest: Iterator[tuple[int, str]]) -> str:
    """Core letters of an alphabet that is spelled out: those with a complement or on their own."""
    letters = ""
    for _, line in rest:
        text = line.strip()
        if text.startswith("END ALPHABET"):
            break
        # `A "Adenine" CC0000 ~ U` is a letter; `N = ACGU` stands for several.
        if text and "=" not in text:
            letters += text[0].upper()
    return letters.replace("T", "U")


def _transfac(lines: Lines, path: str) -> Iterator[MotifMatrix]:
    name, letters, rows, start, found = "", "", [], 0, False
    for number, line in lines:
        tag, *cells = line.split() or [""]
        if tag == "ID" or (tag == "AC" and not name):
            name = " ".join(cells[:1])
        elif tag in ("P0", "PO"):
            letters, start = "".join(cells).upper().replace("T", "U"), number
            if sorted(letters) != list("ACGU"):
                raise FormatError(
                    f"columns {' '.join(cells)!r}",
                    path=path,
                    line=number,
                    record=name,
                    expected="A, C, G and T",
                )
        elif tag.isdigit() and letters:
            # A consensus letter may follow the counts.
            rows.append((number, " ".join(cells[:4])))
        elif tag == "//":
            if letters:
                found = True
                yield _matrix(name, rows, path, start, letters=letters, counts=True)
            name, letters, rows = "", "", []
    if letters:
        raise FormatError("the file ends within a motif", path=path, line=start, record=name)
    if not found:
        raise FormatError("no motifs", path=path, expected="a matrix that starts with P0")


def _matrix(
    name: str,
    rows: Sequence[tuple[int, str]],
    path: str,
    line: int,
    *,
    letters: str = "ACGU",
    counts: bool = False,
    width: int | None = None,
) -> MotifMatrix:
    """Matrix of lines with four numbers each, in the order of `letters`."""
    if not rows or (width is not None and len(rows) != width):
        raise FormatError(
            f"{len(rows)} positions",
            path=path,
            line=line,
            record=name,
            expected="at least one" if width is None else str(width),
        )
    probabilities = []
    for number, text in rows:
        try:
            values = [float(cell) for cell in text.split()]
        except ValueError:
            values = []
        total = sum(values)
        good = len(values) == 4 and min(values) >= 0 and 0 < total < math.inf
        if not good or not (counts or abs(total - 1) <= _TOLERANCE):
            raise FormatError(
                f"{text.strip()[:60]!r}",
                path=path,
                line=number,
                record=name,
                expected="four counts" if counts else "four probabilities that add up to 1",
            )
        probabilities.append([values[letters.index(letter)] / total for letter in "ACGU"])
    return MotifMatrix(name, np.array(probabilities))
