"""Reactivities: files, what is wrong with them, and the energies they become."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import RNA

from stemloop.errors import InputError, UsageError
from stemloop.folding import thermo
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.folding.reactivity import ProbingOptions, Reactivity, ReactivityTable
from stemloop.models.foldnet import FoldNet, FoldNetConfig
from stemloop.records import SequenceRecord

SEQUENCE = "GGCAAGGAAACCUUGCCAGUGAAAACAC"
VALUES = np.random.default_rng(0).gamma(1.0, 0.6, len(SEQUENCE))
RECORD = SequenceRecord("x", SEQUENCE)


# Energies -------------------------------------------------------------------------------------


def by_hand(method: str, values: np.ndarray) -> tuple[float, np.ndarray]:
    fc = RNA.fold_compound(SEQUENCE)
    listed = [-999.0, *values.tolist()]
    if method == "deigan":
        fc.sc_add_SHAPE_deigan(listed, 2.0, -0.5)
    else:
        fc.sc_add_SHAPE_zarringhalam(listed, 0.7, 0.5, "Os1.6i-2.29")
    return fc.pf()[1], np.array(fc.bpp())[1:, 1:]


@pytest.mark.parametrize("method", ["deigan", "zarringhalam"])
def test_energies_are_viennarnas(method) -> None:
    options = ProbingOptions(method, slope=2.0, intercept=-0.5, beta=0.7)
    values = VALUES.copy()
    values[[3, 9]] = np.nan
    found = thermo.fold_ensemble(SEQUENCE, reactivity=Reactivity(values, options))
    energy, probability = by_hand(method, np.where(np.isnan(values), -999.0, values))
    assert found.free_energy == pytest.approx(energy, abs=1e-3)
    np.testing.assert_allclose(found.pair_probability, probability, atol=1e-6)
    plain = thermo.fold_ensemble(SEQUENCE)
    assert np.abs(found.pair_probability - plain.pair_probability).max() > 0.01


def test_deigan_energy_of_one_helix() -> None:
    """Each base of a stacked pair: once at the end of a helix, twice inside (Deigan et al.)."""
    values = np.full(12, np.nan)
    values[[0, 1]] = 1.0, 0.5
    fc = thermo.compound("GGGGAAAACCCC", reactivity=Reactivity(values))
    bare = thermo.structure_energy("GGGGAAAACCCC", "((((....))))")
    term = [1.8 * math.log(1 + x) - 0.6 for x in (1.0, 0.5)]
    expected = bare + term[0] + 2 * term[1]
    assert fc.eval_structure("((((....))))") == pytest.approx(expected, abs=0.03)


def test_reactivities_add_to_the_network() -> None:
    net = FoldNet(FoldNetConfig(channels=4, hidden=8))
    net.pair_out.bias.data.fill_(-0.5)
    crf = ThermodynamicCRF(net)
    both = crf.ensemble(SEQUENCE, reactivity=Reactivity(VALUES))
    fc = RNA.fold_compound(SEQUENCE)
    bonus = np.zeros((len(SEQUENCE) + 1,) * 2)
    bonus[1:, 1:] = crf.energies(SEQUENCE)[0]  # type: ignore[index]
    fc.sc_init()
    fc.sc_set_bp(bonus.tolist())
    fc.sc_add_SHAPE_deigan([-999.0, *VALUES.tolist()], 1.8, -0.6)
    assert both.free_energy == pytest.approx(fc.pf()[1], abs=1e-3)
    for other in (crf.ensemble(SEQUENCE), thermo.fold_ensemble(SEQUENCE)):
        assert abs(both.free_energy - other.free_energy) > 0.5


def test_reactive_bases_open_and_the_others_close() -> None:
    reactive = np.where([c in "AU" for c in SEQUENCE], 2.0, 0.0)
    before = thermo.fold_ensemble(SEQUENCE).unpaired_probability
    after = thermo.fold_ensemble(SEQUENCE, reactivity=Reactivity(reactive)).unpaired_probability
    assert (after - before)[reactive > 0].sum() > 0.1


def test_dimethyl_sulfate_tells_of_a_and_c() -> None:
    dms = Reactivity(VALUES, ProbingOptions(reagent="dms")).informative(SEQUENCE)
    assert [letter for letter, v in zip(SEQUENCE, dms, strict=True) if math.isnan(v)] == [
        letter for letter in SEQUENCE if letter in "GU"
    ]
    assert not np.isnan(Reactivity(VALUES).informative(SEQUENCE)).any()
    with pytest.raises(InputError, match="28 reactivities for 5 nucleotides"):
        Reactivity(VALUES).informative("GGGGG")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deigan", ProbingOptions()),
        ("D", ProbingOptions()),
        ("Dm1.9b-0.7", ProbingOptions(slope=1.9, intercept=-0.7)),
        ("deiganb-0.4", ProbingOptions(intercept=-0.4)),
        ("Z", ProbingOptions("zarringhalam")),
        ("Zb1.2", ProbingOptions("zarringhalam", beta=1.2)),
    ],
)
def test_methods(text: str, expected: ProbingOptions) -> None:
    assert ProbingOptions.parse(text) == expected


@pytest.mark.parametrize("text", ["W", "Dm", "Dm1.2.3", "", "Zm1.8b0.5", "D 1.8"])
def test_methods_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="unknown method|knows no slope"):
        ProbingOptions.parse(text)


# Files ----------------------------------------------------------------------------------------


def table(tmp_path: Path, text: str) -> ReactivityTable:
    path = tmp_path / "a.shape"
    path.write_text(text)
    return ReactivityTable(path)


def test_a_file_for_one_rna(tmp_path: Path) -> None:
    text = "# from a paper\n1 G 0.5\n\n2\t0.25\n4 a -999\n5 A NA\n6 0 # zero\n28 t 1e-1\n"
    sequence = SEQUENCE[:-1] + "U"
    values = table(tmp_path, text)(SequenceRecord("x", sequence)).values
    expected = np.full(28, np.nan)
    expected[[0, 1, 3, 5, 27]] = 0.5, 0.25, -999, 0, 0.1
    np.testing.assert_array_equal(values, expected)


def test_a_file_for_several(tmp_path: Path) -> None:
    shapes = table(tmp_path, ">x first\n1 0.5\n>y\n1 0.75\n")
    assert shapes(RECORD).values[0] == 0.5
    assert shapes(SequenceRecord("y", "ACGU")).values[0] == 0.75
    with pytest.raises(InputError, match="a.shape: record 'z': no reactivities for this RNA"):
        shapes(SequenceRecord("z", "ACGU"))


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tRNA_1.shape").write_text("2 0.5\n")
    shapes = ReactivityTable(tmp_path)
    assert shapes(SequenceRecord("tRNA|1", "ACGU")).values[1] == 0.5
    with pytest.raises(InputError, match=r"y.shape: record 'y': no file of reactivities"):
        shapes(SequenceRecord("y", "ACGU"))
    (tmp_path / "z.shape").write_text(">z\n2 0.5\n>w\n1 0.1\n")
    with pytest.raises(InputError, match=r"z.shape: record 'z': reactivities of several RNAs"):
        shapes(SequenceRecord("z", "ACGU"))


def test_values_without_a_name_are_for_one_rna(tmp_path: Path) -> None:
    shapes = table(tmp_path, "1 0.5\n")
    shapes(RECORD)
    shapes(RECORD)
    with pytest.raises(UsageError, match="there are several: put a line '>identifier'"):
        shapes(SequenceRecord("y", "ACGU", index=1))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1 0.5\n2 G C 0.1\n", 2, "4 columns in '2 G C 0.1'"),
        ("1\n", 1, "1 columns in '1'"),
        ("1 0.5\n\ntwo 0.1\n", 3, "no numbers in 'two 0.1'"),
        ("1 0,5\n", 1, "no numbers in '1 0,5'"),
        ("1 inf\n", 1, "a reactivity of inf"),
        ("1 0.5\n29 0.1\n", 2, "position 29 of 28 nucleotides"),
        ("0 0.5\n", 1, "position 0 of 28 nucleotides"),
        ("1 0.5\n2 0.1\n1 0.5\n", 3, "position 1 for the second time"),
        ("1 G 0.5\n3 G 0.5\n", 2, "'G' at position 3, where the sequence has 'C'"),
        ("1 0.5\n>x\n1 0.5\n", 2, "values before the first header"),
        (">x\n1 0.5\n>x\n1 0.5\n", 3, "a second block"),
        ("# nothing\n", None, "no reactivities"),
        ("", None, "no reactivities"),
    ],
)
def test_bad_files_are_named_with_line(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        table(tmp_path, text)(RECORD)
    assert message in str(caught.value)
    assert caught.value.line == line
    assert caught.value.path == str(tmp_path / "a.shape")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.shape"):
        ReactivityTable(tmp_path / "none.shape")
