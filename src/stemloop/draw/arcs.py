"""Draw pairs as arcs over the sequence: the structure above, other probable pairs below."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemloop.draw.paper import (
    GREY,
    INK,
    Sign,
    checked_probabilities,
    colour,
    number,
    page,
    printable,
)
from stemloop.errors import StructureError
from stemloop.pairs import check_pairs
from stemloop.records import Structure

_STEP = 11.0
#: Between two strands.
_GAP = 4 * _STEP
#: Height of an arc by half its width.
_RISE = 0.8
#: Where arcs start above the letters and below the numbers.
_ABOVE, _BELOW = -10.0, 27.0

#: Pairs of a lower probability are not drawn below the sequence.
LEAST = 0.05


def draw_arcs(
    structure: Structure,
    probabilities: npt.ArrayLike | None = None,
    *,
    others: npt.ArrayLike = (),
    other_probabilities: npt.ArrayLike = (),
    title: str | None = None,
    cut: int = 0,
) -> str:
    """Draw pairs as arcs over the sequence.

    Parameters
    ----------
    structure : Structure
        Sequence and base pairs, drawn above it.
    probabilities : array_like of float, shape (n,), optional
        Of its pairs, in their order: their colours. Without, those of one kind of bracket have one.
    others : array_like of int, shape (m, 2)
        Pairs that are drawn below it, positions from 0; those that are in the structure, and those
        of less than `LEAST`, are left out.
    other_probabilities : array_like of float, shape (m,)
        Theirs: the fainter, the less probable.
    title : str, optional
        Shown above; the identifier of the sequence by default, "" for none.
    cut : int
        Nucleotides of the first of two strands, 0 for one strand.

    Returns
    -------
    str
        An SVG document.

    Raises
    ------
    StructureError
        Pairs or probabilities that do not fit the sequence.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> hairpin = Structure.from_dot_bracket(SequenceRecord("x", "GGGAAACCC"), "(((...)))")
    >>> svg = draw_arcs(hairpin, [0.9, 0.9, 0.8], others=[(1, 6)], other_probabilities=[0.2])
    >>> svg.count('class="arc"'), svg.count('class="other"')
    (3, 1)
    """
    record = structure.record
    length = record.length
    if not 0 <= cut <= length:
        raise StructureError(f"a first strand of {cut} nucleotides", record=record.id)
    pairs = structure.pairs.tolist()
    p = None
    if probabilities is not None:
        p = checked_probabilities(probabilities, (len(pairs),), record.id)
    below = np.asarray(others, np.int64).reshape(-1, 2)
    q = checked_probabilities(other_probabilities, (len(below),), record.id)
    known = {tuple(pair) for pair in pairs}
    if below.size and not ((below >= 0) & (below < length)).all():
        # Names the pair.
        check_pairs(below, length, record=record.id)

    def x(k: int) -> float:
        return (k + 0.5) * _STEP + (_GAP if cut and k >= cut else 0.0)

    drawing: list[str] = []
    top, bottom, more = _ABOVE - 12.0, _BELOW, False
    drawing.append(f'<g class="others" fill="none" stroke="{INK}" stroke-width="1.2">')
    for (i, j), chance in zip(below.tolist(), q.tolist(), strict=True):
        if chance < LEAST or (i, j) in known:
            continue
        r = (x(j) - x(i)) / 2
        bottom, more = max(bottom, _BELOW + r * _RISE), True
        path = f"M{number(x(i))} {_BELOW:g}A{number(r)} {number(r * _RISE)} 0 0 0 {number(x(j))}"
        drawing.append(
            f'<path class="other" d="{path} {_BELOW:g}" stroke-opacity="{0.2 + 0.8 * chance:.2f}">'
            f"<title>{_hint(structure, i, j, chance)}</title></path>"
        )
    drawing += ["</g>", '<g class="arcs" fill="none">']
    brackets = structure.dot_bracket
    for n, (i, j) in enumerate(pairs):
        r = (x(j) - x(i)) / 2
        top = min(top, _ABOVE - r * _RISE)
        path = f"M{number(x(i))} {_ABOVE:g}A{number(r)} {number(r * _RISE)} 0 0 1 {number(x(j))}"
        stroke = _PLAIN.get(brackets[i], _PLAIN["{"]) if p is None else colour(float(p[n]))[0]
        # With a rim: yellow can be seen on white, and violet on black.
        drawing.append(
            f'<g><path class="rim" d="{path} {_ABOVE:g}" stroke="{INK}" stroke-width="3"/>'
            f'<path class="arc" d="{path} {_ABOVE:g}" stroke="{stroke}" stroke-width="1.8">'
            f"<title>{_hint(structure, i, j, None if p is None else float(p[n]))}</title></path>"
            "</g>"
        )
    drawing += ["</g>", '<g class="letters" text-anchor="middle" font-size="9">']
    for k, letter in enumerate(record.sequence):
        drawing.append(f'<text x="{number(x(k))}" y="4">{printable(letter)}</text>')
    drawing += ["</g>", f'<g class="labels" text-anchor="middle" font-size="10" fill="{GREY}">']
    strands = [(start, stop) for start, stop in ((0, cut), (cut, length)) if start < stop]
    for start, stop in strands:
        for k in range(start + 9, stop, 10):
            drawing.append(f'<text x="{number(x(k))}" y="20">{k - start + 1}</text>')
        for k, text, side in ((start, "5\u2032", -1), (stop - 1, "3\u2032", 1)):
            drawing.append(
                f'<text x="{number(x(k) + side * 13)}" y="4.5" font-weight="bold">{text}</text>'
            )
    drawing.append("</g>")
    low = np.array([-_STEP * 1.5, top - 4])
    high = np.array([(x(length - 1) if length else 0.0) + 2 * _STEP, bottom + 4])
    signs = []
    if more:
        line = f'<path d="M0 -3q10 14 20 0" fill="none" stroke="{INK}" stroke-opacity=".4"/>'
        signs.append(Sign("below: other pairs, the fainter the less probable", line))
    scale = "" if p is None else "probability of the pair"
    return page(drawing, low, high, record.id if title is None else title, signs, scale)


#: Colours of the brackets where there are no probabilities.
_PLAIN = {"(": "#0b6e69", "[": "#d6337c", "{": "#e69f00"}


def _hint(structure: Structure, i: int, j: int, p: float | None) -> str:
    sequence = structure.record.sequence
    text = f"{sequence[i]}{i + 1} - {sequence[j]}{j + 1}"
    return printable(text if p is None else f"{text}, p = {p:.2f}")
