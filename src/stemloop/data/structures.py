"""RNAs with known structures: reading them, cleaning them, holding classes out, drawing epochs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from stemloop.errors import FormatError, StructureError, UsageError
from stemloop.formats.stream import open_text
from stemloop.pairs import MIN_DISTANCE, canonical, nested_subset
from stemloop.records import SequenceRecord, Structure


@dataclass(frozen=True, slots=True)
class LabelledStructure:
    """A structure with the family (an Rfam accession or an ArchiveII class) and type it is of."""

    structure: Structure
    family: str
    kind: str = ""

    @property
    def sequence(self) -> str:
        """The nucleotides."""
        return self.structure.record.sequence


def read_labelled(
    path: str | Path,
    *,
    id: str = "id",
    sequence: str = "sequence",
    structure: str = "structure",
    family: str | None = None,
    kind: str | None = None,
    where: Mapping[str, str] | None = None,
) -> list[LabelledStructure]:
    """Read a CSV table (plain or compressed) of sequences with dot-bracket structures.

    Parameters
    ----------
    path : path
        The table, with a header line.
    id, sequence, structure, family, kind : str
        Column names. Without a family column the family is the identifier up to the first ``_``,
        which is how ArchiveII names its classes.
    where : mapping of str to str, optional
        Only rows that hold these words in these columns.

    Raises
    ------
    InputError
        The file cannot be read.
    FormatError
        A column or a field is missing.
    StructureError
        A structure does not fit its sequence.
    """
    result = []
    with open_text(path) as handle:
        reader = csv.DictReader(handle)
        where = where or {}
        wanted = [c for c in (id, sequence, structure, family, kind, *where) if c]
        for column in wanted:
            if column not in (reader.fieldnames or ()):
                raise FormatError(
                    f"no column {column!r}",
                    path=str(path),
                    line=1,
                    expected=f"columns {', '.join(wanted)}",
                )
        for index, row in enumerate(reader):
            if any(row[column] is None for column in wanted):
                raise FormatError("a field is missing", path=str(path), line=reader.line_num)
            if any(words not in row[column] for column, words in where.items()):
                continue
            text = row[sequence].upper().replace("T", "U")
            record = SequenceRecord(row[id], text, index=index)
            try:
                known = Structure.from_dot_bracket(record, row[structure])
            except StructureError as error:
                error.path, error.line = str(path), reader.line_num
                raise
            result.append(
                LabelledStructure(
                    known,
                    row[family] if family else row[id].split("_", 1)[0],
                    row[kind] if kind else "",
                )
            )
    return result


def training_reference(structure: Structure) -> Structure:
    """Keep what a nested, canonical model can form: canonical pairs, hairpins of three, no knots.

    Examples
    --------
    >>> s = Structure.from_dot_bracket(SequenceRecord("x", "GAGAAACCC"), "(((...)))")
    >>> training_reference(s).dot_bracket
    '(.(...).)'
    """
    pairs = structure.pairs
    pairs = pairs[canonical(structure.record.sequence, pairs)]
    pairs = pairs[pairs[:, 1] - pairs[:, 0] >= MIN_DISTANCE]
    return Structure(structure.record, nested_subset(pairs))


def class_families() -> dict[str, set[str]]:
    """Rfam accessions of each ArchiveII class."""
    table: dict[str, set[str]] = {}
    text = files("stemloop.data").joinpath("tables/archiveii_rfam_classes.tsv").read_text()
    for line in text.splitlines():
        if not line.startswith(("#", "class\t")):
            name, accession, _ = line.split("\t")
            table.setdefault(name, set()).add(accession)
    return table


def rfam_families_of(classes: Iterable[str]) -> frozenset[str]:
    """Rfam accessions that belong to ArchiveII classes (``5s 16s 23s RNaseP grp1 srp ...``).

    Raises
    ------
    UsageError
        A class is not known.

    Examples
    --------
    >>> sorted(rfam_families_of(["telomerase"]))
    ['RF00024', 'RF00025', 'RF01050', 'RF02462']
    """
    table = class_families()
    result: set[str] = set()
    for name in classes:
        if name not in table:
            raise UsageError(f"unknown RNA class {name!r}; known: {', '.join(table)}")
        result |= table[name]
    return frozenset(result)


#: The nine classes of the ArchiveII family folds.
ARCHIVEII_CLASSES = ("5s", "16s", "23s", "RNaseP", "grp1", "srp", "tRNA", "telomerase", "tmRNA")

#: Classes that may not be on both sides: 16S references and group I introns share exon flanks.
HELD_OUT_TOGETHER = (frozenset({"16s", "grp1"}),)


def held_out_with(name: str) -> frozenset[str]:
    """Classes that must leave the training data when ``name`` is evaluated.

    Examples
    --------
    >>> sorted(held_out_with("16s")), sorted(held_out_with("tRNA"))
    (['16s', 'grp1'], ['tRNA'])
    """
    for group in HELD_OUT_TOGETHER:
        if name in group:
            return group
    return frozenset({name})


def shares_words(
    items: Sequence[LabelledStructure], others: Iterable[str], size: int = 18
) -> list[bool]:
    """Tell which RNAs share a word of ``size`` nucleotides with any of the other sequences."""
    words = {s[k : k + size] for s in others for k in range(len(s) - size + 1)}
    return [
        any(x.sequence[k : k + size] in words for k in range(len(x.sequence) - size + 1))
        for x in items
    ]


@dataclass(frozen=True)
class TypeRule:
    """How often RNAs of a type are drawn: the first rule whose pattern matches the type counts.

    Parameters
    ----------
    pattern : str
        Regular expression searched in the type.
    families : int
        Most families in one epoch; 0 leaves the type out, -1 takes all.
    members : int
        RNAs of a family in one epoch.
    """

    pattern: str
    families: int = -1
    members: int = 2


def draw_epoch(
    items: Sequence[LabelledStructure], rules: Sequence[TypeRule], rng: np.random.Generator
) -> list[LabelledStructure]:
    """Draw the RNAs of one epoch: some families of each rule, some members of each family.

    Parameters
    ----------
    items : sequence of LabelledStructure
        All RNAs.
    rules : sequence of TypeRule
        Tried in order; RNAs that match none are left out.
    rng : numpy.random.Generator
        Draws families, members and their order.
    """
    compiled = [re.compile(rule.pattern) for rule in rules]
    groups: list[dict[str, list[int]]] = [{} for _ in rules]
    for index, item in enumerate(items):
        for pattern, group in zip(compiled, groups, strict=True):
            if pattern.search(item.kind):
                group.setdefault(item.family, []).append(index)
                break
    chosen: list[int] = []
    for rule, group in zip(rules, groups, strict=True):
        names = sorted(group)
        if 0 <= rule.families < len(names):
            names = [names[k] for k in rng.choice(len(names), rule.families, replace=False)]
        for name in names:
            members = group[name]
            size = min(rule.members, len(members))
            chosen += [members[k] for k in rng.choice(len(members), size, replace=False)]
    return [items[k] for k in rng.permutation(np.array(chosen, dtype=np.int64))]
