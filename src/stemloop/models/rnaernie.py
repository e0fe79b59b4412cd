"""The RNAErnie encoder on packed batches, in plain torch.

Wang et al., "Multi-purpose RNA language modelling with motif-aware pretraining and type-guided
fine-tuning", Nature Machine Intelligence 6:548 (2024). Parameter names are those of transformers'
``ErnieForMaskedLM``, which computes the same function on padded rows and reads the same directory.

What is peculiar about it
-------------------------
* Post-norm blocks: y = LN(x + Attn(x)); z = LN(y + FFN(y)). There is no norm after the last block.
* Positions are a learned table of 513 rows, counted from 0 (CLS): longer sequences are an error.
* Every token is of token type 0, whose row is added; row 1 of that table is never used.
* ReLU in the feed-forward and in the language-model head (the successor, RNAErnie 2, may differ:
  the configuration says).
* The epsilon of all layer norms is 1e-12: the original program overwrites its framework's 1e-5.
* The output matrix of the language-model head is the embedding's, with a bias of its own.
* The pooler, tanh(W x + b) of CLS, has no part in pre-training. Published checkpoints store one,
  and so can we; new encoders have none.

There is no padding: a batch is tokens [T] with cu_seqlens [B+1], as in `stemloop.models.rinalmo`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from stemloop.errors import UsageError, WeightsError
from stemloop.models.attention import Backend, Packing, attention, attention_with_weights
from stemloop.models.rinalmo import EncoderOutput
from stemloop.models.rnaernie_config import RNAErnieConfig

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class Embeddings(nn.Module):
    """Token, position and token-type rows, added and normalised."""

    def __init__(self, config: RNAErnieConfig) -> None:
        super().__init__()
        d = config.hidden
        self.word_embeddings = nn.Embedding(config.vocab_size, d, padding_idx=config.pad_id)
        self.position_embeddings = nn.Embedding(config.positions, d)
        self.token_type_embeddings = nn.Embedding(config.token_types, d)
        self.LayerNorm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(self, tokens: Tensor, packing: Packing) -> Tensor:
        """Tokens [T] to the stream [T, d]."""
        x = self.word_embeddings(tokens) + self.position_embeddings(packing.positions())
        return self.dropout(self.LayerNorm(x + self.token_type_embeddings.weight[0]))


class SelfAttention(nn.Module):
    """Multi-head attention before its output projection."""

    def __init__(self, config: RNAErnieConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        backend: Backend | None = None,
        weights: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Stream [T, d] to [T, d]; appends each sequence's (heads, L, L) to `weights` if given."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        if weights is None:
            return attention(q, k, v, packing, backend=backend, dropout_p=dropout).flatten(1)
        out, of_layer = attention_with_weights(q, k, v, packing, dropout_p=dropout)
        weights.append(of_layer)
        return out.flatten(1)


class AddAndNorm(nn.Module):
    """Projection of a branch, added to the stream and normalised."""

    def __init__(self, width: int, config: RNAErnieConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(self, branch: Tensor, x: Tensor) -> Tensor:
        """Branch [T, width] and stream [T, d] to the stream."""
        return self.LayerNorm(x + self.dropout(self.dense(branch)))


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: RNAErnieConfig) -> None:
        super().__init__()
        # The dictionaries are there for the names: attention.self.query, intermediate.dense.
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(config), "output": AddAndNorm(config.hidden, config)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden, config.ffn_inner)})
        self.output = AddAndNorm(config.ffn_inner, config)
        self.activation = _ACTIVATIONS[config.activation]

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        backend: Backend | None = None,
        weights: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Stream [T, d] to [T, d]."""
        x = self.attention["output"](self.attention["self"](x, packing, backend, weights), x)
        return self.output(self.activation(self.intermediate["dense"](x)), x)


class Transformer(nn.Module):
    """The blocks.

    Set `gradient_checkpointing` to recompute each block in the backward pass instead of keeping
    its activations.
    """

    def __init__(self, config: RNAErnieConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(config) for _ in range(config.layers))
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
        bad = [k for k in hidden_layers if not 0 <= k <= len(self.layer)]
        if bad:
            raise UsageError(f"no layer {bad[0]}: layers are 0 (embedding) to {len(self.layer)}")
        weights: list[list[Tensor]] | None = [] if need_attentions else None
        hidden = {0: x} if 0 in hidden_layers else {}
        for number, block in enumerate(self.layer, start=1):
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                if need_attentions:
                    raise UsageError("attentions and gradient checkpointing do not go together")
                x = checkpoint(block, x, packing, backend, use_reentrant=False)
            else:
                x = block(x, packing, backend, weights)
            if number in hidden_layers:
                hidden[number] = x
        attentions = None
        if weights is not None:
            attentions = [torch.stack(of_row) for of_row in zip(*weights, strict=True)]
        return EncoderOutput(x, hidden, attentions=attentions)


class Backbone(nn.Module):
    """Embedding and blocks, and the pooler of a checkpoint that has one."""

    def __init__(self, config: RNAErnieConfig, pooler: bool) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Transformer(config)
        self.pooler = None
        if pooler:
            self.pooler = nn.ModuleDict({"dense": nn.Linear(config.hidden, config.hidden)})


class Predictions(nn.Module):
    """The language-model head but for its output matrix, [n, d] to [n, vocab_size]."""

    def __init__(self, config: RNAErnieConfig) -> None:
        super().__init__()
        d = config.hidden
        self.transform = nn.ModuleDict(
            {"dense": nn.Linear(d, d), "LayerNorm": nn.LayerNorm(d, eps=config.layer_norm_eps)}
        )
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = _ACTIVATIONS[config.activation]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Representations to logits; `embedding` is the token table (vocab_size, d)."""
        x = self.transform["LayerNorm"](self.activation(self.transform["dense"](x)))
        return F.linear(x, embedding, self.bias)


class RNAErnie(nn.Module):
    """The encoder with its language-model head.

    Parameters
    ----------
    config : RNAErnieConfig
        Shape; weights start at N(0, `init_std`), biases at 0, as the published model's did.
    lm_head, pooler : bool
        Whether it has these parts.

    Examples
    --------
    >>> config = RNAErnieConfig(vocab_size=39, hidden=32, layers=2, heads=2, ffn_inner=64)
    >>> model = RNAErnie(config).eval()
    >>> tokens = torch.tensor([2, 35, 37, 38, 3, 2, 36, 3])  # CLS A C G SEP, CLS U SEP
    >>> starts = torch.tensor([0, 5, 8], dtype=torch.int32)
    >>> with torch.inference_mode():
    ...     out = model(tokens, starts, hidden_layers=[1], need_logits=True)
    >>> out.representation.shape, out.hidden[1].shape, out.logits.shape
    (torch.Size([8, 32]), torch.Size([8, 32]), torch.Size([8, 39]))
    """

    def __init__(
        self, config: RNAErnieConfig, *, lm_head: bool = True, pooler: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.ernie = Backbone(config, pooler)
        self.cls = nn.ModuleDict({"predictions": Predictions(config)}) if lm_head else None
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

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
        """Run a packed batch; parameters and result are those of `RiNALMo.forward`.

        `hidden` holds the normalised embedding (0) and the output of block k (k); the last one is
        the representation.

        Raises
        ------
        UsageError
            Shapes that do not agree, a sequence longer than the position table, a layer that does
            not exist, attentions together with gradient checkpointing.
        WeightsError
            Logits of a checkpoint without language-model head.
        """
        packing = cu_seqlens
        if not isinstance(packing, Packing):
            packing = Packing.of(packing, lengths, tokens.device)
        if tokens.shape != (packing.total,):
            raise UsageError(
                f"tokens of shape {tuple(tokens.shape)} for lengths that add up to {packing.total}"
            )
        if packing.longest > self.config.positions:
            raise UsageError(
                f"a sequence of {packing.longest} tokens: this encoder has "
                f"{self.config.positions} positions"
            )
        out = self.ernie.encoder(
            self.ernie.embeddings(tokens, packing),
            packing,
            hidden_layers=hidden_layers or (),
            need_attentions=need_attentions,
            backend=backend,
        )
        if logits_at is not None:
            out.logits = self.logits(out.representation[logits_at])
        elif need_logits:
            out.logits = self.logits(out.representation)
        return out

    def logits(self, representation: Tensor) -> Tensor:
        """Language-model head, [n, d] to [n, vocab_size]."""
        if self.cls is None:
            raise WeightsError("this checkpoint has no language-model head")
        return self.cls["predictions"](representation, self.ernie.embeddings.word_embeddings.weight)

    def pool(self, representation: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Pooler on CLS: packed representation [T, d] to one row a sequence [B, d]."""
        if self.ernie.pooler is None:
            raise WeightsError("this checkpoint has no pooler")
        first = representation[cu_seqlens[:-1].long()]
        return torch.tanh(self.ernie.pooler["dense"](first))
