"""Which RNAs with known structures are tested on: lists of folds, and families by common origin."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np

from stemloop.data.structures import HELD_OUT_TOGETHER, class_families
from stemloop.errors import FormatError, InputError
from stemloop.formats.stream import open_text


def read_test_folds(path: str | Path) -> dict[str, list[str]]:
    """Read who is tested in which fold: a CSV table with columns fold, partition and id.

    Returns
    -------
    dict of str to list of str
        Identifiers whose partition is ``test``, by fold.

    Raises
    ------
    FormatError
        A column is missing.
    InputError
        There are no test RNAs, or one is tested twice.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "splits.csv"
    >>> _ = path.write_text("fold,partition,id\\n0,train,a\\n0,test,b\\n1,test,a\\n")
    >>> read_test_folds(path)
    {'0': ['b'], '1': ['a']}
    """
    folds: dict[str, list[str]] = {}
    fold_of: dict[str, str] = {}
    with open_text(path) as handle:
        reader = csv.DictReader(handle)
        for column in ("fold", "partition", "id"):
            if column not in (reader.fieldnames or ()):
                raise FormatError(f"no column {column!r}", path=str(path), line=1)
        for row in reader:
            if row["partition"] != "test":
                continue
            if row["id"] in fold_of:
                raise InputError(
                    f"tested in folds {fold_of[row['id']]} and {row['fold']}",
                    path=str(path),
                    line=reader.line_num,
                    record=row["id"],
                )
            fold_of[row["id"]] = row["fold"]
            folds.setdefault(row["fold"], []).append(row["id"])
    if not folds:
        raise InputError("no row of the partition 'test'", path=str(path))
    return dict(sorted(folds.items()))


def rfam_clans() -> dict[str, str]:
    """Clan of each Rfam family that is in one.

    Examples
    --------
    >>> rfam_clans()["RF00005"] == rfam_clans()["RF01852"]  # tRNA, tRNA-Sec
    True
    """
    text = files("stemloop.data").joinpath("tables/rfam_clans.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("RF")]
    return dict(rows)


def rfam_groups(families: Iterable[str]) -> list[list[str]]:
    """Rfam families that must stay together: those of one clan, and those of one ArchiveII class.

    Returns
    -------
    list of list of str
        Sorted groups, largest first.

    Examples
    --------
    >>> rfam_groups(["RF00024", "RF00050", "RF00025"])  # two telomerases, FMN riboswitch
    [['RF00024', 'RF00025'], ['RF00050']]
    """
    names = sorted(set(families))
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    clans: dict[str, set[str]] = {}
    for family, clan in rfam_clans().items():
        clans.setdefault(clan, set()).add(family)
    classes = class_families()
    together = [frozenset().union(*(classes[c] for c in group)) for group in HELD_OUT_TOGETHER]
    for group in (*clans.values(), *classes.values(), *together):
        members = sorted(group & leader.keys())
        for name in members[1:]:
            leader[find(name)] = find(members[0])
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(find(name), []).append(name)
    return sorted(groups.values(), key=lambda group: (-len(group), group))


def deal(groups: list[list[str]], folds: int, seed: int) -> list[list[str]]:
    """Deal groups to folds of about the same number of members, at random but repeatably.

    Examples
    --------
    >>> deal([["a", "b"], ["c"], ["d"]], 2, seed=0)
    [['a', 'b'], ['c', 'd']]
    """
    rng = np.random.default_rng(seed)
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda k: -len(groups[k]))
    result: list[list[str]] = [[] for _ in range(folds)]
    for k in order:
        min(result, key=len).extend(groups[k])
    return [sorted(names) for names in result]
