"""Model cards: the README.md of a model directory, with the front matter that hubs read.

Every directory that stemloop writes has one. The keys are those of the Hugging Face hub; a
directory can be uploaded as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CARD = "README.md"

#: Names that hubs know licences by.
_LICENCES = {"Apache-2.0": "apache-2.0", "CC BY 4.0": "cc-by-4.0", "CC0": "cc0-1.0"}


class Kind(NamedTuple):
    """What hubs are told of all models of a kind."""

    pipeline: str
    tags: tuple[str, ...]
    metrics: tuple[str, ...]
    summary: str
    use: str


#: Hubs have no task for structures of RNA: ``other`` is their word for that.
KINDS: Mapping[str, Kind] = {
    "language-model": Kind(
        "fill-mask", ("language-model",), ("accuracy",),
        "A masked language model of RNA.", "stemloop embed rna.fa --model DIR -o rna.npz",
    ),
    "structure": Kind(
        "other", ("rna-secondary-structure",), ("f1",),
        "Predicts secondary structures of RNA.", "stemloop fold rna.fa --model DIR",
    ),
    "classify": Kind(
        "text-classification", ("sequence-classification",),
        ("matthews_correlation", "accuracy", "f1"),
        "Says a class of whole RNA sequences.", "stemloop classify rna.fa --model DIR",
    ),
    "regress": Kind(
        "other", ("sequence-regression",), ("r_squared", "pearsonr", "spearmanr"),
        "Says a number of whole RNA sequences.", "stemloop ribosome-load rna.fa --model DIR",
    ),
    "interaction": Kind(
        "text-classification", ("rna-rna-interaction",), ("roc_auc",),
        "Scores pairs of RNAs.", "stemloop interact pairs.tsv --model DIR",
    ),
    "generator": Kind(
        "text-generation", ("restricted-boltzmann-machine", "rna-design"), (),
        "Draws sequences of a family, by label.", "stemloop generate --model DIR -n 100",
    ),
}  # fmt: skip


def front_matter(
    kind: str,
    *,
    licence: str | None = None,
    datasets: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
) -> str:
    """YAML block that opens a model card.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    licence : str, optional
        Of the weights; whoever publishes them must choose one, so that it is ``unknown`` unless
        given.
    datasets : sequence of str
        What it was trained on.
    metrics : sequence of str, optional
        What it was measured by; those of its kind unless given.

    Examples
    --------
    >>> print(front_matter("structure", licence="Apache-2.0", datasets=["Rfam"]), end="")
    ---
    license: apache-2.0
    library_name: stemloop
    pipeline_tag: other
    tags:
    - rna
    - biology
    - rna-secondary-structure
    datasets:
    - Rfam
    metrics:
    - f1
    ---
    """
    about = KINDS[kind]
    content: dict[str, Any] = {
        "license": _LICENCES.get(licence or "unknown", licence or "unknown"),
        "library_name": "stemloop",
        "pipeline_tag": about.pipeline,
        "tags": ["rna", "biology", *about.tags],
        "datasets": list(datasets),
        "metrics": list(about.metrics if metrics is None else metrics),
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def write_card(
    folder: Path,
    kind: str,
    *,
    body: str | None = None,
    title: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the card of a model directory.

    Parameters
    ----------
    folder : pathlib.Path
        The directory.
    kind : str
        Of `KINDS`.
    body : str, optional
        The card in Markdown; a plain one is made unless given. Front matter of its own is kept.
    title : str
        Of a plain card.
    facts : mapping, optional
        Where the weights came from; ``licence`` and ``datasets`` in it go into the front matter,
        single values into a plain card.
    """
    known = dict(facts or {})
    if body is None:
        body = _plain(kind, title, known)
    if not body.startswith("---\n"):
        datasets = known.get("datasets") or ()
        head = front_matter(kind, licence=known.get("licence"), datasets=datasets)
        body = f"{head}\n{body}"
    (folder / CARD).write_text(body, encoding="utf-8")


def _plain(kind: str, title: str, facts: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {value} |"
        for name, value in facts.items()
        if isinstance(value, str | int | float) and "\n" not in str(value)
    ]
    lines = [
        f"# {title or kind}", "", KINDS[kind].summary, "",
        f"    {KINDS[kind].use}", "",
        *(["| fact | value |", "|---|---|", *rows, ""] if rows else []),
        "To be said before it is published: on what it was trained, how good it is and on which "
        "data, what it is not for" + ("." if facts.get("licence") else ", and its licence."),
        "",
    ]  # fmt: skip
    return "\n".join(lines)
