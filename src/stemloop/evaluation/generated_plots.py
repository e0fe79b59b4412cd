"""Pictures of generated sequences: scores against sampling steps, as the F&F paper draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemloop.errors import InputError, OutputExistsError
from stemloop.evaluation.lm.plots import require
from stemloop.formats.stream import atomic_output

#: Rows of the picture: title, value, where natural rows are drawn from.
_ROWS = (
    ("AAI, data", "aai_truth"),
    ("AAI, samples", "aai_syn"),
    ("labels of samples right", "label_accuracy"),
    ("second moments, r", "second_r"),
)


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
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force replaces it")
    for title, report in reports.items():
        if not report.get("ages"):
            raise InputError(f"{title}: no ages", expected="a report of stemloop rbm evaluate")
    matplotlib = require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Text as text and identifiers that do not change: the same numbers give the same small file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stemloop"}):
        size = (3.4 * len(reports) + 0.4, 2.0 * (len(_ROWS) + 1))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(_ROWS) + 1, len(reports), squeeze=False, sharex=True)
        for column, (title, report) in enumerate(reports.items()):
            ages = report["ages"]
            colours = matplotlib.colormaps["viridis_r"]
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
        kind = path.suffix.lstrip(".") or "svg"
        with atomic_output(path, force=force, binary=True) as out:
            undated: Any = {"Date": None} if kind == "svg" else None
            figure.savefig(out, format=kind, dpi=80, metadata=undated)


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
