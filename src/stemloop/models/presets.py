"""Sizes of the encoders: a frozen configuration, and the named presets as data.

A configuration is stored as the ``config.json`` of a model directory. The same file serves
transformers: it may carry the few keys in `HUB_KEYS` that transformers writes, anything else that
is unknown is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from stemloop.errors import WeightsError

#: ``model_type`` in config.json. Plain "rinalmo" is what other packages register.
MODEL_TYPE = "stemloop-rinalmo"

#: Keys that transformers adds to config.json and that say nothing about the network's shape.
HUB_KEYS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Shape and constants of one encoder.

    Parameters
    ----------
    vocab_size : int
        Rows of the embedding; may exceed the alphabet's size.
    hidden, layers, heads : int
        Width d, number of blocks, attention heads. ``hidden / heads`` must be an even integer.
    ffn_inner : int
        Inner width h of the gated feed-forward.
    layer_norm_eps, rope_base : float
        Constants of the layer norms and of the rotary embedding.
    token_dropout : float
        Fraction of tokens shown as ``<mask>`` in training (0.15 selected, 0.8 of these masked);
        embeddings are scaled by (1 - token_dropout) / (1 - masked fraction), always.
    attention_dropout, residual_dropout : float
        Probabilities in training. Attention dropout above 0 rules out the CUDA varlen kernel.
    max_length : int
        Longest token sequence seen in training, specials included. Informational: the network
        itself takes any length.
    alphabet : str
        Name of the alphabet in `stemloop.alphabet`.
    cls_id, pad_id, eos_id, unk_id, mask_id : int
        Ids of the special tokens.

    Raises
    ------
    WeightsError
        A value has the wrong type or makes no network.

    Examples
    --------
    >>> config = PRESETS["rinalmo-micro"]
    >>> config.hidden, config.layers, config.head_dim
    (480, 12, 24)
    >>> EncoderConfig.from_json(config.to_json()) == config
    True
    """

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    ffn_inner: int
    layer_norm_eps: float = 1e-5
    rope_base: float = 10000.0
    token_dropout: float = 0.12
    attention_dropout: float = 0.1
    residual_dropout: float = 0.1
    max_length: int = 1024
    alphabet: str = "rinalmo"
    cls_id: int = 0
    pad_id: int = 1
    eos_id: int = 2
    unk_id: int = 3
    mask_id: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            # Annotations are strings here; JSON knows no difference between 1 and 1.0.
            kind = {"int": int, "float": (int, float), "str": str}[str(field.type)]
            if not isinstance(value, kind) or isinstance(value, bool):
                raise WeightsError(f"config: {field.name} must be {field.type}, not {value!r}")
            if field.type == "float":
                object.__setattr__(self, field.name, float(value))
        for name in ("vocab_size", "hidden", "layers", "heads", "ffn_inner", "max_length"):
            if getattr(self, name) < 1:
                raise WeightsError(f"config: {name} must be positive, not {getattr(self, name)}")
        for name in ("token_dropout", "attention_dropout", "residual_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise WeightsError(f"config: {name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("layer_norm_eps", "rope_base"):
            if not getattr(self, name) > 0.0:
                raise WeightsError(f"config: {name} must be positive, not {getattr(self, name)}")
        for name in ("cls_id", "pad_id", "eos_id", "unk_id", "mask_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise WeightsError(
                    f"config: {name} {getattr(self, name)} is no id below vocab_size"
                )
        if self.hidden % (2 * self.heads):
            raise WeightsError(
                f"config: hidden {self.hidden} over {self.heads} heads is no even head dimension"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    def to_dict(self) -> dict[str, Any]:
        """All fields, and the ``model_type`` that transformers looks for."""
        return {"model_type": MODEL_TYPE, **asdict(self)}

    def to_json(self) -> str:
        """Text of a config.json."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, allow: Collection[str] = ()) -> EncoderConfig:
        """Build from the content of a config.json.

        Parameters
        ----------
        values : mapping
            The fields; those with a default may be missing.
        allow : collection of str
            Further keys to pass over, beside `HUB_KEYS`.

        Raises
        ------
        WeightsError
            A key is unknown or missing (it is named), a value is wrong, or ``model_type`` is
            another model's.
        """
        model_type = values.get("model_type", MODEL_TYPE)
        if model_type != MODEL_TYPE:
            raise WeightsError(
                f"config: model_type is {model_type!r}, not {MODEL_TYPE!r}: convert it first"
            )
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known - HUB_KEYS - set(allow))
        if unknown:
            raise WeightsError(f"config: unknown key {', '.join(map(repr, unknown))}")
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in values]
        if missing:
            raise WeightsError(f"config: missing key {', '.join(map(repr, missing))}")
        return cls(**{name: values[name] for name in known if name in values})

    @classmethod
    def from_json(cls, text: str, *, allow: Collection[str] = ()) -> EncoderConfig:
        """Read the text of a config.json; see `from_dict`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise WeightsError(f"config: no JSON at line {error.lineno}: {error.msg}") from error
        if not isinstance(values, dict):
            raise WeightsError("config: not a JSON object")
        return cls.from_dict(values, allow=allow)


def _rinalmo(hidden: int, layers: int) -> EncoderConfig:
    """A published size: 20 heads, inner width int(2/3 * 4 * d)."""
    return EncoderConfig(
        vocab_size=22, hidden=hidden, layers=layers, heads=20, ffn_inner=int(2 / 3 * 4 * hidden)
    )


def _own(hidden: int, layers: int, ffn_inner: int) -> EncoderConfig:
    """A size of ours: heads of 64, every width a multiple of 64, no attention dropout.

    The vocabulary is RiNALMo's 22 ids, ``[IND]`` and RNAErnie's 28 RNA types, padded from 51 to
    56: the output matrix then has a multiple of 8 rows.
    """
    return EncoderConfig(
        vocab_size=56,
        hidden=hidden,
        layers=layers,
        heads=hidden // 64,
        ffn_inner=ffn_inner,
        attention_dropout=0.0,
        alphabet="stemloop",
    )


#: Named sizes. ``rinalmo-*`` are the published ones, ``stemloop-*`` are ours.
PRESETS: Mapping[str, EncoderConfig] = MappingProxyType(
    {
        "rinalmo-nano": _rinalmo(320, 6),
        "rinalmo-micro": _rinalmo(480, 12),
        "rinalmo-mega": _rinalmo(640, 30),
        "rinalmo-giga": _rinalmo(1280, 33),
        "stemloop-8m": _own(320, 6, 896),
        "stemloop-33m": _own(512, 10, 1408),
        "stemloop-150m": _own(768, 21, 2048),
    }
)
