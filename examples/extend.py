"""A task and a model of one's own, on the parts of stemloop. See the page *Add a task or a model*.

python examples/extend.py examples/rnas.fa
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import typer
from torch import Tensor, nn

import stemloop
from stemloop.alphabet import RINALMO
from stemloop.errors import UsageError
from stemloop.formats.tables import write_table
from stemloop.models.presets import PRESETS
from stemloop.models.rinalmo import EncoderOutput
from stemloop.records import Result, SequenceRecord
from stemloop.tasks.structure import Folder
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.weights.store import Model


# A task: records in, results out ----------------------------------------------------------------
class OpenStretch:
    """Find where an RNA is most likely open, for a probe or an antisense oligonucleotide."""

    def __init__(self, width: int = 12, model: str = "fold-crf") -> None:
        if width < 1:
            raise UsageError(f"a stretch of {width} nucleotides")
        self.width = width
        self.folder = Folder(FoldSettings(model=model, probabilities=True))

    def __call__(self, record: SequenceRecord) -> Result:
        """Start (from 1) of the stretch, and the mean probability of its bases to be unpaired."""
        folded = self.folder(record)
        pairs = folded.arrays["pair_probability"]
        free = 1 - (pairs + pairs.T).sum(axis=1)
        width = min(self.width, record.length)
        means = np.convolve(free, np.ones(width) / width, mode="valid")
        start = int(means.argmax())
        values = {"start": start + 1, "open": round(float(means[start]), 3)}
        return Result(record, values, {"unpaired": free}, folded.structure)

    def results(self, path: str) -> Iterator[Result]:
        """Results of a file, one by one."""
        return map(self, stemloop.read_sequences(path))


# A model: an encoder of packed sequences ----------------------------------------------------------
class Neighbours(nn.Module):
    """Each nucleotide becomes a random function of the seven around it: a baseline for encoders."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(RINALMO.tokens), hidden)
        self.convolution = nn.Conv1d(hidden, hidden, 7, padding=3)

    def forward(
        self, tokens: Tensor, cu_seqlens: Tensor, *, lengths=None, hidden_layers=None
    ) -> EncoderOutput:
        """Encode tokens (T) of sequences that begin at `cu_seqlens`; rows never mix sequences."""
        lengths = lengths or cu_seqlens.diff().tolist()
        parts = self.embedding(tokens).split(lengths)
        rows = torch.cat([self.convolution(part.T[None])[0].T.tanh() for part in parts])
        return EncoderOutput(rows, dict.fromkeys(hidden_layers or (), rows))


def neighbours(hidden: int = 64, seed: int = 0) -> Model:
    """The encoder above with what `stemloop.embed` needs to know of it."""
    torch.manual_seed(seed)
    config = replace(PRESETS["rinalmo-nano"], hidden=hidden, heads=1, layers=1)
    return Model(Neighbours(hidden).eval(), RINALMO, config, Path())


def main(fasta: str, output: str = "-", width: int = 12) -> None:
    """Write the most open stretch of each RNA."""
    results = OpenStretch(width).results(fasta)
    write_table(output, ({"id": r.record.id, **r.values} for r in results))


if __name__ == "__main__":
    typer.run(main)
