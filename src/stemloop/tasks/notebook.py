"""What a notebook shows of a structure or a result: called by their ``_repr_*_`` methods."""

from __future__ import annotations

from html import escape

import numpy.typing as npt

from stemloop.draw import draw
from stemloop.folding.thermo.places import layout
from stemloop.records import Result, Structure

#: Nucleotides; a longer RNA takes seconds to lay out, and nobody could read its letters.
LONGEST = 1000


def structure_svg(
    structure: Structure,
    confidence: npt.ArrayLike | None = None,
    title: str | None = None,
    cut: int = 0,
) -> str | None:
    """Drawing of a structure (see `stemloop.draw.draw`), None if it is too long for one.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> hairpin = Structure.from_dot_bracket(SequenceRecord("x", "GGGAAACCC"), "(((...)))")
    >>> structure_svg(hairpin)[:4]
    '<svg'
    """
    if not 0 < structure.record.length <= LONGEST:
        return None
    xy = layout(structure.dot_bracket, cut)
    return draw(structure, xy, confidence, title=title, cut=cut)


def result_html(result: Result) -> str:
    """Heading, scalars and, where there is a structure, its drawing or its dot-bracket.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> "<td>0.5</td>" in result_html(Result(SequenceRecord("x", "ACGU"), {"score": 0.5}))
    True
    """
    record, structure = result.record, result.structure
    title = escape(f"{record.id} {record.description}".strip())
    parts = [f"<p><b>{title}</b>, {record.length:,} nt</p>"]
    if result.values:
        names = "".join(f"<th>{escape(name)}</th>" for name in result.values)
        cells = "".join(f"<td>{escape(_short(v))}</td>" for v in result.values.values())
        parts.append(f"<table><tr>{names}</tr><tr>{cells}</tr></table>")
    if structure is not None:
        confidence = result.arrays.get("confidence")
        cut = int(result.values.get("cut", 0))
        picture = structure_svg(structure, confidence, title="", cut=cut)
        text = f"{record.sequence}\n{structure.dot_bracket}"
        parts.append(picture or f"<pre>{escape(text)}</pre>")
    shapes = [f"{name} {'x'.join(map(str, a.shape))}" for name, a in result.arrays.items()]
    if shapes:
        parts.append(f"<p>Arrays: {escape(', '.join(shapes))}</p>")
    return "".join(parts)


def _short(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
