"""From the organism in a header to its phylum (or another rank), by a taxonomy file.

The file is of the kind that Greengenes and QIIME use: an identifier, a tab, and ranks such as
``k__Bacteria; p__Firmicutes; c__Bacilli; o__Bacillales; f__Bacillaceae; g__Bacillus; s__subtilis``.
"""

from __future__ import annotations

import re
from pathlib import Path

from stemloop.data.labelled import Labelled
from stemloop.errors import FormatError, UsageError
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import open_text

RANKS = {"kingdom": "k", "phylum": "p", "class": "c", "order": "o", "family": "f", "genus": "g"}

#: Words before the genus that belong to no name.
_BEFORE = re.compile(r"^(?:candidatus|uncultured|unclassified)\s+", re.IGNORECASE)


def read_ranks(path: str | Path, rank: str = "phylum") -> dict[str, str]:
    """Which phylum (class, ...) each genus belongs to, in lower case to its name.

    A genus that the file puts into two of them is left out.

    Raises
    ------
    UsageError
        Unknown rank.
    FormatError
        A line has no ranks.
    """
    if rank not in RANKS:
        raise UsageError(f"unknown rank {rank!r}; known: {', '.join(RANKS)}")
    mark = f"{RANKS[rank]}__"
    found: dict[str, set[str]] = {}
    with open_text(path) as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            parts = [part.strip() for part in line.rsplit("\t", 1)[-1].split(";")]
            named = {part[:3]: part[3:] for part in parts if part[1:3] == "__"}
            if not named:
                raise FormatError(
                    "no ranks", path=str(path), line=number, expected="k__...; p__...; ... g__..."
                )
            genus, group = named.get("g__", ""), named.get(mark, "")
            # Greengenes writes proposed names in brackets.
            if genus and group:
                found.setdefault(genus.strip("[]").lower(), set()).add(group.strip("[]"))
    return {genus: groups.pop() for genus, groups in found.items() if len(groups) == 1}


def labels_by_taxonomy(
    data: Labelled, path: str | Path, *, rank: str = "phylum", headers: str | Path | None = None
) -> list[str]:
    """Label of each row by the genus that its header names first, empty where it is unknown.

    Parameters
    ----------
    data : Labelled
        Rows.
    path : str or path
        Taxonomy file.
    rank : str
        See `RANKS`.
    headers : str or path, optional
        FASTA file with the same names and full headers, where the rows have none.

    Raises
    ------
    UsageError, FormatError
        See `read_ranks`.
    """
    ranks = read_ranks(path, rank)
    texts = dict(zip(data.ids, data.descriptions or ("",) * len(data), strict=True))
    if headers is not None:
        texts = {r.id: r.description for r in read_sequences(headers, alphabet_check=False)}
    labels = []
    for name in data.ids:
        organism = _BEFORE.sub("", texts.get(name, "").strip())
        genus = organism.split(" ", 1)[0].strip("[]'\"").lower()
        labels.append(ranks.get(genus, ""))
    return labels
