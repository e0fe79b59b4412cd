"""Machines of FeF, rbms and annaDCA: the energies written out in their own order of axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stemloop.cli.rbm import app
from stemloop.errors import UsageError, WeightsError
from stemloop.weights.rbm_import import import_rbm
from stemloop.weights.rbm_store import load_rbm

h5py = pytest.importorskip("h5py")

Q, N, H, C = 5, 6, 4, 3
SEQUENCES = ["GGAUCC", "-ACGUA", "UUUUU-"]


def machine(layout: str) -> dict[str, np.ndarray]:
    """Random parameters in the axes of the program: sites and states as it has them."""
    rng = np.random.default_rng(0)
    site = {"fef": (Q, N)}.get(layout, (N, Q))
    shapes = {"W": (*site, H), "a": site, "b": (H,), "D": (C, H), "c": (C,)}
    return {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}


def write(path: Path, layout: str, p: dict[str, np.ndarray], age: int = 7) -> Path:
    with h5py.File(path, "a") as file:
        if layout == "fef":
            names = {"W": "W", "D": "D", "a": "vbias", "b": "hbias", "c": "lbias"}
            for k, name in names.items():
                file[f"{name}{age}"] = p[k]
            file[f"X_pc{age}"] = 10
            return path
        group = file.create_group(f"update_{age}")
        group["hbias"] = p["b"]
        inner = group.create_group("params") if layout == "rbms" else group
        inner["weight_matrix"], inner["vbias"] = p["W"], p["a"]
        if layout == "annadca":
            inner["label_matrix"], inner["lbias"] = p["D"], p["c"]
            file.attrs["alphabet"] = "-ACGU"
            file.attrs["label_vocabulary"] = '["x", "y", "z"]'
    return path


def free_energy(layout: str, p: dict[str, np.ndarray], letters: str, text: str) -> float:
    """- log sum over hidden units and labels, term by term."""
    field, bias = p["b"].astype(float), 0.0
    for site, letter in enumerate(text):
        state = letters.index(letter)
        place = (state, site) if layout == "fef" else (site, state)
        field = field + p["W"][place]
        bias += p["a"][place]
    if layout == "rbms":
        return -bias - np.log1p(np.exp(field)).sum()
    by_label = [p["c"][k] + np.log1p(np.exp(field + p["D"][k])).sum() for k in range(C)]
    return -bias - np.logaddexp.reduce(by_label)


@pytest.mark.parametrize(
    ("layout", "letters"), [("fef", "-AGCU"), ("rbms", "-ACGU"), ("annadca", "-ACGU")]
)
def test_free_energies_are_those_of_the_file(tmp_path: Path, layout: str, letters: str) -> None:
    p = machine(layout)
    found = import_rbm(write(tmp_path / "m.h5", layout, p))
    config = found.machine.config
    assert config.letters == "-ACGU"
    assert config.labels == {"fef": ("0", "1", "2"), "rbms": ("",)}.get(layout, ("x", "y", "z"))
    rows = torch.tensor([[config.letters.index(c) for c in text] for text in SEQUENCES])
    wanted = [free_energy(layout, p, letters, text) for text in SEQUENCES]
    np.testing.assert_allclose(found.machine.marginal_free_energy(rows), wanted, rtol=1e-5)


def test_binary_machines(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    p = {"W": rng.normal(size=(N, H)), "a": rng.normal(size=N), "b": rng.normal(size=H)}
    p |= {"D": rng.normal(size=(2, H)), "c": rng.normal(size=2)}
    found = import_rbm(write(tmp_path / "m.h5", "fef", p), labels=["AFR", "EUR"])
    assert found.machine.config.kind == "binary"
    v = rng.integers(0, 2, (4, N))
    field = v @ p["W"] + p["b"]
    wanted = -(v @ p["a"]) - p["c"][1] - np.log1p(np.exp(field + p["D"][1])).sum(1)
    seen = found.machine.free_energy(torch.tensor(v), torch.ones(4, dtype=torch.long))
    np.testing.assert_allclose(seen, wanted, rtol=1e-5)


def test_ages_letters_and_the_command(tmp_path: Path) -> None:
    path = write(tmp_path / "m.h5", "fef", machine("fef"), age=3)
    late = machine("fef")
    late["b"] = late["b"] + 1
    write(path, "fef", late, age=40)
    assert import_rbm(path).facts["update"] == 40
    assert import_rbm(path, age=5).facts["update"] == 3
    assert import_rbm(path, letters="-ACGT").machine.config.letters == "-ACGU"
    assert import_rbm(path, letters="VWXYZ").machine.config.letters == "VWXYZ"
    with pytest.raises(UsageError, match="2 names for 3 labels"):
        import_rbm(path, labels=["a", "b"])
    with pytest.raises(UsageError, match="4 letters for 5 states"):
        import_rbm(path, letters="ACGU")
    out = tmp_path / "m.safetensors"
    words = ["import", str(path), "-o", str(out), "--label", "a", "--label", "b", "--label", "c"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert load_rbm(out).machine.config.labels == ("a", "b", "c")
    done = CliRunner().invoke(app, ["sample", str(out), "-n", "2", "--label", "b"])
    assert done.output.count(">b-") == 2


def test_files_that_are_no_machine(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(WeightsError, match="no readable HDF5"):
        import_rbm(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["other"] = 1
    with pytest.raises(WeightsError, match="neither W0 nor update_0"):
        import_rbm(tmp_path / "y.h5")
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["W1"] = np.zeros((5, 6, 4))
    with pytest.raises(WeightsError, match="no visible_bias"):
        import_rbm(tmp_path / "z.h5")
