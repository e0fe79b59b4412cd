"""The encoder as transformers models: padded rows in, padded rows out.

A thin edge around `stemloop.models.rinalmo`. Rows (B, L) are packed on entry and padded again on
exit, so that results never depend on padding or on the other rows. State-dict keys are those of
the plain model: one directory serves both.

Importing this module costs seconds; the command line never does. After ``import stemloop`` the
classes are found by ``AutoModel`` and ``AutoModelForMaskedLM`` (see `stemloop.models.register`).

``attn_implementation`` is not used: the encoder chooses its attention back-end itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModel, AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

from stemloop.errors import UsageError
from stemloop.models.attention import Packing
from stemloop.models.hub_config import RiNALMoConfig
from stemloop.models.rinalmo import Gate, MaskedLMHead, TokenEmbedding, Transformer

__all__ = ["RiNALMoConfig", "RiNALMoForMaskedLM", "RiNALMoModel", "RiNALMoPreTrainedModel"]


class RiNALMoPreTrainedModel(PreTrainedModel):
    """What both models share: the encoder, and the way from padded rows to a packed batch."""

    config_class = RiNALMoConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _no_split_modules = ["Block"]

    def __init__(self, config: RiNALMoConfig) -> None:
        super().__init__(config)
        shape = config.encoder_config()
        self.embedding = TokenEmbedding(shape)
        self.transformer = Transformer(shape)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, Gate):
            nn.init.ones_(module.beta)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embedding = value

    def _kept(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Where the tokens are, bool (B, L)."""
        if input_ids is None or input_ids.ndim != 2:
            raise UsageError("input_ids of shape (batch, length) are needed")
        if attention_mask is None:
            return input_ids != self.config.pad_id
        if attention_mask.shape != input_ids.shape:
            raise UsageError(
                f"attention_mask of shape {tuple(attention_mask.shape)} for input_ids of shape "
                f"{tuple(input_ids.shape)}: one number for each token is needed"
            )
        return attention_mask != 0

    def _encode(
        self, input_ids: Tensor, kept: Tensor, hidden_states: bool | None, attentions: bool | None
    ) -> tuple[Tensor, dict[str, tuple[Tensor, ...] | None]]:
        """Packed representation [T, d]; padded hidden states and attentions where wanted."""
        counts = kept.sum(dim=1)
        packing = Packing.of(F.pad(counts.cumsum(0), (1, 0)).int(), counts.tolist())
        wants_hidden = self._or_config(hidden_states, "output_hidden_states")
        layers = self.config.layers
        out = self.transformer(
            self.embedding(input_ids[kept], packing),
            packing,
            hidden_layers=range(layers) if wants_hidden else (),
            need_attentions=self._or_config(attentions, "output_attentions"),
        )
        extra: dict[str, tuple[Tensor, ...] | None] = {"hidden_states": None, "attentions": None}
        if wants_hidden:
            # As elsewhere in transformers, the last one is the normalised output.
            streams = [*(out.hidden[k] for k in range(layers)), out.representation]
            extra["hidden_states"] = tuple(_pad(stream, kept) for stream in streams)
        if out.attentions is not None:
            extra["attentions"] = _pad_attentions(out.attentions, kept)
        return out.representation, extra

    def _or_config(self, value: bool | None, name: str) -> bool:
        return bool(getattr(self.config, name) if value is None else value)


def _pad(packed: Tensor, kept: Tensor) -> Tensor:
    """Packed [T, n] to padded (B, L, n), zero at padding."""
    rows = packed.new_zeros(*kept.shape, packed.shape[-1])
    rows[kept] = packed
    return rows


def _pad_attentions(attentions: list[Tensor], kept: Tensor) -> tuple[Tensor, ...]:
    """One (layers, heads, l, l) for each row to one (B, heads, L, L) for each layer."""
    rows = []
    for weights, of_row in zip(attentions, kept, strict=True):
        at = of_row.nonzero().flatten()
        row = weights.new_zeros(*weights.shape[:2], kept.shape[1], kept.shape[1])
        row[:, :, at[:, None], at] = weights
        rows.append(row)
    return torch.stack(rows, dim=1).unbind(0)


class RiNALMoModel(RiNALMoPreTrainedModel):
    """Encoder without language-model head.

    Examples
    --------
    >>> config = RiNALMoConfig(hidden=32, layers=2, heads=2, ffn_inner=64)
    >>> model = RiNALMoModel(config).eval()
    >>> rows = torch.tensor([[0, 5, 6, 2], [0, 8, 2, 1]])
    >>> model(rows, attention_mask=rows != 1).last_hidden_state.shape
    torch.Size([2, 4, 32])
    """

    _keys_to_ignore_on_load_unexpected = [r"^lm_mask_head\."]

    def __init__(self, config: RiNALMoConfig) -> None:
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode padded rows.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (B, L)
            Token ids; padding may stand anywhere.
        attention_mask : Tensor, shape (B, L), optional
            Non-zero at tokens; by default everything but the pad id.
        output_attentions, output_hidden_states, return_dict : bool, optional
            As everywhere in transformers. Attentions are (B, heads, L, L) for each layer.

        Returns
        -------
        BaseModelOutput
            ``last_hidden_state`` (B, L, d) after the final layer norm; ``hidden_states`` are the
            embedding and each block's output, the last one replaced by ``last_hidden_state``.
            Everything is zero at padding.
        """
        kept = self._kept(input_ids, attention_mask)
        packed, extra = self._encode(input_ids, kept, output_hidden_states, output_attentions)
        out = BaseModelOutput(last_hidden_state=_pad(packed, kept), **extra)
        return out if self._or_config(return_dict, "return_dict") else out.to_tuple()


class RiNALMoForMaskedLM(RiNALMoPreTrainedModel):
    """Encoder with its language-model head.

    Examples
    --------
    >>> model = RiNALMoForMaskedLM(RiNALMoConfig(hidden=32, layers=2, heads=2, ffn_inner=64))
    >>> rows = torch.tensor([[0, 5, 4, 2], [0, 8, 2, 1]])
    >>> labels = torch.tensor([[-100, -100, 6, -100], [-100] * 4])
    >>> out = model.eval()(rows, labels=labels)
    >>> out.logits.shape, out.loss.ndim
    (torch.Size([2, 4, 22]), 0)
    """

    def __init__(self, config: RiNALMoConfig) -> None:
        super().__init__(config)
        self.lm_mask_head = MaskedLMHead(config.encoder_config())
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_mask_head.linear2

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_mask_head.linear2 = value

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MaskedLMOutput | tuple[Any, ...]:
        """Predict tokens; see `RiNALMoModel.forward`.

        Parameters
        ----------
        labels : Tensor of int64, shape (B, L), optional
            Ids to predict, -100 where there is nothing to predict: gives ``loss``, the mean
            cross-entropy over the others.
        """
        kept = self._kept(input_ids, attention_mask)
        packed, extra = self._encode(input_ids, kept, output_hidden_states, output_attentions)
        logits = _pad(self.lm_mask_head(packed), kept)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        out = MaskedLMOutput(loss=loss, logits=logits, **extra)
        return out if self._or_config(return_dict, "return_dict") else out.to_tuple()


AutoModel.register(RiNALMoConfig, RiNALMoModel, exist_ok=True)
AutoModelForMaskedLM.register(RiNALMoConfig, RiNALMoForMaskedLM, exist_ok=True)
