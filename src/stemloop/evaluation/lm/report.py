"""Tables of an examination, and writing it as JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemloop.formats.stream import atomic_output

#: RNAs that a type needs for a row of its own; the JSON report has all types.
FEWEST = 5

_NAMES = {
    "masked": "15 % hidden at once",
    "single": "one hidden at a time",
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy (nats)",
    "perplexity": "perplexity",
    "difference": "{} minus this, accuracy",
    "top3": "in the first 3",
    "balanced_accuracy": "balanced accuracy",
    "precision_L": "precision at L",
    "precision_L3": "precision at L/3",
    "precision_L5": "precision at L/5",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "purity_1": "purity of 1",
    "purity_5": "purity of 5",
}


def to_markdown(report: Mapping[str, Any]) -> str:
    """Markdown tables of a report.

    Parameters
    ----------
    report : mapping
        From `stemloop.evaluation.lm.run.examine`.

    Examples
    --------
    >>> empty = {"models": [{"name": "m", "parameters": 5, "alphabet": "rinalmo"}],
    ...          "corpus": {"folder": "c"}, "seconds": {"all": 1.0},
    ...          "types": {"skipped": "no slot"}, "settings": {"seed": 0, "resamples": 10}}
    >>> to_markdown(empty).splitlines()[-1]
    'Not done: no slot.'
    """
    models = ", ".join(
        f"{_cell(m['name'])} ({m['parameters']:,} weights)" for m in report["models"]
    )
    settings = report["settings"]
    lines = [
        f"# What is known by {models}",
        "",
        f"Held-out parts of the corpus {_cell(report['corpus']['folder'])}; "
        f"seed {settings['seed']}. In brackets: 95 % bootstrap intervals, {settings['resamples']} "
        "resamples of clusters (validation_clusters) or of families (all others).",
    ]
    makers = {
        "nucleotides": ("Hidden nucleotides", _nucleotides),
        "types": ("RNA types", _types),
        "pairs": ("Base pairs from attention maps", _pairs),
        "embeddings": ("Families in the embeddings", _embeddings),
    }
    first = report["models"][0]["name"]
    for part, (title, make) in makers.items():
        if part in report:
            lines += ["", f"## {title}", ""]
            skipped = report[part].get("skipped")
            lines += [f"Not done: {skipped}."] if skipped else make(report[part], first)
    return "\n".join(lines) + "\n"


def _splits(part: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, value) for name, value in part.items() if name.startswith("validation_")]


def _nucleotides(part: Mapping[str, Any], first: str) -> list[str]:
    lines: list[str] = []
    for split, tasks in _splits(part):
        for task, scores in tasks.items():
            size = scores["all"]
            lines += [
                f"### {split}, {_NAMES[task]}: {size['nucleotides']} nucleotides of "
                f"{size['rnas']} RNAs, {size['units']} {_plural(scores['bootstrap']['unit'])}",
                "",
                *_methods(scores["all"]["methods"], first),
                "",
                *_by_type(scores),
                "",
            ]
    return lines[:-1]


def _by_type(scores: Mapping[str, Any]) -> list[str]:
    """Accuracy of every method on every type of which there are a few RNAs."""
    methods = list(scores["all"]["methods"])
    lines = [_row(["accuracy", "RNAs", _plural(scores["bootstrap"]["unit"]), *map(_cell, methods)])]
    lines.append(_rule(len(methods) + 3))
    entries = {"**mean of types**": scores["macro"]} | {
        _cell(name): entry for name, entry in scores["types"].items() if entry["rnas"] >= FEWEST
    }
    for name, entry in entries.items():
        sizes = [str(entry.get(key, "")) for key in ("rnas", "units")]
        values = [f"{entry['methods'][m]['accuracy']['value']:.3f}" for m in methods]
        lines.append(_row([name, *sizes, *values]))
    return lines


def _types(part: Mapping[str, Any], first: str) -> list[str]:
    lines: list[str] = []
    for split, scores in _splits(part):
        title = f"### {split}: {scores['rnas']} RNAs of {len(scores['types'])} types, "
        title += f"{scores['units']} {'families' if 'families' in split else 'clusters'}"
        lines += [title, "", *_methods(scores["methods"], first), ""]
    return lines[:-1]


def _pairs(part: Mapping[str, Any], first: str) -> list[str]:
    return [
        f"{part['rnas']} RNAs of {part['families']} held-out families; regression on "
        f"{len(part['fitted_on'])} RNAs of other families.",
        "",
        *_methods(part["methods"], first),
    ]


def _embeddings(part: Mapping[str, Any], first: str) -> list[str]:
    lines: list[str] = []
    for split, scores in _splits(part):
        if "skipped" in scores:
            lines += [f"### {split}", "", f"Not done: {scores['skipped']}.", ""]
            continue
        lines += [
            f"### {split}: {scores['rnas']} RNAs of {scores['families']} families, "
            f"chance {scores['chance']:.3f}",
            "",
            *_methods(scores["methods"], first),
            "",
        ]
    return lines[:-1]


def _methods(methods: Mapping[str, Mapping[str, Any]], first: str) -> list[str]:
    """One row a method; a method that lacks a score has an empty cell."""
    seen = dict.fromkeys(key for scores in methods.values() for key in scores)
    columns = [key for key in seen if key in _NAMES]
    heads = [_NAMES[key].format(_cell(first)) for key in columns]
    lines = [_row(["method", *heads]), _rule(len(columns) + 1)]
    for name, scores in methods.items():
        cells = [
            _value(scores[key], key == "difference") if key in scores else "" for key in columns
        ]
        lines.append(_row([_cell(name), *cells]))
    return lines


def _value(score: Mapping[str, float], signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{score['value']:{sign}.3f} [{score['low']:{sign}.3f}, {score['high']:{sign}.3f}]"


def _plural(unit: str) -> str:
    return {"family": "families"}.get(unit, f"{unit}s")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|---|" + "---:|" * (columns - 1)


def _cell(text: str) -> str:
    """Text that cannot end its cell or start markup."""
    for character in "\\|`*_<[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def write_report(path: str | Path, report: Mapping[str, Any], *, force: bool = False) -> None:
    """Write a report whole or not at all: Markdown where the name ends in ``.md``, else JSON.

    Raises
    ------
    OutputExistsError
        The file is there and `force` is not given.
    OutputError
        It cannot be written.
    """
    if Path(path).suffix == ".md":
        text = to_markdown(report)
    else:
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_output(path, force=force) as handle:
        handle.write(text)
