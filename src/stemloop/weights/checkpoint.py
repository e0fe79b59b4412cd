"""What every foreign layout is brought to before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemloop.models.presets import Config
from stemloop.weights.store import Head

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint in our terms.

    Parameters
    ----------
    layout : str
        What was read, for messages and provenance.
    config : EncoderConfig or RNAErnieConfig
        Shape, told by the tensors.
    state : mapping of str to Tensor
        Encoder and language-model head under our names (RiNALMo's flash layout, transformers'
        Ernie), stored dtype.
    head : Head, optional
        Task head.
    notes : list of str
        What was left out or not as the source says; for the user.
    """

    layout: str
    config: Config
    state: Mapping[str, Tensor]
    head: Head | None = None
    notes: list[str] = field(default_factory=list)


def head_kind(keys: set[str]) -> str:
    """Kind of a published task head, by its last layer.

    Examples
    --------
    >>> head_kind({"pred_head.conv_out.weight", "pred_head.linear_in.weight"})
    'structure'
    """
    for mark, kind in (
        ("pred_head.conv_out.", "structure"),
        ("pred_head.linear_out.", "regression"),
        ("pred_head.classifier.", "classifier"),
    ):
        if any(key.startswith(mark) for key in keys):
            return kind
    return "unknown"
