"""The bundled network for microRNA targets on published test sets, beside energies.

TEC-miTarget's archive has test sets of miRAW and DeepMirTar and a set of deepTargetPro, pairs of a
microRNA and a site of up to 40 nt. Most of their microRNAs are in the network's training set, too;
so each set is scored whole, and again with those pairs alone whose family of microRNAs (nucleotides
2-8) had no part in training or validation. The controls see words alone and learn from the training
pairs of the same set by cross-validation over families. Areas within microRNAs are those that a
microRNA by itself cannot give away.

``validation`` asks what the network lacks on such sets: its logit alone, and with so much of that
of a regression on seed match and duplex, which learned from the network's own training pairs, on
the pairs of its validation families and on miRAW's training pairs of the same families.

    python benchmarks/mirna_sets.py TEC-miTarget_datasets.tar.xz --table MirTarRAW.csv.xz \\
        -o benchmarks/results/mirna_sets.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.alphabet import normalise
from stemloop.data.interactions import Pair
from stemloop.data.mirna_sites import family
from stemloop.errors import StemloopError
from stemloop.evaluation.interaction import compare
from stemloop.evaluation.interaction_baselines import controls, seed_and_duplex
from stemloop.training.interaction import logits
from stemloop.training.interaction_data import (
    MATCHED,
    RANDOM,
    TABLE,
    TRUE,
    Example,
    divide,
    make_examples,
    read_pairs,
)
from stemloop.training.interaction_features import PairInput
from stemloop.training.interaction_recipe import InteractionRecipe
from stemloop.training.recipe_base import read_recipe, revise
from stemloop.weights.interaction_store import StoredInteraction, load_interaction

#: Name to member of the archive, and whether its microRNAs are stored 3' to 5'.
SETS = {
    "deepTargetPro": ("TEC-miTarget/deepTargetPro/valid_seed_1234.txt", False),
    "DeepMirTar": ("TEC-miTarget/DeepMirTar/test_seed_1234.txt", True),
    "miRAW": ("TEC-miTarget/miRAW/test_seed_1234.txt", True),
}
VALIDATION = ("TEC-miTarget/miRAW/train_seed_1234.txt", "TEC-miTarget/miRAW/valid_seed_1234.txt")
FOLDS = 5

#: Parts of the regression's log-odds that are added to the network's.
ADDED = (0.5, 1.0, 2.0)


def read_set(archive: tarfile.TarFile, member: str, flip: bool) -> list[Pair]:
    """Pairs of a set, each once; what is listed with both labels is left out."""
    found: dict[tuple[str, str], set[bool]] = {}
    for line in archive.extractfile(member).read().decode().splitlines():  # type: ignore[union-attr]
        first, second, label = line.split("\t")
        first, second = normalise(first.lstrip(">")), normalise(second.lstrip(">"))
        key = (first[::-1] if flip else first, second)
        found.setdefault(key, set()).add(label.strip() == "1")
    kept = [(key, labels) for key, labels in found.items() if len(labels) == 1]
    return [Pair(*key, label=labels == {True}, index=k) for k, (key, labels) in enumerate(kept)]


def cross_validated(items: list[PairInput], true: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Scores of the controls, each pair's by a fit to pairs of other families."""
    names = sorted({family(item.pair.first) for item in items})
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {names[k]: place % FOLDS for place, k in enumerate(order)}
    of = np.array([fold[family(item.pair.first)] for item in items])
    scores: dict[str, np.ndarray] = {}
    for k in range(FOLDS):
        train, test = np.flatnonzero(of != k), np.flatnonzero(of == k)
        if not len(test):
            continue
        fitted = controls([items[j] for j in train], true[train], [items[j] for j in test])
        for name, values in fitted.items():
            scores.setdefault(name, np.zeros(len(items)))[test] = values
    return scores


def on_validation_families(
    examples: list[Example], published: list[Pair], model: StoredInteraction, seed: int
) -> dict[str, Any]:
    """Comparisons on own decoys of each kind, and on published pairs."""
    train = [x for x in examples if x.part == "train"]
    mine = [x for x in examples if x.part == "validation"]
    kinds = np.array([x.kind for x in mine])
    sets = {
        kind: [x.input for x in mine if x.kind in (TRUE, kind)]
        for kind in (MATCHED, RANDOM, TABLE) if (kinds == kind).any()
    } | {"miRAW": [PairInput.of(pair) for pair in published]}  # fmt: skip
    found = {}
    for name, items in sets.items():
        true = np.array([bool(item.pair.label) for item in items])
        network = logits(model, items)
        odds = seed_and_duplex([x.input for x in train], [x.target for x in train], items)
        scores = {"model": network, "seed and duplex": odds}
        scores |= {f"model and {part} of it": network + part * odds for part in ADDED}
        pairs = [item.pair for item in items]
        found[name] = compare(pairs, true, scores, seed=seed)
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--table", type=Path, required=True, help="what the network learned from")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/mirna-target.yaml"))
    parser.add_argument("--model", default="mirna-target")
    parser.add_argument("--most", type=int, default=2000, help="pairs of a set, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    began = time.monotonic()
    recipe = read_recipe(args.recipe, InteractionRecipe)
    data = recipe.data.model_dump() | {"file": args.table.name}
    recipe = revise(recipe, {"data": data})
    pairs, digest = read_pairs(recipe, args.table.parent)
    part = divide(pairs, recipe)
    model = load_interaction(args.model)
    sets = {}
    with tarfile.open(args.archive) as archive:
        for name, (member, flip) in SETS.items():
            every = read_set(archive, member, flip)
            rng = np.random.default_rng(args.seed)
            drawn = sorted(rng.permutation(len(every))[: args.most].tolist())
            items = [PairInput.of(every[k]) for k in drawn]
            true = np.array([bool(item.pair.label) for item in items])
            scores = {
                "model": logits(model, items),
                "duplex energy": np.array([-item.duplex.energy for item in items]),
                "duplex and opening energy": np.array(
                    [-item.duplex.energy - item.opening_energy() for item in items]
                ),
            } | cross_validated(items, true, args.seed)
            unseen = [part.get(family(item.pair.first), "test") == "test" for item in items]
            sets[name] = {"file": member, "listed": len(every)}
            for what, rows in (("all", np.arange(len(items))), ("unseen", np.flatnonzero(unseen))):
                if len(set(true[rows].tolist())) == 2:
                    some = [items[k].pair for k in rows]
                    mine = {key: values[rows] for key, values in scores.items()}
                    sets[name][what] = compare(some, true[rows], mine, seed=args.seed)
            print(name, {k: v["methods"] for k, v in sets[name].items() if k in ("all", "unseen")})
        every = [p for member in VALIDATION for p in read_set(archive, member, True)]
    every = [pair for pair in every if part.get(family(pair.first)) == "validation"]
    drawn = np.random.default_rng(args.seed).permutation(len(every))[: args.most].tolist()
    validation = on_validation_families(
        make_examples(pairs, recipe), [every[k] for k in sorted(drawn)], model, args.seed
    )
    result = {
        "command": f"benchmarks/mirna_sets.py {args.archive.name} --table {args.table.name} "
        f"--most {args.most} --seed {args.seed}",
        "data_sha256": hashlib.sha256(args.archive.read_bytes()).hexdigest(),
        "training_data_sha256": digest, "seed": args.seed, "sets": sets, "validation": validation,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("stemloop", "torch", "ViennaRNA")},
    }  # fmt: skip
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except StemloopError as error:
        sys.exit(f"error: {error}")
