"""The RiNALMo encoder on packed batches, in plain torch.

Penic et al., "RiNALMo: general-purpose RNA language models can generalize well on structure
prediction tasks", Nature Communications 16:5671 (2025); constants as in the published program.
Parameter names are those of the published (flash) checkpoints, whatever the attention back-end.

What is peculiar about it
-------------------------
* The attention residual starts from the *normalised* stream: u = LN(x); y = u + Attn(u);
  z = y + FFN(LN(y)). The un-normalised input of a block never reaches its output.
* Embeddings of ``<mask>`` are zeroed and the whole sequence is scaled by
  (1 - 0.12) / (1 - masked fraction), in training and in inference: 0.88 without masks. The
  fraction is one sequence's own, never the batch's.
* The feed-forward is gated by g * sigmoid(beta * g), beta a learned scalar of each layer. There is
  no dropout inside it; residual dropout follows attention and feed-forward.
* Rotary positions count from 0 (CLS) in each sequence, pair dimension k with k + head_dim / 2, and
  are computed in float32 even where the weights are bfloat16. There is no limit on the length.
* The query, key, value and output projections have no bias.
* With `stem_width` (ours, 0 as published) a convolution follows the embedding.
* The language-model head uses the exact (erf) GELU and a matrix of its own, not the embedding's.

There is no padding: a batch is tokens [T] with cu_seqlens [B+1]. Padded rows exist only in
`stemloop.models.hub`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from stemloop.errors import UsageError
from stemloop.models.attention import Backend, Packing, attention, attention_with_weights
from stemloop.models.presets import EncoderConfig

Rope = tuple[Tensor, Tensor]


@dataclass(slots=True)
class EncoderOutput:
    """What the encoder returns of a packed batch of T tokens.

    Parameters
    ----------
    representation : Tensor, shape (T, d)
        Stream after the last block and the final layer norm, CLS and EOS included.
    hidden : dict of int to Tensor, shape (T, d)
        Stream after k blocks, before the final layer norm; 0 is the scaled embedding.
    logits : Tensor, shape (T, vocab_size) or (len(logits_at), vocab_size), optional
        Output of the language-model head.
    attentions : list of Tensor, optional
        One (layers, heads, L, L) per sequence.
    """

    representation: Tensor
    hidden: dict[int, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    attentions: list[Tensor] | None = None


class TokenEmbedding(nn.Embedding):
    """Embedding with the token-dropout scaling of each sequence."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.vocab_size, config.hidden, padding_idx=config.pad_id)
        self.mask_id = config.mask_id
        self.kept = 1.0 - config.token_dropout
        self.stem = Stem(config) if config.stem_width else None

    def forward(self, tokens: Tensor, packing: Packing) -> Tensor:  # type: ignore[override]
        """Tokens [T] to the stream [T, d]."""
        masked = tokens == self.mask_id
        ids = packing.sequence_ids()
        precise = torch.promote_types(self.weight.dtype, torch.float32)
        size = packing.cu_seqlens.diff().to(precise)
        count = torch.zeros_like(size).index_add_(0, ids, masked.to(precise))
        # A sequence of nothing but masks has no embedding left to scale: any finite value will do.
        scale = self.kept * size / (size - count).clamp_min(1.0)
        scale = scale[ids].masked_fill_(masked, 0.0)
        x = super().forward(tokens) * scale[:, None].to(self.weight.dtype)
        return x if self.stem is None else self.stem(x, packing, ids)


class Stem(nn.Linear):
    """What stands around each token: a convolution that no sequence shares with its neighbours.

    Not a part of the published models. Small models need long to learn from rotary attention alone
    which token stands next to which.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.stem_width * config.hidden, config.hidden)
        self.width = config.stem_width

    def forward(self, x: Tensor, packing: Packing, ids: Tensor) -> Tensor:  # type: ignore[override]
        """Stream [T, d] of sequences `ids` [T] to [T, d]."""
        reach, many = self.width // 2, len(packing.lengths)
        # Zeros before, between and behind the sequences: none sees another.
        place = torch.arange(packing.total, device=x.device) + reach * (ids + 1)
        apart = x.new_zeros(packing.total + reach * (many + 1), x.shape[1])
        apart = apart.index_copy(0, place, x)
        weight = self.weight.unflatten(1, (self.width, -1)).transpose(1, 2)
        found = F.conv1d(apart.T[None], weight, self.bias)[0].T
        return x + F.gelu(found[place - reach])


def rope_table(packing: Packing, config: EncoderConfig, dtype: torch.dtype) -> Rope:
    """Cosines and signed sines of every token and dimension, two of [T, 1, d].

    float32, or float64 for float64 weights. Each (head, half) stretch repeats: the multiplications
    in `rotate` then run over d numbers in a row instead of half a head.
    """
    precise = torch.promote_types(dtype, torch.float32)
    device = packing.cu_seqlens.device
    exponent = torch.arange(0, config.head_dim, 2, device=device, dtype=precise) / config.head_dim
    steps = torch.arange(packing.longest, device=device, dtype=precise)
    angle = steps[:, None] * config.rope_base**-exponent
    cos, sin = angle.cos(), angle.sin()
    at = packing.positions()
    return (
        torch.cat((cos, cos), dim=-1).repeat(1, config.heads)[at][:, None],
        torch.cat((-sin, sin), dim=-1).repeat(1, config.heads)[at][:, None],
    )


def rotate(qk: Tensor, rope: Rope, head_dim: int) -> Tensor:
    """Turn queries and keys [T, 2, d] by their positions; in place where no gradient is wanted."""
    cos, sin = rope
    x = qk.to(cos.dtype)
    halves = x.unflatten(-1, (-1, 2, head_dim // 2))
    swapped = torch.cat((halves[..., 1:, :], halves[..., :1, :]), dim=-2).flatten(-3)
    if torch.is_grad_enabled():
        return (x * cos + swapped * sin).to(qk.dtype)
    return qk.copy_(swapped.mul_(sin).addcmul_(x, cos))


class SelfAttention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.dropout = config.attention_dropout
        self.Wqkv = nn.Linear(config.hidden, 3 * config.hidden, bias=False)
        self.out_proj = nn.Linear(config.hidden, config.hidden, bias=False)

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        rope: Rope,
        backend: Backend | None = None,
        weights: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Stream [T, d] to [T, d]; appends each sequence's (heads, L, L) to `weights` if given."""
        qk, v = self.Wqkv(x).unflatten(-1, (3, -1)).split([2, 1], dim=1)
        q, k = rotate(qk, rope, self.head_dim).unbind(1)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (q, k, v.squeeze(1)))
        dropout = self.dropout if self.training else 0.0
        if weights is None:
            out = attention(q, k, v, packing, backend=backend, dropout_p=dropout)
        else:
            out, of_layer = attention_with_weights(q, k, v, packing, dropout_p=dropout)
            weights.append(of_layer)
        return self.out_proj(out.flatten(1))


class Gate(nn.Module):
    """The two up-projections and their gate, [T, d] to [T, h]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden, config.ffn_inner)
        self.linear_gate = nn.Linear(config.hidden, config.ffn_inner)
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """(g * sigmoid(beta * g)) * u with g = linear(x), u = linear_gate(x)."""
        g = self.linear(x)
        beta = self.beta.to(g.dtype)  # under autocast a float32 beta would widen everything below
        if torch.is_grad_enabled():
            return g * torch.sigmoid(beta * g) * self.linear_gate(x)
        return (beta * g).sigmoid_().mul_(g).mul_(self.linear_gate(x))


class Block(nn.Module):
    """One layer, with the residual of the normalised stream."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        d, eps = config.hidden, config.layer_norm_eps
        self.mh_attn = SelfAttention(config)
        self.attn_layer_norm = nn.LayerNorm(d, eps=eps)
        # Place 1 is the published model's dropout of probability 0; it keeps the names in step.
        self.transition = nn.Sequential(Gate(config), nn.Identity(), nn.Linear(config.ffn_inner, d))
        self.out_layer_norm = nn.LayerNorm(d, eps=eps)
        self.dropout = config.residual_dropout

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        rope: Rope,
        backend: Backend | None = None,
        weights: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Stream [T, d] to [T, d]."""
        x = self.attn_layer_norm(x)
        x = self._add(x, self.mh_attn(x, packing, rope, backend, weights))
        return self._add(x, self.transition(self.out_layer_norm(x)))

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        if self.training and self.dropout:
            branch = F.dropout(branch, self.dropout)
        # x is always a tensor made in this block, so that nobody else sees it change.
        return x + branch if torch.is_grad_enabled() else x.add_(branch)


class Transformer(nn.Module):
    """The blocks and the final layer norm.

    Set `gradient_checkpointing` to recompute each block in the backward pass instead of keeping
    its activations.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        *,
        hidden_layers: Collection[int] = (),
        need_attentions: bool = False,
        backend: Backend | None = None,
    ) -> EncoderOutput:
        """Embedded tokens [T, d] through all blocks; logits are left to the head."""
        bad = [k for k in hidden_layers if not 0 <= k <= len(self.blocks)]
        if bad:
            raise UsageError(f"no layer {bad[0]}: layers are 0 (embedding) to {len(self.blocks)}")
        rope = rope_table(packing, self.config, x.dtype)
        weights: list[list[Tensor]] | None = [] if need_attentions else None
        hidden = {0: x} if 0 in hidden_layers else {}
        for number, block in enumerate(self.blocks, start=1):
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                if need_attentions:
                    raise UsageError("attentions and gradient checkpointing do not go together")
                x = checkpoint(block, x, packing, rope, backend, use_reentrant=False)
            else:
                x = block(x, packing, rope, backend, weights)
            if number in hidden_layers:
                hidden[number] = x
        attentions = None
        if weights is not None:
            attentions = [torch.stack(of_row) for of_row in zip(*weights, strict=True)]
        return EncoderOutput(self.final_layer_norm(x), hidden, attentions=attentions)


class MaskedLMHead(nn.Module):
    """Language-model head, [n, d] to [n, vocab_size]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden, config.hidden)
        self.layer_norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.linear2 = nn.Linear(config.hidden, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Representations to logits."""
        return self.linear2(self.layer_norm(F.gelu(self.linear1(x))))


class RiNALMo(nn.Module):
    """The encoder with its language-model head.

    Parameters
    ----------
    config : EncoderConfig
        Shape; weights start at torch's defaults, as the published model's did.

    Examples
    --------
    >>> config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64)
    >>> model = RiNALMo(config).eval()
    >>> tokens = torch.tensor([0, 5, 6, 7, 2, 0, 8, 2])  # CLS A C G EOS, CLS U EOS
    >>> starts = torch.tensor([0, 5, 8], dtype=torch.int32)
    >>> with torch.inference_mode():
    ...     out = model(tokens, starts, hidden_layers=[1], need_logits=True)
    >>> out.representation.shape, out.hidden[1].shape, out.logits.shape
    (torch.Size([8, 32]), torch.Size([8, 32]), torch.Size([8, 22]))
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = TokenEmbedding(config)
        self.transformer = Transformer(config)
        self.lm_mask_head = MaskedLMHead(config)

    def forward(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor | Packing,
        *,
        lengths: Sequence[int] | None = None,
        hidden_layers: Collection[int] | None = None,
        need_attentions: bool = False,
        need_logits: bool = False,
        logits_at: Tensor | None = None,
        backend: Backend | None = None,
    ) -> EncoderOutput:
        """Run a packed batch.

        Parameters
        ----------
        tokens : Tensor of int64, shape (T,)
            Ids of all sequences end to end, each with its CLS and EOS, without padding.
        cu_seqlens : Tensor of int32, shape (B + 1,), or Packing
            Start of each sequence, and T.
        lengths : sequence of int, optional
            The lengths on the host; they spare a synchronisation if `cu_seqlens` is on CUDA.
        hidden_layers : collection of int, optional
            Layers whose stream to return: 0 is the scaled embedding, k the output of block k.
        need_attentions : bool
            Return the attention weights (computed by the naive back-end: L x L per head).
        need_logits : bool
            Run the language-model head on all tokens.
        logits_at : Tensor of int64, shape (n,), or bool, shape (T,), optional
            Run the head on these tokens only.
        backend : {"varlen", "grouped", "naive"}, optional
            Attention back-end; see `stemloop.models.attention`.

        Returns
        -------
        EncoderOutput

        Raises
        ------
        UsageError
            Shapes that do not agree, a layer that does not exist, attentions together with
            gradient checkpointing.
        """
        packing = cu_seqlens
        if not isinstance(packing, Packing):
            packing = Packing.of(packing, lengths, tokens.device)
        if tokens.shape != (packing.total,):
            raise UsageError(
                f"tokens of shape {tuple(tokens.shape)} for lengths that add up to {packing.total}"
            )
        out = self.transformer(
            self.embedding(tokens, packing),
            packing,
            hidden_layers=hidden_layers or (),
            need_attentions=need_attentions,
            backend=backend,
        )
        if logits_at is not None:
            out.logits = self.lm_mask_head(out.representation[logits_at])
        elif need_logits:
            out.logits = self.lm_mask_head(out.representation)
        return out
