"""One answer a sequence: the class of a non-coding RNA, a splice site, a ribosome load.

Each is a model directory from ``stemloop finetune sequence``. What comes out of a record:

===========  ===================================================================================
classify     ``label``, its ``probability``, and ``p_LABEL`` for each class
regress      ``value``
splice       ``site`` (donor, acceptor or none), ``p_donor``, ``p_acceptor``, ``p_none``
===========  ===================================================================================

A splice model's labels are ``SPECIES SITE`` for true sites and ``SPECIES SITE DECOY`` for what only
looks like one; the probabilities are summed over decoys, and over species unless one is named.
Decoys of random letters (`RANDOM`) need not count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stemloop.errors import InputError, UsageError
from stemloop.formats.fasta import records_of
from stemloop.formats.stream import Source, atomic_output
from stemloop.formats.tables import write_table
from stemloop.records import Result, SequenceRecord
from stemloop.weights.sequence_head import Meaning, load_sequence_model

if TYPE_CHECKING:
    from stemloop.models.sequence_model import SequenceModel

Floats = npt.NDArray[np.float64]

#: Sequences that are read and sorted by length at a time, and that go through the model at a time.
BLOCK, BATCH = 1024, 32

SITES = ("donor", "acceptor")

#: Decoys of splice42 that are random letters around a GT or AG: all alike (n1), as common as on the
#: two sides of true sites (n2), or at each position of theirs (n3). No genome has them, and a model
#: that knows them takes good sites for one of them; n4 alone is genomic.
RANDOM = ("n1", "n2", "n3")


class Labeller:
    """A model that says one thing of a sequence.

    Parameters
    ----------
    model : SequenceModel
        Encoder and head, in evaluation mode.
    meaning : Meaning
        What its outputs mean.

    Examples
    --------
    >>> from stemloop.alphabet import RINALMO
    >>> from stemloop.models.presets import EncoderConfig
    >>> from stemloop.models.rinalmo import RiNALMo
    >>> from stemloop.models.sequence_head import HeadConfig
    >>> from stemloop.models.sequence_model import SequenceModel
    >>> encoder = RiNALMo(EncoderConfig(vocab_size=22, hidden=32, layers=1, heads=2, ffn_inner=64))
    >>> model = SequenceModel(encoder, RINALMO, HeadConfig(width=32, outputs=2)).eval()
    >>> labeller = Labeller(model, Meaning("classify", ("coding", "not")))
    >>> probabilities = labeller.outputs([SequenceRecord("x", "ACGU")])
    >>> probabilities.shape, round(float(probabilities.sum()), 6)
    ((1, 2), 1.0)
    """

    def __init__(self, model: SequenceModel, meaning: Meaning) -> None:
        self.model, self.meaning = model, meaning

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str], *, device: str = "cpu") -> Labeller:
        """Read a model directory; see `stemloop.weights.sequence_head.load_sequence_model`."""
        return cls(*load_sequence_model(name_or_path, device=device))

    def outputs(self, records: Iterable[SequenceRecord]) -> Floats:
        """Probabilities (N, classes), or numbers (N, 1) in the units of the training set.

        A record's outputs do not depend on the other records.

        Raises
        ------
        InputError
            A sequence that the model cannot read; the record is named.
        """
        items = list(records)
        for item in items:
            try:
                self.model.pieces(item.sequence)
            except InputError as error:
                raise InputError(error.message, record=item.id, expected=error.expected) from error
        return self.read([item.sequence for item in items])

    def read(self, sequences: Sequence[str], *, batch: int = BATCH) -> Floats:
        """`outputs` of sequences that have no names, so many going through the model at a time."""
        import torch

        order = sorted(range(len(sequences)), key=lambda k: -len(sequences[k]))
        found = np.empty((len(sequences), self.model.head.config.outputs))
        with torch.inference_mode():
            for k in range(0, len(order), batch):
                some = order[k : k + batch]
                out = self.model([sequences[i] for i in some]).double()
                if self.meaning.task == "classify":
                    out = out.softmax(dim=1)
                else:
                    out = out * self.meaning.deviation + self.meaning.mean
                found[some] = out.cpu().numpy()
        return found

    def results(
        self, source: Source | Iterable[SequenceRecord], describe: Describe | None = None
    ) -> Iterator[Result]:
        """Results of all records, in their order, read block by block.

        Parameters
        ----------
        source : path, file object, or iterable of SequenceRecord
            Sequences.
        describe : callable, optional
            Outputs of a record to its values; by the model's task otherwise.
        """
        say = describe or self.describe
        records = records_of(source)
        block: list[SequenceRecord] = []
        for record in records:
            block.append(record)
            if len(block) == BLOCK:
                yield from self._say(block, say)
                block = []
        yield from self._say(block, say)

    def _say(self, block: list[SequenceRecord], say: Describe) -> Iterator[Result]:
        for record, row in zip(block, self.outputs(block) if block else (), strict=True):
            yield Result(record, say(row))

    def describe(self, row: Floats) -> dict[str, str | int | float]:
        """Values of a record from its outputs; see the top of this module."""
        if self.meaning.task == "regress":
            return {"value": _r(row[0])}
        best = int(row.argmax())
        return {
            "label": self.meaning.labels[best],
            "probability": _r(row[best]),
            **{f"p_{label}": _r(p) for label, p in zip(self.meaning.labels, row, strict=True)},
        }


Describe = Callable[[Floats], dict[str, str | int | float]]


def site_probabilities(
    meaning: Meaning, species: str | None = None, leave_out: Collection[str] = RANDOM
) -> Callable[[Floats], Floats]:
    """How outputs (N, classes) of a splice model become the probabilities (N, 2) of `SITES`.

    Parameters
    ----------
    meaning : Meaning
        Its labels.
    species : str, optional
        Only labels of this species; their probabilities are made to add up to 1.
    leave_out : collection of str
        Kinds of decoys that do not count either.

    Raises
    ------
    UsageError
        No splice model, or one that does not know the species.

    Examples
    --------
    >>> labels = ("fly donor", "fly acceptor", "fly donor n4", "worm donor")
    >>> read = site_probabilities(Meaning("classify", labels), "fly")
    >>> read(np.array([[0.4, 0.1, 0.3, 0.2]])).round(3).tolist()
    [[0.5, 0.125]]
    """
    words = [label.split() for label in meaning.labels]
    if meaning.task != "classify" or any(len(w) < 2 or w[1] not in SITES for w in words):
        raise UsageError("this is no splice model: its labels are not 'SPECIES SITE [DECOY]'")
    known = sorted({w[0] for w in words})
    if species is not None and species not in known:
        raise UsageError(f"this model does not know {species!r}; it knows {', '.join(known)}")
    counted = np.array(
        [species in (None, w[0]) and (len(w) < 3 or w[2] not in leave_out) for w in words]
    )
    true = np.array([[w[1:] == [site] for site in SITES] for w in words]) & counted[:, None]
    return lambda rows: rows @ true / (rows @ counted)[:, None]


def splice_sites(
    meaning: Meaning, species: str | None = None, leave_out: Collection[str] = RANDOM
) -> Describe:
    """How a splice model's outputs become a site; see `site_probabilities`.

    Raises
    ------
    UsageError
        See `site_probabilities`.

    Examples
    --------
    >>> labels = ("fly donor", "fly acceptor", "fly donor n4", "worm donor")
    >>> say = splice_sites(Meaning("classify", labels), "fly")
    >>> say(np.array([0.4, 0.1, 0.3, 0.2]))
    {'site': 'donor', 'p_donor': 0.5, 'p_acceptor': 0.125, 'p_none': 0.375}
    """
    probabilities = site_probabilities(meaning, species, leave_out)

    def describe(row: Floats) -> dict[str, str | int | float]:
        p = dict(zip(SITES, probabilities(row[None])[0].tolist(), strict=True))
        p["none"] = max(0.0, 1.0 - sum(p.values()))
        site = max(p, key=lambda name: p[name])
        return {"site": site, **{f"p_{name}": _r(value) for name, value in p.items()}}

    return describe


def write_results(path: str | Path, results: Iterable[Result], *, force: bool = False) -> int:
    """Write results, TSV, CSV or Parquet by suffix, or one JSON object a line for ``.jsonl``.

    Returns
    -------
    int
        Records.

    Raises
    ------
    OutputExistsError, OutputError
        The file is there already, or cannot be written.
    UsageError
        Unknown suffix.
    """
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for result in results:
            count += 1
            yield {"id": result.record.id, "length": result.record.length, **result.values}

    if str(path).endswith(".jsonl"):
        with atomic_output(path, force=force) as out:
            out.writelines(json.dumps(row) + "\n" for row in rows())
    else:
        write_table(path, rows(), force=force)
    return count


def _r(value: float) -> float:
    return round(float(value), 6)
