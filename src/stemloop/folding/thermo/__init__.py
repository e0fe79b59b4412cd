"""ViennaRNA as the thermodynamic engine: the only package that imports ``RNA``.

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
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import RNA

from stemloop.errors import InputError, UsageError
from stemloop.folding.conditions import CUT, Ensemble, FloatArray, FoldOptions, ParameterSet
from stemloop.folding.reactivity import Reactivity
from stemloop.folding.thermo.given import add_constraint, add_reactivity

#: Soft constraints live on this grid, kcal/mol.
GRID = 0.01
#: Free energy a nucleotide contributes on average, kcal/mol; sets the scale of the partition
#: function so that no minimum-free-energy run is needed first.
_ENERGY_PER_NT = -0.3


def _load_turner1999_measured() -> None:
    RNA.params_load_RNA_Turner1999()
    loops = files("stemloop.folding.thermo") / "measured_loops.par"
    RNA.params_load_from_string(loops.read_text(encoding="utf-8"), "measured loops")


_LOADERS = {
    "turner2004": RNA.params_load_RNA_Turner2004,
    "turner1999": RNA.params_load_RNA_Turner1999,
    "turner1999-measured": _load_turner1999_measured,
    "andronescu2007": RNA.params_load_RNA_Andronescu2007,
    "langdon2018": RNA.params_load_RNA_Langdon2018,
}
_loaded: str = "turner2004"


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
    details.circ = int(options.circular)
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
    reactivity: Reactivity | None = None,
    *,
    samples: bool = False,
) -> Any:
    """Make a ViennaRNA fold compound with soft constraints.

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides, or two strands of L together with ``&`` between.
    bonus : numpy.ndarray, shape (L, L), optional
        kcal/mol added for each pair, upper triangle (see `pair_bonus`). Of two strands: only for
        pairs within one, ViennaRNA 2.7 does not add all of those between them.
    options : FoldOptions
        Conditions.
    constraint : str, optional
        Hard constraint of L characters in ViennaRNA's dot-bracket notation (``( ) . x | < >``).
    reactivity : Reactivity, optional
        Chemical probing.
    samples : bool
        Prepare for `sample`.
    """
    use_parameters(options.parameters)
    details = _details(options)
    details.uniq_ML = int(samples)
    fc = RNA.fold_compound(sequence, details)
    if constraint is not None:
        add_constraint(fc, sequence.replace(CUT, ""), constraint)
    if bonus is not None:
        size = len(bonus) + 1
        padded = np.zeros((size, size))
        padded[1:, 1:] = bonus
        fc.sc_init()
        fc.sc_set_bp(padded.tolist())
    if reactivity is not None:
        # After the pair terms: setting those would clear the ones of probing.
        add_reactivity(fc, sequence, reactivity)
    return fc


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
    energies = _sum_up(fc)
    if not all(map(_in_range, energies)):
        # The guess of the scale was too far off (long or very stable RNA): pay for the real one.
        fc.exp_params_rescale(fc.mfe()[1])
        energies = _sum_up(fc)
    if not all(map(_in_range, energies)):
        raise InputError(f"the partition function of {length} nucleotides is out of range")
    probability = np.array(fc.bpp())[1:, 1:]
    if len(energies) == 1:
        return Ensemble(probability, energies[0])
    first, second, bound, together = energies
    return Ensemble(probability, together, bound - first - second)


def _sum_up(fc: Any) -> list[float]:
    """Run the partition function; free energies of an RNA, or of A, B, A bound to B, and all."""
    return [float(energy) for energy in (fc.pf_dimer() if fc.strands > 1 else fc.pf())[1:]]


def sample(fc: Any, length: int, number: int, seed: int) -> list[str]:
    """Draw structures from the Boltzmann ensemble, in dot-bracket notation.

    Parameters
    ----------
    fc : ViennaRNA fold compound
        Of one linear strand, made by ``compound(..., samples=True)``: ViennaRNA 2.7 draws from
        other distributions than the ensemble for circular RNAs and for two strands.
    length : int
        Nucleotides.
    number : int
        Structures to draw.
    seed : int
        The same seed gives the same structures (32 bits).

    Examples
    --------
    >>> fc = compound("GGGGAAAACCCC", samples=True)
    >>> sample(fc, 12, 2, seed=1) == sample(fc, 12, 2, seed=1)
    True
    """
    partition(fc, length)
    RNA.init_rand(seed)
    return [str(structure) for structure in fc.pbacktrack(number)]


def fold_ensemble(
    sequence: str,
    bonus: FloatArray | None = None,
    unpaired: FloatArray | None = None,
    options: FoldOptions = FoldOptions(),
    constraint: str | None = None,
    reactivity: Reactivity | None = None,
) -> Ensemble:
    """Pair probabilities under nearest-neighbour energies plus u and v.

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides, or two strands (see `compound`).
    bonus : numpy.ndarray, shape (L, L), optional
        u, kcal/mol, upper triangle.
    unpaired : numpy.ndarray, shape (L,), optional
        v, kcal/mol.
    options : FoldOptions
        Conditions.
    constraint : str, optional
        Hard constraint, see `compound`.
    reactivity : Reactivity, optional
        Chemical probing.

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
    fc = compound(sequence, pair_bonus(bonus, unpaired), options, constraint, reactivity)
    ensemble = partition(fc, len(sequence))
    if unpaired is None:
        return ensemble
    return replace(ensemble, free_energy=ensemble.free_energy + float(unpaired.sum()))


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


def structure_energies(
    sequence: str, dot_brackets: Sequence[str], options: FoldOptions = FoldOptions()
) -> list[float]:
    """Nearest-neighbour energies of nested structures, kcal/mol (no soft constraints).

    Parameters
    ----------
    sequence : str
        RNA of L nucleotides, or two strands (see `compound`).
    dot_brackets : sequence of str
        L characters each; pairs in other brackets than round ones do not count.
    options : FoldOptions
        Conditions.

    Returns
    -------
    list of float
        Infinite where the model forbids the structure (a hairpin of fewer than three bases).
    """
    use_parameters(options.parameters)
    fc = RNA.fold_compound(sequence, _details(options))
    energies = [float(fc.eval_structure(text)) for text in dot_brackets]
    return [energy if _in_range(energy) else math.inf for energy in energies]


def structure_energy(
    sequence: str, dot_bracket: str, options: FoldOptions = FoldOptions()
) -> float:
    """Nearest-neighbour energy of one structure, see `structure_energies`."""
    return structure_energies(sequence, [dot_bracket], options)[0]
