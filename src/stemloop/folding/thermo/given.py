"""What is known of an RNA, hard constraints and chemical probing, as ViennaRNA takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import RNA

from stemloop.errors import InputError
from stemloop.folding.reactivity import Reactivity


def add_reactivity(fc: Any, sequence: str, reactivity: Reactivity) -> None:
    """Add the pseudo-energies of chemical probing to a compound's soft constraints."""
    values = reactivity.informative(sequence)
    # ViennaRNA counts from 1 and takes negative values as not known.
    listed = [-999.0, *np.where(np.isnan(values), -999.0, values).tolist()]
    options = reactivity.options
    if options.method == "deigan":
        fc.sc_add_SHAPE_deigan(listed, options.slope, options.intercept)
    else:
        default = RNA.PROBING_METHOD_ZARRINGHALAM2012_DEFAULT_probability
        conversion = RNA.PROBING_METHOD_ZARRINGHALAM2012_DEFAULT_conversion
        fc.sc_add_SHAPE_zarringhalam(listed, options.beta, default, conversion)


def check_constraint(sequence: str, constraint: str) -> None:
    """Check a hard constraint; see `compound`.

    Raises
    ------
    InputError
        The constraint has another length than the sequence, unknown characters or open brackets.
    """
    if len(constraint) != len(sequence):
        raise InputError(
            f"constraint of {len(constraint)} characters for {len(sequence)} nucleotides"
        )
    wrong = sorted(set(constraint) - set("().x|<>"))
    if wrong:
        raise InputError(
            f"unknown character {wrong[0]!r} at position {constraint.index(wrong[0]) + 1} of the "
            "constraint",
            expected="one of ( ) . x | < >",
        )
    depth = 0
    for place, character in enumerate(constraint, 1):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise InputError(f"constraint closes a bracket at position {place} that is not open")
    if depth:
        raise InputError(f"constraint leaves {depth} bracket(s) open")


def add_constraint(fc: Any, sequence: str, constraint: str) -> None:
    """Add a hard constraint; see `check_constraint` for what it raises."""
    check_constraint(sequence, constraint)
    fc.hc_add_from_db(constraint, RNA.CONSTRAINT_DB_DEFAULT | RNA.CONSTRAINT_DB_ENFORCE_BP)
