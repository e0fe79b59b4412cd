"""ViennaRNA as the thermodynamic engine: the only file that imports ``RNA``.

The energy of a structure s is

    E(s) = E_nearest-neighbour(s) + sum over its pairs of u_ij + sum over its unpaired bases of v_i

with u and v in kcal/mol. Every base is either unpaired or in exactly one pair, so the second sum
folds into the first, E(s) = E_nn(s) + sum_v + sum (u_ij - v_i - v_j): one soft-constraint matrix
carries both terms, and the partition function evaluates one table less.

Three facts of ViennaRNA 2.7 shape this file. Soft constraints are rounded to 0.01 kcal/mol.
Parameter sets are global to the process, and loading one does nothing once a set was scaled at the
same temperature. The interpreter lock is held during a fold, so parallel folding needs processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import RNA

from stemloop.errors import InputError, UsageError

FloatArray = npt.NDArray[np.float64]
ParameterSet = Literal[
    "turner2004", "turner1999", "turner1999-measured", "andronescu2007", "langdon2018"
]

#: Soft constraints live on this grid, kcal/mol.
GRID = 0.01
#: Free energy a nucleotide contributes on average, kcal/mol; sets the scale of the partition
#: function so that no minimum-free-energy run is needed first.
_ENERGY_PER_NT = -0.3


def _load_turner1999_measured() -> None:
    RNA.params_load_RNA_Turner1999()
    loops = files("stemloop.folding") / "measured_loops.par"
    RNA.params_load_from_string(loops.read_text(encoding="utf-8"), "measured loops")


_LOADERS = {
    "turner2004": RNA.params_load_RNA_Turner2004,
    "turner1999": RNA.params_load_RNA_Turner1999,
    "turner1999-measured": _load_turner1999_measured,
    "andronescu2007": RNA.params_load_RNA_Andronescu2007,
    "langdon2018": RNA.params_load_RNA_Langdon2018,
}
_loaded: str = "turner2004"


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
    """

    temperature: float = 37.0
    parameters: ParameterSet = "turner2004"
    max_span: int = 0


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Boltzmann ensemble of one RNA.

    Parameters
    ----------
    pair_probability : numpy.ndarray of float64, shape (L, L)
        Upper triangle; the rest is zero.
    free_energy : float
        Ensemble free energy, kcal/mol, soft constraints included.
    """

    pair_probability: FloatArray
    free_energy: float

    @property
    def unpaired_probability(self) -> FloatArray:
        """Probability of each base to be unpaired, shape (L,)."""
        p = self.pair_probability
        return 1.0 - p.sum(0) - p.sum(1)


def k_t(temperature: float = 37.0) -> float:
    """Return kT in kcal/mol.

    Examples
    --------
    >>> round(k_t(), 5)
    0.61632
    """
    return float(RNA.GASCONST * (RNA.K0 + temperature) / 1000.0)


def use_parameters(name: ParameterSet) -> None:
    """Load a nearest-neighbour set for this process (global state of ViennaRNA).

    Raises
    ------
    UsageError
        The set is not known.
    """
    global _loaded
    if name == _loaded:
        return
    if name not in _LOADERS:
        raise UsageError(f"unknown parameter set {name!r}; known: {', '.join(_LOADERS)}")
    _LOADERS[name]()
    # ViennaRNA keeps the scaled set of the last temperature and would go on using it: one fold and
    # one partition function at another temperature make it scale the new set.
    details = RNA.md()
    details.temperature = 20.0
    dummy = RNA.fold_compound("GGGGAAAACCCC", details)
    dummy.mfe()
    dummy.pf()
    _loaded = name


def _details(options: FoldOptions) -> Any:
    details = RNA.md()
    details.temperature = options.temperature
    if options.max_span:
        details.max_bp_span = options.max_span
    return details


def pair_bonus(bonus: FloatArray | None, unpaired: FloatArray | None) -> FloatArray | None:
    """Fold the per-base term v into the pair term u: u_ij - v_i - v_j, shape (L, L)."""
    if unpaired is None:
        return bonus
    both = -(unpaired[:, None] + unpaired[None, :])
    return both if bonus is None else bonus + both


def compound(
    sequence: str,
    bonus: FloatArray | None = None,
    options: FoldOptions = FoldOptions(),
    constraint: str | None = None,
) -> Any:
    """Make a ViennaRNA fold compound with soft constraints.

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides.
    bonus : numpy.ndarray, shape (L, L), optional
        kcal/mol added for each pair, upper triangle (see `pair_bonus`).
    options : FoldOptions
        Conditions.
    constraint : str, optional
        Hard constraint in ViennaRNA's dot-bracket notation (``( ) . x | < >``).
    """
    use_parameters(options.parameters)
    fc = RNA.fold_compound(sequence, _details(options))
    if constraint is not None:
        add_constraint(fc, sequence, constraint)
    if bonus is not None:
        size = len(sequence) + 1
        padded = np.zeros((size, size))
        padded[1:, 1:] = bonus
        fc.sc_init()
        fc.sc_set_bp(padded.tolist())
    return fc


def add_constraint(fc: Any, sequence: str, constraint: str) -> None:
    """Add a hard constraint; see `compound`.

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
    fc.hc_add_from_db(constraint, RNA.CONSTRAINT_DB_DEFAULT | RNA.CONSTRAINT_DB_ENFORCE_BP)


def _in_range(energy: float) -> bool:
    # ViennaRNA reports an overflow as an energy of 1e5 kcal/mol.
    return math.isfinite(energy) and abs(energy) < 1e5


def partition(fc: Any, length: int) -> Ensemble:
    """Run the partition function of a compound and read its pair probabilities.

    Raises
    ------
    InputError
        The sums leave the range of double precision whatever their scale.
    """
    fc.exp_params_rescale(_ENERGY_PER_NT * length)
    energy = fc.pf()[1]
    if not _in_range(energy):
        # The guess of the scale was too far off (long or very stable RNA): pay for the real one.
        fc.exp_params_rescale(fc.mfe()[1])
        energy = fc.pf()[1]
    if not _in_range(energy):
        raise InputError(f"the partition function of {length} nucleotides is out of range")
    return Ensemble(np.array(fc.bpp())[1:, 1:], float(energy))


def fold_ensemble(
    sequence: str,
    bonus: FloatArray | None = None,
    unpaired: FloatArray | None = None,
    options: FoldOptions = FoldOptions(),
    constraint: str | None = None,
) -> Ensemble:
    """Pair probabilities under nearest-neighbour energies plus u and v.

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides.
    bonus : numpy.ndarray, shape (L, L), optional
        u, kcal/mol, upper triangle.
    unpaired : numpy.ndarray, shape (L,), optional
        v, kcal/mol.
    options : FoldOptions
        Conditions.
    constraint : str, optional
        Hard constraint, see `compound`.

    Returns
    -------
    Ensemble
        Probabilities and the ensemble free energy.

    Examples
    --------
    >>> e = fold_ensemble("GGGGAAAACCCC")
    >>> bool(e.pair_probability[1, 10] > 0.8)
    True
    """
    fc = compound(sequence, pair_bonus(bonus, unpaired), options, constraint)
    ensemble = partition(fc, len(sequence))
    if unpaired is None:
        return ensemble
    return Ensemble(ensemble.pair_probability, ensemble.free_energy + float(unpaired.sum()))


def probability_vjp(
    sequence: str,
    bonus: FloatArray,
    probability: FloatArray,
    gradient: FloatArray,
    *,
    steps: Sequence[float] = (0.1, -0.1),
    options: FoldOptions = FoldOptions(),
) -> FloatArray:
    """Vector-Jacobian product of the pair probabilities, one extra partition function a step.

    The Jacobian dp_kl / du_ij is the Hessian of the ensemble free energy and therefore symmetric:
    its product with ``gradient`` is the derivative of p in that direction, a finite difference of
    two partition functions.

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides.
    bonus : numpy.ndarray, shape (L, L)
        Soft constraint at which ``probability`` was computed, kcal/mol (see `pair_bonus`).
    probability : numpy.ndarray, shape (L, L)
        Pair probabilities there.
    gradient : numpy.ndarray, shape (L, L)
        dLoss/dp, upper triangle.
    steps : sequence of float
        Largest component of each probe, kcal/mol; the results are averaged. One step is off to
        first order in its size (about 15 % at 0.1), a step and its negative to second order.
        Drawing the sign of a single step at random removes the first-order error on average.
        Probes are rounded to 0.01 kcal/mol, so steps below 0.05 lose accuracy again.
    options : FoldOptions
        Conditions.

    Returns
    -------
    numpy.ndarray, shape (L, L)
        dLoss/du, upper triangle.
    """
    largest = float(np.abs(gradient).max())
    total = np.zeros_like(probability)
    if largest == 0.0:
        return total
    base = np.rint(bonus / GRID)
    for step in steps:
        scale = step / largest
        probe = GRID * (base + np.rint(gradient * (scale / GRID)))
        moved = partition(compound(sequence, probe, options), len(sequence))
        total += (moved.pair_probability - probability) / scale
    return total / len(steps)


def minimum_free_energy(fc: Any) -> tuple[str, float]:
    """Dot-bracket and energy (kcal/mol, soft constraints included) of the best structure."""
    structure, energy = fc.mfe()
    return str(structure), float(energy)


def structure_energy(
    sequence: str, dot_bracket: str, options: FoldOptions = FoldOptions()
) -> float:
    """Nearest-neighbour energy of a nested structure, kcal/mol (no soft constraints)."""
    use_parameters(options.parameters)
    return float(RNA.fold_compound(sequence, _details(options)).eval_structure(dot_bracket))


def layout(dot_bracket: str) -> FloatArray:
    """Places of the nucleotides in a drawing without overlaps (RNApuzzler), shape (L, 2).

    y points downwards: the first helix hangs from its 5' and 3' ends. RNApuzzler crashes on
    hairpins of fewer than three nucleotides, so their pairs are left out of the layout.

    Examples
    --------
    >>> layout("((((....))))").shape
    (12, 2)
    """
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
