"""RBMs of other programs, read from their HDF5 files.

==========  ===================================================================================
fef         Program of arXiv 2307.06797: ``W{t}``, ``D{t}``, ``vbias{t}``, ``hbias{t}``,
            ``lbias{t}`` for every age t; Potts weights (q, N, H), binary (N, H). Neither letters
            nor label names are stored.
rbms        ``update_{t}/params/...`` (``hbias`` beside it in 0.5.0), Potts weights (N, q, H). No
            labels; letters are not stored.
annadca     ``update_{t}/...`` with ``label_matrix``, Potts weights (N, q, H); letters and label
            names as attributes of the file.
==========  ===================================================================================

Energies are those of `stemloop.models.rbm` in all three. Chains, random states and optimisers are
left behind: a machine that was read can sample, classify and score, not be trained on.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from stemloop.data.hdf5 import FEF_LETTERS, in_our_order
from stemloop.errors import ExtraError, UsageError, WeightsError
from stemloop.models.rbm import PARAMETERS, RBM
from stemloop.models.rbm_config import RBMConfig
from stemloop.weights.rbm_store import StoredRBM

Arrays = dict[str, npt.NDArray[np.float32]]

#: Letters of the programs where a file does not say them, by number of states.
_LETTERS = {
    "fef": FEF_LETTERS,
    "rbms": {5: "-ACGU", 21: "-ACDEFGHIKLMNPQRSTVWY"},
    "annadca": {5: "-ACGU", 21: "-ACDEFGHIKLMNPQRSTVWY"},
}


def import_rbm(
    path: str | os.PathLike[str],
    *,
    letters: str | None = None,
    labels: Sequence[str] = (),
    age: int | None = None,
) -> StoredRBM:
    """Read a machine of FeF, rbms or annaDCA.

    Parameters
    ----------
    path : str or path
        HDF5 file; which program wrote it shows in its names.
    letters : str, optional
        One letter a state, in the order of the file. By default what the file says, or else the
        program's own order for RNA (5 states) or proteins (21).
    labels : sequence of str
        Names of the labels in the order of the file; for FeF that is alphabetical. By default what
        the file says, or else their numbers.
    age : int, optional
        Updates (FeF: epochs); the nearest that is kept, the last by default.

    Returns
    -------
    StoredRBM
        States in the order of our letters.

    Raises
    ------
    ExtraError
        h5py is not installed.
    WeightsError
        No such file, none of these layouts, or arrays that do not go together.
    UsageError
        Not as many letters or labels as the machine has states and labels.
    """
    try:
        import h5py
    except ImportError as error:
        raise ExtraError("h5py", "hdf5") from error
    try:
        with h5py.File(path, "r") as file:
            layout, update, arrays = _arrays(file, age)
            said = {k: str(file.attrs.get(k, "")) for k in ("alphabet", "label_vocabulary")}
    except OSError as error:
        raise WeightsError(f"{path}: no readable HDF5 file: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    binary = arrays["weights"].ndim == 2
    if binary:
        arrays["weights"] = arrays["weights"][None]
        arrays["visible_bias"] = arrays["visible_bias"].reshape(1, -1)
    elif layout != "fef":
        arrays["weights"] = arrays["weights"].transpose(1, 0, 2)
        arrays["visible_bias"] = arrays["visible_bias"].T
    states, sites, hidden = arrays["weights"].shape
    if "label_weights" not in arrays:
        arrays |= {"label_weights": np.zeros((1, hidden), np.float32)}
        arrays |= {"label_bias": np.zeros(1, np.float32)}
        names: list[str] = [""]
    else:
        names = [str(k) for k in range(len(arrays["label_weights"]))]
    if said["label_vocabulary"]:
        names = [str(name) for name in json.loads(said["label_vocabulary"])]
    names = list(labels) or names
    if len(names) != len(arrays["label_weights"]):
        raise UsageError(f"{len(names)} names for {len(arrays['label_weights'])} labels")
    text = "01"
    if not binary:
        text = letters or said["alphabet"] or _LETTERS[layout].get(states, "")
        if len(text) != states:
            raise UsageError(f"{len(text)} letters for {states} states: give --letters")
        order, text = in_our_order(np.arange(states, dtype=np.uint8), text)
        for name in ("weights", "visible_bias"):
            arrays[name] = arrays[name][np.argsort(order)]
    config = RBMConfig("binary" if binary else "potts", sites, hidden, text, tuple(names))
    machine = RBM(config, {k: torch.from_numpy(arrays[k].copy()) for k in PARAMETERS})
    if not all(bool(torch.isfinite(t).all()) for t in machine.tensors().values()):
        raise WeightsError(f"{path}: values that are not finite")
    facts = {"name": Path(path).stem, "update": update, "imported": layout}
    return StoredRBM(machine, facts, {}, Path(path))


def _arrays(file: Mapping[str, Any], age: int | None) -> tuple[str, int, Arrays]:
    """Layout of the file, age that was taken, and its arrays under our names."""
    found = {int(m[2]): m[1] for key in file if (m := re.fullmatch(r"(W|update_)(\d+)", str(key)))}
    if not found:
        raise WeightsError("no machine of FeF, rbms or annaDCA: neither W0 nor update_0 ...")
    update = max(found) if age is None else min(found, key=lambda t: (abs(t - age), t))
    if found[update] == "W":
        layout = "fef"
        places = {k: file.get(f"{name}{update}") for k, name in _FEF.items()}
    else:
        group = file[f"update_{update}"]
        layout = "annadca" if "label_matrix" in group else "rbms"
        inner = group.get("params", {})
        places = {k: inner.get(name, group.get(name)) for k, name in _GROUPED.items()}
    if layout == "rbms":
        places = {k: v for k, v in places.items() if not k.startswith("label")}
    missing = [k for k, v in places.items() if v is None]
    if missing:
        raise WeightsError(f"age {update}, layout {layout}: no {', '.join(missing)}")
    return layout, update, {k: np.asarray(v[()], np.float32) for k, v in places.items()}


_FEF = dict(zip(PARAMETERS, ("W", "vbias", "hbias", "D", "lbias"), strict=True))
_GROUPED = dict(
    zip(PARAMETERS, ("weight_matrix", "vbias", "hbias", "label_matrix", "lbias"), strict=True)
)
