"""Where ViennaRNA draws the nucleotides of a structure."""

from __future__ import annotations

import numpy as np
import RNA

from stemloop.folding.conditions import FloatArray


def layout(dot_bracket: str, cut: int = 0) -> FloatArray:
    """Places of the nucleotides in a drawing without overlaps (RNApuzzler), shape (L, 2).

    y points downwards: the first helix hangs from its 5' and 3' ends. RNApuzzler crashes on
    hairpins of fewer than three nucleotides, so their pairs are left out of the layout.

    Parameters
    ----------
    dot_bracket : str
        Structure of L nucleotides.
    cut : int
        Nucleotides of the first of two strands, 0 for one strand; room is left between them.

    Examples
    --------
    >>> layout("((((....))))").shape, layout("(((())))", cut=4).shape
    ((12, 2), (8, 2))
    """
    if cut:
        gap = 4
        xy = layout(dot_bracket[:cut] + gap * "." + dot_bracket[cut:])
        return np.delete(xy, np.s_[cut : cut + gap], axis=0)
    places = ["."] * len(dot_bracket)
    opened: list[int] = []
    inner = -1  # start of the pair kept last: it lies inside (i, j) if it is beyond i
    for j, character in enumerate(dot_bracket):
        if character == "(":
            opened.append(j)
        elif character == ")":
            i = opened.pop()
            if j - i > 3 or inner > i:
                places[i], places[j], inner = "(", ")", i
    before = RNA.cvar.rna_plot_type
    RNA.cvar.rna_plot_type = RNA.PLOT_TYPE_PUZZLER
    try:
        points = RNA.get_xy_coordinates("".join(places))
    finally:
        RNA.cvar.rna_plot_type = before
    xy = [(points.get(k).X, points.get(k).Y) for k in range(len(dot_bracket))]
    return np.array(xy, np.float64).reshape(-1, 2)
