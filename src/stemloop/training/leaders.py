"""Which rows of the ribosome-load tables of GSE114002 are for what (Sample et al. 2019).

===========  ====================================================================================
rule         rows of a table with columns of the leader, its load, ``total_reads`` (or ``total``)
===========  ====================================================================================
random7600   leaders of 25 to 100 nt, ``set`` random: of each length the 100 with most reads
human7600    the same of ``set`` human
random-rest  those of ``set`` random that are not in random7600
most-read    the 20,000 leaders with most reads (the 50-mers' test set)
next-read    the 260,000 behind them (their training set)
===========  ====================================================================================

The first three leave out leaders without a load, with fewer than 10 reads, of other sets, and all
copies of a leader that is there more than once, as RiNALMo's authors do (Penic et al. 2025, Nature
Communications 16:5671). Among leaders with as many reads, the first of the file are taken; the
authors' sort leaves that open.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from stemloop.errors import FormatError
from stemloop.formats.stream import open_text

Rule = Literal["random7600", "human7600", "random-rest", "most-read", "next-read"]

#: Fewest reads; lengths, and leaders of each; sizes of the 50-mers' test and training sets.
READS, LENGTHS, EACH, TESTED, TRAINED = 10, range(25, 101), 100, 20_000, 260_000


def rows_of_rule(path: Path, rule: Rule, sequence: str, label: str) -> set[int]:
    """Numbers, from 0, of the rows that a rule takes.

    Parameters
    ----------
    path : pathlib.Path
        CSV, plain or compressed.
    rule : str
        See the top of this module.
    sequence, label : str
        Columns of the leader and of its load.

    Raises
    ------
    FormatError
        A column is missing, a number of reads is none, or the rule takes nothing.
    """
    varying = rule not in get_args(Rule)[3:]
    with open_text(path) as handle:
        reader = csv.DictReader(handle)
        names = reader.fieldnames or ()
        reads = "total_reads" if "total_reads" in names else "total"
        for column in (sequence, label, reads, *(("set",) if varying else ())):
            if column not in names:
                raise FormatError(
                    f"no column {column!r}", path=str(path), line=1,
                    expected=f"a table of GSE114002; there are {', '.join(names)}",
                )  # fmt: skip
        rows: list[tuple[float, int, str, str]] = []
        for number, row in enumerate(reader):
            load = (row[label] or "").strip().lower()
            if load in ("", "na", "nan"):
                continue
            try:
                count = float(row[reads])
            except ValueError:
                raise FormatError(
                    f"{reads} {row[reads]!r}", path=str(path), line=number + 2, expected="a number"
                ) from None
            rows.append((count, number, row[sequence].strip().upper(), row.get("set") or ""))
    # Most reads first; of equal ones the first row.
    rows.sort(key=lambda row: (-row[0], row[1]))
    chosen = _varying(rows, rule) if varying else {
        number for _, number, _, _ in
        (rows[:TESTED] if rule == "most-read" else rows[TESTED : TESTED + TRAINED])
    }  # fmt: skip
    if not chosen:
        raise FormatError(f"no rows for {rule}", path=str(path), expected="a table of GSE114002")
    return chosen


def _varying(rows: list[tuple[float, int, str, str]], rule: Rule) -> set[int]:
    kept = [row for row in rows if row[0] >= READS and row[3] in ("random", "human")]
    copies = Counter(row[2] for row in kept)
    wanted = "human" if rule == "human7600" else "random"
    kept = [row for row in kept if copies[row[2]] == 1 and row[3] == wanted]
    taken: Counter[int] = Counter()
    top = set()
    for _, number, leader, _ in kept:
        taken[len(leader)] += 1
        if len(leader) in LENGTHS and taken[len(leader)] <= EACH:
            top.add(number)
    return {row[1] for row in kept} - top if rule == "random-rest" else top
