"""What a head reads of a frozen encoder, kept on disk: the encoder runs once over each sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stemloop.models.sequence_model import SequenceModel
from stemloop.training.embedding_store import EmbeddingStore

#: Sequences that the encoder takes at a time.
TOGETHER = 32


class FrozenRows:
    """Rows of a frozen encoder by sequence; of a type-guided head, those with each of its types.

    Parameters
    ----------
    model : SequenceModel
        Encoder and head.
    folder : path
        See `EmbeddingStore`.
    encoder : str
        Hash of the encoder's weights.

    Raises
    ------
    UsageError, OutputError
        See `EmbeddingStore`.
    """

    def __init__(self, model: SequenceModel, folder: str | Path, encoder: str) -> None:
        self.model, config, guide = model, model.head.config, model.guide
        pooled = config.kind == "pooled"
        what = ["pooled" if pooled else "rows", *(config.pools if pooled else ()), *config.layers]
        if guide is not None:
            what += [guide.choice, guide.types]
        # The probability of a row's type stands behind the row.
        width = config.features + (guide is not None)
        self.store = EmbeddingStore(folder, "/".join([encoder, *map(str, what)]), width)

    def fill(
        self, sequences: Iterable[str], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Compute what is not there yet; `progress` gets (sequences done, sequences to do)."""
        pieces = {piece for sequence in sequences for piece in self.model.pieces(sequence)}
        self.model.encoder.eval()
        with torch.inference_mode():
            order = sorted(pieces, key=lambda piece: (-len(piece), piece))
            self.store.fill_batches(order, self._compute, TOGETHER, progress)

    def _compute(self, batch: list[str]) -> list[Tensor]:
        if self.model.guide is None:
            rows, lengths = self.model.features(batch)
            return list(rows.split(lengths))
        runs, weight = self.model.guided(batch)
        rows = torch.stack([run[0] for run in runs], dim=1)
        return list(torch.cat([rows, weight[:, :, None]], dim=2))

    def _rows(self, sequence: str) -> tuple[Tensor, list[int]]:
        parts = [self.store[piece] for piece in self.model.pieces(sequence)]
        return torch.cat(parts), [len(part) for part in parts]

    def fit_scale(self, sequences: Sequence[str]) -> None:
        """Centre and scale the head's input as in these sequences."""
        rows = torch.cat([self._rows(sequence)[0] for sequence in sequences])
        self.model.head.fit_scale(rows[:, : self.model.head.config.features])

    def outputs(self, sequences: Sequence[str]) -> Tensor:
        """Outputs as the model itself gives them."""
        found = [self._rows(sequence) for sequence in sequences]
        rows = torch.cat([rows for rows, _ in found]).to(self.model.head.centre.device)
        lengths = [length for _, lengths in found for length in lengths]
        guide = self.model.guide
        if guide is None:
            out = self.model.head(rows, lengths)
        else:
            # A piece has as many rows as there are types.
            each = rows.unflatten(0, (-1, guide.types))
            ones = [1] * len(each)
            runs = [(each[:, k, :-1], ones) for k in range(guide.types)]
            out = self.model.combine(runs, each[:, :, -1])
        return self.model.mean_of(out, [len(lengths) for _, lengths in found])
