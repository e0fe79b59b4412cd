"""Pictures of docs/structure-accuracy.md: scores by family, and one RNA known and predicted.

    python benchmarks/structure_pictures.py benchmarks/results/archiveii_family_fold_seed0.tsv.gz \
        --homologs benchmarks/results/archiveii_family_fold_homologs_seed0.tsv.gz \
        --peers PEERS.csv.gz --structures DATA/2_secstruct/ArchiveII.csv.xz --model MODEL \
        --rna telomerase --output docs/images
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("svg")
from matplotlib import pyplot as plt

from stemloop.data.structures import read_labelled
from stemloop.draw import draw
from stemloop.evaluation.metrics import pair_scores
from stemloop.folding.thermo.places import layout
from stemloop.formats.stream import atomic_output
from stemloop.pairs import nested_subset, pairs_to_dot_bracket
from stemloop.tasks.structure import Folder
from stemloop.tasks.structure_settings import FoldSettings

#: Peers that are shown, with their colours; ours comes first.
SHOWN = {
    "stemloop": "#1b6ca8",
    "stemloop, homologous sequences": "#0b3954",
    "RNAfold-MEA": "#9aa5ad",
    "LinearPartition-C": "#c9ced2",
    "RiNALMo": "#d1852b",
    "ERNIE-RNA": "#e8c68f",
}


def read_relaxed(path: str, ours: str = "") -> dict[tuple[str, str], dict[str, float]]:
    """Relaxed F1 by (model, family) and RNA; `ours` is the name of our own scores."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    with gzip.open(path, "rt") as lines:
        if ours:
            for row in csv.DictReader(lines, delimiter="\t"):
                found[ours, row["family"]][row["id"]] = float(row["relaxed_f1"])
        else:
            for row in csv.DictReader(lines):
                found[row["model"], row["family"]][row["id"]] = float(row["f1_shift"])
    return found


def boxes(ours: str, homologs: str, peers: str, output: Path) -> None:
    """Box plots: a group a family, a box a program."""
    scores = read_relaxed(peers)
    for name, path in zip(SHOWN, (ours, homologs), strict=False):
        scores |= read_relaxed(path, name)
    families = sorted({family for _, family in scores}, key=str.lower)
    figure, axes = plt.subplots(figsize=(10, 4.2))
    width = 0.8 / len(SHOWN)
    for k, (name, colour) in enumerate(SHOWN.items()):
        values = [list(scores[name, family].values()) for family in families]
        at = np.arange(len(families)) + (k - (len(SHOWN) - 1) / 2) * width
        axes.boxplot(
            values, positions=at, widths=0.85 * width, showfliers=False, patch_artist=True,
            boxprops={"facecolor": colour, "linewidth": 0.6}, medianprops={"color": "black"},
            whiskerprops={"linewidth": 0.6}, capprops={"linewidth": 0.6}, manage_ticks=False,
        )  # fmt: skip
        axes.plot([], [], color=colour, linewidth=6, label=name)
    counts = [len(scores["stemloop", family]) for family in families]
    labels = [f"{f}\n{n}" for f, n in zip(families, counts, strict=True)]
    axes.set_xticks(np.arange(len(families)), labels)
    axes.set_ylabel("F1 (shifts of one allowed)")
    axes.set_ylim(-0.02, 1.02)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        ncols=len(SHOWN), frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip
    figure.tight_layout()
    with atomic_output(output / "structure-families.svg", force=True, binary=True) as out:
        figure.savefig(out, format="svg", metadata={"Date": None})


def one_rna(structures: str, model: str, name: str, output: Path) -> None:
    """Draw an RNA twice: as known, and as predicted with its confidence."""
    item = next(x for x in read_labelled(structures) if name in x.structure.record.id)
    known = item.structure
    result = Folder(FoldSettings(model=model))(known.record)
    assert result.structure is not None
    score = pair_scores(result.structure.pairs, known.pairs, len(known.record.sequence)).f1
    for structure, kind, confidence in (
        (known, "known", None),
        (result.structure, "predicted", result.arrays["confidence"]),
    ):
        length = len(structure.record.sequence)
        nested = pairs_to_dot_bracket(nested_subset(structure.pairs), length)
        title = f"{known.record.id}, {kind}" + (f" (F1 {score:.2f})" if kind != "known" else "")
        svg = draw(structure, layout(nested), confidence, title=title, numbering=20)
        with atomic_output(output / f"structure-{kind}.svg", force=True) as out:
            out.write(svg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("--homologs", required=True, help="scores with homologous sequences")
    parser.add_argument("--peers", required=True)
    parser.add_argument("--structures", required=True)
    parser.add_argument("--model", required=True, help="a model that has not seen the RNA's class")
    parser.add_argument("--rna", required=True, help="a part of its identifier")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    boxes(options.scores, options.homologs, options.peers, options.output)
    one_rna(options.structures, options.model, options.rna, options.output)


if __name__ == "__main__":
    main()
