"""Pictures of embeddings: the only file of the evaluations that imports matplotlib."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import ExtraError, OutputExistsError
from stemloop.evaluation.lm.embeddings import largest
from stemloop.evaluation.lm.sample import Rnas
from stemloop.formats.stream import atomic_output

#: Colours of matplotlib's tab20 without its two greys: those are for the rest.
COLOURS = tuple(k for k in range(20) if k not in (14, 15))


def require() -> ModuleType:
    """Import matplotlib.

    Raises
    ------
    ExtraError
        It is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ExtraError("matplotlib", "plots") from None
    return matplotlib


def scatter(
    path: Path, points: dict[str, npt.NDArray[np.float64]], rnas: Rnas, *, force: bool = False
) -> None:
    """Draw maps of the same RNAs: a row by family and a row by type, a column a method.

    Parameters
    ----------
    path : pathlib.Path
        PNG or SVG file to write.
    points : mapping of str to numpy.ndarray, shape (N, 2)
        Map of each method.
    rnas : Rnas
        The RNAs.
    force : bool
        Replace an existing file.

    Raises
    ------
    ExtraError
        matplotlib is not installed.
    OutputExistsError
        The file is there and `force` is not given.
    """
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; --force replaces it")
    matplotlib = require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = [matplotlib.colormaps["tab20"].colors[k] for k in COLOURS]
    figure = Figure(figsize=(4.5 * len(points) + 2.5, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(points), squeeze=False)
    for row, (title, labels) in zip(
        axes, (("family", rnas.families), ("RNA type", rnas.types)), strict=True
    ):
        for axis, (method, xy) in zip(row, points.items(), strict=True):
            _draw(axis, xy, labels, colours)
            axis.set_title(f"{method}, by {title}", fontsize=10)
        # Up to twenty names: outside the maps, where no point is covered.
        row[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)
    with atomic_output(path, force=force, binary=True) as handle:
        # Without the date, so that the same numbers give the same file.
        kind = path.suffix.lstrip(".") or "png"
        figure.savefig(handle, format=kind, dpi=150, metadata=_undated(kind))


def _draw(axis: Any, xy: npt.NDArray[np.float64], labels: tuple[str, ...], colours: Any) -> None:
    shown = largest(labels, len(COLOURS))
    places = np.array(labels, dtype=str)
    rest = ~np.isin(places, shown)
    if rest.any():
        axis.scatter(*xy[rest].T, s=6, color="0.8", linewidths=0, label="other or unknown")
    for name, colour in zip(shown, colours, strict=False):
        axis.scatter(*xy[places == name].T, s=10, color=colour, linewidths=0, label=name)
    axis.set_xticks([])
    axis.set_yticks([])


def _undated(kind: str) -> dict[str, None]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {"Software": None})
