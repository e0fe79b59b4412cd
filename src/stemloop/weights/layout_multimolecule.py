"""Directories in the layout of the multimolecule hub port of RiNALMo.

Differences from the published layout: another vocabulary (28 ids, older directories 26), whose
order ``vocab.txt`` tells; query, key and value apart; beta of the gated feed-forward is called
``intermediate.bias``; the inner width stands nowhere but in the tensors (config.json says 4 d);
older config.json files state a layer-norm epsilon of 1e-12, although the weights were trained with
1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemloop.alphabet import RINALMO
from stemloop.errors import WeightsError
from stemloop.models.presets import EncoderConfig
from stemloop.weights.checkpoint import Checkpoint, head_kind
from stemloop.weights.store import Head
from stemloop.weights.tensors import check_state

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING = "embeddings.word_embeddings.weight"

#: Parts that say nothing about the encoder: the pooler is random in the hosted directories.
_PASSED_OVER = re.compile(r"(?:.*\.)?(?:pooler\..*|.*inv_freq|.*position_ids)")

_LAYER = {
    "attention.output.dense": "mh_attn.out_proj",
    "attention.layer_norm": "attn_layer_norm",
    "layer_norm": "out_layer_norm",
    "intermediate.linear": "transition.0.linear",
    "intermediate.linear_gate": "transition.0.linear_gate",
    "output.dense": "transition.2",
}
_QKV = ("query", "key", "value")
_LM = {"transform.dense": "linear1", "transform.layer_norm": "layer_norm"}
_CONV = {"conv1": 0, "conv2": 3, "conv3": 6}


def read_multimolecule(
    content: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    vocabulary: Sequence[str],
    where: str,
) -> Checkpoint:
    """Bring the tensors of such a directory to our terms.

    Parameters
    ----------
    content : mapping of str to Tensor
        All tensors of the directory.
    settings : mapping
        Its config.json.
    vocabulary : sequence of str
        Lines of its vocab.txt.
    where : str
        Name of the directory, for messages.

    Raises
    ------
    WeightsError
        Another model, a token without row, or a key that is missing, unexpected or of another
        shape.
    """
    if settings.get("model_type") != "rinalmo":
        raise WeightsError(f"{where}: model_type {settings.get('model_type')!r} is not 'rinalmo'")
    if settings.get("token_dropout") is False:
        raise WeightsError(
            f"{where}: config.json switches token_dropout off: not RiNALMo's weights"
        )
    found = [key for key in content if key.endswith(EMBEDDING)]
    if not found:
        raise WeightsError(f"{where}: missing key {EMBEDDING!r}: no encoder in there")
    base = found[0].removesuffix(EMBEDDING)
    rows = token_rows(vocabulary, where)
    notes: list[str] = []
    state: dict[str, Tensor] = {}
    extra: dict[str, Tensor] = {}
    rest = dict(content)

    def take_rows(key: str) -> Tensor:
        tensor = rest.pop(key)
        if tensor.ndim == 0 or tensor.shape[0] != len(vocabulary):
            raise WeightsError(
                f"{where}: key {key!r} has shape {tuple(tensor.shape)} "
                f"for {len(vocabulary)} lines of vocab.txt"
            )
        return tensor[rows]

    state["embedding.weight"] = take_rows(base + EMBEDDING)
    _take_lm_head(rest, state, take_rows, where)
    _take_layers(rest, state, base + "encoder.layer.", where)
    for key in list(rest):
        if key.startswith(f"{base}encoder.layer_norm."):
            state[f"transformer.final_layer_norm.{key.rpartition('.')[2]}"] = rest.pop(key)
        elif key.startswith("ss_head."):
            extra[_structure_key(key, where)] = rest.pop(key)
        elif _PASSED_OVER.fullmatch(key):
            rest.pop(key)
            notes.append(f"{key} left out: not part of the published model")
    if rest:
        raise WeightsError(f"{where}: unexpected key {min(rest)!r}")
    config = _config(state, settings, where)
    check_state(state, config, where)
    stated = settings.get("layer_norm_eps")
    if stated is not None and stated != config.layer_norm_eps:
        notes.append(
            f"config.json says layer_norm_eps {stated:g}; trained with 1e-05, which is used"
        )
    head = None
    if extra:
        # The layout drops the tuned threshold; 0.5 would under-predict pairs, so none is set.
        head = Head(head_kind(set(extra)), "lm", extra, settings.get("threshold"))
        if head.threshold is None:
            notes.append("the task head has no stored threshold in this layout")
    return Checkpoint(f"multimolecule, {len(vocabulary)} ids", config, state, head, notes)


def token_rows(vocabulary: Sequence[str], where: str) -> list[int]:
    """Row of each of RiNALMo's tokens in a vocabulary.

    Raises
    ------
    WeightsError
        One is not there, or is there twice.
    """
    place = {token: i for i, token in enumerate(vocabulary)}
    if len(place) != len(vocabulary):
        raise WeightsError(f"{where}: vocab.txt lists a token twice")
    # RiNALMo's T row is the nucleotide U; a vocabulary with both keeps them apart.
    names = ["U" if token == "T" and "U" in place else token for token in RINALMO.tokens]
    missing = [name for name in names if name not in place]
    if missing:
        raise WeightsError(f"{where}: vocab.txt has no token {missing[0]!r}")
    return [place[name] for name in names]


def _take_layers(rest: dict[str, Tensor], state: dict[str, Tensor], mark: str, where: str) -> None:
    """Move the keys of the layers from `rest` to `state`."""
    import torch

    for key in [key for key in rest if key.startswith(mark)]:
        number, _, name = key[len(mark) :].partition(".")
        block = f"transformer.blocks.{number}."
        module, _, kind = name.rpartition(".")
        if module in _LAYER:
            state[f"{block}{_LAYER[module]}.{kind}"] = rest.pop(key)
        elif name == "intermediate.bias":
            state[f"{block}transition.0.beta"] = rest.pop(key)
        elif name == "attention.self.query.weight":
            parts = [f"{mark}{number}.attention.self.{part}.weight" for part in _QKV]
            missing = [part for part in parts if part not in rest]
            if missing:
                raise WeightsError(f"{where}: missing key {missing[0]!r}")
            state[f"{block}mh_attn.Wqkv.weight"] = torch.cat([rest.pop(part) for part in parts])


def _take_lm_head(
    rest: dict[str, Tensor], state: dict[str, Tensor], take_rows: Any, where: str
) -> None:
    """Move the language-model head; its bias is stored once or twice."""
    import torch

    for key in [key for key in rest if key.startswith("lm_head.transform.")]:
        module, _, kind = key.removeprefix("lm_head.").rpartition(".")
        if module in _LM:
            state[f"lm_mask_head.{_LM[module]}.{kind}"] = rest.pop(key)
    biases = [key for key in ("lm_head.bias", "lm_head.decoder.bias") if key in rest]
    if len(biases) == 2 and not torch.equal(rest[biases[0]], rest[biases[1]]):
        raise WeightsError(f"{where}: keys 'lm_head.bias' and 'lm_head.decoder.bias' differ")
    for key in biases:
        state["lm_mask_head.linear2.bias"] = take_rows(key)
    if "lm_head.decoder.weight" in rest:
        state["lm_mask_head.linear2.weight"] = take_rows("lm_head.decoder.weight")


def _structure_key(key: str, where: str) -> str:
    """Published name of a parameter of the structure head."""
    name = key.removeprefix("ss_head.")
    for theirs, ours in (("projection.", "linear_in."), ("prediction.", "conv_out.")):
        if name.startswith(theirs):
            return f"pred_head.{ours}{name.removeprefix(theirs)}"
    match = re.fullmatch(r"convnet\.layers\.(\d+)\.(conv[123])\.weight", name)
    if not match:
        raise WeightsError(f"{where}: unexpected key {key!r}")
    return f"pred_head.resnet.blocks.{match[1]}.conv_net.{_CONV[match[2]]}.weight"


def _config(state: Mapping[str, Tensor], settings: Mapping[str, Any], where: str) -> EncoderConfig:
    embedding = state["embedding.weight"]
    inner = state.get("transformer.blocks.0.transition.0.linear.weight")
    for name, value in (("num_hidden_layers", None), ("num_attention_heads", None),
                        ("hidden_size", embedding.shape[-1])):  # fmt: skip
        if not isinstance(settings.get(name), int):
            raise WeightsError(f"{where}: config.json has no {name}")
        if value is not None and settings[name] != value:
            raise WeightsError(
                f"{where}: config.json says {name} {settings[name]}, the embedding {value}"
            )
    if inner is None or inner.ndim != 2:
        raise WeightsError(f"{where}: missing key 'encoder.layer.0.intermediate.linear.weight'")
    return EncoderConfig(
        vocab_size=len(RINALMO),
        hidden=int(embedding.shape[1]),
        layers=settings["num_hidden_layers"],
        heads=settings["num_attention_heads"],
        ffn_inner=int(inner.shape[0]),
    )
