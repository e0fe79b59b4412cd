"""The page that ``stemloop annotate`` writes: one file, no network, no script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemloop.draw import printable
from stemloop.records import Result

#: RNAs whose pictures are in the page; those behind are in the folder.
SHOWN = 200

_STYLE = """\
:root{color-scheme:light dark;--back:#fff;--card:#f6f7f9;--ink:#1c2024;--soft:#5b646e;
--line:#d8dce1;--bar:#2f6fb3}
@media(prefers-color-scheme:dark){:root{--back:#14171a;--card:#1d2125;--ink:#e6e9ec;--soft:#a0a9b2;
--line:#363c43;--bar:#6ea8e0}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:70rem;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,Arial,sans-serif}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:0;overflow-wrap:anywhere}
p,li{margin:.3rem 0}.soft{color:var(--soft)}
a{color:var(--bar)}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.4rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
td.id{max-width:14rem;overflow:hidden;text-overflow:ellipsis}
th{background:var(--card)}tr:last-child td{border-bottom:0}
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;
margin:1rem 0}
pre{overflow-x:auto;font:13px/1.4 ui-monospace,Menlo,Consolas,monospace;margin:.6rem 0;
padding:.5rem;background:var(--back);border-radius:.3rem}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 1.8rem;margin:.6rem 0}
.facts div span{display:block;color:var(--soft);font-size:.8rem}
.bar{display:grid;grid-template-columns:8rem 1fr 3rem;gap:.5rem;align-items:center;font-size:.9rem}
.bar i{display:block;height:.6rem;border-radius:.3rem;background:var(--bar)}
.picture{overflow-x:auto;background:#fff;border-radius:.3rem;margin:.6rem 0;text-align:center}
.picture img{max-width:100%;max-height:36rem;height:auto}
.map{text-align:left}.map img{max-width:none;max-height:none}
"""

#: Names of a table's columns on the page.
_NAMES = {
    "id": "RNA", "length": "nt", "gc": "GC", "energy": "energy, kcal/mol",
    "ensemble_defect": "uncertain bases", "ncrna_class": "class", "class_probability": "p(class)",
    "rna_type": "type", "type_probability": "p(type)", "site": "splice site",
    "p_donor": "p(donor)", "p_acceptor": "p(acceptor)", "ribosome_load": "ribosome load",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """What stands above: remarks, seconds, and the program's version."""

    notes: Sequence[str]
    seconds: float
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """One RNA: its fold, row, drawings (SVG, or empty) and most probable classes."""

    folded: Result
    row: Mapping[str, Any]
    drawing: str
    heatmap: str
    classes: Sequence[tuple[str, float]]


def write_report(
    path: Path,
    page: Page,
    sections: Sequence[Section],
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write the page.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    page : Page
        What stands above.
    sections : sequence of Section
        RNAs, in their order.
    columns : sequence of str
        Of the table; those with a name in the page are shown.
    rows : sequence of mapping
        The table.
    """
    shown = [name for name in columns if name in _NAMES]
    total = sum(int(row["length"]) for row in rows)
    plural = "s" * (len(rows) != 1)
    head = "".join(f"<th>{_t(_NAMES[name])}</th>" for name in shown)
    with open(path, "w", encoding="utf-8") as out:
        out.write(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width,initial-scale=1">\n'
            "<meta http-equiv=Content-Security-Policy "
            "content=\"default-src 'none';img-src data:;style-src 'unsafe-inline'\">\n"
            f"<title>stemloop: {len(rows)} RNA{plural}</title>\n<style>\n{_STYLE}</style>\n"
            f"<h1>{len(rows)} RNA{plural}, {total} nucleotides</h1>\n"
            f"<p class=soft>stemloop {_t(page.version)}, {page.seconds:g} s. Tables and drawings "
            "lie in the folder of this page.</p>\n"
        )
        out.write("<details><summary>How to read this</summary><ul>")
        out.writelines(f"<li>{_t(note)}</li>" for note in page.notes)
        out.write("</ul></details>\n")
        out.write(f"<div class=wide tabindex=0><table><thead><tr>{head}</tr></thead><tbody>\n")
        for number, row in enumerate(rows, 1):
            cells = "".join(_cell(name, row, number, number <= SHOWN) for name in shown)
            out.write(f"<tr>{cells}</tr>\n")
        out.write("</tbody></table></div>\n")
        for number, section in enumerate(sections[:SHOWN], 1):
            out.write(_section(section, number))
        if len(sections) > SHOWN:
            out.write(
                f"<p>Pictures of the first {SHOWN} RNAs are shown; the others lie in the folder."
            )
        out.write("</html>\n")


def _t(value: Any) -> str:
    """Text for HTML, in attributes too."""
    return printable(str(value)).replace('"', "&quot;").replace("'", "&#39;")


def _cell(name: str, row: Mapping[str, Any], number: int, linked: bool) -> str:
    text = _t(row.get(name, ""))
    if name != "id":
        return f"<td>{text}</td>"
    inside = f'<a href="#rna{number}">{text}</a>' if linked else text
    return f'<td class=id title="{text}">{inside}</td>'


def _section(section: Section, number: int) -> str:
    row, record = section.row, section.folded.record
    assert section.folded.structure is not None
    parts = [f"<section id=rna{number}><h2>{_t(record.id)}</h2>"]
    if record.description:
        parts.append(f"<p class=soft>{_t(record.description)}</p>")
    parts.append("<div class=facts>")
    for name in ("length", "gc", "energy", "ensemble_defect", "rna_type", "site", "ribosome_load"):
        if row.get(name, "") != "":
            value = row[name]
            if name == "rna_type":
                value = f"{value} ({row['type_probability']:.2f})"
            parts.append(f"<div><span>{_t(_NAMES[name])}</span>{_t(value)}</div>")
    parts.append("</div>")
    for label, probability in section.classes:
        width = max(round(100 * probability, 1), 0.5)
        parts.append(
            f'<div class=bar><span>{_t(label)}</span><div><i style="width:{width:g}%"></i></div>'
            f"<span>{probability:.2f}</span></div>"
        )
    if section.drawing:
        parts.append(_picture(section.drawing, f"Secondary structure of {record.id}", ""))
    parts.append(
        f"<pre tabindex=0>{_t(record.sequence)}\n{_t(section.folded.structure.dot_bracket)}</pre>"
    )
    if section.heatmap:
        parts.append(_picture(section.heatmap, f"Substitutions of {record.id}", " map"))
    return "".join([*parts, "</section>\n"])


def _picture(svg: str, what: str, kind: str) -> str:
    """An SVG as an image of its own, so that nothing in it can reach the page."""
    data = b64encode(svg.encode()).decode("ascii")
    return (
        f'<div class="picture{kind}" tabindex=0><img loading=lazy alt="{_t(what)}" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
    )
