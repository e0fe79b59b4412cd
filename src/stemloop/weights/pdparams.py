"""Tensors of a Paddle ``.pdparams`` file, without running anything that the file asks for.

Such a file is a pickle of a dictionary of numpy arrays. The interpreter below knows the five names
that arrays need and gives stand-ins of its own for them, so that not even numpy is called from the
pickle; every other name is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemloop.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

#: Paddle's table of its internal parameter names.
_NAMES = "StructuredToParameterName@@"

#: Everything a damaged pickle can make the interpreter raise.
_DAMAGE = (
    *(pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, OverflowError, MemoryError, ImportError),
)


class _DType:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands for numpy.ndarray: keeps what the pickle says of it."""

    content: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.content = state

    def tensor(self) -> Tensor:
        """The array, float; ValueError or TypeError where it is none."""
        import torch

        _, shape, dtype, fortran, data = self.content
        if not isinstance(dtype, _DType) or dtype.code not in ("f2", "f4", "f8"):
            raise TypeError(f"{getattr(dtype, 'code', dtype)!r}, not floating point")
        flat = np.frombuffer(data, np.dtype(dtype.order + dtype.code))
        array = flat.reshape(shape, order="F" if fortran else "C")
        # A copy: what lies in the file's bytes cannot be written to.
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=True))


def _latin_bytes(text: str, _: str) -> bytes:
    """Stands for _codecs.encode, by which old pickles spell bytes."""
    return text.encode("latin-1")


def _reconstruct(*_: object) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin_bytes,
    # Some versions store (name, array) in place of an array.
    ("builtins", "tuple"): tuple,
}


class _RefusedError(Exception):
    """A name that is not allowed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def read_pdparams(path: Path) -> dict[str, Tensor]:
    """All tensors of the file, as they are stored.

    Raises
    ------
    WeightsError
        Damaged or truncated (the parameter being read is named), a pickle that asks for more than
        arrays (the name is given), or a value that is no floating-point array.
    """
    try:
        data = path.read_bytes()
        content = _Unpickler(io.BytesIO(data)).load()
    except _RefusedError as error:
        raise WeightsError(
            f"{path}: refused, not loaded: it asks for {error}; only arrays are read"
        ) from None
    except _DAMAGE as error:
        key = _last_key(data)
        where = f"while key {key!r} was read" if key else str(error) or type(error).__name__
        raise WeightsError(f"{path}: damaged, truncated or no .pdparams file: {where}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not named arrays")
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if key == _NAMES:
            continue
        if not isinstance(key, str):
            raise WeightsError(f"{path}: key {key!r} is no text")
        array = value[1] if isinstance(value, tuple) and len(value) == 2 else value
        if not isinstance(array, _Array):
            raise WeightsError(f"{path}: key {key!r} holds a {type(array).__name__}, not an array")
        try:
            tensors[key] = array.tensor()
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path}: key {key!r} holds no usable array: {error}") from error
    return tensors


def _last_key(data: bytes) -> str | None:
    """Last parameter name in a pickle that breaks off."""
    key = None
    try:
        for _, value, _ in pickletools.genops(data):
            if isinstance(value, str) and "." in value and not value.startswith("numpy"):
                key = value
    except (ValueError, TypeError, IndexError, EOFError, OverflowError):
        pass
    return key
