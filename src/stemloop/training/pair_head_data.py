"""RNAs of a pair head's recipe: read, what is held out left out, validation RNAs set apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stemloop.data.structures import LabelledStructure, read_labelled, shares_words
from stemloop.errors import InputError
from stemloop.training.pair_head_recipe import PairHeadRecipe
from stemloop.training.recipes import Source
from stemloop.training.structure_data import HoldOut

Items = list[LabelledStructure]


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Parameters
    ----------
    train : list of (Source, list of LabelledStructure)
        RNAs of each source, to draw epochs from.
    validation : list of LabelledStructure
        RNAs for the threshold and the choice of the epoch; none of them is trained on.
    """

    train: list[tuple[Source, Items]]
    validation: Items

    @property
    def sequences(self) -> list[str]:
        """All sequences."""
        return [x.sequence for _, items in self.train for x in items] + [
            x.sequence for x in self.validation
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of all sequences and structures and of what is for which."""
        listed = [
            [(x.sequence, x.structure.dot_bracket) for x in items]
            for items in (*(items for _, items in self.train), self.validation)
        ]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def read_data(recipe: PairHeadRecipe, folder: Path, hold_out: HoldOut) -> Data:
    """Read the sources of a recipe.

    Without sources for validation a part of each training source is drawn for it, by the recipe's
    seed. What is validated with is not trained on, in whatever source it stands.

    Raises
    ------
    InputError
        A file is not there, or no RNA is left to train on or to validate with.
    """
    train = [(source, load_items(source, folder, hold_out)) for source in recipe.train]
    validation = [x for source in recipe.validation for x in load_items(source, folder, hold_out)]
    if not recipe.validation:
        rng = np.random.default_rng((recipe.seed, 1 << 20))
        for _, items in train:
            chosen = rng.permutation(len(items))[: round(len(items) * recipe.validation_part)]
            validation += [items[k] for k in sorted(chosen)]
    known = {item.sequence for item in validation}
    train = [(source, [x for x in items if x.sequence not in known]) for source, items in train]
    for what, left in (("to validate with", validation), ("to train on", sum(
        (items for _, items in train), []))):  # fmt: skip
        if not left:
            raise InputError(f"no RNA is left {what}")
    return Data(train, validation)


def load_items(source: Source, folder: Path, hold_out: HoldOut) -> Items:
    """Read a source of a recipe and leave out what is held out; references keep all their pairs.

    Raises
    ------
    InputError
        There is no such file.
    """
    path = folder / source.file
    if not path.is_file():
        raise InputError("no such data file", path=str(path))
    items = read_labelled(
        path,
        id=source.id,
        sequence=source.sequence,
        structure=source.structure,
        family=source.family,
        kind=source.type,
    )
    away = hold_out.classes | hold_out.rfam
    kept = []
    for item in items:
        length, pairs = len(item.sequence), len(item.structure.pairs)
        if item.family in away or not source.min_length <= length <= source.max_length:
            continue
        if pairs < source.min_pairs or 2 * pairs < source.min_paired_fraction * length:
            continue
        # An RNA without a type is drawn by its family name.
        kept.append(LabelledStructure(item.structure, item.family, item.kind or item.family))
    if hold_out.sequences:
        shared = shares_words(kept, hold_out.sequences)
        kept = [item for item, leaks in zip(kept, shared, strict=True) if not leaks]
    return kept
