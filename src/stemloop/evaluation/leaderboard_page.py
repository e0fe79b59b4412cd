"""A leaderboard as Markdown tables and as one HTML page."""

from __future__ import annotations

import html
from typing import Any


def _cell(found: dict[str, float] | None) -> str:
    if found is None:
        return "-"
    text = f"{found['value']:.3f}"
    return f"{text} [{found['low']:.3f}, {found['high']:.3f}]" if "low" in found else text


def _notes(row: dict[str, Any]) -> str:
    return f"{row['source']}: {row['differs']}" if row["kind"] == "published" else ""


def to_markdown(board: dict[str, Any]) -> str:
    """Tables of a leaderboard, best first; published figures below, not ranked.

    Examples
    --------
    >>> row = {"name": "a|b", "kind": "fixed", "records": 9, "scores": {"f1": {"value": 0.5}}}
    >>> board = {"name": "x", "tables": [{"name": "t", "scores": ["f1"], "rows": [row]}]}
    >>> print(to_markdown(board).splitlines()[-1])
    | a\\|b | fixed | 9 | 0.500 |
    """
    lines = [f"# {board['name']}"]
    for table in board["tables"]:
        head = ["", "", "records", *table["scores"]]
        lines += ["", f"## {table['name']}", "", f"| {' | '.join(head)} |"]
        lines.append("|---|---|" + "---:|" * (len(head) - 2))
        notes = []
        for row in _ranked(table):
            name = str(row["name"]).replace("|", "\\|")
            cells = [name, row["kind"], str(row.get("records", ""))]
            cells += [_cell(row["scores"].get(score)) for score in table["scores"]]
            lines.append(f"| {' | '.join(cells)} |")
            if note := _notes(row):
                notes.append(f"- *{name}*: {note}")
        if notes:
            lines += ["", "Published figures were not measured here:", "", *notes]
    return "\n".join(lines) + "\n"


def _ranked(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Measured rows by their first score, then the published ones."""
    first = table["scores"][0]

    def key(row: dict[str, Any]) -> tuple[bool, float]:
        value = row["scores"].get(first, {"value": -1.0})["value"]
        return row["kind"] == "published", -value

    return sorted(table["rows"], key=key)


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1c2733; background: #fff }
table { border-collapse: collapse; width: 100% } .wide { overflow-x: auto }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid #8884 }
th, td { white-space: nowrap }
td.n { text-align: right; font-variant-numeric: tabular-nums } .published { opacity: .7 }
small { opacity: .75 }
@media (prefers-color-scheme: dark) { body { color: #dde4ea; background: #15191d } }
"""


def to_html(board: dict[str, Any]) -> str:
    """A leaderboard as one page that needs nothing else."""
    esc = html.escape
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>{esc(board['name'])}</title><style>{_STYLE}</style><h1>{esc(board['name'])}</h1>",
    ]
    for table in board["tables"]:
        heads = "".join(f"<th>{esc(name)}" for name in ("", "", "records", *table["scores"]))
        parts.append(f"<h2>{esc(table['name'])}</h2><div class=wide><table><tr>{heads}")
        notes = []
        for row in _ranked(table):
            cells = "".join(
                f"<td class=n>{esc(_cell(row['scores'].get(score)))}" for score in table["scores"]
            )
            kind = esc(row["kind"])
            parts.append(
                f'<tr class="{kind}"><td>{esc(row["name"])}<td>{kind}'
                f"<td class=n>{row.get('records', '')}{cells}"
            )
            if note := _notes(row):
                notes.append(f"<li>{esc(row['name'])}: {esc(note)}")
        parts.append("</table></div>")
        if notes:
            parts.append(
                f"<small>Published figures were not measured here:<ul>{''.join(notes)}</ul></small>"
            )
    return "\n".join(parts) + "\n"
