"""RBMs on disk: complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stemloop.errors import OutputExistsError, WeightsError
from stemloop.models.rbm import PARAMETERS, RBM
from stemloop.models.rbm_config import RBMConfig
from stemloop.weights.rbm_store import KEY, load_rbm, rbm_ages, rbm_file, save_rbm

CONFIG = RBMConfig("potts", 3, 4, "-ACGU", ("Bacillota", "é"), width=5, columns=(0, 2, 4))


def machine() -> RBM:
    generator = torch.Generator().manual_seed(0)
    shapes = CONFIG.shapes()
    return RBM(CONFIG, {k: torch.randn(s, generator=generator) for k, s in shapes.items()})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    extra = {"visible_frequencies": torch.rand(5, 3)}
    save_rbm(path, machine(), facts={"update": 7}, extra=extra)
    stored = load_rbm(path)
    assert stored.machine.config == CONFIG
    assert stored.facts == {"update": 7}
    for name in PARAMETERS:
        assert torch.equal(getattr(stored.machine, name), getattr(machine(), name))
    assert torch.equal(stored.extra["visible_frequencies"], extra["visible_frequencies"])
    with pytest.raises(OutputExistsError):
        save_rbm(path, machine())
    save_rbm(tmp_path / "y.safetensors", machine(), facts={"update": 7}, extra=extra)
    assert (tmp_path / "y.safetensors").read_bytes() == path.read_bytes()


def test_files_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "ages").mkdir()
    for age in (1, 10, 100):
        save_rbm(tmp_path / "ages" / f"{age:08d}.safetensors", machine(), facts={"update": age})
    with pytest.raises(WeightsError, match="neither"):
        rbm_file(tmp_path)
    assert list(rbm_ages(tmp_path)) == [1, 10, 100]
    assert load_rbm(tmp_path, age=60).facts["update"] == 100
    save_rbm(tmp_path / "last.safetensors", machine())
    assert rbm_file(tmp_path).name == "last.safetensors"
    save_rbm(tmp_path / "model.safetensors", machine())
    assert rbm_file(tmp_path).name == "model.safetensors"
    with pytest.raises(WeightsError, match="ages are in the folder"):
        rbm_file(tmp_path / "model.safetensors", age=3)
    with pytest.raises(WeightsError, match="no ages"):
        rbm_file(tmp_path / "ages", age=3)


def test_damage_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_rbm(path, machine())
    raw = path.read_bytes()
    for cut in (0, 5, 40, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(WeightsError, match="no readable safetensors"):
            load_rbm(path)
    path.write_bytes(raw.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.raises(WeightsError, match="newer than this program"):
        load_rbm(path)
    broken = machine()
    broken.hidden_bias[1] = float("inf")
    save_rbm(path, broken, force=True)
    with pytest.raises(WeightsError, match="hidden_bias has values that are not finite"):
        load_rbm(path)


def test_other_files_are_no_machines(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weights": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="no RBM of stemloop"):
        load_rbm(path)
    header = {"format": 1, "config": CONFIG.to_dict()}
    save_file({"weights": torch.zeros(2)}, path, metadata={KEY: json.dumps(header)})
    with pytest.raises(WeightsError, match="weights has shape"):
        load_rbm(path)
    save_file({"weights": torch.zeros(2)}, path, metadata={KEY: json.dumps({"format": 1})})
    with pytest.raises(WeightsError, match="config"):
        load_rbm(path)
