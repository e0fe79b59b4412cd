"""Configuration of RNAErnie's encoder, stored so that transformers' own Ernie reads it.

Our names are those of `stemloop.models.presets.EncoderConfig`; ``config.json`` has transformers'
(``hidden_size``, ``hidden_act``, ...), model type "ernie", and beside them what transformers does
not ask for: the alphabet, the special ids and the longest training input.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from stemloop.errors import WeightsError
from stemloop.models.config_checks import check_fields, pick_fields, read_object

#: ``model_type`` in config.json: transformers' Ernie computes the same function.
MODEL_TYPE = "ernie"

#: Our fields that are called otherwise in config.json.
_HUB_NAMES = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "ffn_inner": "intermediate_size",
    "activation": "hidden_act",
    "positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
    "residual_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "init_std": "initializer_range",
    # Plain max_length is an option of text generation there and would not survive.
    "max_length": "model_max_length",
    "pad_id": "pad_token_id",
}

#: What transformers would have to be told otherwise; anything but these values is another network.
_FIXED = {
    "use_task_id": False,
    "tie_word_embeddings": True,
    "is_decoder": False,
    "add_cross_attention": False,
}

#: Further keys of transformers' Ernie that say nothing about this network.
_PASSED_OVER = frozenset(
    {
        "classifier_dropout",
        "eos_token_id",
        "task_type_vocab_size",
        "use_cache",
        "attn_implementation",
    }
)

ACTIVATIONS = ("relu", "gelu")


@dataclass(frozen=True, slots=True, kw_only=True)
class RNAErnieConfig:
    """Shape and constants of an RNAErnie encoder; defaults are the published ones.

    Parameters
    ----------
    vocab_size : int
        Rows of the embedding; may exceed the alphabet's size.
    hidden, layers, heads : int
        Width d, number of blocks, attention heads.
    ffn_inner : int
        Inner width of the feed-forward.
    activation : {"relu", "gelu"}
        Of the feed-forward and of the language-model head.
    layer_norm_eps : float
        Of every layer norm.
    attention_dropout, residual_dropout : float
        Probabilities in training; the second one also after the embedding. Attention dropout above
        0 rules out the CUDA varlen kernel.
    positions : int
        Rows of the position table: no sequence can have more tokens.
    token_types : int
        Rows of the token-type table, of which only the first is used.
    max_length : int
        Longest token sequence seen in training, specials included.
    init_std : float
        Standard deviation of fresh weights.
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
    >>> config = RNAErnieConfig(vocab_size=39, hidden=768, layers=12, heads=12, ffn_inner=3072)
    >>> config.to_dict()["hidden_size"], config.longest
    (768, 513)
    >>> RNAErnieConfig.from_dict(config.to_dict()) == config
    True
    """

    #: Class in transformers, and the parameters that may be absent as a whole.
    architecture: ClassVar[str] = "ErnieForMaskedLM"
    lm_head: ClassVar[str] = "cls."
    pooler: ClassVar[str] = "ernie.pooler."

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    ffn_inner: int
    activation: str = "relu"
    layer_norm_eps: float = 1e-12
    attention_dropout: float = 0.1
    residual_dropout: float = 0.1
    positions: int = 513
    token_types: int = 2
    max_length: int = 512
    init_std: float = 0.02
    alphabet: str = "rnaernie"
    cls_id: int = 2
    pad_id: int = 0
    eos_id: int = 3
    unk_id: int = 1
    mask_id: int = 4

    def __post_init__(self) -> None:
        check_fields(
            self,
            positive=(
                *("vocab_size", "hidden", "layers", "heads", "ffn_inner", "positions"),
                *("token_types", "max_length", "layer_norm_eps", "init_std"),
            ),
            shares=("attention_dropout", "residual_dropout"),
        )
        if self.activation not in ACTIVATIONS:
            raise WeightsError(
                f"config: activation {self.activation!r} is not known ({', '.join(ACTIVATIONS)})"
            )
        if self.max_length > self.positions:
            raise WeightsError(
                f"config: max_length {self.max_length} is above the {self.positions} positions"
            )
        if self.hidden % self.heads:
            raise WeightsError(
                f"config: hidden {self.hidden} over {self.heads} heads is no whole head dimension"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that the network takes."""
        return self.positions

    def to_dict(self) -> dict[str, Any]:
        """Content of a config.json."""
        named = {_HUB_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return {"model_type": MODEL_TYPE, **named, **_FIXED}

    def to_json(self) -> str:
        """Text of a config.json."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, allow: Collection[str] = ()) -> RNAErnieConfig:
        """Build from the content of a config.json.

        Parameters
        ----------
        values : mapping
            Under transformers' names.
        allow : collection of str
            Further keys to pass over.

        Raises
        ------
        WeightsError
            A key is unknown or missing (it is named), a value is wrong, or asks for a variant of
            Ernie that RNAErnie is not.
        """
        if values.get("model_type", MODEL_TYPE) != MODEL_TYPE:
            raise WeightsError(
                f"config: model_type is {values['model_type']!r}, not {MODEL_TYPE!r}: "
                "convert it first"
            )
        if "alphabet" not in values:
            raise WeightsError(
                "config: missing key 'alphabet': an Ernie model of something else, or to be "
                "converted first"
            )
        for key, value in _FIXED.items():
            if values.get(key, value) != value:
                raise WeightsError(f"config: {key} is {values[key]!r}, RNAErnie needs {value!r}")
        ours = {theirs: name for name, theirs in _HUB_NAMES.items()}
        named = {ours.get(key, key): value for key, value in values.items() if key not in _FIXED}
        return cls(**pick_fields(cls, named, {*_PASSED_OVER, *allow}))

    @classmethod
    def from_json(cls, text: str, *, allow: Collection[str] = ()) -> RNAErnieConfig:
        """Read the text of a config.json; see `from_dict`."""
        return cls.from_dict(read_object(text), allow=allow)
