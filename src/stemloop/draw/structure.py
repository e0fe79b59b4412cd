"""Draw a secondary structure: bases, bonds, arcs of crossing pairs.

The layout is an argument: anything that gives each nucleotide a place will do, and
:func:`stemloop.folding.thermo.places.layout` gives one without overlaps. Everything is drawn in
units of the distance between neighbours (``_STEP``), so pictures of 20 and of 500 nucleotides
differ in size only; title and legend grow with the picture. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stemloop.draw.labels import labels
from stemloop.draw.paper import (
    GREY,
    INK,
    KNOT,
    FloatArray,
    Sign,
    checked_probabilities,
    colour,
    number,
    page,
    printable,
)
from stemloop.errors import StructureError
from stemloop.pairs import nested_subset, pair_table
from stemloop.records import Structure

_STEP = 22.0
_RADIUS = 8.5
_LETTER = 11.0


def draw(
    structure: Structure,
    coordinates: npt.ArrayLike,
    probabilities: npt.ArrayLike | None = None,
    *,
    title: str | None = None,
    numbering: int = 10,
    cut: int = 0,
) -> str:
    """Draw a secondary structure.

    Nested pairs are lines between their bases: double for GC, single for AU, with a dot for GU and
    with a ring for anything else. Pairs that cross them (pseudoknots) are coloured arcs.

    Parameters
    ----------
    structure : Structure
        Sequence and base pairs.
    coordinates : array_like of float, shape (L, 2)
        Places of the nucleotides, y downwards, in any unit; laid out for the nested pairs
        (:func:`stemloop.pairs.nested_subset`).
    probabilities : array_like of float, shape (L,), optional
        Probability of the state in which each base is drawn: of its pair, or of being unpaired.
        Colours the bases and adds a scale.
    title : str, optional
        Shown above; the identifier of the sequence by default, "" for none.
    numbering : int
        Number every so many nucleotides (from 1); 0 for none.
    cut : int
        Nucleotides of the first of two strands, 0 for one strand. Each strand has its own ends and
        numbers.

    Returns
    -------
    str
        An SVG document.

    Raises
    ------
    StructureError
        Coordinates, probabilities or a cut that do not fit the sequence.

    Examples
    --------
    >>> from stemloop.records import SequenceRecord
    >>> hairpin = Structure.from_dot_bracket(SequenceRecord("x", "GGGAAACCC"), "(((...)))")
    >>> xy = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (2, 3), (2, 2), (2, 1), (2, 0)]
    >>> svg = draw(hairpin, xy, [0.9] * 9, title="a hairpin")
    >>> svg.startswith("<svg"), svg.count("<circle")
    (True, 9)
    """
    record = structure.record
    xy = _scaled(coordinates, record.length, record.id)
    p = None
    if probabilities is not None:
        p = checked_probabilities(probabilities, (record.length,), record.id)
    if not 0 <= cut <= record.length:
        raise StructureError(f"a first strand of {cut} nucleotides", record=record.id)
    nested = nested_subset(structure.pairs).tolist()
    inside = {tuple(pair) for pair in nested}
    knots = [(i, j) for i, j in structure.pairs.tolist() if (i, j) not in inside]

    arcs = _arcs(xy, knots)
    signs, bonds = _bonds(record.sequence, xy, nested)
    if knots:
        curve = f'<path d="M0 4q10 -14 20 0" fill="none" stroke="{KNOT}" stroke-width="2"/>'
        signs.append(Sign("pseudoknot", curve))
    steps = [(k, k + 1) for k in range(record.length - 1) if k + 1 != cut]
    # Whatever a number may not cover: bases, bonds and arcs, as discs of a radius.
    taken = [(x, y, _RADIUS) for x, y in xy.tolist()]
    taken += [(x, y, 1.0) for i, j in nested + steps for x, y in _between(xy[i], xy[j])]
    taken += [(x, y, 1.0) for arc in arcs for x, y in _bezier(*arc).tolist()]
    marks = labels(xy, nested, numbering, taken, _RADIUS, cut)

    drawing = []
    for strand in (xy[:cut], xy[cut:]):
        points = " ".join(f"{number(x)},{number(y)}" for x, y in strand.tolist())
        line = f'<polyline class="chain" points="{points}" fill="none"'
        drawing += [f'{line} stroke="{GREY}" stroke-width="2"/>'] if points else []
    drawing += bonds
    drawing.append(f'<g class="knots" fill="none" stroke="{KNOT}" stroke-width="2">')
    for a, c, b in arcs:
        ends = [f"{number(at[0])} {number(at[1])}" for at in (a, c, b)]
        drawing.append('<path d="M{}Q{} {}"/>'.format(*ends))
    drawing.append("</g>")
    drawing += ['<g class="labels" text-anchor="middle">', *(text for text, _ in marks), "</g>"]
    drawing += _bases(structure, xy, p, cut)

    boxes = [box for _, box in marks]
    boxes += [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in xy.tolist()]
    boxes += [(x, y, x, y) for arc in arcs for x, y in _bezier(*arc).tolist()]
    box = np.array(boxes or [(0.0, 0.0, 0.0, 0.0)])
    low, high = box[:, :2].min(axis=0), box[:, 2:].max(axis=0)
    scale = "" if p is None else "probability of the state drawn"
    return page(drawing, low, high, record.id if title is None else title, signs, scale)


def _scaled(coordinates: npt.ArrayLike, length: int, record: str) -> FloatArray:
    """Coordinates in units where neighbours are _STEP apart."""
    xy = np.array(coordinates, np.float64)
    if xy.size == 0:
        xy = xy.reshape(-1, 2)
    if xy.shape != (length, 2) or not np.isfinite(xy).all():
        raise StructureError(
            f"coordinates of shape {xy.shape}", record=record, expected=f"finite, ({length}, 2)"
        )
    if length > 1:
        step = float(np.median(np.linalg.norm(np.diff(xy, axis=0), axis=1)))
        if step <= 0:
            raise StructureError("coordinates that coincide", record=record)
        xy *= _STEP / step
    return xy


def _bases(structure: Structure, xy: FloatArray, p: FloatArray | None, cut: int) -> list[str]:
    """Circles with letters; hovering names the base, its partner and its probability."""
    sequence = structure.record.sequence
    partner = pair_table(structure.pairs, structure.record.length).tolist()

    def name(k: int) -> str:
        if not cut:
            return f"{sequence[k]}{k + 1}"
        return f"{sequence[k]}{k + 1 - (cut if k >= cut else 0)} of strand {1 + (k >= cut)}"

    parts = [
        f'<g class="bases" font-size="{number(_LETTER)}" text-anchor="middle" stroke-width="1">'
    ]
    for k, (letter, (x, y)) in enumerate(zip(sequence, xy.tolist(), strict=True)):
        fill, ink = ("#ffffff", INK) if p is None else colour(float(p[k]))
        hint = name(k)
        if partner[k] >= 0:
            hint += f" - {name(partner[k])}"
        if p is not None:
            hint += f", p = {p[k]:.2f}"
        place = f'cx="{number(x)}" cy="{number(y)}" r="{number(_RADIUS)}"'
        parts.append(
            f"<g><title>{printable(hint)}</title>"
            f'<circle {place} fill="{fill}" stroke="{INK}"/>'
            f'<text x="{number(x)}" y="{number(y)}" dy=".35em" fill="{ink}">'
            f"{printable(letter)}</text></g>"
        )
    return [*parts, "</g>"]


_NAMES = {"gc": "GC", "au": "AU", "gu": "GU", "other": "other pair"}


def _kind(a: str, b: str) -> str:
    pair = "".join(sorted((a + b).upper().replace("T", "U")))
    return {"CG": "gc", "AU": "au", "GU": "gu"}.get(pair, "other")


def _bond(kind: str, a: FloatArray, b: FloatArray) -> str:
    """One nested pair, from the rim of one base to the rim of the other."""
    distance = float(np.linalg.norm(b - a))
    along = (b - a) / max(distance, 1e-9)
    start, end, middle = a + along * _RADIUS, b - along * _RADIUS, (a + b) / 2
    across = np.array([-along[1], along[0]]) * 2.0
    lines = "".join(
        f"M{number(s[0])} {number(s[1])}L{number(e[0])} {number(e[1])}"
        for s, e in (
            (start + side * across, end + side * across)
            for side in ((-1, 1) if kind == "gc" else (0,))
        )
    )
    mark = ""
    if kind in ("gu", "other"):
        fill = INK if kind == "gu" else "#ffffff"
        place = f'cx="{number(middle[0])}" cy="{number(middle[1])}"'
        mark = f'<ellipse {place} rx="3" ry="3" fill="{fill}"/>'
    return f'<path d="{lines}"/>{mark}'


def _bonds(sequence: str, xy: FloatArray, pairs: list[list[int]]) -> tuple[list[Sign], list[str]]:
    """Signs of the kinds of pair that occur, and the lines of all pairs."""
    kinds = [_kind(sequence[i], sequence[j]) for i, j in pairs]
    style = f'stroke="{INK}" stroke-width="1.6"'
    left, right = np.array([-_RADIUS, 0.0]), np.array([20 + _RADIUS, 0.0])
    signs = [
        Sign(name, f"<g {style}>{_bond(kind, left, right)}</g>")
        for kind, name in _NAMES.items()
        if kind in kinds
    ]
    lines = [_bond(kind, xy[i], xy[j]) for kind, (i, j) in zip(kinds, pairs, strict=True)]
    return signs, [f'<g class="bonds" {style}>', *lines, "</g>"]


def _between(a: FloatArray, b: FloatArray) -> Iterator[list[float]]:
    """Points on a line, closer than a letter to each other."""
    n = max(2, int(np.linalg.norm(b - a) / 6))
    for k in range(1, n):
        yield (a + (b - a) * k / n).tolist()


Arc = tuple[FloatArray, FloatArray, FloatArray]


def _bezier(a: FloatArray, c: FloatArray, b: FloatArray) -> FloatArray:
    """Points on a quadratic curve."""
    t = np.linspace(0, 1, max(9, int(np.linalg.norm(b - a) / 5)))[:, None]
    return np.asarray((1 - t) ** 2 * a + 2 * t * (1 - t) * c + t**2 * b)


def _arcs(xy: FloatArray, knots: list[tuple[int, int]]) -> list[Arc]:
    """Curves of the crossing pairs: the pairs of a helix bend alike, round the fewest bases."""
    helices: list[list[tuple[int, int]]] = []
    for i, j in knots:
        # Across a bulge or a small loop it is still one helix.
        if helices and 0 < i - helices[-1][-1][0] < 4 and 0 < helices[-1][-1][1] - j < 4:
            helices[-1].append((i, j))
        else:
            helices.append([(i, j)])
    arcs: list[Arc] = []
    for helix in helices:
        choices = []
        for order, bend in enumerate((0.1, -0.1, 0.2, -0.2, 0.35, -0.35, 0.5, -0.5, 0.8, -0.8)):
            curves = [_curve(xy[i], xy[j], bend) for i, j in helix]
            crossed = 0.0
            for curve, ends in zip(curves, helix, strict=True):
                others = np.delete(xy, ends, axis=0)
                gaps = np.linalg.norm(_bezier(*curve)[:, None] - others[None], axis=2)
                crossed += float((gaps.min(axis=0, initial=np.inf) < _RADIUS + 1).sum())
                # A detour of three steps is as bad as one base under the curve.
                crossed += abs(bend) * float(np.linalg.norm(xy[ends[1]] - xy[ends[0]])) / _STEP / 3
            choices.append((crossed, order, curves))
        arcs += min(choices, key=lambda choice: choice[:2])[2]
    return arcs


def _curve(a: FloatArray, b: FloatArray, bend: float) -> Arc:
    along = b - a
    return a, (a + b) / 2 + 2 * bend * np.array([-along[1], along[0]]), b
