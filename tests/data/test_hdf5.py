"""Data files of the F&F program, as its own order of letters reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemloop.errors import FormatError, InputError, UsageError
from stemloop.tasks.generate import classify
from stemloop.tasks.generate_files import read_rows
from stemloop.training.rbm import train_rbm
from stemloop.training.rbm_recipe import DataRecipe, RBMRecipe

h5py = pytest.importorskip("h5py")

ROWS = ["-AGCU", "AAGGC", "UUUUU"]


def write(path: Path, **sets: object) -> Path:
    with h5py.File(path, "w") as file:
        for key, values in sets.items():
            file[key] = values
    return path


def read(path: Path, **more: object):
    recipe = {"file": path.name, "kind": "hdf5", "split": None, **more}
    return DataRecipe.model_validate(recipe).read(path.parent)


def test_rows_labels_and_names(tmp_path: Path) -> None:
    states = np.array([["-AGCU".index(c) for c in row] for row in ROWS])
    path = write(
        tmp_path / "x.h5", train=states[[0, 1, 2, 0]], train_labels=["a", "b", "a", "-1"],
        train_names=["p", "q", "r", "s"], test=states[1:2], test_labels=["b"],
    )  # fmt: skip
    data = read(path, labels={"column": "labels"})
    assert data.letters == "-ACGU"
    assert [data.text(k) for k in range(5)] == [*ROWS, ROWS[0], ROWS[1]]
    assert data.ids == ("p", "q", "r", "s", "test_1")
    assert data.names == ("a", "b")
    assert data.labels.tolist() == [0, 1, 0, -1, 1]
    assert read(path, letters="VWXYZ").text(0) == "VWXYZ"


def test_from_training_to_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((60, 8)) < 0.8, np.arange(60)[:, None] % 2, 1 + np.arange(8) % 4)
    labels = ["even", "odd"] * 30
    write(tmp_path / "x.h5", train=rows, train_labels=labels)
    values = {
        "task": "rbm", "name": "x", "hidden": 4, "updates": 20, "batch": 60,
        "optimiser": {"name": "adam", "learning_rate": 0.1},
        "data": {"file": "x.h5", "kind": "hdf5", "labels": {"column": "x"}, "split": None},
    }  # fmt: skip
    model = train_rbm(RBMRecipe.model_validate(values), tmp_path, tmp_path / "run")
    found = classify(model, read_rows(model, tmp_path / "x.h5"))
    assert np.mean([r.values["label"] == t for r, t in zip(found, labels, strict=True)]) > 0.9
    (tmp_path / "y.fa").write_text(">a\n----AAAA\n")
    assert read_rows(model, tmp_path / "y.fa").states.tolist() == [[0] * 4 + [1] * 4]


def test_zeros_and_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", train=np.array([[0.0, 1.0], [1.0, 1.0]]))
    data = read(path)
    assert (data.letters, data.states.tolist(), data.given) == ("01", [[0, 1], [1, 1]], ())


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "n.h5").write_text("no")
    with pytest.raises(InputError, match="no readable HDF5"):
        read(tmp_path / "n.h5")
    with pytest.raises(InputError, match="no rows"):
        read(write(tmp_path / "a.h5", other=1))
    with pytest.raises(FormatError, match="other labels or names"):
        read(write(tmp_path / "b.h5", train=np.zeros((2, 3)), train_labels=["x"]))
    with pytest.raises(FormatError, match="no states"):
        read(write(tmp_path / "c.h5", train=np.array([[0.5, 1.0]])))
    with pytest.raises(UsageError, match="30 states, 0 letters"):
        read(write(tmp_path / "d.h5", train=np.array([[0, 29]])))
