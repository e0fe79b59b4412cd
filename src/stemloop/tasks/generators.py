"""Generators: an RBM of a family with what is needed to judge what it makes.

A generator is a folder: the machine, ``config.json`` (family, consensus structure, shares of the
labels), the rows it was trained on, and the family's covariance model. Some ship with the package.
A plain model file or the folder of a run will do too; scores that need the rest are left out then.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from stemloop.data.aligned import read_alignment
from stemloop.data.covariance import CovarianceModel, align, read_model
from stemloop.data.labelled import MISSING, Labelled
from stemloop.errors import InputError, UsageError, WeightsError
from stemloop.formats.folder import new_dir
from stemloop.models.rbm_tables import HiddenMode
from stemloop.pairs import PairArray, wuss_to_pairs
from stemloop.records import SequenceRecord
from stemloop.training.rbm_run import read_run, split
from stemloop.weights.card import write_card
from stemloop.weights.locate import bundled, bundled_configs
from stemloop.weights.rbm_store import MODEL, StoredRBM, load_rbm, save_rbm
from stemloop.weights.store import refuse_existing_dir

CONFIG, TRAINING, FAMILY = "config.json", "training.fa.gz", "family.cm.gz"
TYPE = "rbm-generator"


@dataclass(frozen=True, eq=False)
class Generator:
    """A machine and its folder.

    Parameters
    ----------
    stored : StoredRBM
        The machine.
    facts : mapping
        ``config.json``; empty for a plain model.
    folder : pathlib.Path, optional
        Where the other files are.
    """

    stored: StoredRBM
    facts: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @cached_property
    def training(self) -> Labelled | None:
        """Rows that the machine was trained on."""
        path = self.folder / TRAINING if self.folder else None
        return read_alignment(path, format="fasta") if path and path.is_file() else None

    @cached_property
    def family(self) -> CovarianceModel | None:
        """Covariance model of the family."""
        path = self.folder / FAMILY if self.folder else None
        return read_model(path) if path and path.is_file() else None

    @cached_property
    def pairs(self) -> PairArray | None:
        """Pairs of the consensus structure, as sites."""
        text = self.facts.get("structure")
        return wuss_to_pairs(text) if text else None

    @property
    def hidden_chain(self) -> HiddenMode:
        """How its chains pass on hidden units."""
        if "hidden_chain" in self.facts:
            return "mean" if self.facts["hidden_chain"] == "mean" else "sample"
        return self.stored.hidden_chain

    @property
    def shares(self) -> list[float]:
        """Share of each label among the training rows."""
        labels = self.stored.machine.config.labels
        return list(self.facts.get("shares") or [1 / len(labels)] * len(labels))


def open_generator(name: str | os.PathLike[str], *, device: str = "cpu") -> Generator:
    """Load a generator.

    Parameters
    ----------
    name : str or path
        Accession or name of a family whose generator ships with the package (``RF00162``,
        ``SAM``), folder of a generator, folder of a run, or model file.
    device : str
        Where to compute.

    Raises
    ------
    WeightsError
        There is none, or it is damaged.
    """
    path = Path(name)
    text = os.fspath(name)
    if not path.exists() and os.sep not in text:
        known = {}
        for folder, config in bundled_configs(TYPE).items():
            for alias in (config["family"], config["name"], *config.get("aliases", ())):
                known[alias.lower()] = folder
        if text.lower() not in known:
            raise WeightsError(
                f"no generator of {text!r} ships; there are: {', '.join(sorted(known))}"
            )
        path = bundled(known[text.lower()])
    facts: dict[str, Any] = {}
    if (path / CONFIG).is_file():
        try:
            facts = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        except ValueError as error:
            raise WeightsError(f"{path / CONFIG}: damaged: {error}") from error
        if facts.get("model_type") != TYPE:
            raise WeightsError(f"{path}: no generator: {facts.get('model_type')!r}")
    return Generator(load_rbm(path, device=device), facts, path if facts else None)


def write_generator(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    name: str,
    family: CovarianceModel | None = None,
    aliases: tuple[str, ...] = (),
    hidden: HiddenMode | None = None,
    force: bool = False,
) -> Path:
    """Make the folder of a generator from a run.

    Parameters
    ----------
    run, data : str or path
        Folder of the run, and of its recipe's data files.
    target : str or path
        The folder to write.
    name : str
        Of the family.
    family : CovarianceModel, optional
        Its match columns must be the machine's sites.
    aliases : tuple of str
        Other names of the family.
    hidden : str, optional
        How its chains pass on hidden units; as in training by default.
    force : bool
        Replace a generator that is there.

    Returns
    -------
    pathlib.Path
        The folder. Weights are stored in half precision.

    Raises
    ------
    InputError
        The family has other match columns than the machine has sites; see also `read_run`.
    OutputError
        Something is there already, or it cannot be written.
    """
    recipe, rows = read_run(run, data)
    train = split(recipe, rows).train
    stored = load_rbm(run)
    config = stored.machine.config
    if config.kind != "potts":
        raise UsageError("a generator is of an RNA or protein family, not of binary data")
    known = train.labels[train.labels != MISSING]
    facts: dict[str, Any] = {
        "model_type": TYPE, "format": 1, "name": name,
        "family": family.accession if family and family.accession else name,
        "aliases": list(aliases), "hidden_chain": hidden or stored.hidden_chain,
        "labels": list(config.labels),
        "shares": [round(float((known == k).mean()), 6) for k in range(len(config.labels))],
        "recipe": recipe.model_dump(mode="json"), "data_sha256": rows.digest(),
    }  # fmt: skip
    if family is not None:
        if family.length != config.visible:
            raise InputError(
                f"{family.length} match columns in the covariance model {family.name}",
                expected=f"the model's {config.visible} sites",
            )
        example = align(family, [SequenceRecord("x", train.text(0).replace("-", ""), "", 0)])
        match = [c not in "-._~" for c in example.gc["RF"]]
        structure = zip(example.gc["SS_cons"], match, strict=True)
        facts["structure"] = "".join(c for c, taken in structure if taken)
    place = Path(target)
    refuse_existing_dir(place, force)
    names = config.labels if len(config.labels) > 1 else ("",)
    lines = [
        f">{train.ids[k]} {names[train.labels[k]] if train.labels[k] != MISSING else ''}".rstrip()
        + f"\n{train.text(k)}\n"
        for k in range(len(train))
    ]
    with new_dir(place) as folder:
        machine = stored.machine.to("cpu", torch.float16)
        extra = {k: v.half() for k, v in stored.extra.items() if k == "visible_frequencies"}
        save_rbm(folder / MODEL, machine, facts=stored.facts, extra=extra)
        # No time stamp: the same run gives the same bytes.
        packed = gzip.compress("".join(lines).encode(), 9, mtime=0)
        (folder / TRAINING).write_bytes(packed)
        if family is not None:
            (folder / FAMILY).write_bytes(gzip.compress(family.text.encode(), 9, mtime=0))
        (folder / CONFIG).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        write_card(folder, "generator", title=name, facts=facts)
    return place
