"""The two key layouts of the authors' ``.pt`` files, and their fine-tuned files.

=========  =====================================================================================
flash      ``transformer.blocks.{i}.mh_attn.Wqkv.weight`` (3d, d): rows of query, key, value; these
           are our own names
noflash    ``transformer.blocks.{i}.mh_attn.mh_attn.to_q.weight`` (d, d), ``to_k``, ``to_v``; and a
           buffer ``rotary_emb.inv_freq``, which follows from the head dimension
tuned      either one under ``lm.`` or ``rinalmo.``, with ``pred_head.*``, ``scaler.*`` and a plain
           float ``threshold``
=========  =====================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stemloop.alphabet import RINALMO
from stemloop.errors import WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.weights.checkpoint import Checkpoint, head_kind
from stemloop.weights.store import Head
from stemloop.weights.tensors import check_state

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("", "lm.", "rinalmo.")
HEAD_KEYS = ("pred_head.", "scaler.")

#: All published sizes have 20 heads; the tensors do not tell.
PUBLISHED_HEADS = 20

_BLOCK = re.compile(r"transformer\.blocks\.(\d+)\.")


def read_official(content: Mapping[str, Any], where: str, heads: int | None = None) -> Checkpoint:
    """Bring the content of an official file to our terms.

    Parameters
    ----------
    content : mapping of str to Tensor or float
        Flat dictionary as it was stored.
    where : str
        Name of the file, for messages.
    heads : int, optional
        Attention heads; by default what a stored ``inv_freq`` says, else 20.

    Raises
    ------
    WeightsError
        No RiNALMo encoder in there, or a key is missing, unexpected or of another shape.
    """
    prefix = next((p for p in PREFIXES if f"{p}embedding.weight" in content), None)
    if prefix is None:
        shown = ", ".join(repr(key) for key in list(content)[:3]) or "nothing"
        what = "a task head without its encoder" if any(
            key.startswith(HEAD_KEYS) for key in content) else "no RiNALMo checkpoint"  # fmt: skip
        raise WeightsError(f"{where}: {what}: no key 'embedding.weight', it has {shown} ...")
    encoder: dict[str, Tensor] = {}
    extra: dict[str, Tensor] = {}
    threshold: float | None = None
    for key, value in content.items():
        if key == "threshold":
            threshold = float(value)
        elif key.startswith(HEAD_KEYS):
            extra[key] = value
        elif key.startswith(prefix):
            encoder[key[len(prefix) :]] = value
        else:
            raise WeightsError(f"{where}: unexpected key {key!r}")
    layout = "official, noflash" if any(".to_q." in key for key in encoder) else "official, flash"
    rotary = {key: encoder.pop(key) for key in list(encoder) if key.endswith("inv_freq")}
    state = _joined(encoder, where)
    config = _config(state, rotary, where, heads)
    check_state(state, config, where)
    head = None
    if extra or threshold is not None:
        layout += ", fine-tuned"
        head = Head(head_kind(set(extra)), prefix.rstrip("."), extra, threshold)
    return Checkpoint(layout, config, state, head)


def _joined(encoder: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """Noflash names to flash names; flash names stay."""
    import torch

    state: dict[str, Tensor] = {}
    for key, value in encoder.items():
        head, mark, rest = key.partition(".mh_attn.mh_attn.")
        if not mark:
            state[key] = value
        elif rest not in ("to_q.weight", "to_k.weight", "to_v.weight"):
            state[f"{head}.mh_attn.{rest}"] = value
        elif rest == "to_q.weight":
            parts = [f"{head}{mark}{name}.weight" for name in ("to_q", "to_k", "to_v")]
            missing = [part for part in parts if part not in encoder]
            if missing:
                raise WeightsError(f"{where}: missing key {missing[0]!r}")
            shapes = {tuple(encoder[part].shape) for part in parts}
            if len(shapes) > 1:
                raise WeightsError(f"{where}: key {parts[0]!r} and its neighbours differ in shape")
            state[f"{head}.mh_attn.Wqkv.weight"] = torch.cat([encoder[part] for part in parts])
        elif f"{head}{mark}to_q.weight" not in encoder:
            raise WeightsError(f"{where}: missing key {f'{head}{mark}to_q.weight'!r}")
    return state


def _config(
    state: Mapping[str, Tensor], rotary: Mapping[str, Tensor], where: str, heads: int | None
) -> EncoderConfig:
    """Shape, told by the tensors."""
    import torch

    embedding = state["embedding.weight"]
    if embedding.ndim != 2 or embedding.shape[0] != len(RINALMO):
        raise WeightsError(
            f"{where}: key 'embedding.weight' has shape {tuple(embedding.shape)}, "
            f"expected ({len(RINALMO)}, width)"
        )
    width = int(embedding.shape[1])
    numbers = {int(match[1]) for key in state if (match := _BLOCK.match(key))}
    inner = state.get("transformer.blocks.0.transition.0.linear.weight")
    if inner is None or inner.ndim != 2:
        raise WeightsError(
            f"{where}: missing key 'transformer.blocks.0.transition.0.linear.weight'"
        )
    stored = {2 * int(value.numel()) for value in rotary.values()}
    if heads is None and len(stored) == 1 and 0 < min(stored) <= width:
        heads = width // stored.pop()
    config = EncoderConfig(
        vocab_size=len(RINALMO),
        hidden=width,
        # A gap in the numbers shows up as missing keys.
        layers=max(numbers) + 1,
        heads=heads or PUBLISHED_HEADS,
        ffn_inner=int(inner.shape[0]),
    )
    for key, value in rotary.items():
        ours = inverse_frequencies(config)
        if value.shape != ours.shape or not torch.allclose(value.float(), ours, rtol=1e-2):
            raise WeightsError(
                f"{where}: key {key!r} is not the rotary embedding of {config.heads} heads "
                f"with base {config.rope_base:g}"
            )
    return config


def inverse_frequencies(config: EncoderConfig) -> Tensor:
    """The rotary buffer of the noflash layout, float32, shape (head_dim / 2,)."""
    import torch

    exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    return 1.0 / (config.rope_base**exponent)


def write_official(checkpoint: Checkpoint, *, flash: bool = True) -> dict[str, Any]:
    """The flat dictionary that the authors' program loads.

    Parameters
    ----------
    checkpoint : Checkpoint
        With RiNALMo's own 22 tokens.
    flash : bool
        False for the noflash names, with the rotary buffers.

    Raises
    ------
    WeightsError
        Another vocabulary: the layout has no place for it.
    """
    config = checkpoint.config
    if not isinstance(config, EncoderConfig):
        raise WeightsError("the official layouts are RiNALMo's; these weights are RNAErnie's")
    if config.alphabet != RINALMO.name or config.vocab_size != len(RINALMO):
        raise WeightsError(
            f"the official layout has {len(RINALMO)} tokens, these weights have "
            f"{config.vocab_size} of alphabet {config.alphabet!r}"
        )
    if config.stem_width:
        raise WeightsError("the official layout has no convolution behind the embedding")
    head = checkpoint.head
    prefix = f"{head.prefix}." if head and head.prefix else ""
    content: dict[str, Any] = {}
    for key, value in checkpoint.state.items():
        match = _BLOCK.match(key)
        if flash or not match or ".mh_attn." not in key:
            content[prefix + key] = value
            continue
        block = f"{prefix}{match[0]}mh_attn.mh_attn."
        if key.endswith("Wqkv.weight"):
            content[f"{block}rotary_emb.inv_freq"] = inverse_frequencies(config)
            for name, part in zip(("to_q", "to_k", "to_v"), value.chunk(3), strict=True):
                content[f"{block}{name}.weight"] = part.clone()
        else:
            content[block + key.partition(".mh_attn.")[2]] = value
    if head:
        content |= head.tensors
        if head.threshold is not None:
            content["threshold"] = head.threshold
    return content
