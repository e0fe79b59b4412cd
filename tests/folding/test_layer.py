"""The layer that trains through ViennaRNA, against enumeration and finite differences."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from stemloop.errors import InputError
from stemloop.folding import layer, thermo
from stemloop.models.foldnet import pair_features
from stemloop.pairs import dot_bracket_to_pairs, pairs_to_dot_bracket

TINY = ["GGGAAACCC", "GCGAAAGCAUU", "GGCAAAAGCCGU", "GAGCAAAGCGUC"]


def nested_structures(sequence: str) -> list[str]:
    """All nested canonical structures with hairpins of three or more, by brute force."""
    features = pair_features(sequence)
    pairs = list(zip(features.i.tolist(), features.j.tolist(), strict=True))

    def extend(start: int, chosen: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        result = [chosen]
        for k in range(start, len(pairs)):
            i, j = pairs[k]
            if all(
                len({i, j, a, b}) == 4 and ((a < i) == (j < b) or j < a or b < i) for a, b in chosen
            ) and not any(a < i < b < j or i < a < j < b for a, b in chosen):
                result += extend(k + 1, [*chosen, (i, j)])
        return result

    return [
        pairs_to_dot_bracket(np.array(p, dtype=np.int32).reshape(-1, 2), len(sequence))
        for p in extend(0, [])
    ]


def enumerate_ensemble(
    sequence: str, bonus: np.ndarray, unpaired: np.ndarray
) -> tuple[np.ndarray, float]:
    """Pair probabilities and free energy by summing over every structure."""
    length = len(sequence)
    kt = thermo.k_t()
    total, weighted = 0.0, np.zeros((length, length))
    for text in nested_structures(sequence):
        pairs = dot_bracket_to_pairs(text)
        free = np.array([c == "." for c in text])
        energy = thermo.structure_energy(sequence, text)
        energy += bonus[pairs[:, 0], pairs[:, 1]].sum() + unpaired[free].sum()
        weight = np.exp(-energy / kt)
        total += weight
        weighted[pairs[:, 0], pairs[:, 1]] += weight
    return weighted / total, -kt * np.log(total)


def on_grid(values: np.ndarray) -> np.ndarray:
    return np.rint(values * 100) / 100


@pytest.mark.parametrize("sequence", TINY)
def test_ensemble_equals_enumeration(sequence: str) -> None:
    rng = np.random.default_rng(3)
    length = len(sequence)
    bonus = on_grid(np.triu(rng.normal(0, 1.0, (length, length)), 4))
    unpaired = on_grid(rng.normal(0, 0.5, length))
    ensemble = thermo.fold_ensemble(sequence, bonus, unpaired)
    expected, free_energy = enumerate_ensemble(sequence, bonus, unpaired)
    # The partition function smooths dangling-end energies, the energy evaluation does not.
    np.testing.assert_allclose(ensemble.pair_probability, expected, atol=5e-4)
    assert ensemble.free_energy == pytest.approx(free_energy, abs=1e-3)


def test_without_correction_it_is_plain_viennarna() -> None:
    sequence = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGG"
    plain = thermo.fold_ensemble(sequence)
    zero = thermo.fold_ensemble(sequence, np.zeros((46, 46)), np.zeros(46))
    np.testing.assert_array_equal(plain.pair_probability, zero.pair_probability)


def test_free_energy_gradient_is_the_pair_probability() -> None:
    sequence = TINY[3]
    features = pair_features(sequence)
    bonus = torch.zeros(len(features.i), requires_grad=True)
    probability, energy = layer.pair_probability(bonus, sequence, features.i, features.j)
    energy.backward()
    torch.testing.assert_close(bonus.grad, probability.detach())
    for k in range(len(features.i)):
        values = []
        for step in (0.1, -0.1):
            moved = np.zeros((len(sequence),) * 2)
            moved[features.i[k], features.j[k]] = step
            values.append(thermo.fold_ensemble(sequence, moved).free_energy)
        assert (values[0] - values[1]) / 0.2 == pytest.approx(
            float(probability[k].detach()), abs=2e-3
        )


@pytest.mark.parametrize("sequence", TINY)
def test_vector_jacobian_product_equals_enumeration(sequence: str) -> None:
    """Gradient of soft F1 with respect to u and v against central differences of exact sums."""
    rng = np.random.default_rng(5)
    features = pair_features(sequence)
    i, j, length = features.i, features.j, len(sequence)
    u = torch.from_numpy(on_grid(rng.normal(0, 0.4, len(i)))).requires_grad_()
    v = torch.from_numpy(on_grid(rng.normal(0, 0.2, length))).requires_grad_()
    reference = torch.from_numpy((rng.random(len(i)) < 0.4).astype(np.float64))
    reference[0] = 1.0

    probability, _ = layer.pair_probability(
        u - v[torch.from_numpy(i)] - v[torch.from_numpy(j)], sequence, i, j, steps=(0.2, -0.2)
    )
    layer.soft_f(probability, reference).backward()

    def exact(u_values: np.ndarray, v_values: np.ndarray) -> float:
        bonus = np.zeros((length, length))
        bonus[i, j] = u_values
        p, _ = enumerate_ensemble(sequence, bonus, v_values)
        return float(layer.soft_f(torch.from_numpy(p[i, j]), reference))

    assert u.grad is not None
    assert v.grad is not None
    scale = float(torch.cat([u.grad, v.grad]).abs().max())
    for values, grad, which in ((u, u.grad, 0), (v, v.grad, 1)):
        for k in range(len(values)):
            ends = []
            for step in (1e-4, -1e-4):
                both = [u.detach().numpy().copy(), v.detach().numpy().copy()]
                both[which][k] += step
                ends.append(exact(*both))
            assert float(grad[k]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=0.05 * scale)


def test_one_step_is_right_to_first_order_and_two_to_second() -> None:
    sequence = "GGGAUACGUAUCCCUAGCAAAGCUAGG"
    features = pair_features(sequence)
    i, j = features.i, features.j
    base = thermo.fold_ensemble(sequence).pair_probability
    gradient = np.zeros_like(base)
    gradient[i[::3], j[::3]] = 1.0

    def product(*steps: float) -> np.ndarray:
        zero = np.zeros_like(base)
        return thermo.probability_vjp(sequence, zero, base, gradient, steps=steps)

    exact = product(0.05, -0.05)
    errors = [np.abs(product(*steps) - exact).max() for steps in ((0.4,), (0.4, -0.4))]
    assert errors[1] < errors[0] / 2


def test_zero_gradient_needs_no_partition_function() -> None:
    p = thermo.fold_ensemble(TINY[0]).pair_probability
    assert not thermo.probability_vjp(TINY[0], np.zeros_like(p), p, np.zeros_like(p)).any()


def test_parameter_sets_equal_those_of_fresh_processes() -> None:
    """ViennaRNA ignores a set that is loaded after the first fold; `use_parameters` must not."""
    sequence = "GCGGAUUUAGCUCAGUUGGGAGAGCGCCAGACUGAAGAUCUGGAGGUCCUGUGUUCGAUCCACAGAAUUCGCACCA"
    loaders = {
        "turner2004": "params_load_RNA_Turner2004",
        "turner1999": "params_load_RNA_Turner1999",
        "andronescu2007": "params_load_RNA_Andronescu2007",
        "langdon2018": "params_load_RNA_Langdon2018",
    }
    fresh = {}
    for name, loader in loaders.items():
        code = f"import RNA; RNA.{loader}(); print(RNA.fold_compound({sequence!r}).pf()[1])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        fresh[name] = float(done.stdout)
    assert len(set(fresh.values())) == 4
    names: list[thermo.ParameterSet] = ["turner2004", "langdon2018", "turner1999"]
    for name in [*names, "andronescu2007", *reversed(names), "turner2004"]:
        options = thermo.FoldOptions(parameters=name)
        energy = thermo.fold_ensemble(sequence, options=options).free_energy
        assert energy == pytest.approx(fresh[name], abs=1e-4)


def test_a_scale_that_was_guessed_wrong_is_corrected() -> None:
    """A perfect GC helix is far more stable than the guess; the sums must not overflow."""
    arm = "GCGGCCGC" * 50
    sequence = arm + "AAAA" + arm[::-1].translate(str.maketrans("GC", "CG"))
    ensemble = thermo.fold_ensemble(sequence)
    fc = thermo.compound(sequence)
    _, minimum = thermo.minimum_free_energy(fc)
    assert minimum - 20 < ensemble.free_energy <= minimum


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("....", "constraint of 4 characters for 9 nucleotides"),
        ("((....).)", None),
        ("((...).))", "closes a bracket"),
        ("(((....))", "leaves 1 bracket"),
        ("((..?..))", "unknown character '\\?' at position 5"),
    ],
)
def test_constraints_are_checked(constraint: str, message: str | None) -> None:
    if message is None:
        thermo.fold_ensemble("GGGAAACCC", constraint=constraint)
    else:
        with pytest.raises(InputError, match=message):
            thermo.fold_ensemble("GGGAAACCC", constraint=constraint)


def test_constraints_hold() -> None:
    sequence = "GGGGAAAACCCCAAAAGGGG"
    free = thermo.fold_ensemble(sequence, constraint="x" * 4 + "." * 16)
    assert free.pair_probability[:4].sum() == 0
    forced = thermo.fold_ensemble(sequence, constraint="........((((....))))")
    assert forced.pair_probability[8:12].sum() > 3.9
