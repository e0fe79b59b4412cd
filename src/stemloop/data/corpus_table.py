"""The manifest of a corpus as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stemloop.data.corpus_holdout import SPLITS


def counts_table(manifest: Mapping[str, Any]) -> str:
    """Counts by split, and by type, source and length of each, as text.

    Examples
    --------
    >>> split = {"sequences": 1, "nucleotides": 20, "clusters": 1,
    ...          "by_type": {"tRNA": 1}, "by_source": {"x": 1}, "by_length": {"16-31": 1}}
    >>> counts = {"train": split}
    >>> print(counts_table({"counts": counts, "sources": []}).splitlines()[1])
    sequences        1
    """
    counts = {split: manifest["counts"][split] for split in SPLITS if split in manifest["counts"]}
    parts = []
    rows = [[key, *(c[key] for c in counts.values())] for key in _TOTALS]
    parts.append(_table(["", *counts], rows))
    for key, title in (("by_type", "type"), ("by_source", "source"), ("by_length", "length")):
        found = {name: None for c in counts.values() for name in c[key]}
        names = list(found) if key == "by_length" else sorted(found)
        if key == "by_length":
            names.sort(key=lambda name: int(name.split("-")[0]))
        rows = [
            [name or "(unknown)", *(c[key].get(name, 0) for c in counts.values())] for name in names
        ]
        parts.append(_table([title, *counts], rows))
    rows = [
        [s["name"], s["read"], s["kept"], ", ".join(f"{k} {v}" for k, v in s["dropped"].items())]
        for s in manifest["sources"]
    ]
    if rows:
        parts.append(_table(["source", "read", "kept", "dropped"], rows))
    return "\n\n".join(parts)


_TOTALS = ("sequences", "nucleotides", "clusters")


def _table(head: list[str], rows: Iterable[list[Any]]) -> str:
    cells = [head, *([f"{c:,}" if isinstance(c, int) else c for c in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = []
    for row in cells:
        # Words to the left, numbers to the right; the last column may be words again.
        words = [row[0].ljust(widths[0])]
        for k, cell in enumerate(row[1:], 1):
            last_words = head[k] == "dropped"
            words.append(cell if last_words else cell.rjust(widths[k]))
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)
