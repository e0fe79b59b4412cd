"""Reading dot-bracket files (Vienna, RNAstructure, bpRNA) and bpRNA's .st files.

Both are blocks of a header, the sequence and the dot-bracket structure. A header is ``>id`` or
bpRNA's ``#Name: id``; without any, every two lines are a record. Under ``>id`` the sequence and
the structure may be wrapped (but a line that starts with ``>`` is a header), and an energy may
follow. Under ``#Name:`` what comes after the structure, bpRNA's loop annotation, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from stemloop.alphabet import normalise
from stemloop.errors import FormatError, StructureError
from stemloop.records import SequenceRecord, Structure

#: Lines with their numbers, without line ends.
Lines = Iterator[tuple[int, str]]

#: ``#Key: value``, as bpRNA writes it.
NOTE = re.compile(r"#\s*(\w+)\s*:\s*(.*)")

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"
_ENERGY = re.compile(rf"[(\[]?\s*({_NUMBER})\s*(?:kcal/mol)?\s*[)\]]?", re.ASCII)
_TITLE_ENERGY = re.compile(
    rf"(?:ENERGY|dG)\s*=\s*({_NUMBER})\s*(?:kcal/mol)?(.*)", re.IGNORECASE | re.ASCII
)


def parse_title(text: str) -> tuple[str, str, float | None]:
    """Identifier, description and energy of a title such as ``ENERGY = -3.1  tRNA yeast``.

    Examples
    --------
    >>> parse_title("ENERGY = -3.1  tRNA yeast")
    ('tRNA', 'yeast', -3.1)
    """
    found = _TITLE_ENERGY.match(text.strip(" \t"))
    energy = float(found[1]) if found else None
    name, *rest = re.split(r"[ \t]+", (found[2] if found else text).strip(" \t"), maxsplit=1)
    return name, rest[0] if rest else "", energy


def parse_energy(text: str) -> float | None:
    """Number in text such as ``(-12.30)``, ``-12.3 kcal/mol``, or None.

    Examples
    --------
    >>> parse_energy("( -1.30)"), parse_energy("three")
    (-1.3, None)
    """
    found = _ENERGY.fullmatch(text.strip())
    return float(found[1]) if found else None


@dataclass
class _Block:
    """The lines of one record of a dot-bracket or .st file."""

    line: int
    title: str | None = None
    notes: dict[str, str] = field(default_factory=dict)
    body: list[tuple[int, str]] = field(default_factory=list)


def _blocks(lines: Lines) -> Iterator[_Block]:
    block = _Block(1)
    for number, line in lines:
        text = line.strip()
        note = NOTE.match(text)
        starts = text.startswith(">") or (note is not None and note[1] == "Name")
        # Without any header every two lines are a record.
        full = block.title is None and len(block.body) == 2 and text and text[0] != "#"
        if (starts and (block.title is not None or block.body)) or full:
            yield block
            block = _Block(number)
        if starts:
            block.line = number
            block.title = note[2] if note else text[1:]
            block.notes = {"Name": note[2]} if note else {}
        elif note:
            block.notes[note[1]] = note[2]
        elif text and text[0] != "#":
            block.body.append((number, text))
    if block.title is not None or block.body:
        yield block


def read_brackets(lines: Lines, path: str, check: bool) -> Iterator[Structure]:
    """Read dot-bracket or .st lines; see :func:`stemloop.formats.structure.read_structures`."""
    for index, block in enumerate(_blocks(lines)):
        name, description, energy = parse_title(block.title or "")
        name = name or f"record_{index + 1}"
        if "Energy" in block.notes:
            energy = parse_energy(block.notes["Energy"])
        rows = block.body[:2] if "Name" in block.notes else block.body
        if len(rows) < 2:
            what = "no structure line" if rows else "no sequence"
            raise FormatError(
                what,
                path=path,
                line=block.line,
                record=name,
                expected="a sequence, then its dot-bracket structure",
            )
        at, text = rows[-1]
        words = text.split(None, 1)
        if len(words) == 2:
            energy = parse_energy(words[1])
            if energy is None:
                raise FormatError(
                    f"{words[1]!r} after the structure",
                    path=path,
                    line=at,
                    record=name,
                    expected="an energy such as (-12.30), or nothing",
                )
        rows = [*rows[:-1], (at, words[0])]
        half = _half([len(text) for _, text in rows])
        sequence = "".join(
            normalise(text, path=path, line=at, record=name) if check else text
            for at, text in rows[:half]
        )
        record = SequenceRecord(name, sequence, description, index)
        try:
            brackets = "".join(text for _, text in rows[half:])
            yield Structure.from_dot_bracket(record, brackets, energy)
        except StructureError as error:
            raise StructureError(
                error.message,
                path=path,
                line=rows[half][0],
                record=name,
                expected=error.expected,
            ) from None


def _half(lengths: list[int]) -> int:
    """Lines of a wrapped record that are sequence: those as long together as the rest."""
    total = sum(lengths)
    before = np.cumsum(lengths)[:-1].tolist()
    return before.index(total / 2) + 1 if total / 2 in before else len(lengths) // 2
