"""Labelled sequences of a recipe: read, and set apart."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stemloop.alphabet import normalise
from stemloop.data.clusters import fasta_entry, linclust
from stemloop.errors import FormatError, InputError, UsageError
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stockholm_rows import read_rows
from stemloop.formats.stream import open_text
from stemloop.training.leaders import rows_of_rule
from stemloop.training.sequence_classes import keep_classes, with_noise
from stemloop.training.sequence_recipe import SequenceRecipe, Split, Table

#: Drops the gaps of alignments.
_NO_GAPS = str.maketrans("", "", ".-_~")

#: What a column of parts may say.
PARTS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sequence with its label, a class's name or a number; ``part`` is "split" until split.

    ``core`` is what it was before noise was added, if any was.
    """

    id: str
    sequence: str
    label: str | float
    part: str
    where: str
    core: str = ""


@dataclass(frozen=True)
class SequenceData:
    """What a run learns from, is chosen with, and is tested on.

    Parameters
    ----------
    train, validation, test : list of Labelled
        ``test`` may be empty.
    labels : tuple of str
        Classes in the order of the head's outputs; empty for numbers.
    """

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]
    labels: tuple[str, ...]

    @property
    def parts(self) -> dict[str, list[Labelled]]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def digest(self) -> str:
        """SHA-256 of all sequences and labels, and of what is for which."""
        listed = [[(x.sequence, x.label) for x in items] for items in self.parts.values()]
        return hashlib.sha256(json.dumps([listed, self.labels]).encode()).hexdigest()


def read_table(table: Table, folder: Path, *, numbers: bool, split: Split) -> list[Labelled]:
    """Read the labelled sequences of a file; copies are kept, as published sets have them.

    Raises
    ------
    InputError
        There is no such file, or a sequence breaks the alphabet.
    FormatError
        A column or a word is missing, or a label is no number where one is needed.
    """
    path = folder / table.file
    if not path.is_file():
        raise InputError("no such data file", path=str(path))
    found: list[Labelled] = []
    chosen = None
    if table.rule is not None:
        chosen = rows_of_rule(path, table.rule, table.sequence, table.label)
    for count, (name, sequence, text, part, where) in enumerate(_records(path, table, split)):
        if table.rows is not None and not table.rows[0] <= count < table.rows[1]:
            continue
        if chosen is not None and count not in chosen:
            continue
        label: str | float = text
        if numbers:
            try:
                label = float(text)
            except ValueError:
                label = float("nan")
            if not np.isfinite(label):
                raise FormatError(
                    f"{where}: record {name!r}: label {text!r}", path=str(path), expected="a number"
                )
        found.append(Labelled(name, sequence, label, part, where))
    return found


def _records(path: Path, table: Table, split: Split) -> Iterator[tuple[str, str, str, str, str]]:
    """Identifier, sequence, label, part and place of each record."""
    suffix = next((s for s in reversed(path.suffixes) if s in (".csv", ".tsv")), None)
    by_column = table.part == "split" and split.by == "column"
    if ".sto" in path.suffixes:
        yield from _aligned(path, table)
        return
    if suffix is None:
        if by_column:
            raise UsageError(f"{path}: FASTA has no column {split.column!r} to split by")
        word = None if table.value is not None else _word(table.label)
        for record in read_sequences(path):
            words = [record.id, *record.description.split()]
            if word is not None and word >= len(words):
                raise FormatError(
                    "no label in the header", path=str(path), record=record.id,
                    expected=f"at least {word + 1} words",
                )  # fmt: skip
            text = str(table.value) if word is None else words[word]
            yield record.id, record.sequence, text, table.part, f"record {record.index + 1}"
        return
    with open_text(path) as handle:
        reader = csv.DictReader(handle, delimiter="\t" if suffix == ".tsv" else ",")
        wanted = [table.sequence, *([] if table.value is not None else [table.label])]
        wanted += [c for c in (table.id, split.column if by_column else None) if c]
        for column in wanted:
            if column not in (reader.fieldnames or ()):
                raise FormatError(
                    f"no column {column!r}", path=str(path), line=1,
                    expected=f"columns {', '.join(wanted)}; there are "
                    f"{', '.join(reader.fieldnames or ())}",
                )  # fmt: skip
        for number, row in enumerate(reader, start=1):
            line = reader.line_num
            if any(row[column] is None for column in wanted):
                raise FormatError("a field is missing", path=str(path), line=line)
            name = row[table.id] if table.id else str(number)
            part = table.part
            if by_column:
                part = PARTS.get(row[split.column].strip().lower(), "")
                if not part:
                    raise FormatError(
                        f"{row[split.column]!r} in column {split.column!r}", path=str(path),
                        line=line, expected="train, validation or test",
                    )  # fmt: skip
            text = str(table.value) if table.value is not None else row[table.label].strip()
            sequence = normalise(row[table.sequence], record=name, path=str(path), line=line)
            yield name, sequence, text, part, f"line {line}"


def _aligned(path: Path, table: Table) -> Iterator[tuple[str, str, str, str, str]]:
    """Rows of alignments without their gaps, labelled by a tag of the alignment."""
    for count, found in enumerate(read_rows(path), start=1):
        if table.value is None and table.label not in found.gf:
            raise FormatError(
                f"alignment {count} has no tag #=GF {table.label}", path=str(path),
                expected=f"one of its tags, {', '.join(found.gf)}",
            )  # fmt: skip
        text = str(table.value) if table.value is not None else found.gf[table.label]
        for name, row in found.rows:
            sequence = normalise(row.translate(_NO_GAPS), record=name, path=str(path))
            yield name, sequence, text, table.part, f"alignment {count}"


def _word(label: str) -> int:
    if not label.isdigit() or int(label) < 1:
        raise UsageError(f"label {label!r}: of FASTA it is the number of a word in the header")
    return int(label) - 1


def read_data(recipe: SequenceRecipe, folder: Path) -> SequenceData:
    """Read and split the data of a recipe.

    Without records for validation a part of the training records is set apart.

    Raises
    ------
    InputError
        See `read_table`; or nothing is left to train on or to validate with.
    FormatError
        A record of validation or test has a label that no training record has.
    """
    numbers = recipe.task == "regress"
    items = _read(recipe, recipe.data, folder)
    if recipe.classes is not None:
        items = keep_classes(items, recipe.classes, recipe.seed)
    items = _set_apart(items, recipe)
    if recipe.noise:
        items = with_noise(items, recipe.noise, recipe.seed)
    parts = {name: [x for x in items if x.part == name] for name in ("train", "validation", "test")}
    if recipe.drop_copies:
        known = {x.sequence for name in ("validation", "test") for x in parts[name]}
        parts["train"] = [x for x in parts["train"] if x.sequence not in known]
    for what, name in (("to train on", "train"), ("to validate with", "validation")):
        if not parts[name]:
            raise InputError(f"no sequence is left {what}")
    labels: tuple[str, ...] = ()
    if not numbers:
        seen = {str(x.label) for x in parts["train"]}
        labels = recipe.labels or tuple(sorted(seen))
        _check_labels(items, labels)
        if len(seen) < 2:
            raise InputError("the training sequences have fewer than two classes")
    return SequenceData(**parts, labels=labels)


def further_records(
    recipe: SequenceRecipe, tables: list[Table], folder: Path, labels: tuple[str, ...]
) -> list[Labelled]:
    """Read further test records of a recipe; see `read_table`.

    Raises
    ------
    FormatError
        A label that is none of the model's.
    """
    whole = recipe.model_copy(update={"split": Split(by="random")})  # no column of parts is needed
    items = _read(whole, tables, folder)
    _check_labels(items, labels)
    return items


def _read(recipe: SequenceRecipe, tables: list[Table], folder: Path) -> list[Labelled]:
    """Records of tables, as many as are to be drawn of each."""
    items: list[Labelled] = []
    for place, table in enumerate(tables):
        found = read_table(table, folder, numbers=recipe.task == "regress", split=recipe.split)
        if table.take is not None and table.take < len(found):
            rng = np.random.default_rng((recipe.seed, 1 << 20, place))
            found = [found[k] for k in sorted(rng.permutation(len(found))[: table.take])]
        items += found
    return items


def _check_labels(items: list[Labelled], labels: tuple[str, ...]) -> None:
    for x in items if labels else ():
        if x.label not in labels:
            raise FormatError(
                f"record {x.id!r} ({x.where}): unknown label {x.label!r}",
                expected=", ".join(labels),
            )


def _set_apart(items: list[Labelled], recipe: SequenceRecipe) -> list[Labelled]:
    """Give every record a part."""
    split = recipe.split
    open_items = [x for x in items if x.part == "split"]
    done = [x for x in items if x.part != "split"]
    shares = {"test": split.test, "validation": split.validation}
    if not open_items:
        if any(x.part == "validation" for x in done):
            return items
        # Validation comes out of the training records.
        open_items = [x for x in done if x.part == "train"]
        done = [x for x in done if x.part != "train"]
        shares = {"validation": split.validation}
    groups = _groups(open_items, split)
    rng = np.random.default_rng((recipe.seed, 1 << 21))
    members: dict[int, list[int]] = {}
    for k, group in enumerate(groups):
        members.setdefault(group, []).append(k)
    keys = list(members)
    order = iter(rng.permutation(len(keys)))
    part = ["train"] * len(open_items)
    for name, share in shares.items():
        left = round(share * len(open_items))
        while left > 0 and (key := next(order, None)) is not None:
            for k in members[keys[key]]:
                part[k] = name
            left -= len(members[keys[key]])
    return done + [replace(x, part=p) for x, p in zip(open_items, part, strict=True)]


def _groups(items: list[Labelled], split: Split) -> list[int]:
    """Number of the group that each record stays with."""
    if split.by == "cluster":
        return cluster([x.sequence for x in items], split.identity, split.coverage)
    known: dict[str, int] = {}
    return [known.setdefault(x.sequence, len(known)) for x in items]


def cluster(sequences: list[str], identity: float, coverage: float) -> list[int]:
    """Cluster of each sequence, by MMseqs2; copies are always in one.

    Raises
    ------
    UsageError
        MMseqs2 is not installed.
    """
    unique = list(dict.fromkeys(sequences))
    with TemporaryDirectory() as folder:
        fasta = Path(folder) / "all.fa"
        fasta.write_text("".join(fasta_entry(k, s) for k, s in enumerate(unique)), encoding="ascii")
        found = linclust(
            fasta,
            Path(folder) / "work",
            len(unique),
            identity=identity,
            coverage=coverage,
            max_length=max(map(len, unique)) + 1,
        )
    of = dict(zip(unique, found.tolist(), strict=True))
    return [of[s] for s in sequences]
