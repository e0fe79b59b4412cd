"""Under what an RNA folds, and what comes out: the words that predictors and decoders share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
ParameterSet = Literal[
    "turner2004", "turner1999", "turner1999-measured", "andronescu2007", "langdon2018"
]

#: Stands between the strands of a duplex.
CUT = "&"


@dataclass(frozen=True, slots=True)
class FoldOptions:
    """Conditions under which an RNA folds.

    Parameters
    ----------
    temperature : float
        Degrees Celsius.
    parameters : str
        Nearest-neighbour set: ``turner2004``, ``turner1999``, ``turner1999-measured`` (the
        latter with the multiloops and special hairpins of Turner 2004, which were measured and
        not chosen to reproduce known structures), ``andronescu2007`` or ``langdon2018`` (both
        fitted to databases of known structures).
    max_span : int
        Largest distance j - i + 1 of a pair; 0 for no limit.
    circular : bool
        The ends of the RNA are joined.
    """

    temperature: float = 37.0
    parameters: ParameterSet = "turner2004"
    max_span: int = 0
    circular: bool = False


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Boltzmann ensemble of one RNA, or of two strands.

    Parameters
    ----------
    pair_probability : numpy.ndarray of float64, shape (L, L)
        Upper triangle; the rest is zero. Of two strands: given that they are bound to each other.
    free_energy : float
        Ensemble free energy, kcal/mol, soft constraints included. Of two strands: bound or not.
    binding_energy : float, optional
        Of two strands: free energy of the bound states minus those of the strands, kcal/mol.
    """

    pair_probability: FloatArray
    free_energy: float
    binding_energy: float | None = None

    @property
    def unpaired_probability(self) -> FloatArray:
        """Probability of each base to be unpaired, shape (L,)."""
        p = self.pair_probability
        unpaired: FloatArray = 1.0 - p.sum(0) - p.sum(1)
        return unpaired
