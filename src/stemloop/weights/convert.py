"""Read checkpoints of every known layout and write them as a model directory, or back.

This module and `stemloop.weights.pdparams` are the only ones that unpickle. `torch.load` runs with
``weights_only=True``, whose interpreter knows tensors and plain containers and refuses every other
name in the pickle; what it returns must then be tensors, and one number called ``threshold``.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemloop.errors import UsageError, WeightsError
from stemloop.formats.stream import atomic_output
from stemloop.models.presets import MODEL_TYPE, MODEL_TYPES
from stemloop.weights import layout_rnaernie
from stemloop.weights.checkpoint import Checkpoint
from stemloop.weights.layout_multimolecule import EMBEDDING, read_multimolecule
from stemloop.weights.layout_official import read_official, write_official
from stemloop.weights.pdparams import read_pdparams
from stemloop.weights.store import (
    WEIGHTS,
    load_state,
    read_head,
    refuse_existing_dir,
    save_model_dir,
)
from stemloop.weights.tensors import read_tensors

#: What ``stemloop convert --to`` takes, beside ``onnx`` (`stemloop.weights.onnx_export`).
TARGETS = ("stemloop", "official", "official-noflash")

#: What RNAErnie's authors' program calls its file.
_PADDLE = Path("model_state.pdparams")

#: ``model_type`` of directories that hold an RNAErnie.
_RNAERNIE = {
    "rnaernie": layout_rnaernie.read_multimolecule,
    "bert": layout_rnaernie.read_hub,
    "ernie": layout_rnaernie.read_hub,
}

#: Keys under which programs wrap a state dictionary.
_WRAPPERS = ("model", "state_dict")


def read_checkpoint(src: str | os.PathLike[str], *, heads: int | None = None) -> Checkpoint:
    """Read a checkpoint, whatever its layout.

    Parameters
    ----------
    src : str or path
        RiNALMo: an official ``.pt`` file (either layout, fine-tuned or not), the same tensors as
        ``.safetensors``, or a multimolecule directory. RNAErnie: Paddle's ``.pdparams`` or a folder
        with ``model_state.pdparams``, the same tensors as ``.pt`` or ``.safetensors``, a directory
        of transformers' Bert or Ernie (RNAErnie 2), or a multimolecule directory. One of our model
        directories.
    heads : int, optional
        Attention heads of a file whose shape is none of the published ones.

    Raises
    ------
    WeightsError
        No such file, an unknown layout, a pickle that holds more than tensors, or a key that is
        missing, unexpected or of another shape (it is named).
    """
    path = Path(src)
    if path.is_dir():
        return _read_dir(path, heads)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file or directory")
    if path.suffix == _PADDLE.suffix:
        return layout_rnaernie.read_paddle(read_pdparams(path), str(path), heads)
    content = read_tensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if layout_rnaernie.is_paddle(content):
        return layout_rnaernie.read_paddle(content, str(path), heads)
    return read_official(content, str(path), heads)


def _read_dir(path: Path, heads: int | None) -> Checkpoint:
    if (path / _PADDLE).is_file():
        return layout_rnaernie.read_paddle(read_pdparams(path / _PADDLE), str(path), heads)
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model_type = settings.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: no readable config.json: {error}") from error
    if model_type == MODEL_TYPE or (model_type in MODEL_TYPES and "alphabet" in settings):
        config, state = load_state(path)
        return Checkpoint("stemloop", config, state, read_head(path))
    content = _directory_tensors(path)
    if model_type not in ("rinalmo", *_RNAERNIE) and not any(
        key.endswith(EMBEDDING) for key in content
    ):
        raise WeightsError(f"{path}: model_type {model_type!r} is not known here")
    try:
        # A vocabulary token may be a blank or hold one: only the line end is cut off.
        vocabulary = (path / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path}: no readable vocab.txt, which tells the order of ids"
        ) from error
    if vocabulary and not vocabulary[-1]:
        vocabulary.pop()
    vocabulary = [token.rstrip("\r") for token in vocabulary]
    read = _RNAERNIE.get(model_type, read_multimolecule)
    return read(content, settings, vocabulary, str(path))


def _directory_tensors(path: Path) -> Mapping[str, Any]:
    if (path / WEIGHTS).exists():
        return read_tensors(path / WEIGHTS)
    if (path / "pytorch_model.bin").exists():
        return _read_pickle(path / "pytorch_model.bin")
    raise WeightsError(f"{path}: neither {WEIGHTS} nor pytorch_model.bin in there")


def _read_pickle(path: Path) -> dict[str, Any]:
    """Tensors (and a float called threshold) of a ``torch.save`` file."""
    import torch

    try:
        content = torch.load(
            path,
            map_location="cpu",
            weights_only=True,
            # Only the current file format can be mapped; it spares a second copy in memory.
            mmap=zipfile.is_zipfile(path),
        )
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        asks = f"it asks for {name[1]}" if name else "it holds more than tensors"
        raise WeightsError(f"{path}: refused, not loaded: {asks}; only tensors are read") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError,
            AttributeError, UnicodeDecodeError) as error:  # fmt: skip
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: damaged, truncated or no torch file: {first}") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not named tensors")
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            outside = {key: content[key] for key in ("threshold",) if key in content}
            content = {**content[wrapper], **outside}
            break
    for key, value in content.items():
        if not isinstance(key, str):
            raise WeightsError(f"{path}: key {key!r} is no text")
        if key == "threshold" and isinstance(value, int | float):
            continue
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise WeightsError(f"{path}: key {key!r} holds a {type(value).__name__}, not a tensor")
    return dict(content)


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    to: str = "stemloop",
    heads: int | None = None,
    source: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Checkpoint:
    """Convert a checkpoint; the numbers themselves are never changed.

    Parameters
    ----------
    src : str or path
        See `read_checkpoint`.
    dst : str or path
        A directory for ``stemloop``, a ``.pt`` file for the official layouts.
    to : {"stemloop", "official", "official-noflash"}
        Layout to write.
    heads : int, optional
        See `read_checkpoint`.
    source : mapping, optional
        Provenance to keep in the directory.
    force : bool
        Replace what is there.

    Returns
    -------
    Checkpoint
        What was read, with notes for the user.

    Raises
    ------
    UsageError
        Unknown target.
    WeightsError
        See `read_checkpoint`; or the target layout has no place for these weights.
    OutputExistsError
        `dst` exists and `force` is false.
    """
    import torch

    if to not in TARGETS:
        raise UsageError(f"unknown layout {to!r} (known: {', '.join(TARGETS)}, onnx)")
    if to == "stemloop":
        refuse_existing_dir(Path(dst), force)
        checkpoint = read_checkpoint(src, heads=heads)
        facts = {"file": Path(src).name, "layout": checkpoint.layout} | dict(source or {})
        save_model_dir(
            dst, checkpoint.config, checkpoint.state,
            head=checkpoint.head, source=facts, force=force,
        )  # fmt: skip
        return checkpoint
    with atomic_output(dst, force=force, binary=True) as out:
        checkpoint = read_checkpoint(src, heads=heads)
        torch.save(write_official(checkpoint, flash=to == "official"), out)
    return checkpoint
