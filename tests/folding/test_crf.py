"""The CRF as a predictor: a fresh network changes nothing, files keep every bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import RNA
import torch

from stemloop.errors import WeightsError
from stemloop.folding import thermo
from stemloop.folding.crf import ThermodynamicCRF, load_crf, save_crf
from stemloop.folding.thermo import FoldOptions
from stemloop.models.foldnet import FoldNet, FoldNetConfig, pair_features

SMALL = FoldNetConfig(channels=6, hidden=8, helix_layers=2)


def perturbed(seed: int = 0, scale: float = 0.3) -> FoldNet:
    """A network whose outputs are not zero."""
    torch.manual_seed(seed)
    net = FoldNet(SMALL)
    with torch.no_grad():
        net.pair_out.weight.normal_(0, scale)
        net.base_out.weight.normal_(0, scale)
    return net


def test_fresh_network_is_plain_viennarna(trna_phe: tuple[str, str]) -> None:
    sequence = trna_phe[0]
    compound = RNA.fold_compound(sequence)
    minimum, energy = compound.mfe()
    compound.exp_params_rescale(energy)
    free_energy = compound.pf()[1]
    crf = ThermodynamicCRF(FoldNet())
    ensemble = crf.ensemble(sequence)
    np.testing.assert_allclose(
        ensemble.pair_probability, np.array(compound.bpp())[1:, 1:], atol=1e-6
    )
    assert ensemble.free_energy == pytest.approx(free_energy, abs=1e-4)
    assert crf.minimum(sequence) == minimum
    without = ThermodynamicCRF().ensemble(sequence)
    np.testing.assert_array_equal(ensemble.pair_probability, without.pair_probability)


def test_network_terms_are_soft_constraints(trna_phe: tuple[str, str]) -> None:
    """u and v given to ViennaRNA by hand, as pair and as unpaired terms, give the same."""
    sequence = trna_phe[0]
    net = perturbed().eval()
    features = pair_features(sequence)
    with torch.no_grad():
        u, v = net(features)
    assert float(u.abs().max()) > 0.2
    size = len(sequence) + 1
    bonus = np.zeros((size, size))
    bonus[features.i + 1, features.j + 1] = u.numpy()
    compound = RNA.fold_compound(sequence)
    compound.sc_init()
    compound.sc_set_bp(bonus.tolist())
    compound.sc_set_up([0.0, *v.tolist()])
    free_energy = compound.pf()[1]
    ensemble = ThermodynamicCRF(net).ensemble(sequence)
    # Each term is rounded to 0.01 kcal/mol: u and v apart there, their sum here.
    expected = np.array(compound.bpp())[1:, 1:]
    np.testing.assert_allclose(ensemble.pair_probability, expected, atol=0.05)
    assert ensemble.free_energy == pytest.approx(free_energy, abs=0.2)
    plain = ThermodynamicCRF().ensemble(sequence)
    assert np.abs(ensemble.pair_probability - plain.pair_probability).max() > 0.1


def test_average_is_the_mean_of_the_sets(trna_phe: tuple[str, str]) -> None:
    sequence = trna_phe[0]
    crf = ThermodynamicCRF(perturbed(), ["andronescu2007", "langdon2018"])
    found = crf.ensemble(sequence)
    parts = [ThermodynamicCRF(perturbed()).ensemble(sequence)]
    for name in ("andronescu2007", "langdon2018"):
        parts.append(thermo.fold_ensemble(sequence, options=FoldOptions(parameters=name)))
    mean = np.mean([part.pair_probability for part in parts], axis=0)
    np.testing.assert_allclose(found.pair_probability, mean, atol=1e-12)
    assert found.free_energy == parts[0].free_energy


def test_constraints_reach_every_part(trna_phe: tuple[str, str]) -> None:
    sequence = trna_phe[0]
    constraint = "x" * 20 + "." * 56
    for crf in (
        ThermodynamicCRF(),
        ThermodynamicCRF(perturbed()),
        ThermodynamicCRF(perturbed(), ["turner1999"]),
    ):
        p = crf.ensemble(sequence, constraint=constraint).pair_probability
        assert p[:20].sum() == 0
        assert p.sum() > 1
        assert crf.minimum(sequence, constraint=constraint).startswith("." * 20)


@pytest.mark.parametrize("sequence", ["A", "ACGU", "AAAAAAAAAA", "NNNNNNNNN"])
def test_rnas_without_pairs(sequence: str) -> None:
    ensemble = ThermodynamicCRF(perturbed()).ensemble(sequence)
    assert not ensemble.pair_probability.any()
    assert ThermodynamicCRF(perturbed()).minimum(sequence) == "." * len(sequence)


def test_saved_and_loaded_gives_the_same_bits(tmp_path: Path, trna_phe: tuple[str, str]) -> None:
    net = perturbed()
    save_crf(tmp_path / "new" / "model", net, {"recipe": "x", "held_out": ["tRNA"]})
    loaded = load_crf(tmp_path / "new" / "model")
    assert loaded.net is not None
    assert loaded.net.config == SMALL
    for (name, mine), (other, theirs) in zip(
        net.state_dict().items(), loaded.net.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(mine, theirs)
    before = ThermodynamicCRF(net).ensemble(trna_phe[0])
    after = loaded.ensemble(trna_phe[0])
    np.testing.assert_array_equal(before.pair_probability, after.pair_probability)
    assert before.free_energy == after.free_energy
    config = json.loads((tmp_path / "new/model/config.json").read_text())
    assert config["card"] == {"recipe": "x", "held_out": ["tRNA"]}


def test_same_network_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_crf(tmp_path / name, perturbed(), {"recipe": "x"})
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


FAULTS = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "is no folding model"),
    "another model": (
        lambda f: edit(f, model_type="stemloop-rinalmo"),
        "model type 'stemloop-rinalmo' does not fold",
    ),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "model_type"),
    "unknown size": (lambda f: edit(f, net={"depth": 3}), "depth"),
    "other sizes": (lambda f: edit(f, net={"channels": 6, "hidden": 9}), "left.weight"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: no such"),
    "truncated": (cut, "truncated: key '[a-z0-9_.]+' is not whole"),
    "garbage": (
        lambda f: (f / "model.safetensors").write_bytes(b"\x00" * 50),
        "model.safetensors: no readable safetensors file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_folders_are_refused_by_name(tmp_path: Path, fault: str) -> None:
    break_it, message = FAULTS[fault]
    folder = tmp_path / "model"
    save_crf(folder, perturbed(), {})
    load_crf(folder)
    break_it(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        load_crf(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.exit_code == 5
