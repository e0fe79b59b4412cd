"""Protocols of structure prediction: which RNAs are tested, and what may not be trained on.

====================  =============================================================  ============
name                  tested                                                         unseen
====================  =============================================================  ============
archiveii-family-fold the nine classes of ArchiveII in turn                          classes
archiveii-random      five random parts of ArchiveII in turn                         RNAs
rfam-clans            one RNA of each Rfam family, five parts of whole clans         clans
bprna-ts0             573 RNAs of bpRNA's TS0 whose original structures are at hand  18-mers
====================  =============================================================  ============
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from stemloop.data.structure_splits import deal, read_test_folds, rfam_groups
from stemloop.data.structures import (
    ARCHIVEII_CLASSES,
    LabelledStructure,
    class_families,
    held_out_with,
    read_labelled,
    training_reference,
)
from stemloop.errors import InputError, UsageError
from stemloop.folding.homologs import Homolog
from stemloop.records import Structure
from stemloop.training.structure_data import HoldOut, hold_out

ARCHIVEII_FILE = "ArchiveII.csv.xz"
ARCHIVEII_FOLDS = "ArchiveII_kfold_splits.csv.xz"
RFAM_FILE = "derived/Rfam14.2_seed_projected_structures.csv.xz"
BPRNA_FILE = "derived/bpRNA_recovered.csv.xz"

HomologKind = Literal["known", "sequences"]

#: Folds that the clans of Rfam are dealt to, and the seed of that.
CLAN_FOLDS, CLAN_SEED = 5, 0
#: Rfam RNAs that are tested: nucleotides, and least number of pairs.
RFAM_LENGTHS, RFAM_PAIRS = (20, 500), 3


@dataclass(frozen=True)
class Split:
    """RNAs that one model is tested on, and what it must not have seen.

    Parameters
    ----------
    name : str
        Name of the run.
    test : tuple of LabelledStructure
        The RNAs; their ``family`` is what scores are averaged within.
    hold_out : HoldOut
        Classes and Rfam families that are not trained on, and RNAs whose 18-mers are not.
    without : frozenset of str
        Sequences that are not trained on, whatever their family.
    homologs : tuple of Homolog
        What the RNAs are aligned with when they are folded, see `with_homologs`.
    """

    name: str
    test: tuple[LabelledStructure, ...]
    hold_out: HoldOut = HoldOut()
    without: frozenset[str] = frozenset()
    homologs: tuple[Homolog, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """What is tested, and why.

    Parameters
    ----------
    name : str
        Name.
    files : tuple of str
        Files of the folder of structure data.
    unseen : str
        What the models of the splits have not seen, in words.
    splits : callable
        Reads the splits from the folder of the structure data.
    shares : bool
        The stages of a recipe but the last are trained once, without what any split holds out.
    """

    name: str
    files: tuple[str, ...]
    unseen: str
    splits: Callable[[Path], list[Split]]
    shares: bool = False


def read_archiveii(folder: str | Path) -> list[LabelledStructure]:
    """Read the RNAs of ArchiveII with their classes.

    Raises
    ------
    InputError
        The file is not in the folder.
    """
    return read_labelled(_there(folder, ARCHIVEII_FILE))


def _there(folder: str | Path, name: str) -> Path:
    path = Path(folder) / name
    if not path.is_file():
        raise InputError("no such data file", path=str(path))
    return path


def family_folds(folder: str | Path, classes: Iterable[str] = ARCHIVEII_CLASSES) -> list[Split]:
    """One split a class of ArchiveII; classes that must leave together share one."""
    items = read_archiveii(folder)
    groups = dict.fromkeys(held_out_with(name) for name in classes)
    return [
        Split(
            "+".join(sorted(group)),
            tuple(item for item in items if item.family in group),
            hold_out(sorted(group), items),
        )
        for group in groups
    ]


def random_folds(folder: str | Path) -> list[Split]:
    """The five published random folds of ArchiveII: RNAs are unseen, families are not."""
    items = {item.structure.record.id: item for item in read_archiveii(folder)}
    path = _there(folder, ARCHIVEII_FOLDS)
    splits = []
    for fold, names in read_test_folds(path).items():
        for name in names:
            if name not in items:
                raise InputError(f"not in {ARCHIVEII_FILE}", path=str(path), record=name)
        test = tuple(items[name] for name in names)
        splits.append(Split(f"fold{fold}", test, without=frozenset(x.sequence for x in test)))
    return splits


def clan_folds(folder: str | Path) -> list[Split]:
    """One RNA of each Rfam family, five folds that share no clan and no class of ArchiveII.

    The first RNA of a family counts whose structure has pairs enough. Its ``family`` is the type of
    its Rfam family and its ``kind`` the accession.
    """
    chosen: dict[str, LabelledStructure] = {}
    families: set[str] = set()
    shortest, longest = RFAM_LENGTHS
    path = _there(folder, RFAM_FILE)
    for item in read_labelled(path, id="name", family="rfam", kind="rfam_type"):
        families.add(item.family)
        if item.family in chosen or not shortest <= len(item.sequence) <= longest:
            continue
        if len(training_reference(item.structure).pairs) >= RFAM_PAIRS:
            chosen[item.family] = item
    accessions = class_families()
    splits = []
    for number, fold in enumerate(deal(rfam_groups(families), CLAN_FOLDS, CLAN_SEED)):
        test = tuple(_typed(chosen[f]) for f in fold if f in chosen)
        classes = frozenset(c for c in accessions if accessions[c] & set(fold))
        rfam = frozenset(fold).union(*(accessions[c] for c in classes))
        held = HoldOut(classes, rfam, tuple(item.sequence for item in test))
        if test:
            splits.append(Split(f"clans{number}", test, held))
    return splits


def _typed(item: LabelledStructure) -> LabelledStructure:
    """An Rfam RNA whose family is its type, and whose identifier is its own among all families."""
    record = replace(item.structure.record, id=f"{item.family}/{item.structure.record.id}")
    known = Structure(record, item.structure.pairs)
    return LabelledStructure(known, last_type(item.kind), item.family)


def last_type(kind: str) -> str:
    """The most special part of an Rfam type.

    Examples
    --------
    >>> last_type("Gene; snRNA; snoRNA; CD-box;")
    'CD-box'
    """
    return kind.strip("; ").split("; ")[-1]


def ts0(folder: str | Path) -> list[Split]:
    """RNAs of TS0 with their structures in bpRNA; no 18-mer of theirs is trained on."""
    items = read_labelled(
        _there(folder, BPRNA_FILE),
        where={"partition": "TS0", "structure_source": "original bpRNA"},
    )
    test = tuple(LabelledStructure(item.structure, "TS0") for item in items)
    return [Split("TS0", test, HoldOut(sequences=tuple(item.sequence for item in test)))]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "archiveii-family-fold",
            (ARCHIVEII_FILE,),
            "the class, its Rfam families, and RNAs that share an 18-mer with it",
            family_folds,
            shares=True,
        ),
        Protocol(
            "archiveii-random",
            (ARCHIVEII_FILE, ARCHIVEII_FOLDS),
            "the sequence itself; its family is known, and often near copies of it are",
            random_folds,
            shares=True,
        ),
        Protocol(
            "rfam-clans",
            (RFAM_FILE,),
            "all families of its clan, the ArchiveII class they belong to, and RNAs that share an "
            "18-mer with it",
            clan_folds,
        ),
        Protocol(
            "bprna-ts0",
            (BPRNA_FILE,),
            "RNAs that share an 18-mer with it; families are shared, as they are between the "
            "published TR0 and TS0",
            ts0,
        ),
    )
}


def of_all(splits: Sequence[Split]) -> Split:
    """What a training must leave out that is shared by splits, as a split without tests."""
    holds = [split.hold_out for split in splits]
    held = HoldOut(
        frozenset[str]().union(*(h.classes for h in holds)),
        frozenset[str]().union(*(h.rfam for h in holds)),
        tuple(dict.fromkeys(s for h in holds for s in h.sequences)),
    )
    return Split("shared", (), held, frozenset[str]().union(*(s.without for s in splits)))


def with_homologs(splits: Sequence[Split], kind: HomologKind) -> list[Split]:
    """All splits of a protocol with homologs to look among.

    Parameters
    ----------
    splits : sequence of Split
        All of the protocol.
    kind : {"known", "sequences"}
        ``known``: the RNAs of the other splits with their structures, but for sequences that the
        split tests. ``sequences``: the RNAs of the split itself, without their structures; an RNA
        is no homolog of itself.
    """
    found = []
    for split in splits:
        if kind == "sequences":
            homologs = [Homolog(item.sequence) for item in split.test]
        else:
            tested = {item.sequence for item in split.test}
            homologs = [
                Homolog(item.sequence, item.structure.pairs)
                for other in splits
                if other is not split
                for item in other.test
                if item.sequence not in tested
            ]
        found.append(replace(split, homologs=tuple(homologs)))
    return found


def sampled(split: Split, number: int, seed: int = 0) -> Split:
    """A split with no more than some of its RNAs, drawn at random; what is held out stays."""
    if number >= len(split.test):
        return split
    chosen = np.random.default_rng(seed).choice(len(split.test), number, replace=False)
    return replace(split, test=tuple(split.test[k] for k in sorted(chosen.tolist())))


def narrowed(splits: Sequence[Split], names: Sequence[str] | None) -> list[Split]:
    """The splits of these names; all unless given.

    Raises
    ------
    UsageError
        There is no such split.
    """
    known = {split.name: split for split in splits}
    for name in names or ():
        if name not in known:
            raise UsageError(f"no split {name!r}; known: {', '.join(known)}")
    return [known[name] for name in names] if names else list(splits)
