"""Draw a secondary structure as SVG.

The layout is an argument: anything that gives each nucleotide a place will do, and
:func:`stemloop.folding.thermo.layout` gives one without overlaps. Everything is drawn in units of
the distance between neighbours (``_STEP``), so pictures of 20 and of 500 nucleotides differ in
size only; title and legend grow with the picture. The same input gives the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from stemloop.errors import StructureError
from stemloop.pairs import nested_subset, pair_table
from stemloop.records import Structure

FloatArray = npt.NDArray[np.float64]

_STEP = 22.0
_RADIUS = 8.5
_LETTER = 11.0
_NUMBER = 10.0
_INK = "#20242a"
_GREY = "#8d959e"
_KNOT = "#d6337c"
#: Eleven stops of viridis (matplotlib, CC0): perceptually uniform, safe for colour-blind readers.
_VIRIDIS = np.array(
    [
        (0x44, 0x01, 0x54), (0x48, 0x25, 0x76), (0x41, 0x44, 0x87), (0x35, 0x5F, 0x8D),
        (0x2A, 0x78, 0x8E), (0x21, 0x91, 0x8C), (0x22, 0xA8, 0x84), (0x44, 0xBF, 0x70),
        (0x7A, 0xD1, 0x51), (0xBD, 0xDF, 0x26), (0xFD, 0xE7, 0x25),
    ],
    np.float64,
)  # fmt: skip


def draw(
    structure: Structure,
    coordinates: npt.ArrayLike,
    probabilities: npt.ArrayLike | None = None,
    *,
    title: str | None = None,
    numbering: int = 10,
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

    Returns
    -------
    str
        An SVG document.

    Raises
    ------
    StructureError
        Coordinates or probabilities that do not fit the sequence.

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
    L = record.length
    xy = _scaled(coordinates, L, record.id)
    p = _checked(probabilities, L, record.id)
    if title is None:
        title = record.id
    nested = nested_subset(structure.pairs)
    inside = {tuple(pair) for pair in nested.tolist()}
    knots = [(i, j) for i, j in structure.pairs.tolist() if (i, j) not in inside]

    arcs = _arcs(xy, knots)
    kinds, bonds = _bonds(record.sequence, xy, nested.tolist())
    if knots:
        kinds.append("knot")
    # Whatever a number may not cover: bases, bonds and arcs, as discs of a radius.
    taken = [(x, y, _RADIUS) for x, y in xy.tolist()]
    taken += [(x, y, 1.0) for i, j in nested.tolist() for x, y in _between(xy[i], xy[j])]
    taken += [(x, y, 1.0) for arc in arcs for x, y in _bezier(*arc).tolist()]
    taken += [(x, y, 1.0) for a, b in zip(xy[:-1], xy[1:], strict=True) for x, y in _between(a, b)]
    labels = _labels(xy, nested.tolist(), numbering, taken)

    drawing = []
    points = " ".join(f"{_f(x)},{_f(y)}" for x, y in xy.tolist())
    drawing.append(f'<polyline points="{points}" fill="none" stroke="{_GREY}" stroke-width="2"/>')
    drawing += bonds
    drawing.append(f'<g fill="none" stroke="{_KNOT}" stroke-width="2">')
    drawing += [
        f'<path d="M{_f(a[0])} {_f(a[1])}Q{_f(c[0])} {_f(c[1])} {_f(b[0])} {_f(b[1])}"/>'
        for a, c, b in arcs
    ]
    drawing.append("</g>")
    ticks = [text for text, _ in labels]
    drawing += ['<g text-anchor="middle">', *ticks, "</g>", *_bases(structure, xy, p)]

    boxes = [box for _, box in labels]
    boxes += [(x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS) for x, y in xy.tolist()]
    boxes += [(x, y, x, y) for arc in arcs for x, y in _bezier(*arc).tolist()]
    box = np.array(boxes or [(0.0, 0.0, 0.0, 0.0)])
    low, high = box[:, :2].min(axis=0), box[:, 2:].max(axis=0)
    return _page(drawing, low, high, title, kinds, p is not None)


def _f(value: float) -> str:
    """One decimal without a negative zero."""
    return f"{value + 0.0:.1f}".replace("-0.0", "0.0").removesuffix(".0")


def _at(tag: str, at: FloatArray) -> str:
    """Start of a tag with its place."""
    return f'<{tag} x="{_f(at[0])}" y="{_f(at[1])}"'


#: Control characters and lone surrogates: not allowed in XML, or not to be seen.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Escaped text, with a replacement sign for what XML cannot hold."""
    return escape(_UNPRINTABLE.sub("\ufffd", text))


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


def _checked(values: npt.ArrayLike | None, length: int, record: str) -> FloatArray | None:
    if values is None:
        return None
    p = np.asarray(values, np.float64)
    # Sums of pair probabilities leave [0, 1] by rounding.
    if p.shape != (length,) or not ((p > -1e-3) & (p < 1 + 1e-3)).all():
        raise StructureError(
            f"probabilities of shape {p.shape}", record=record, expected=f"({length},), 0 to 1"
        )
    return p.clip(0.0, 1.0)


def _colour(p: float) -> tuple[str, str]:
    """Fill for a probability, and black or white for the letter on it."""
    at = p * (len(_VIRIDIS) - 1)
    k = min(int(at), len(_VIRIDIS) - 2)
    rgb = np.rint(_VIRIDIS[k] + (at - k) * (_VIRIDIS[k + 1] - _VIRIDIS[k])).astype(int).tolist()
    light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 125
    return "#{:02x}{:02x}{:02x}".format(*rgb), _INK if light else "#ffffff"


def _bases(structure: Structure, xy: FloatArray, p: FloatArray | None) -> list[str]:
    """Circles with letters; hovering names the base, its partner and its probability."""
    partner = pair_table(structure.pairs, structure.record.length).tolist()
    parts = [f'<g font-size="{_f(_LETTER)}" text-anchor="middle" stroke-width="1">']
    for k, (letter, (x, y)) in enumerate(zip(structure.record.sequence, xy.tolist(), strict=True)):
        fill, ink = ("#ffffff", _INK) if p is None else _colour(float(p[k]))
        hint = f"{letter}{k + 1}"
        if partner[k] >= 0:
            hint += f" - {structure.record.sequence[partner[k]]}{partner[k] + 1}"
        if p is not None:
            hint += f", p = {p[k]:.2f}"
        parts.append(
            f"<g><title>{printable(hint)}</title>"
            f'<circle cx="{_f(x)}" cy="{_f(y)}" r="{_f(_RADIUS)}" fill="{fill}" stroke="{_INK}"/>'
            f'<text x="{_f(x)}" y="{_f(y)}" dy=".35em" fill="{ink}">{printable(letter)}</text></g>'
        )
    return [*parts, "</g>"]


def _kind(a: str, b: str) -> str:
    pair = "".join(sorted((a + b).upper().replace("T", "U")))
    return {"CG": "gc", "AU": "au", "GU": "gu"}.get(pair, "other")


def _bond(kind: str, a: FloatArray, b: FloatArray) -> str:
    """One nested pair, from the rim of one base to the rim of the other."""
    distance = float(np.linalg.norm(b - a))
    along = (b - a) / max(distance, 1e-9)
    start, end, middle = a + along * _RADIUS, b - along * _RADIUS, (a + b) / 2
    across = np.array([-along[1], along[0]]) * (2.0 if kind == "gc" else 0.0)
    lines = "".join(
        f"M{_f(s[0])} {_f(s[1])}L{_f(e[0])} {_f(e[1])}"
        for s, e in [(start + side * across, end + side * across) for side in (-1, 1)][
            0 if kind == "gc" else 1 :
        ]
    )
    mark = ""
    if kind in ("gu", "other"):
        fill = _INK if kind == "gu" else "#ffffff"
        mark = f'<ellipse cx="{_f(middle[0])}" cy="{_f(middle[1])}" rx="3" ry="3" fill="{fill}"/>'
    return f'<path d="{lines}"/>{mark}'


def _bonds(sequence: str, xy: FloatArray, pairs: list[list[int]]) -> tuple[list[str], list[str]]:
    """Kinds of pair that occur, in the order of the legend, and their lines."""
    kinds = [_kind(sequence[i], sequence[j]) for i, j in pairs]
    lines = [_bond(kind, xy[i], xy[j]) for kind, (i, j) in zip(kinds, pairs, strict=True)]
    found: list[str] = [kind for kind in ("gc", "au", "gu", "other") if kind in kinds]
    return found, [f'<g stroke="{_INK}" stroke-width="1.6">', *lines, "</g>"]


def _between(a: FloatArray, b: FloatArray) -> list[list[float]]:
    """Points on a line, closer than a letter to each other."""
    n = max(2, int(np.linalg.norm(b - a) / 6))
    return [(a + (b - a) * k / n).tolist() for k in range(1, n)]


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


Box = tuple[float, float, float, float]


def _labels(
    xy: FloatArray, pairs: list[list[int]], every: int, taken: list[tuple[float, float, float]]
) -> list[tuple[str, Box]]:
    """5', 3' and the numbers, each where it covers nothing; a number without room is left out."""
    L = len(xy)
    if not L:
        return []
    discs = np.array(taken)
    ahead = np.vstack([xy[1:], 2 * xy[-1:] - xy[-2:-1]]) if L > 1 else xy + [1.0, 0.0]
    behind = np.vstack([2 * xy[:1] - xy[1:2], xy[:-1]]) if L > 1 else xy - [1.0, 0.0]
    tangent = ahead - behind
    outward = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    # Loops and helices lie on one side of the strand all the way: pairs tell which.
    inward = sum(float(outward[i] @ (xy[j] - xy[i])) > 0 for i, j in pairs)
    if 2 * inward > len(pairs):
        outward = -outward
    ends = [(0, "5\u2032", behind[0] - xy[0]), (L - 1, "3\u2032", ahead[-1] - xy[-1])]
    numbers = range(every - 1, L, every) if every > 0 else ()
    grow = min(max(1.0, float(np.ptp(xy, axis=0).max()) / 900), 1.7)
    labels: list[tuple[str, Box]] = []
    for k, text, direction in ends + [(k, str(k + 1), outward[k]) for k in numbers]:
        size, tick = (_NUMBER * grow, True) if text.isdigit() else (1.3 * _NUMBER * grow, False)
        half = np.array([0.29 * size * len(text) + 1, 0.38 * size + 1])
        for reach, turn in _TRIES:
            angle = math.atan2(direction[1], direction[0]) + math.radians(turn)
            along = np.array([math.cos(angle), math.sin(angle)])
            tip = xy[k] + along * (_RADIUS + reach - (0 if tick else _TRIES[0][0]))
            # The text touches the end of its tick from outside, in whatever direction that is.
            centre = tip + along * (1 + (half / np.maximum(np.abs(along), 1e-9)).min())
            box: Box = (*(centre - half).tolist(), *(centre + half).tolist())
            if _free(box, xy[k], tip, discs, [other for _, other in labels]):
                label = _at("text", centre) + f' dy=".35em" font-size="{_f(size)}"'
                if tick:
                    line = f"M{_f(xy[k, 0])} {_f(xy[k, 1])}L{_f(tip[0])} {_f(tip[1])}"
                    label = f'<path d="{line}" stroke="{_GREY}" stroke-width="1.4"/>{label}'
                else:
                    label += ' font-weight="bold"'
                labels.append((f"{label}>{text}</text>", box))
                break
    return labels


#: Length of the tick and turn away from straight out, the best first.
_TRIES = sorted(
    [(reach, turn) for reach in (7.0, 12.0, 18.0, 26.0, 36.0)
     for turn in (0, 15, -15, 30, -30, 45, -45, 60, -60, 80, -80)],
    key=lambda at: at[0] + abs(at[1]) / 5,
)  # fmt: skip


def _free(box: Box, base: FloatArray, tip: FloatArray, discs: FloatArray, boxes: list[Box]) -> bool:
    """Whether a label and its tick touch no disc and no other label."""
    nearest = discs[:, :2].clip(box[:2], box[2:])
    if (np.linalg.norm(nearest - discs[:, :2], axis=1) < discs[:, 2] + 1).any():
        return False
    others = discs[np.linalg.norm(discs[:, :2] - base, axis=1) > _RADIUS]
    for part in (0.5, 1.0):
        at = base + (tip - base) * part
        if (np.linalg.norm(others[:, :2] - at, axis=1) < others[:, 2] + 1).any():
            return False
    x = (min(box[0], tip[0]) - 4, max(box[2], tip[0]) + 4)
    y = (min(box[1], tip[1]) - 1, max(box[3], tip[1]) + 1)
    return not any(x[0] < b[2] and b[0] < x[1] and y[0] < b[3] and b[1] < y[1] for b in boxes)


def _page(
    drawing: Sequence[str],
    low: FloatArray,
    high: FloatArray,
    title: str,
    kinds: Sequence[str],
    scale: bool,
) -> str:
    """The drawing with title above and legend below."""
    wide, tall = (high - low).tolist()
    # Read at the width of a screen, title and legend keep their size however long the RNA is.
    s = min(max(1.0, max(wide, tall) / 900), 6.0)
    legend, legend_wide, legend_tall = _legend(kinds, scale, s)
    margin = 14 * s
    width = max(wide, legend_wide) + 2 * margin
    shown = title if len(title) <= 80 else title[:79] + "\u2026"
    size = 15 * s
    if shown:
        size = min(size, max(width - 2 * margin, 0) / (0.56 * len(shown)))
    top = margin + (26 * s if shown else 0)
    height = top + tall + (legend_tall + 12 * s if legend else 0) + margin
    pixels = min(1.0, 1600 / max(width, height))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_f(width)} {_f(height)}" '
        f'width="{_f(width * pixels)}" height="{_f(height * pixels)}" '
        f'font-family="Arial, Helvetica, Liberation Sans, sans-serif" fill="{_INK}">',
        f"<title>{printable(title or 'RNA secondary structure')}</title>",
        f'<rect width="{_f(width)}" height="{_f(height)}" fill="#ffffff"/>',
    ]
    if shown:
        parts.append(
            f'<text x="{_f(width / 2)}" y="{_f(margin + 12 * s)}" font-size="{_f(size)}" '
            f'text-anchor="middle" font-weight="bold">{printable(shown)}</text>'
        )
    x, y = (width - wide) / 2 - low[0], top - low[1]
    parts += [f'<g transform="translate({_f(x)} {_f(y)})">', *drawing, "</g>"]
    if legend:
        x, y = (width - legend_wide) / 2, height - margin - legend_tall
        parts += [f'<g transform="translate({_f(x)} {_f(y)}) scale({s:.3f})">', *legend, "</g>"]
    return "\n".join([*parts, "</svg>", ""])


_NAMES = {"gc": "GC", "au": "AU", "gu": "GU", "other": "other pair", "knot": "pseudoknot"}


def _legend(kinds: Sequence[str], scale: bool, s: float) -> tuple[list[str], float, float]:
    """Parts of the legend at size 1, and its width and height at size s."""
    names = [_NAMES[kind] for kind in kinds]
    # Arial letters are about 6.2 wide at this size.
    places = np.cumsum([0.0] + [44 + 6.2 * len(name) for name in names])
    row = max(float(places[-1]) - 18, 0.0)
    wide = max(row, 220.0 if scale else 0.0)
    y = 52.0 if scale else 8.0
    parts: list[str] = []
    for kind, name, place in zip(kinds, names, places.tolist(), strict=False):
        x = place + (wide - row) / 2
        if kind == "knot":
            curve = f"M{_f(x)} {_f(y + 4)}q10 -14 20 0"
            parts.append(f'<path d="{curve}" fill="none" stroke="{_KNOT}" stroke-width="2"/>')
        else:
            bond = _bond(kind, np.array([x - _RADIUS, y]), np.array([x + 20 + _RADIUS, y]))
            parts.append(f'<g stroke="{_INK}" stroke-width="1.6">{bond}</g>')
        parts.append(f'<text x="{_f(x + 26)}" y="{_f(y)}" dy=".35em">{name}</text>')
    if scale:
        left = (wide - 200) / 2
        parts.append('<linearGradient id="stemloop-viridis">')
        for k in range(len(_VIRIDIS)):
            stop = k / (len(_VIRIDIS) - 1)
            parts.append(f'<stop offset="{stop:.1f}" stop-color="{_colour(stop)[0]}"/>')
        parts.append("</linearGradient>")
        bar = f'<rect x="{_f(left)}" y="13" width="200" height="10" fill="url(#stemloop-viridis)"'
        parts.append(f'{bar} stroke="{_INK}" stroke-width=".7"/>')
        heading = f'<text x="{_f(wide / 2)}" y="7" text-anchor="middle">'
        parts.append(f"{heading}probability of the state drawn</text>")
        for k in range(5):
            x = left + 50 * k
            parts.append(f'<path d="M{_f(x)} 23v4" stroke="{_INK}" stroke-width=".7"/>')
            parts.append(f'<text x="{_f(x)}" y="37" text-anchor="middle">{k / 4:g}</text>')
    tall = y + 6 if names else 40.0 if scale else 0.0
    return ([f'<g font-size="11">{"".join(parts)}</g>'] if parts else []), wide * s, tall * s
