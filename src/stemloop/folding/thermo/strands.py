"""Two strands under plain energies: duplexes, binding, and what opening a stretch costs."""

from __future__ import annotations

import math
from typing import NamedTuple

import RNA

from stemloop.folding.conditions import CUT
from stemloop.folding.thermo import k_t, use_parameters


class Duplex(NamedTuple):
    """The most stable duplex of two strands; places from 0, half open."""

    energy: float
    dot_bracket: str
    first: tuple[int, int]
    second: tuple[int, int]


def duplex(first: str, second: str) -> Duplex:
    """Most stable duplex without pairs inside a strand (RNAduplex, Turner 2004, 37 degrees).

    Parameters
    ----------
    first, second : str
        RNAs, 5' to 3'.

    Returns
    -------
    Duplex
        Energy (kcal/mol), 0 where nothing can pair; pairs of the two stretches as ``(((&)))``, and
        where the stretches lie.

    Examples
    --------
    >>> duplex("AAGGGGAA", "CCCC")
    Duplex(energy=-7.1, dot_bracket='((((&))))', first=(2, 6), second=(0, 4))
    """
    use_parameters("turner2004")
    found = RNA.duplexfold(first, second)
    one, other = found.structure.split(CUT)
    if "(" not in one:
        return Duplex(0.0, CUT, (0, 0), (0, 0))
    # The last place of the first stretch and the first of the second are given, from 1; bases that
    # dangle are part of both.
    start = found.i - len(one) + len(one) - len(one.lstrip("."))
    at = found.j - 1 + len(other) - len(other.lstrip("."))
    one, other = one.strip("."), other.strip(".")
    return Duplex(
        round(float(found.energy), 2), one + CUT + other,
        (start, start + len(one)), (at, at + len(other)),
    )  # fmt: skip


def binding_energy(first: str, second: str) -> float:
    """What two strands gain by binding, pairs inside each allowed (RNAcofold, Turner 2004, 37 C).

    Returns
    -------
    float
        kcal/mol: the best structure of both against the best ones of each.

    Examples
    --------
    >>> binding_energy("GGGG", "CCCC") < -4
    True
    """
    use_parameters("turner2004")
    alone = sum(float(RNA.fold_compound(text).mfe()[1]) for text in (first, second))
    return float(RNA.fold_compound(first + CUT + second).mfe_dimer()[1]) - alone


def opening_energy(sequence: str, start: int, stop: int, window: int = 200) -> float:
    """Free energy that keeping a stretch unpaired costs, kcal/mol (RNAplfold's accessibility).

    Parameters
    ----------
    sequence : str
        RNA.
    start, stop : int
        The stretch, from 0, half open.
    window : int
        Of the averaged local folds; pairs span three quarters of it at most.

    Examples
    --------
    >>> opening_energy("GGGGGAAAACCCCC", 0, 5) > 3 > opening_energy("AAAAAAAAAAAA", 0, 5)
    True
    """
    use_parameters("turner2004")
    size = min(window, len(sequence))
    span = size if size == len(sequence) else 3 * size // 4
    table = RNA.pfl_fold_up(sequence, stop - start, size, span)
    return -k_t() * math.log(max(table[stop][stop - start], 1e-12))
