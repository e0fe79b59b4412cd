"""Pictures of generated sequences, by label where they have one.

Scores against sampling steps (as the F&F paper draws them), principal components, sequence logos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.errors import InputError, OutputExistsError
from stemloop.evaluation.generated import Floats, States, projection
from stemloop.evaluation.lm.plots import require
from stemloop.formats.stream import atomic_output

#: Rows of the picture: title, value, where natural rows are drawn from.
_ROWS = (
    ("AAI, data", "aai_truth"),
    ("AAI, samples", "aai_syn"),
    ("labels of samples right", "label_accuracy"),
    ("second moments, r", "second_r"),
)
#: Natural rows of a label, and rows made for it.
Pair = tuple[States, States]
_LETTER_COLOURS = {"A": "#2a9d3a", "C": "#2660c9", "G": "#d98e04", "U": "#c9302c", "T": "#c9302c"}


@contextmanager
def _figure(path: Path, size: tuple[float, float], force: bool) -> Iterator[Any]:
    """A figure that is written to the path when it is done; the same drawing, the same bytes."""
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force replaces it")
    matplotlib = require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Text as text and identifiers that do not change: a small file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stemloop"}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        kind = path.suffix.lstrip(".") or "svg"
        with atomic_output(path, force=force, binary=True) as out:
            undated: Any = {"Date": None} if kind == "svg" else None
            figure.savefig(out, format=kind, dpi=80, metadata=undated)


def curves(path: Path, reports: Mapping[str, Mapping[str, Any]], *, force: bool = False) -> None:
    """Draw scores against Gibbs steps, a line an age, a column a report.

    Parameters
    ----------
    path : pathlib.Path
        SVG or PNG file.
    reports : mapping of str to mapping
        Title of a column to the report of ``stemloop rbm evaluate``.
    force : bool
        Replace an existing file.

    Raises
    ------
    ExtraError
        matplotlib is not installed.
    InputError
        A report has no ages.
    OutputExistsError
        The file is there and `force` is not given.
    """
    for title, report in reports.items():
        if not report.get("ages"):
            raise InputError(f"{title}: no ages", expected="a report of stemloop rbm evaluate")
    with _figure(path, (3.4 * len(reports) + 0.4, 2.0 * (len(_ROWS) + 1)), force) as figure:
        axes = figure.subplots(len(_ROWS) + 1, len(reports), squeeze=False, sharex=True)
        for column, (title, report) in enumerate(reports.items()):
            ages = report["ages"]
            colours = require().colormaps["viridis_r"]
            for number, age in enumerate(ages):
                colour = colours(0.1 + 0.9 * number / max(len(ages) - 1, 1))
                label = f"{age['update']:,}"
                for row, (_, key) in enumerate(_ROWS):
                    _line(axes[row][column], age["generation"], key, colour, label)
                steps = age["classification"].get("gibbs", {})
                _line(axes[-1][column], {k: {"a": v} for k, v in steps.items()}, "a", colour, label)
            for row, (name, key) in enumerate(_ROWS):
                _finish(axes[row][column], name if not column else "", report["natural"].get(key))
            final = ages[-1]["classification"].get("logistic_regression")
            _finish(axes[-1][column], "" if column else "held-out labels right", final)
            axes[0][column].set_title(title, fontsize=9)
            axes[-1][column].set_xlabel("Gibbs steps", fontsize=8)
            axes[0][column].legend(title="updates", fontsize=6, title_fontsize=6, frameon=False)
        for row in axes:
            low = min(axis.get_ylim()[0] for axis in row)
            for axis in row:
                axis.set_ylim(low, 1.03)


def _line(
    axis: Any, values: Mapping[str, Mapping[str, Any]], key: str, colour: Any, label: str
) -> None:
    steps: Sequence[int] = sorted(int(k) for k, v in values.items() if key in v)
    heights = [values[str(k)][key] for k in steps]
    axis.plot(steps, heights, "o-", color=colour, markersize=3, linewidth=1, label=label)


def _finish(axis: Any, name: str, natural: float | None) -> None:
    """Grey line: held-out rows in place of samples, or logistic regression."""
    if natural is not None:
        axis.axhline(natural, color="0.6", linewidth=0.8, linestyle="--")
    axis.set_xscale("log")
    axis.set_ylabel(name, fontsize=8)
    axis.tick_params(labelsize=7)


def components(path: Path, rows: Mapping[str, Pair], letters: str, *, force: bool = False) -> None:
    """Draw rows on the first two principal components of the natural ones, a panel a label.

    Parameters
    ----------
    path : pathlib.Path
        SVG or PNG file.
    rows : mapping of str to pair of arrays
        Label to natural rows and rows made for it, states (M, N).
    letters : str
        One a state.
    force : bool
        Replace an existing file.

    Raises
    ------
    ExtraError
        matplotlib is not installed.
    OutputExistsError
        The file is there and `force` is not given.
    """
    natural, made = (np.concatenate([pair[k] for pair in rows.values()]) for k in (0, 1))
    one, two = projection(natural, made, len(letters))
    columns = min(len(rows), 4)
    lines = -(-len(rows) // columns)
    with _figure(path, (2.6 * columns, 2.6 * lines + 0.3), force) as figure:
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        first = second = 0
        for axis, (label, (known, drawn)) in zip(axes.flat, rows.items(), strict=False):
            axis.scatter(*one.T, s=2, color="0.88", linewidths=0)
            here = one[first : first + len(known)], two[second : second + len(drawn)]
            first, second = first + len(known), second + len(drawn)
            axis.scatter(*here[0].T, s=5, color="0.45", linewidths=0, label="natural")
            axis.scatter(*here[1].T, s=5, color="#c9302c", alpha=0.6, linewidths=0, label="made")
            axis.set_title(label or "all", fontsize=9)
            axis.tick_params(labelsize=6)
        for axis in axes.flat[len(rows) :]:
            axis.set_axis_off()
        axes[0][0].legend(fontsize=6, frameon=False)
        figure.supxlabel("component 1", fontsize=8)
        figure.supylabel("component 2", fontsize=8)


def logo_heights(states: States, letters: str) -> Floats:
    """Heights of the letters of a logo, bits, (N, q); gaps have none.

    A site's letters share log2(q - 1) less the entropy of its letters, times the share of rows that
    have a letter there. Letters of binary rows share one bit less the entropy.

    Examples
    --------
    >>> logo_heights(np.array([[1, 0], [1, 3]], np.uint8), "-ACGU").round(2).tolist()
    [[0.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    shares = np.stack([(states == s).mean(0) for s in range(len(letters))], 1)
    if letters[0] == "-":
        shares[:, 0] = 0
    present = shares.sum(1, keepdims=True)
    among = shares / np.maximum(present, 1e-12)
    logs = np.log2(among, where=among > 0, out=np.zeros_like(among))
    bits = np.log2(len(letters) - (letters[0] == "-")) + (among * logs).sum(1, keepdims=True)
    return shares * np.maximum(bits, 0)


def logos(path: Path, rows: Mapping[str, Pair], letters: str, *, force: bool = False) -> None:
    """Draw a sequence logo of the natural rows of every label, and one of those made for it.

    Parameters, errors: see `components`.
    """
    require()
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Path2D
    from matplotlib.textpath import TextPath

    outlines = {c: TextPath((0, 0), c, size=1, prop=_bold()) for c in letters}
    sites = next(iter(rows.values()))[0].shape[1]
    with _figure(path, (0.1 * sites + 1.2, 1.1 * 2 * len(rows)), force) as figure:
        axes = figure.subplots(2 * len(rows), 1, squeeze=False, sharex=True)[:, 0]
        for number, (label, pair) in enumerate(rows.items()):
            for axis, what, states in zip(
                axes[2 * number :], ("natural", "made"), pair, strict=False
            ):
                for letter, shapes in _shapes(logo_heights(states, letters), outlines).items():
                    colour = _LETTER_COLOURS.get(letter, "0.3")
                    whole = Path2D.make_compound_path(*shapes)  # one artist a letter is fast
                    axis.add_patch(PathPatch(whole, facecolor=colour, linewidth=0))
                axis.set_xlim(0.5, sites + 0.5)
                axis.set_ylim(0, np.log2(len(letters) - (letters[0] == "-")))
                axis.set_title(f"{label} {what}", fontsize=7, loc="left", pad=2)
                axis.tick_params(labelsize=6)
                axis.spines[["top", "right"]].set_visible(False)
        axes[-1].set_xlabel("site", fontsize=7)
        figure.supylabel("bits", fontsize=7)


def _shapes(heights: Floats, outlines: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Outlines of the letters at their sites, the highest on top."""
    from matplotlib.transforms import Affine2D

    letters = list(outlines)
    shapes: dict[str, list[Any]] = {}
    for site, row in enumerate(heights):
        base = 0.0
        for state in np.argsort(row):
            height = float(row[state])
            if height < 0.02:  # too flat to be seen
                continue
            outline = outlines[letters[state]]
            box = outline.get_extents()
            place = Affine2D().translate(-box.x0, -box.y0)
            place.scale(0.94 / box.width, height / box.height).translate(site + 0.53, base)
            shapes.setdefault(letters[state], []).append(outline.transformed(place))
            base += height
    return shapes


def _bold() -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family="DejaVu Sans", weight="bold")
