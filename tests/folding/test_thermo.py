"""The engine against ViennaRNA called directly, and its edges."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import RNA

from stemloop.errors import UsageError
from stemloop.folding import thermo
from stemloop.folding.thermo import FoldOptions, places
from stemloop.pairs import dot_bracket_to_pairs

SEQUENCE = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGG"

# One fresh process a set: the right answer, free of what was loaded before.
FRESH = """
import sys, RNA
getattr(RNA, sys.argv[1])()
print(RNA.fold_compound(sys.argv[2]).pf()[1])
"""


@pytest.mark.parametrize("temperature", [10.0, 37.0, 65.0])
def test_equals_viennarna(temperature: float) -> None:
    details = RNA.md()
    details.temperature = temperature
    compound = RNA.fold_compound(SEQUENCE, details)
    structure, energy = compound.mfe()
    compound.exp_params_rescale(energy)
    free_energy = compound.pf()[1]
    options = FoldOptions(temperature)
    ensemble = thermo.fold_ensemble(SEQUENCE, options=options)
    assert ensemble.free_energy == pytest.approx(free_energy, abs=1e-4)
    expected = np.array(compound.bpp())[1:, 1:]
    np.testing.assert_allclose(ensemble.pair_probability, expected, atol=1e-6)
    found = thermo.minimum_free_energy(thermo.compound(SEQUENCE, options=options))
    assert found == (structure, pytest.approx(energy))
    assert thermo.structure_energy(SEQUENCE, structure, options) == pytest.approx(energy, abs=1e-4)


def test_parameter_sets_equal_fresh_processes() -> None:
    """Loading sets one after the other gives what a process with only one of them gives."""
    loaders = {
        "andronescu2007": "params_load_RNA_Andronescu2007",
        "langdon2018": "params_load_RNA_Langdon2018",
        "turner1999": "params_load_RNA_Turner1999",
        "turner2004": "params_load_RNA_Turner2004",
    }
    for name, loader in loaders.items():
        done = subprocess.run(
            [sys.executable, "-c", FRESH, loader, SEQUENCE],
            capture_output=True,
            text=True,
            check=True,
        )
        ours = thermo.fold_ensemble(SEQUENCE, options=FoldOptions(parameters=name))
        assert ours.free_energy == pytest.approx(float(done.stdout), abs=1e-4), name


def test_unknown_parameter_set() -> None:
    with pytest.raises(UsageError, match="unknown parameter set 'turner2005'; known: turner2004"):
        thermo.use_parameters("turner2005")  # type: ignore[arg-type]


def test_probabilities_are_an_upper_triangle_and_sum_to_at_most_one() -> None:
    probability = thermo.fold_ensemble(SEQUENCE).pair_probability
    assert probability.shape == (46, 46)
    assert not np.tril(probability, 3).any()
    assert probability.min() >= 0
    unpaired = thermo.fold_ensemble(SEQUENCE).unpaired_probability
    assert unpaired.min() > -1e-9
    assert unpaired.max() <= 1


def test_longest_span() -> None:
    """(0, 45) has span 46: it can form under 46 and not under 45."""
    stable = "GGGGGG" + "A" * 34 + "CCCCCC"
    spans = {}
    for limit in (0, 46, 45, 20):
        p = thermo.fold_ensemble(stable, options=FoldOptions(max_span=limit)).pair_probability
        i, j = np.nonzero(p > 1e-6)
        spans[limit] = int((j - i + 1).max()) if len(i) else 0
    assert spans == {0: 46, 46: 46, 45: 45, 20: 0}


def test_hotter_is_less_structured() -> None:
    paired = [
        thermo.fold_ensemble(SEQUENCE, options=FoldOptions(t)).pair_probability.sum()
        for t in (20.0, 37.0, 60.0, 80.0)
    ]
    assert paired == sorted(paired, reverse=True)


def test_a_bonus_moves_the_minimum_by_its_amount() -> None:
    """A constant bonus a pair lowers the energy of the structure by its number of pairs."""
    structure, energy = thermo.minimum_free_energy(thermo.compound(SEQUENCE))
    pairs = dot_bracket_to_pairs(structure)
    bonus = np.zeros((46, 46))
    bonus[pairs[:, 0], pairs[:, 1]] = -0.5
    found, lowered = thermo.minimum_free_energy(thermo.compound(SEQUENCE, bonus))
    assert found == structure
    assert lowered == pytest.approx(energy - 0.5 * len(pairs), abs=1e-4)


def test_unpaired_terms_fold_into_pair_terms() -> None:
    rng = np.random.default_rng(1)
    unpaired = np.rint(rng.normal(0, 0.4, 46) * 100) / 100
    folded = thermo.fold_ensemble(SEQUENCE, None, unpaired)
    compound = RNA.fold_compound(SEQUENCE)
    compound.sc_init()
    compound.sc_set_up([0.0, *unpaired.tolist()])
    free_energy = compound.pf()[1]
    assert folded.free_energy == pytest.approx(free_energy, abs=1e-4)
    expected = np.array(compound.bpp())[1:, 1:]
    np.testing.assert_allclose(folded.pair_probability, expected, atol=1e-6)


def test_layout_has_a_place_for_each_base_and_restores_the_plot_type() -> None:
    before = RNA.cvar.rna_plot_type
    xy = places.layout("((((....))))((.))..()")
    assert xy.shape == (21, 2)
    assert np.isfinite(xy).all()
    assert len({tuple(p) for p in xy.round(3).tolist()}) == 21
    assert RNA.cvar.rna_plot_type == before
