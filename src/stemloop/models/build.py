"""From a configuration to an encoder, whichever it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stemloop.errors import WeightsError
from stemloop.models.presets import Config
from stemloop.models.rinalmo import RiNALMo
from stemloop.models.rnaernie import RNAErnie
from stemloop.models.rnaernie_config import RNAErnieConfig

#: Any encoder: they are called alike and give an `EncoderOutput`.
Encoder = RiNALMo | RNAErnie


def new_encoder(config: Config) -> Encoder:
    """A fresh encoder with its language-model head, in training mode.

    Parameters
    ----------
    config : EncoderConfig or RNAErnieConfig
        Shape. RiNALMo's weights start at torch's defaults, RNAErnie's at N(0, 0.02): each as
        published. They depend on torch's global generator.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from stemloop.models.presets import PRESETS
    >>> [type(new_encoder(replace(PRESETS[name], layers=1))).__name__
    ...  for name in ("stemloop-nano", "rnaernie-base")]
    ['RiNALMo', 'RNAErnie']
    """
    return RNAErnie(config) if isinstance(config, RNAErnieConfig) else RiNALMo(config)


class _NoValues(TorchFunctionMode):
    """Leaves parameters without first values.

    Without memory they can have none, but torch would load its compiler (a second) to try.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def encoder_for(config: Config, keys: Iterable[str]) -> Encoder:
    """An encoder without memory for its parameters (on torch's device ``meta``).

    It has those optional parts of which at least one parameter is among `keys`: the language-model
    head, and RNAErnie's pooler.
    """
    names = list(keys)
    lm_head = any(name.startswith(config.lm_head) for name in names)
    with torch.device("meta"), _NoValues():
        if isinstance(config, RNAErnieConfig):
            pooler = any(name.startswith(config.pooler) for name in names)
            return RNAErnie(config, lm_head=lm_head, pooler=pooler)
        encoder = RiNALMo(config)
    if not lm_head:
        del encoder.lm_mask_head
        encoder.lm_mask_head = _no_lm_head  # type: ignore[assignment]
    return encoder


def _no_lm_head(representation: Tensor) -> Tensor:
    raise WeightsError("this checkpoint has no language-model head")


def blocks(encoder: Encoder) -> nn.ModuleList:
    """The blocks of an encoder: what is compiled, sharded or checkpointed one by one.

    Examples
    --------
    >>> from stemloop.models.presets import PRESETS
    >>> len(blocks(new_encoder(PRESETS["stemloop-nano"])))
    6
    """
    return (
        encoder.ernie.encoder.layer
        if isinstance(encoder, RNAErnie)
        else (encoder.transformer.blocks)
    )


def checkpoint_gradients(encoder: Encoder, on: bool = True) -> None:
    """Recompute each block in the backward pass instead of keeping its activations, or stop it."""
    stack = encoder.ernie.encoder if isinstance(encoder, RNAErnie) else encoder.transformer
    stack.gradient_checkpointing = on


def compile_blocks(encoder: Encoder, *, cuda: bool) -> None:
    """Compile each block by itself (all blocks share the code), keeping parameter names.

    On CUDA the whole block. Elsewhere attention goes through the equal lengths of each batch one by
    one, which no compiled code could keep up with: there only RiNALMo's feed-forward is compiled.
    """
    for block in blocks(encoder):
        part = block if cuda or isinstance(encoder, RNAErnie) else block.transition
        part.compile(dynamic=True)
