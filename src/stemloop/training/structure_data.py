"""What the thermodynamic CRF is trained on, and what must stay out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stemloop.data.structures import (
    LabelledStructure,
    held_out_with,
    read_labelled,
    rfam_families_of,
    shares_words,
    training_reference,
)
from stemloop.errors import InputError
from stemloop.training.recipes import Source


@dataclass(frozen=True)
class HoldOut:
    """What a model must not have seen.

    Parameters
    ----------
    classes : frozenset of str
        Classes (families of the labelled tables, such as ``tRNA``) that leave the training data.
    rfam : frozenset of str
        Rfam families that leave it.
    sequences : tuple of str
        RNAs that share an 18-mer with one of these leave it.
    """

    classes: frozenset[str] = frozenset()
    rfam: frozenset[str] = frozenset()
    sequences: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Classes and Rfam families that are held out, sorted."""
        return sorted(self.classes | self.rfam)


def hold_out(names: Iterable[str], items: Iterable[LabelledStructure]) -> HoldOut:
    """Hold out ArchiveII classes, their Rfam families and all that shares 18-mers with them.

    Parameters
    ----------
    names : iterable of str
        Classes; what must leave together with one of them leaves too.
    items : iterable of LabelledStructure
        The RNAs that will be evaluated.
    """
    classes = frozenset(c for name in names for c in held_out_with(name))
    return HoldOut(
        classes,
        rfam_families_of(classes),
        tuple(x.sequence for x in items if x.family in classes),
    )


def load_source(source: Source, folder: Path, hold_out: HoldOut) -> list[LabelledStructure]:
    """Read a source of a recipe and keep what may be trained on, as training references."""
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
    kept = []
    for item in items:
        length = len(item.sequence)
        if item.family in hold_out.classes or item.family in hold_out.rfam:
            continue
        if not source.min_length <= length <= source.max_length:
            continue
        reference = training_reference(item.structure)
        pairs = len(reference.pairs)
        if pairs < source.min_pairs or 2 * pairs < source.min_paired_fraction * length:
            continue
        # An RNA without a type is drawn by its family name.
        kept.append(LabelledStructure(reference, item.family, item.kind or item.family))
    if hold_out.sequences:
        shared = shares_words(kept, hold_out.sequences)
        kept = [item for item, leaks in zip(kept, shared, strict=True) if not leaks]
    return kept
