"""Tensors on disk and whether they are all there: safetensors files and their keys."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stemloop.errors import WeightsError
from stemloop.models.presets import Config

if TYPE_CHECKING:
    from torch import Tensor


def expected_shapes(config: Config, keys: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Parameter names and shapes of the encoder, with the optional parts that are among `keys`."""
    from stemloop.models.build import encoder_for

    state = encoder_for(config, keys).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


def check_state(state: Mapping[str, Tensor], config: Config, where: str) -> None:
    """Insist on exactly the parameters that the configuration asks for.

    The language-model head (and RNAErnie's pooler) may be absent as a whole, never in part.

    Raises
    ------
    WeightsError
        A key is missing, unexpected, of another shape, or not floating point; it is named.
    """
    shapes = expected_shapes(config, state)
    for what, keys in (
        ("missing", sorted(shapes.keys() - state.keys())),
        ("unexpected", sorted(state.keys() - shapes.keys())),
    ):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise WeightsError(f"{where}: {what} key {keys[0]!r}{more}")
    for key, shape in shapes.items():
        tensor = state[key]
        if tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{where}: key {key!r} has shape {tuple(tensor.shape)}, expected {shape}"
            )
        if not tensor.is_floating_point():
            raise WeightsError(f"{where}: key {key!r} holds {tensor.dtype}, not floating point")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises
    ------
    WeightsError
        Missing, damaged or truncated; the first tensor that is not whole is named.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        cut = _first_cut(path)
        if cut:
            raise WeightsError(f"{path}: truncated: key {cut!r} is not whole") from error
        raise WeightsError(f"{path}: no readable safetensors file: {error}") from error


def _first_cut(path: Path) -> str | None:
    """First tensor whose bytes reach beyond the end of the file."""
    try:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            size = path.stat().st_size
            header = json.loads(handle.read(length)) if length < size else {}
        ends = {key: 8 + length + v["data_offsets"][1]
                for key, v in header.items() if key != "__metadata__"}  # fmt: skip
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        return None
    return next((key for key, end in sorted(ends.items(), key=lambda i: i[1]) if end > size), None)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; the same tensors give the same bytes."""
    from safetensors.torch import save_file

    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key in sorted(tensors):
        tensor = tensors[key].detach().contiguous()
        # The format knows no views: what shares memory is copied, the rest is not.
        if tensor.untyped_storage().nbytes() != tensor.nbytes or tensor.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.data_ptr())
        plain[key] = tensor
    # transformers refuses a file that does not say which framework wrote it.
    save_file(plain, path, metadata={"format": "pt"})
    # The library makes files for their owner alone; a lab shares its models.
    path.chmod(0o644)
