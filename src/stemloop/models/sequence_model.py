"""An encoder and a head for whole sequences: from nucleotides to the numbers of each sequence.

Sequences longer than the encoder saw in training are cut into the fewest equal pieces that are
not; the outputs of a sequence are the mean over its pieces, in training and in prediction. Heads
that read a window at the 3' end get the last piece of that length alone.

Type-guided (RNAErnie's STACK; Wang et al. 2024, Nature Machine Intelligence 6:548): the language
model is asked for the RNA type in the slot ``[IND] <mask>`` behind the sequence; the head then sees
the sequence with each of the K most probable types in that slot, and the outputs are combined with
their probabilities, which are made to add up to 1. The published program leaves padding in the slot
where its paper has a mask; here it is the mask, which `stemloop pretrain` trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from stemloop.alphabet import RNAERNIE_TYPES, Alphabet
from stemloop.errors import InputError, UsageError
from stemloop.models.build import Encoder
from stemloop.models.letters import Letters
from stemloop.models.sequence_head import HeadConfig, SequenceHead

#: Tokens that may stand around a sequence: CLS, EOS, [IND] and the type.
SPECIALS = 4


@dataclass(frozen=True)
class TypeGuide:
    """How RNA types guide a head.

    Parameters
    ----------
    types : int
        K, how many of the most probable types are tried.
    choice : {"model", "random"}
        Those of the language model, or as many at random with equal weights (a control; drawn by
        the sequence, so that a sequence always gets the same).
    combine : {"outputs", "features"}
        What the probabilities weigh: the outputs of the head, or what the head reads.
    """

    types: int
    choice: Literal["model", "random"] = "model"
    combine: Literal["outputs", "features"] = "outputs"


def cut(length: int, limit: int) -> list[tuple[int, int]]:
    """Fewest pieces of a sequence that are no longer than a limit, as equal as can be.

    Examples
    --------
    >>> cut(10, 4)
    [(0, 3), (3, 7), (7, 10)]
    """
    count = -(-length // limit)
    edges = [(k * length + count // 2) // count for k in range(count + 1)]
    return list(zip(edges, edges[1:], strict=False))


class SequenceModel(nn.Module):
    """Encoder, alphabet and head.

    Parameters
    ----------
    encoder : RiNALMo, RNAErnie or Letters
        Encoder, with its language-model head if `guide` is given.
    alphabet : Alphabet
        Its letters.
    config : HeadConfig
        Shape of the head.
    guide : TypeGuide, optional
        Type-guided, see the top of this module.

    Raises
    ------
    UsageError
        RNA types are asked for, and the alphabet has none.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> from stemloop.models.presets import EncoderConfig
    >>> from stemloop.models.rinalmo import RiNALMo
    >>> encoder = RiNALMo(EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64))
    >>> model = SequenceModel(encoder, RINALMO, HeadConfig(width=32, outputs=2)).eval()
    >>> with torch.inference_mode():
    ...     model(["GGAAACC", "ACGU"]).shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        encoder: Encoder | Letters,
        alphabet: Alphabet,
        config: HeadConfig,
        guide: TypeGuide | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.alphabet, self.guide = encoder, alphabet, guide
        self.head = SequenceHead(config)
        #: Part of the nucleotides that are masked while the encoder is in training mode.
        self.hide = 0.0
        self.prompted = config.kind == "pooled" and "type" in config.pools
        if (guide or self.prompted) and "[IND]" not in alphabet.ids:
            raise UsageError(f"this encoder's alphabet, {alphabet.name!r}, has no RNA types")
        if guide and not 1 <= guide.types <= len(RNAERNIE_TYPES):
            raise UsageError(f"types must be 1 to {len(RNAERNIE_TYPES)}, not {guide.types}")
        self.limit = min(encoder.config.longest or 1 << 30, encoder.config.max_length) - SPECIALS
        if not all(-1 <= layer <= encoder.config.layers for layer in config.layers):
            raise UsageError(f"layers are 0 to {encoder.config.layers}, and -1, the output")
        if config.kind == "window" and config.window > self.limit:
            raise UsageError(f"this encoder reads {self.limit} nt: {config.window} is too much")

    def pieces(self, sequence: str) -> list[str]:
        """Parts of a sequence that go through the encoder one by one.

        Raises
        ------
        InputError
            No nucleotides, or not as many as a window head reads.
        """
        window = self.head.config.length
        if window is not None and len(sequence) != window:
            raise InputError(f"{len(sequence)} nt", expected=f"windows of {window} nt")
        if not sequence:
            raise InputError("no nucleotides")
        if self.head.config.kind == "window":
            return [sequence[-self.limit :]]
        return [sequence[a:b] for a, b in cut(len(sequence), self.limit)]

    def _pack(
        self, pieces: Sequence[str], prompts: Sequence[int] | None
    ) -> tuple[Tensor, list[int]]:
        """Token ids end to end, and their number for each piece."""
        ids, cuts = self.alphabet.encode_many(list(pieces), special=False)
        head, parts = np.array([self.alphabet.cls_id]), []
        if self.hide and self.encoder.training:
            ids[(torch.rand(len(ids)) < self.hide).numpy()] = self.alphabet.mask_id
        for k in range(len(pieces)):
            mark = [] if prompts is None else [self.alphabet.ids["[IND]"], prompts[k]]
            parts += [head, ids[cuts[k] : cuts[k + 1]], np.array([*mark, self.alphabet.eos_id])]
        added = 2 if prompts is None else SPECIALS
        lengths = [len(piece) + added for piece in pieces]
        return torch.from_numpy(np.concatenate(parts).astype(np.int64)), lengths

    def features(
        self, pieces: Sequence[str], prompts: Sequence[int] | None = None
    ) -> tuple[Tensor, list[int]]:
        """What the head reads of each piece.

        Parameters
        ----------
        pieces : sequence of str
            Nucleotides. Pieces of equal length side by side are fastest.
        prompts : sequence of int, optional
            Id in the type's slot of each; by default the mask, for heads that read that slot.

        Returns
        -------
        rows : Tensor, shape (sum of lengths, features)
        lengths : list of int
            Rows of each piece.
        """
        if prompts is None and self.prompted:
            prompts = [self.alphabet.mask_id] * len(pieces)
        tokens, lengths = self._pack(pieces, prompts)
        device = self.head.centre.device
        starts = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32)
        config, end = self.head.config, -1 if prompts is None else -3
        found = self.encoder(
            tokens.to(device),
            starts,
            lengths=lengths,
            hidden_layers=[k for k in config.layers if k >= 0],
        )
        streams = {-1: found.representation, **found.hidden}
        out = torch.cat([streams[k] for k in config.layers], dim=1).float()
        if config.kind != "pooled" and len(set(lengths)) == 1:
            of_each = out.unflatten(0, (-1, lengths[0]))[:, 1:end]
            return of_each.flatten(0, 1), [of_each.shape[1]] * len(of_each)
        rows = [row[1:end] for row in out.split(lengths)]
        if config.kind != "pooled":
            return torch.cat(rows), [len(row) for row in rows]
        at = torch.tensor(lengths).cumsum(0).to(device)
        pooled = {
            "cls": lambda: out[torch.cat((at.new_zeros(1), at[:-1]))],
            "type": lambda: out[at - 2],
            "mean": lambda: torch.stack([row.mean(dim=0) for row in rows]),
            "max": lambda: torch.stack([row.amax(dim=0) for row in rows]),
        }
        return torch.cat([pooled[pool]() for pool in config.pools], dim=1), [1] * len(pieces)

    @torch.no_grad()
    def guess_types(self, pieces: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (P, K) and probabilities (P, K), summing to 1, of the types to try."""
        guide = self.guide
        assert guide is not None
        known = torch.tensor([self.alphabet.ids[name] for name in RNAERNIE_TYPES])
        device = self.head.centre.device
        if guide.choice == "random":
            drawn = []
            for piece in pieces:
                seed = int.from_bytes(sha256(piece.encode()).digest()[:8])
                order = np.random.default_rng(seed).permutation(len(known))[: guide.types]
                drawn.append(known[torch.from_numpy(order)])
            ids = torch.stack(drawn).to(device)
            return ids, torch.full(ids.shape, 1 / guide.types, device=device)
        tokens, lengths = self._pack(pieces, [self.alphabet.mask_id] * len(pieces))
        starts = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32)
        slots = (starts[1:] - 2).long().to(device)
        out = self.encoder(tokens.to(device), starts, lengths=lengths, logits_at=slots)
        p = out.logits.float()[:, known.to(device)].softmax(dim=1)
        p, place = p.topk(guide.types, dim=1)
        return known.to(device)[place], p / p.sum(dim=1, keepdim=True)

    def guided(self, pieces: Sequence[str]) -> tuple[list[tuple[Tensor, list[int]]], Tensor]:
        """What `features` gives with each of the K types, and their probabilities (P, K)."""
        ids, weight = self.guess_types(pieces)
        return [self.features(pieces, ids[:, k].tolist()) for k in range(ids.shape[1])], weight

    def combine(self, runs: list[tuple[Tensor, list[int]]], weight: Tensor) -> Tensor:
        """Outputs (P, outputs) of what `guided` gives."""
        assert self.guide is not None
        if self.guide.combine == "features":
            lengths = runs[0][1]
            sizes = torch.tensor(lengths, device=weight.device)
            each = weight.repeat_interleave(sizes, dim=0)
            rows = torch.stack([run[0] * each[:, k, None] for k, run in enumerate(runs)])
            return self.head(rows.sum(dim=0), lengths)
        outputs = torch.stack([self.head(*run) for run in runs], dim=-2)
        return (outputs * weight[:, :, None]).sum(dim=-2)

    def read(self, pieces: Sequence[str]) -> Tensor:
        """Outputs (P, outputs) of pieces, in their order; of members see `SequenceHead`."""
        if self.guide is None:
            return self.head(*self.features(pieces))
        return self.combine(*self.guided(pieces))

    def forward(self, sequences: Sequence[str]) -> Tensor:
        """Outputs (B, outputs): logits, or standardised numbers.

        Raises
        ------
        InputError
            See `pieces`.
        """
        of_each = [self.pieces(sequence) for sequence in sequences]
        flat = [piece for pieces in of_each for piece in pieces]
        # Equal lengths side by side share a call of attention.
        order = sorted(range(len(flat)), key=lambda k: -len(flat[k]))
        out = self.read([flat[k] for k in order])
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        out = out[..., back.to(out.device), :]
        return self.mean_of(out, [len(pieces) for pieces in of_each])

    @staticmethod
    def mean_of(outputs: Tensor, counts: Sequence[int]) -> Tensor:
        """Mean over the pieces of each sequence, (..., P, outputs) to (..., B, outputs)."""
        if outputs.shape[-2] == len(counts):
            return outputs
        parts = outputs.split(list(counts), dim=-2)
        return torch.stack([part.mean(dim=-2) for part in parts], dim=-2)
