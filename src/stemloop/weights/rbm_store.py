"""RBMs on disk: one safetensors file holds the tensors and, in its header, everything else.

The header's entry ``stemloop_rbm`` is JSON: the shape with letters, label names and columns, and
facts about the training. Checkpoints of a run have more tensors (optimiser, chains, state of the
random generator) beside the five of the machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemloop import __version__
from stemloop.errors import WeightsError
from stemloop.formats.stream import atomic_output
from stemloop.models.rbm import PARAMETERS, RBM
from stemloop.models.rbm_config import RBMConfig
from stemloop.models.rbm_tables import HiddenMode

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Layout of the header; raised when an older program could misread it.
FORMAT = 1
KEY = "stemloop_rbm"
MODEL, LAST, AGES = "model.safetensors", "last.safetensors", "ages"


@dataclass(frozen=True, slots=True, eq=False)
class StoredRBM:
    """A machine from a file.

    Parameters
    ----------
    machine : RBM
        The machine.
    facts : mapping
        About its training: ``update``, ``name``, ``seed``, ``data`` (SHA-256), ...
    extra : mapping of str to Tensor
        The other tensors of the file, such as ``visible_frequencies``.
    path : pathlib.Path
        The file.
    """

    machine: RBM
    facts: Mapping[str, Any]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    path: Path = Path()

    @property
    def hidden_chain(self) -> HiddenMode:
        """How its chains pass on hidden units, as they did in training."""
        return "mean" if self.facts.get("hidden_chain") == "mean" else "sample"


def save_rbm(
    path: str | os.PathLike[str],
    machine: RBM,
    *,
    facts: Mapping[str, Any] | None = None,
    extra: Mapping[str, Tensor] | None = None,
    force: bool = False,
) -> None:
    """Write a machine, whole or not at all; the same machine gives the same bytes.

    Raises
    ------
    OutputError
        The file exists already or cannot be written.
    """
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "stemloop": __version__,
        "config": machine.config.to_dict(),
        "facts": dict(facts or {}),
    }
    tensors = {**(extra or {}), **machine.tensors()}
    plain = {k: tensors[k].detach().cpu().contiguous() for k in sorted(tensors)}
    # One entry alone: the order of several is left to chance by the library.
    raw = save(plain, metadata={KEY: json.dumps(header)})
    with atomic_output(path, force=force, binary=True) as out:
        out.write(raw)


def rbm_file(path: str | os.PathLike[str], age: int | None = None) -> Path:
    """File of a machine: the path itself, or of a run's folder the final model, or an age.

    Parameters
    ----------
    path : str or path
        A file, or the folder of a run.
    age : int, optional
        Updates; the nearest age that was kept is taken.

    Raises
    ------
    WeightsError
        There is none.
    """
    folder = Path(path)
    if folder.is_file():
        if age is not None:
            raise WeightsError(f"{path} is a file: ages are in the folder of a run")
        return folder
    if not folder.is_dir():
        raise WeightsError(f"{path}: no such file or folder")
    if age is not None:
        kept = rbm_ages(folder)
        if not kept:
            raise WeightsError(f"{path}: no ages were kept")
        return kept[min(kept, key=lambda a: (abs(a - age), a))]
    for name in (MODEL, LAST):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{path}: neither {MODEL} nor {LAST} in this folder")


def rbm_ages(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Checkpoints of a run by number of updates."""
    files = (Path(folder) / AGES).glob("*.safetensors")
    return {int(p.stem): p for p in sorted(files) if p.stem.isdigit()}


def load_rbm(
    path: str | os.PathLike[str],
    *,
    age: int | None = None,
    device: str | torch.device = "cpu",
) -> StoredRBM:
    """Read a machine; complete and of the right shape, or not at all.

    Parameters
    ----------
    path : str or path
        A file, or the folder of a run (`rbm_file`).
    age : int, optional
        Of a run: the checkpoint nearest to this many updates.
    device : str or torch.device
        Where it goes.

    Raises
    ------
    WeightsError
        Missing, damaged, newer than this program, no RBM, or with values that are not finite.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    file = rbm_file(path, age)
    try:
        with safe_open(file, framework="pt", device="cpu") as handle:
            header = json.loads((handle.metadata() or {}).get(KEY, "null"))
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{file}: no readable safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{file}: no RBM of stemloop")
    if header.get("format", 0) > FORMAT:
        raise WeightsError(f"{file}: newer than this program: update stemloop")
    try:
        config = RBMConfig.from_dict(header["config"])
        machine = RBM(config, {k: v for k, v in tensors.items() if k in PARAMETERS})
    except (KeyError, WeightsError) as error:
        raise WeightsError(f"{file}: {error}") from error
    for name, tensor in machine.tensors().items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{file}: {name} has values that are not finite")
    extra = {k: v for k, v in tensors.items() if k not in PARAMETERS}
    if machine.weights.dtype in (torch.float16, torch.bfloat16):
        machine = machine.to(device, torch.float32)  # stored small, computed in full
    return StoredRBM(machine.to(device), header.get("facts", {}), extra, file)
