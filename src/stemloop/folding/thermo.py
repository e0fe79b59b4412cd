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
from dataclasses import replace
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import RNA

from stemloop.errors import InputError, UsageError
from stemloop.folding.conditions import CUT, Ensemble, FloatArray, FoldOptions, ParameterSet
from stemloop.folding.reactivity import Reactivity

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


def layout(dot_bracket: str) -> FloatArray:
    """Places of the nucleotides in a drawing without overlaps (RNApuzzler), shape (L, 2).

    y points downwards: the first helix hangs from its 5' and 3' ends. RNApuzzler crashes on
    hairpins of fewer than three nucleotides, so their pairs are left out of the layout. Two strands
    have ``&`` between them, which takes the room of a loop and has no place of its own.

    Examples
    --------
    >>> layout("((((....))))").shape, layout("((((&))))").shape
    ((12, 2), (8, 2))
    """
    first, cut, second = dot_bracket.partition(CUT)
    if cut:
        gap = 4
        xy = layout(first + gap * "." + second)
        return np.delete(xy, np.s_[len(first) : len(first) + gap], axis=0)
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
