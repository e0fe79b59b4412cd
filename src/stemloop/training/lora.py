"""Low-rank adapters in an encoder's blocks, through peft (Hu et al. 2022, ICLR)."""

from __future__ import annotations

from torch import nn

from stemloop.errors import ExtraError
from stemloop.models.build import Encoder, blocks


def add_adapters(encoder: Encoder, rank: int, alpha: float) -> list[nn.Parameter]:
    """Put an adapter beside every linear map of the blocks, in place; return their parameters.

    They start at no effect. Only they ask for gradients.

    Parameters
    ----------
    encoder : RiNALMo or RNAErnie
        It changes.
    rank : int
        Of the two matrices.
    alpha : float
        Their product counts ``alpha / rank``.

    Raises
    ------
    ExtraError
        peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ExtraError("peft", "lora") from error
    before = {id(p) for p in encoder.parameters()}
    stack = blocks(encoder)
    linear = [name for name, module in stack.named_modules() if isinstance(module, nn.Linear)]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear), stack)
    adapters = [p for p in encoder.parameters() if id(p) not in before]
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) not in before)
    return adapters


def merge_adapters(encoder: Encoder) -> None:
    """Add the adapters to the weights and take them out: the encoder is a plain one again."""
    from peft.tuners.lora import LoraLayer

    stack = blocks(encoder)
    for name, layer in list(stack.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(stack.get_submodule(parent), last, layer.get_base_layer())
