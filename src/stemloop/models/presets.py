"""Sizes of the encoders: a frozen configuration, and the named presets as data.

A configuration is stored as the ``config.json`` of a model directory. The same file serves
transformers: it may carry the few keys in `stemloop.models.config_checks.HUB_KEYS` that
transformers writes, anything else that is unknown is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar

from stemloop.errors import WeightsError
from stemloop.models import rnaernie_config
from stemloop.models.config_checks import check_fields, pick_fields, read_object
from stemloop.models.rnaernie_config import RNAErnieConfig

#: ``model_type`` in config.json. Plain "rinalmo" is what other packages register.
MODEL_TYPE = "stemloop-rinalmo"

#: Those of all encoders.
MODEL_TYPES = (MODEL_TYPE, rnaernie_config.MODEL_TYPE)


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
    stem_width : int
        Tokens that the convolution behind the embedding sees, an odd number; 0 for none, as in the
        published models.
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

    #: Class in transformers, and the parameters that may be absent as a whole.
    architecture: ClassVar[str] = "RiNALMoForMaskedLM"
    lm_head: ClassVar[str] = "lm_mask_head."

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    ffn_inner: int
    layer_norm_eps: float = 1e-5
    rope_base: float = 10000.0
    token_dropout: float = 0.12
    stem_width: int = 0
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
        check_fields(
            self,
            positive=(
                *("vocab_size", "hidden", "layers", "heads", "ffn_inner", "max_length"),
                *("layer_norm_eps", "rope_base"),
            ),
            shares=("token_dropout", "attention_dropout", "residual_dropout"),
        )
        if self.stem_width < 0 or (self.stem_width and self.stem_width % 2 == 0):
            raise WeightsError(f"config: stem_width must be odd or 0, not {self.stem_width}")
        if self.hidden % (2 * self.heads):
            raise WeightsError(
                f"config: hidden {self.hidden} over {self.heads} heads is no even head dimension"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def longest(self) -> None:
        """Tokens of the longest sequence that the network takes: there is no limit."""
        return None

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
        return cls(**pick_fields(cls, values, allow))

    @classmethod
    def from_json(cls, text: str, *, allow: Collection[str] = ()) -> EncoderConfig:
        """Read the text of a config.json; see `from_dict`."""
        return cls.from_dict(read_object(text), allow=allow)


#: Configuration of any encoder.
Config = EncoderConfig | RNAErnieConfig


def config_from_json(text: str) -> Config:
    """Read the text of a config.json; ``model_type`` tells which encoder it is.

    Raises
    ------
    WeightsError
        See `EncoderConfig.from_dict`.

    Examples
    --------
    >>> config_from_json(PRESETS["rnaernie-base"].to_json()) == PRESETS["rnaernie-base"]
    True
    """
    values = read_object(text)
    if values.get("model_type") == rnaernie_config.MODEL_TYPE:
        return RNAErnieConfig.from_dict(values)
    return EncoderConfig.from_dict(values)


def config_with(config: Config, changes: Mapping[str, Any]) -> Config:
    """A configuration with some fields changed.

    Raises
    ------
    WeightsError
        There is no such field, or the values make no network.

    Examples
    --------
    >>> config_with(PRESETS["rinalmo-nano"], {"layers": 2}).layers
    2
    """
    unknown = sorted(set(changes) - {field.name for field in fields(config)})
    if unknown:
        raise WeightsError(f"config: unknown key {', '.join(map(repr, unknown))}")
    return replace(config, **changes)


def _rinalmo(hidden: int, layers: int) -> EncoderConfig:
    """A published size: 20 heads, inner width int(2/3 * 4 * d)."""
    return EncoderConfig(
        vocab_size=22, hidden=hidden, layers=layers, heads=20, ffn_inner=int(2 / 3 * 4 * hidden)
    )


def _own(hidden: int, layers: int, ffn_inner: int, stem_width: int = 0) -> EncoderConfig:
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
        stem_width=stem_width,
        alphabet="stemloop",
    )


#: Named sizes. ``rinalmo-*`` and ``rnaernie-base`` are the published ones, ``stemloop-*`` are ours.
PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        "rinalmo-nano": _rinalmo(320, 6),
        "rinalmo-micro": _rinalmo(480, 12),
        "rinalmo-mega": _rinalmo(640, 30),
        "rinalmo-giga": _rinalmo(1280, 33),
        "stemloop-pico": _own(128, 8, 384, stem_width=11),
        "stemloop-nano": _own(320, 6, 896),
        "stemloop-micro": _own(512, 10, 1408),
        "stemloop-mega": _own(768, 21, 2048),
        "rnaernie-base": RNAErnieConfig(
            vocab_size=39, hidden=768, layers=12, heads=12, ffn_inner=3072
        ),
    }
)
