"""Do test RNAs leak into training? What splits share: families, sequences, near copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.data.clusters import mmseqs_version
from stemloop.data.similar import Hit, most_similar
from stemloop.data.structures import LabelledStructure
from stemloop.evaluation.protocols import Protocol, Split
from stemloop.training.recipes import Source, StructureRecipe
from stemloop.training.structure_data import load_source

#: A near copy: so large a part of the alignment is identical, and it covers so much of both.
IDENTITY = COVERAGE = 0.8
_QUANTILES = (0.5, 0.9, 0.99, 1.0)


def training_rnas(
    recipe: StructureRecipe, folder: str | Path, split: Split
) -> list[LabelledStructure]:
    """All RNAs that a recipe may draw when it trains for a split; identical ones once.

    Of sources that read the same file the widest limits of length and pairs count, so this is what
    training draws from or more.
    """
    merged: dict[str, Source] = {}
    for source in (source for stage in recipe.stages for source in stage.sources):
        known = merged.setdefault(source.file, source)
        limits: dict[str, float] = {
            name: min(getattr(known, name), getattr(source, name))
            for name in ("min_length", "min_pairs", "min_paired_fraction")
        }
        limits["max_length"] = max(known.max_length, source.max_length)
        merged[source.file] = known.model_copy(update=limits)
    found: dict[str, LabelledStructure] = {}
    for source in merged.values():
        for item in load_source(source, Path(folder), split.hold_out):
            if item.sequence not in split.without:
                found.setdefault(item.sequence, item)
    return list(found.values())


def examine(
    protocol: Protocol,
    splits: Sequence[Split],
    recipe: StructureRecipe,
    folder: str | Path,
    *,
    threads: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compare the test RNAs of each split with what its model may be trained on.

    Parameters
    ----------
    protocol : Protocol
        What the splits are of.
    splits : sequence of Split
        Those to look at.
    recipe : StructureRecipe
        The training.
    folder : path
        Folder of the structure data.
    threads : int
        CPU threads of MMseqs2.
    report : callable
        Called with a line about each split.

    Returns
    -------
    summary : dict
        Ready for JSON; see docs/evaluate.md.
    hits : list of dict
        The training RNA most similar to each test RNA.

    Raises
    ------
    UsageError
        MMseqs2 is not installed.
    """
    entries, rows = [], []
    for split in splits:
        training = training_rnas(recipe, folder, split)
        hits = most_similar(
            [item.sequence for item in split.test],
            [item.sequence for item in training],
            threads=threads,
        )
        entries.append(_entry(split, training, hits))
        rows += _rows(split, training, hits)
        report(
            f"{split.name}: {entries[-1]['tested']} tested, {entries[-1]['trained_on']} to train "
            f"on, {len(entries[-1]['families_shared'])} families and "
            f"{entries[-1]['near_copies']} near copies shared"
        )
    summary = {
        "schema": "stemloop.split-leakage",
        "schema_version": 1,
        "protocol": protocol.name,
        "unseen": protocol.unseen,
        "recipe": recipe.name,
        "definitions": {
            "near_copies": f"test RNAs with an alignment to a training RNA of identity {IDENTITY} "
            f"or more that covers {COVERAGE} or more of both",
            "similarity": "identity of the best alignment times the smaller coverage; 0 for none",
            "families_shared": "families of training RNAs that the test RNAs are of, too, or that "
            "are to be held out",
        },
        "mmseqs": mmseqs_version(),
        "splits": entries,
    }
    return summary, rows


def _entry(
    split: Split, training: Sequence[LabelledStructure], hits: Sequence[Hit | None]
) -> dict[str, Any]:
    trained_on = Counter(item.family for item in training)
    families = {item.family for item in split.test} | {item.kind for item in split.test}
    shared = trained_on.keys() & (families | set(split.hold_out.names))
    sequences = {item.sequence for item in training}
    similarity = np.array([hit.identity * hit.coverage if hit else 0.0 for hit in hits])
    return {
        "split": split.name,
        "tested": len(split.test),
        "trained_on": len(training),
        "families_shared": sorted(shared),
        "sequences_shared": sum(item.sequence in sequences for item in split.test),
        "near_copies": sum(map(near_copy, hits)),
        "without_hit": sum(hit is None for hit in hits),
        "similarity": {
            f"quantile_{q}": round(float(np.quantile(similarity, q)), 3) for q in _QUANTILES
        },
    }


def near_copy(hit: Hit | None) -> bool:
    """Whether a hit makes a test RNA a near copy of a training RNA."""
    return hit is not None and hit.identity >= IDENTITY and hit.coverage >= COVERAGE


def _rows(
    split: Split, training: Sequence[LabelledStructure], hits: Sequence[Hit | None]
) -> Iterator[dict[str, Any]]:
    for item, hit in zip(split.test, hits, strict=True):
        nearest = training[hit.target] if hit else None
        yield {
            "split": split.name,
            "id": item.structure.record.id,
            "family": item.kind or item.family,
            "nearest": nearest.structure.record.id if nearest else "",
            "nearest_family": nearest.family if nearest else "",
            "identity": round(hit.identity, 3) if hit else "",
            "query_coverage": round(hit.query_coverage, 3) if hit else "",
            "target_coverage": round(hit.target_coverage, 3) if hit else "",
        }
