"""Ends and numbers of a drawing, each where it covers nothing."""

from __future__ import annotations

import math

import numpy as np

from stemloop.draw.paper import GREY, Box, FloatArray, number

_SIZE = 10.0

#: Length of the tick and turn away from straight out, the best first.
_TRIES = sorted(
    [(reach, turn) for reach in (7.0, 12.0, 18.0, 26.0, 36.0)
     for turn in (0, 15, -15, 30, -30, 45, -45, 60, -60, 80, -80)],
    key=lambda at: at[0] + abs(at[1]) / 5,
)  # fmt: skip


def labels(
    xy: FloatArray,
    pairs: list[list[int]],
    every: int,
    taken: list[tuple[float, float, float]],
    radius: float,
    cut: int = 0,
) -> list[tuple[str, Box]]:
    """5', 3' and the numbers of each strand; a number without room is left out.

    Parameters
    ----------
    xy : numpy.ndarray of float64, shape (L, 2)
        Places of the bases.
    pairs : list of [int, int]
        Pairs that do not cross.
    every : int
        Bases from one number to the next, 0 for none.
    taken : list of (float, float, float)
        Centre and radius of discs that nothing may cover.
    radius : float
        Of a base.
    cut : int
        Bases of the first of two strands, 0 for one strand.

    Returns
    -------
    list of (str, Box)
        Elements, and what they cover.
    """
    discs = np.array(taken).reshape(-1, 3)
    outward = np.zeros_like(xy)
    wanted: list[tuple[int, str, FloatArray]] = []
    numbered: list[tuple[int, str]] = []
    for start, stop in ((0, cut), (cut, len(xy))):
        if start == stop:
            continue
        part = xy[start:stop]
        alone = len(part) == 1
        ahead = np.vstack([part[1:], part + [1.0, 0.0] if alone else 2 * part[-1:] - part[-2:-1]])
        behind = np.vstack([part - [1.0, 0.0] if alone else 2 * part[:1] - part[1:2], part[:-1]])
        tangent = ahead - behind
        outward[start:stop] = np.column_stack([tangent[:, 1], -tangent[:, 0]])
        wanted += [
            (start, "5\u2032", behind[0] - part[0]), (stop - 1, "3\u2032", ahead[-1] - part[-1]),
        ]  # fmt: skip
        if every > 0:
            numbered += [(k, str(k - start + 1)) for k in range(start + every - 1, stop, every)]
    # Loops and helices lie on one side of the strand all the way: pairs tell which.
    inward = sum(float(outward[i] @ (xy[j] - xy[i])) > 0 for i, j in pairs)
    if 2 * inward > len(pairs):
        outward = -outward
    grow = min(max(1.0, float(np.ptp(xy, axis=0).max()) / 900), 1.7) if len(xy) else 1.0
    placed: list[tuple[str, Box]] = []
    for k, text, direction in wanted + [(k, text, outward[k]) for k, text in numbered]:
        size, tick = (_SIZE * grow, True) if text.isdigit() else (1.3 * _SIZE * grow, False)
        half = np.array([0.29 * size * len(text) + 1, 0.38 * size + 1])
        for reach, turn in _TRIES:
            angle = math.atan2(direction[1], direction[0]) + math.radians(turn)
            along = np.array([math.cos(angle), math.sin(angle)])
            tip = xy[k] + along * (radius + reach - (0 if tick else _TRIES[0][0]))
            # The text touches the end of its tick from outside, in whatever direction that is.
            centre = tip + along * (1 + (half / np.maximum(np.abs(along), 1e-9)).min())
            box: Box = (*(centre - half).tolist(), *(centre + half).tolist())
            if _free(box, xy[k], tip, discs, radius, [other for _, other in placed]):
                place = f'x="{number(centre[0])}" y="{number(centre[1])}"'
                label = f'<text {place} dy=".35em" font-size="{number(size)}"'
                if tick:
                    line = f"M{number(xy[k, 0])} {number(xy[k, 1])}L{number(tip[0])} "
                    line += number(tip[1])
                    label = f'<path d="{line}" stroke="{GREY}" stroke-width="1.4"/>{label}'
                else:
                    label += ' font-weight="bold"'
                placed.append((f"{label}>{text}</text>", box))
                break
    return placed


def _free(
    box: Box,
    base: FloatArray,
    tip: FloatArray,
    discs: FloatArray,
    radius: float,
    boxes: list[Box],
) -> bool:
    """Whether a label and its tick touch no disc and no other label."""
    nearest = discs[:, :2].clip(box[:2], box[2:])
    if (np.linalg.norm(nearest - discs[:, :2], axis=1) < discs[:, 2] + 1).any():
        return False
    others = discs[np.linalg.norm(discs[:, :2] - base, axis=1) > radius]
    for part in (0.5, 1.0):
        at = base + (tip - base) * part
        if (np.linalg.norm(others[:, :2] - at, axis=1) < others[:, 2] + 1).any():
            return False
    x = (min(box[0], tip[0]) - 4, max(box[2], tip[0]) + 4)
    y = (min(box[1], tip[1]) - 1, max(box[3], tip[1]) + 1)
    return not any(x[0] < b[2] and b[0] < x[1] and y[0] < b[3] and b[1] < y[1] for b in boxes)
