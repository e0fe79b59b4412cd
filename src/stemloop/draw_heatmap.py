"""Draw numbers of every substitution of an RNA as a heat map, SVG.

Columns are the positions, broken into lines of `COLUMNS`; rows are A, C, G, U. What the RNA has is
a dot. Colours run from blue (below zero) over white to red, evenly in both directions up to the
largest value drawn, so that white is always zero. The same input gives the same bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemloop.draw import printable
from stemloop.errors import StructureError
from stemloop.records import SequenceRecord

Floats = npt.NDArray[np.float64]

#: Positions in a line.
COLUMNS = 60

ROWS = "ACGU"
_CELL = 14.0
_LEFT = 34.0
_INK, _GREY, _EMPTY = "#20242a", "#6b737c", "#e3e6ea"
#: Ends and middle of the scale; blue and red are told apart by colour-blind readers too.
_BLUE, _WHITE, _RED = np.array([[0x1F, 0x5F, 0xA8], [0xFF, 0xFF, 0xFF], [0xC0, 0x3A, 0x2B]], float)


def heatmap(
    record: SequenceRecord,
    scores: npt.ArrayLike,
    *,
    title: str | None = None,
    legend: str = "score of the substitution",
    limit: float | None = None,
) -> str:
    """Draw the scores of all substitutions.

    Parameters
    ----------
    record : SequenceRecord
        RNA of L nucleotides.
    scores : array_like of float, shape (L, 4)
        For A, C, G, U in each position; nan draws an empty cell.
    title : str, optional
        Shown above; the identifier by default, "" for none.
    legend : str
        What the numbers are.
    limit : float, optional
        Value of the deepest colour; by default the 99th percentile of the absolute values, so that
        a single outlier does not leave the rest pale.

    Returns
    -------
    str
        An SVG document. Hovering over a column gives its numbers.

    Raises
    ------
    StructureError
        Scores that do not fit the sequence.

    Examples
    --------
    >>> svg = heatmap(SequenceRecord("x", "ACG"), [[0, 1, 2, 3], [-1, 0, 1, 1], [-2, -1, 0, 1]])
    >>> svg.startswith("<svg"), svg.count('class="c"')
    (True, 3)
    """
    values = np.asarray(scores, np.float64)
    length = record.length
    if values.shape != (length, len(ROWS)):
        raise StructureError(
            f"scores of shape {values.shape}", record=record.id, expected=f"({length}, {len(ROWS)})"
        )
    finite = np.abs(values[np.isfinite(values)])
    top = limit or (float(np.quantile(finite, 0.99)) if len(finite) else 0.0) or 1.0
    title = record.id if title is None else title
    columns = min(length, COLUMNS)
    width = max(_LEFT + columns * _CELL + 16, 320.0)
    block = (len(ROWS) + 1) * _CELL + 22
    head = 34.0 if title else 12.0
    lines = -(-length // COLUMNS)
    height = head + lines * block + 58
    shown = title if len(title) <= 60 else title[:59] + "\u2026"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" fill="{_INK}" '
        'font-family="Arial, Helvetica, Liberation Sans, sans-serif" font-size="10">',
        f"<title>{printable(title or 'substitutions')}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
    ]
    if shown:
        size = min(15.0, (width - 24) / (0.56 * len(shown)))
        parts.append(
            f'<text x="12" y="22" font-size="{size:.1f}" font-weight="bold">'
            f"{printable(shown)}</text>"
        )
    for line in range(lines):
        start = line * COLUMNS
        stop = min(start + COLUMNS, length)
        parts.append(f'<g transform="translate({_LEFT:g} {head + line * block:g})">')
        parts += _line(record.sequence, values, start, stop, top)
        parts.append("</g>")
    parts += _scale(12.0, height - 46, top, legend)
    return "\n".join([*parts, "</svg>", ""])


def _line(sequence: str, values: Floats, start: int, stop: int, top: float) -> list[str]:
    """One line of the map: numbers, letters and cells."""
    first = 16.0 + _CELL
    middle = _CELL / 2
    parts = [f'<g text-anchor="middle" fill="{_GREY}">']
    for k in range(start, stop):
        if k == start or (k + 1) % 10 == 0:
            parts.append(f'<text x="{(k - start) * _CELL + middle:g}" y="9">{k + 1}</text>')
    parts.append("</g>")
    parts += [
        f'<text x="-10" y="{first + (r + 0.75) * _CELL:g}" text-anchor="middle" '
        f'font-weight="bold">{letter}</text>'
        for r, letter in enumerate(ROWS)
    ]
    for k in range(start, stop):
        x = (k - start) * _CELL
        letter = sequence[k]
        each = ", ".join(
            f"{row} {value:+.2f}"
            for row, value in zip(ROWS, values[k].tolist(), strict=True)
            if row != letter and np.isfinite(value)
        )
        hint = printable(f"{letter}{k + 1}: {each or 'no scores'}")
        parts.append(
            f'<g class="c"><title>{hint}</title>'
            f'<text x="{x + middle:g}" y="{16 + 0.75 * _CELL:g}" text-anchor="middle">'
            f"{printable(letter)}</text>"
        )
        for r, row in enumerate(ROWS):
            y = first + r * _CELL
            fill = _colour(float(values[k, r]), top)
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{_CELL:g}" height="{_CELL:g}" fill="{fill}" '
                'stroke="#ffffff" stroke-width=".6"/>'
            )
            if row == letter:
                parts.append(f'<circle cx="{x + middle:g}" cy="{y + middle:g}" r="2.2"/>')
        parts.append("</g>")
    return parts


def _colour(value: float, top: float) -> str:
    if not np.isfinite(value):
        return _EMPTY
    share = min(abs(value) / top, 1.0)
    rgb = np.rint(_WHITE + share * ((_RED if value > 0 else _BLUE) - _WHITE)).astype(int).tolist()
    return "#{:02x}{:02x}{:02x}".format(*rgb)


def _scale(x: float, y: float, top: float, legend: str) -> list[str]:
    """The colours with three numbers below them."""
    parts = [f'<g transform="translate({x:g} {y:g})">']
    steps = 41
    for k in range(steps):
        value = top * (2 * k / (steps - 1) - 1)
        parts.append(
            f'<rect x="{k * 5}" y="0" width="5.2" height="9" fill="{_colour(value, top)}"/>'
        )
    parts.append(f'<rect width="{steps * 5}" height="9" fill="none" stroke="{_GREY}"/>')
    for at, value in ((0.0, -top), (0.5, 0.0), (1.0, top)):
        anchor = {0.0: "start", 0.5: "middle", 1.0: "end"}[at]
        parts.append(
            f'<text x="{at * steps * 5:g}" y="21" text-anchor="{anchor}">{value:.3g}</text>'
        )
    parts.append(f'<text x="0" y="36" fill="{_GREY}">{printable(legend)}</text>')
    return [*parts, "</g>"]
