"""Our config.json as transformers configurations, so that ``AutoConfig`` reads them.

Apart from `stemloop.models.hub` because it must be importable while transformers itself is still
loading its models: this file needs nothing of transformers but the configuration base class.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar

from transformers.configuration_utils import PreTrainedConfig

from stemloop.models.presets import MODEL_TYPE, PRESETS, EncoderConfig

_DEFAULT = PRESETS["rinalmo-micro"]


class RiNALMoConfig(PreTrainedConfig):
    """The fields of `EncoderConfig`, flat, beside those that transformers keeps.

    transformers' own names (``hidden_size``, ``num_hidden_layers``, ``pad_token_id``, ...) reach
    the same fields.
    """

    model_type: ClassVar[str] = MODEL_TYPE
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "hidden",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "ffn_inner",
        "max_position_embeddings": "max_length",
        "bos_token_id": "cls_id",
        "pad_token_id": "pad_id",
        "eos_token_id": "eos_id",
    }

    vocab_size: int = _DEFAULT.vocab_size
    hidden: int = _DEFAULT.hidden
    layers: int = _DEFAULT.layers
    heads: int = _DEFAULT.heads
    ffn_inner: int = _DEFAULT.ffn_inner
    layer_norm_eps: float = _DEFAULT.layer_norm_eps
    rope_base: float = _DEFAULT.rope_base
    token_dropout: float = _DEFAULT.token_dropout
    stem_width: int = _DEFAULT.stem_width
    attention_dropout: float = _DEFAULT.attention_dropout
    residual_dropout: float = _DEFAULT.residual_dropout
    max_length: int = _DEFAULT.max_length
    alphabet: str = _DEFAULT.alphabet
    cls_id: int = _DEFAULT.cls_id
    pad_id: int = _DEFAULT.pad_id
    eos_id: int = _DEFAULT.eos_id
    unk_id: int = _DEFAULT.unk_id
    mask_id: int = _DEFAULT.mask_id
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.encoder_config()
        # Whoever has a configuration may next ask AutoModel for its class. Importing the classes
        # earlier would import all of transformers' modelling code with AutoConfig.
        from stemloop.models import hub  # noqa: F401

    def encoder_config(self) -> EncoderConfig:
        """The part that shapes the network.

        Raises
        ------
        WeightsError
            The values make no network.
        """
        return EncoderConfig(**{f.name: getattr(self, f.name) for f in fields(EncoderConfig)})

    @classmethod
    def from_encoder(cls, config: EncoderConfig, **kwargs: Any) -> RiNALMoConfig:
        """Wrap a configuration of ours.

        Examples
        --------
        >>> RiNALMoConfig.from_encoder(PRESETS["rinalmo-nano"]).hidden_size
        320
        """
        return cls(**asdict(config), **kwargs)


class FoldCRFConfig(PreTrainedConfig):
    """A folding model's, as `stemloop.folding.crf.save_crf` writes it.

    It is there for ``pipeline("rna-secondary-structure")``; no class of `AutoModel` goes with it.
    """

    model_type: ClassVar[str] = "stemloop-fold-crf"

    net: dict[str, Any] | None = None
    card: dict[str, Any] | None = None
    average: list[str] | None = None
    evidence: dict[str, Any] | None = None
