"""What all pictures share: units, colours, text that is safe in XML, and the page around them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from stemloop.errors import StructureError

FloatArray = npt.NDArray[np.float64]

#: Left, top, right and bottom of something drawn.
Box = tuple[float, float, float, float]

INK = "#20242a"
GREY = "#8d959e"
KNOT = "#d6337c"

#: Eleven stops of viridis (matplotlib, CC0): perceptually uniform, safe for colour-blind readers.
VIRIDIS = np.array(
    [
        (0x44, 0x01, 0x54), (0x48, 0x25, 0x76), (0x41, 0x44, 0x87), (0x35, 0x5F, 0x8D),
        (0x2A, 0x78, 0x8E), (0x21, 0x91, 0x8C), (0x22, 0xA8, 0x84), (0x44, 0xBF, 0x70),
        (0x7A, 0xD1, 0x51), (0xBD, 0xDF, 0x26), (0xFD, 0xE7, 0x25),
    ],
    np.float64,
)  # fmt: skip

#: Control characters and lone surrogates: not allowed in XML, or not to be seen.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Sign(NamedTuple):
    """An entry of the legend: its name, and a drawing 20 wide whose left end is at 0, 0."""

    name: str
    drawing: str


def colour(p: float) -> tuple[str, str]:
    """Fill for a probability, and black or white for a letter on it."""
    at = p * (len(VIRIDIS) - 1)
    k = min(int(at), len(VIRIDIS) - 2)
    rgb = np.rint(VIRIDIS[k] + (at - k) * (VIRIDIS[k + 1] - VIRIDIS[k])).astype(int).tolist()
    light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 125
    return "#{:02x}{:02x}{:02x}".format(*rgb), INK if light else "#ffffff"


def number(value: float) -> str:
    """One decimal without a negative zero."""
    return f"{value + 0.0:.1f}".replace("-0.0", "0.0").removesuffix(".0")


def printable(text: str) -> str:
    """Escaped text, with a replacement sign for what XML cannot hold."""
    return escape(_UNPRINTABLE.sub("\ufffd", text))


def checked_probabilities(values: npt.ArrayLike, shape: tuple[int, ...], record: str) -> FloatArray:
    """Probabilities between 0 and 1.

    Raises
    ------
    StructureError
        Another shape, or other values.
    """
    p = np.asarray(values, np.float64)
    # Sums of pair probabilities leave [0, 1] by rounding.
    if p.shape != shape or not ((p > -1e-3) & (p < 1 + 1e-3)).all():
        wanted = f"({shape[0]},)" if len(shape) == 1 else str(shape)
        raise StructureError(
            f"probabilities of shape {p.shape}", record=record, expected=f"{wanted}, 0 to 1"
        )
    return p.clip(0.0, 1.0)


def page(
    drawing: Sequence[str],
    low: FloatArray,
    high: FloatArray,
    title: str,
    signs: Sequence[Sign],
    scale: str,
) -> str:
    """A drawing between two corners, with a title above and a legend below.

    Parameters
    ----------
    drawing : sequence of str
        Elements.
    low, high : numpy.ndarray of float64, shape (2,)
        Corners of what they cover.
    title : str
        Shown above; "" for none.
    signs : sequence of Sign
        Of the legend.
    scale : str
        What the colours of probabilities are of; "" where there are none.
    """
    wide, tall = (high - low).tolist()
    # Read at the width of a screen, title and legend keep their size however long the RNA is.
    s = min(max(1.0, max(wide, tall) / 900), 6.0)
    legend, legend_wide, legend_tall = _legend(signs, scale, s)
    margin = 14 * s
    width = max(wide, legend_wide) + 2 * margin
    shown = title if len(title) <= 80 else title[:79] + "\u2026"
    size = 15 * s
    if shown:
        size = min(size, max(width - 2 * margin, 0) / (0.56 * len(shown)))
    top = margin + (26 * s if shown else 0)
    height = top + tall + (legend_tall + 16 * s if legend else 0) + margin
    pixels = min(1.0, 1600 / max(width, height))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {number(height)}" '
        f'width="{number(width * pixels)}" height="{number(height * pixels)}" '
        f'font-family="Arial, Helvetica, Liberation Sans, sans-serif" fill="{INK}">',
        f"<title>{printable(title or 'RNA secondary structure')}</title>",
        f'<rect width="{number(width)}" height="{number(height)}" fill="#ffffff"/>',
    ]
    if shown:
        parts.append(
            f'<text x="{number(width / 2)}" y="{number(margin + 12 * s)}" '
            f'font-size="{number(size)}" text-anchor="middle" font-weight="bold">'
            f"{printable(shown)}</text>"
        )
    x, y = (width - wide) / 2 - low[0], top - low[1]
    move = f"translate({number(x)} {number(y)})"
    # Viewers that show the drawing alone need not measure it.
    box = " ".join(map(number, (*low.tolist(), wide, tall)))
    parts += [f'<g class="drawing" data-box="{box}" transform="{move}">', *drawing, "</g>"]
    if legend:
        x, y = (width - legend_wide) / 2, height - margin - legend_tall
        move = f"translate({number(x)} {number(y)}) scale({s:.3f})"
        parts += [f'<g class="legend" transform="{move}">', *legend, "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _legend(signs: Sequence[Sign], scale: str, s: float) -> tuple[list[str], float, float]:
    """Parts of the legend at size 1, and its width and height at size s."""
    # Arial letters are about 6.2 wide at this size.
    places = np.cumsum([0.0] + [44 + 6.2 * len(sign.name) for sign in signs])
    row = max(float(places[-1]) - 18, 0.0)
    wide = max(row, 220.0 if scale else 0.0)
    y = 52.0 if scale else 8.0
    parts: list[str] = []
    for sign, place in zip(signs, places.tolist(), strict=False):
        x = place + (wide - row) / 2
        parts.append(f'<g transform="translate({number(x)} {number(y)})">{sign.drawing}</g>')
        parts.append(f'<text x="{number(x + 26)}" y="{number(y)}" dy=".35em">{sign.name}</text>')
    if scale:
        left = (wide - 200) / 2
        parts.append('<g class="scale">')
        parts.append('<linearGradient id="stemloop-viridis">')
        for k in range(len(VIRIDIS)):
            stop = k / (len(VIRIDIS) - 1)
            parts.append(f'<stop offset="{stop:.1f}" stop-color="{colour(stop)[0]}"/>')
        parts.append("</linearGradient>")
        bar = f'<rect x="{number(left)}" y="13" width="200" height="10"'
        parts.append(f'{bar} fill="url(#stemloop-viridis)" stroke="{INK}" stroke-width=".7"/>')
        heading = f'<text x="{number(wide / 2)}" y="7" text-anchor="middle">'
        parts.append(f"{heading}{printable(scale)}</text>")
        for k in range(5):
            x = left + 50 * k
            parts.append(f'<path d="M{number(x)} 23v4" stroke="{INK}" stroke-width=".7"/>')
            parts.append(f'<text x="{number(x)}" y="37" text-anchor="middle">{k / 4:g}</text>')
        parts.append("</g>")
    tall = y + 6 if signs else 40.0 if scale else 0.0
    return ([f'<g font-size="11">{"".join(parts)}</g>'] if parts else []), wide * s, tall * s
