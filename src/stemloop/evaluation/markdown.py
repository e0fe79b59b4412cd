"""Reports as Markdown tables: those of predicted structures, and what all reports share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemloop.errors import UsageError
from stemloop.formats.stream import atomic_output

_HEADINGS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "relaxed_f1": "relaxed F1",
    "relaxed_precision": "relaxed precision",
    "relaxed_recall": "relaxed recall",
    "mcc": "MCC",
}

_KINDS = {
    "length": "nucleotides (short: to 100, medium: to 300)",
    "pseudoknots": "pseudoknots in the known structure",
}


def to_markdown(summary: Mapping[str, Any], comparisons: Sequence[Mapping[str, Any]] = ()) -> str:
    """Markdown tables of a summary and of comparisons with peers.

    Parameters
    ----------
    summary : mapping
        From :func:`stemloop.evaluation.report.summarise`; the key ``calibration``, where it is
        there, holds what :class:`stemloop.evaluation.calibration.Calibration` sums up.
    comparisons : sequence of mapping
        From :func:`stemloop.evaluation.report.paired`.

    Examples
    --------
    >>> from stemloop.evaluation.report import ScoreRow, ScoreTable, summarise
    >>> table = ScoreTable([ScoreRow("a", "tRNA", 76, {"f1": 1.0, "relaxed_f1": 1.0})])
    >>> print(to_markdown(summarise(table)).splitlines()[4])
    | tRNA | 1 | 1.000 | 1.000 |
    """
    metrics = list(summary["macro"])
    head = ["family", "RNAs", *(_HEADINGS[name] for name in metrics)]
    lines = [_row(head), _rule(len(head), 1)]
    macro = [_with_interval(summary["macro"][name]) for name in metrics]
    lines.append(_row(["**macro**", str(summary["rnas"]), *macro]))
    lines.append(
        _row(
            ["all RNAs", str(summary["rnas"]), *(f"{summary['all_rnas'][m]:.3f}" for m in metrics)]
        )
    )
    for family, entry in summary["families"].items():
        means = [f"{entry['scores'][name]['mean']:.3f}" for name in metrics]
        lines.append(_row([_cell(family), str(entry["rnas"]), *means]))
    boot = summary["bootstrap"]
    lines += [
        "",
        f"In brackets: {boot['confidence']:.0%} bootstrap interval ({boot['kind']}, "
        f"{boot['resamples']} resamples, seed {boot['seed']}).",
    ]
    lines += [
        f"- {_HEADINGS.get(name, name)}: {text}" for name, text in summary["definitions"].items()
    ]
    for kind, parts in summary.get("strata", {}).items():
        lines += ["", *_strata(kind, parts, metrics)]
    for name, table in summary.get("calibration", {}).items():
        lines += ["", *_reliability(name, table)]
    for comparison in comparisons:
        lines += ["", *_comparison(comparison)]
    return "\n".join(lines) + "\n"


def _strata(kind: str, parts: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    """Lines of one kind of strata: means over the RNAs of each."""
    head = [_KINDS.get(kind, kind), "RNAs", *(_HEADINGS[name] for name in metrics)]
    lines = [_row(head), _rule(len(head), 1)]
    for name, entry in parts.items():
        scores = [_with_interval(entry["scores"][metric]) for metric in metrics]
        lines.append(_row([name, str(entry["rnas"]), *scores]))
    return [*lines, "", "Means over all RNAs of a stratum, whatever their family."]


def _reliability(name: str, table: Mapping[str, Any]) -> list[str]:
    """Lines of one reliability table."""
    what = {"pairs": "pairs by their probability", "bases": "bases by their confidence"}[name]
    head = [what, "number", "mean predicted", "observed"]
    lines = [_row(head), _rule(len(head), 1)]
    for row in table["bins"]:
        found = [f"{row[key]:.3f}" if key in row else "" for key in ("predicted", "observed")]
        lines.append(_row([f"{row['from']:.1f} to {row['to']:.1f}", str(row["count"]), *found]))
    least = table.get("least_probability")
    return [
        *lines,
        "",
        f"Expected calibration error {table['expected_calibration_error']:.4f}"
        + (f" (pairs of probability {least} or more)." if least else "."),
    ]


def _comparison(comparison: Mapping[str, Any]) -> list[str]:
    """Lines of one comparison: F1 and relaxed F1 where there are, else all shared scores."""
    shared = comparison["macro"]
    metrics = [name for name in ("f1", "relaxed_f1") if name in shared] or list(shared)
    peer = _cell(comparison["peer"])
    head = ["family", "RNAs"]
    for name in metrics:
        head += [f"{_HEADINGS[name]}", f"{peer}", "difference"]
    lines = [f"Difference to {peer} on {comparison['rnas']} RNAs:", ""]
    lines += [_row(head), _rule(len(head), 1)]
    blocks = [("**macro**", comparison["rnas"], shared)] + [
        (label, entry["rnas"], entry["scores"])
        for label, entry in [
            *((_cell(family), entry) for family, entry in comparison["families"].items()),
            *(
                (f"*{kind}: {name}*", entry)
                for kind, parts in comparison.get("strata", {}).items()
                for name, entry in parts.items()
            ),
        ]
    ]
    for label, rnas, scores in blocks:
        cells = [label, str(rnas)]
        for name in metrics:
            s = scores[name]
            cells += [f"{s['ours']:.3f}", f"{s['peer']:.3f}"]
            cells.append(f"{s['difference']:+.3f} [{s['low']:+.3f}, {s['high']:+.3f}]")
        lines.append(_row(cells))
    counts = [
        f"{_HEADINGS[name]} better in {c['better']}, equal in {c['equal']}, worse in {c['worse']}"
        for name, c in comparison["counts"].items()
        if name in metrics
    ]
    return [*lines, "", "; ".join(counts) + "."]


def _with_interval(score: Mapping[str, float]) -> str:
    return f"**{score['mean']:.3f}** [{score['low']:.3f}, {score['high']:.3f}]"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int, left: int) -> str:
    return "|" + "---|" * left + "---:|" * (columns - left)


def _cell(text: str) -> str:
    """Text that cannot end its cell or start markup."""
    for character in "\\|`*_<[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def value_cell(found: Mapping[str, Any]) -> str:
    """A value with its interval; empty where there is none.

    Examples
    --------
    >>> value_cell({"value": 0.5, "low": 0.4, "high": 0.625})
    '0.500 [0.400, 0.625]'
    """
    if found["value"] is None:
        return ""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def write_result(
    path: str | Path,
    result: dict[str, Any],
    tables: Callable[[dict[str, Any]], str],
    *,
    force: bool = False,
) -> None:
    """Write a result: ``.json`` all of it, ``.md`` what `tables` makes of it.

    Raises
    ------
    UsageError
        Another suffix.
    """
    suffix = Path(path).suffix
    if suffix not in (".json", ".md"):
        raise UsageError(f"{path}: the suffix must be .json or .md")
    with atomic_output(path, force=force) as out:
        out.write(tables(result) if suffix == ".md" else json.dumps(result, indent=2) + "\n")
