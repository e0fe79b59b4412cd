"""Types as guides (RNAErnie's STACK) against plain heads and against random types, on nRC.

The same part of the training set and the same head for all. First the head alone learns, on the
frozen encoder: from the sequence, from the sequence with each of its K most probable types, or with
K random ones. With --epochs encoder and head learn on together from there, in each of the three
ways.
The epoch is chosen on validation records; test records are scored once. Called again, it goes on.

    python benchmarks/type_guided.py --data DATA/5_classify/nRC --runs runs/type-guided \\
        -o benchmarks/results/type_guided.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemloop.errors import StemloopError
from stemloop.evaluation.label_metrics import class_scores, confusion, with_intervals
from stemloop.training.recipe_base import read_recipe, revise
from stemloop.training.sequence import Progress, SequenceTrainer
from stemloop.training.sequence_recipe import SequenceRecipe
from stemloop.weights.sequence_head import load_base

#: Ways of guidance by name; what the head's name adds where the encoder learns too.
WAYS = {"no types": None, "most probable types": "model", "random types": "random"}
BOTH = ", encoder too"


def variants(args: argparse.Namespace) -> dict[str, SequenceRecipe]:
    """Recipes by name."""
    frozen = read_recipe(args.recipe, SequenceRecipe)
    take = {"train": args.train, "test": args.test}
    data = [table.model_dump() | {"take": take[table.part]} for table in frozen.data]
    both = {
        "encoder": "full", "epochs": args.epochs, "patience": args.epochs, "batch_size": 16,
        "learning_rate": 0.0005, "encoder_rate": 0.0005, "block_decay": 0.85, "hide": 0.1,
        "precision": "bf16",
    }  # fmt: skip
    found = {}
    for more in ({}, both) if args.epochs else ({},):
        for name, choice in WAYS.items():
            guide = {"types": args.types, "choice": choice} if choice else None
            start = {"start": str(folder_of(args.runs, name) / "model")} if more else {}
            change = {"data": data, "seed": args.seed, "guide": guide} | more | start
            found[name + (BOTH if more else "")] = revise(frozen, change)
    return found


def folder_of(runs: Path, name: str) -> Path:
    """Folder of a run."""
    return runs / name.replace(",", "").replace(" ", "-")


def run(name: str, recipe: SequenceRecipe, args: argparse.Namespace) -> dict[str, Any]:
    """Train and test one; kept in its folder."""
    folder = folder_of(args.runs, name)
    kept = folder / "result.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    began = time.process_time()

    def show(state: Progress) -> None:
        if state.score is not None:
            print(f"{name}: epoch {state.epoch}, validation {state.score:.4f}", flush=True)

    trainer = SequenceTrainer(recipe, load_base(args.model), args.data, folder)
    metrics = trainer.run(show)
    spent = time.process_time() - began
    data = trainer.data
    outputs = trainer.predict([x.sequence for x in data.test]).argmax(dim=1).tolist()
    known = [data.labels.index(str(x.label)) for x in data.test]
    result = {
        "metrics": metrics, "cpu_seconds": round(spent, 1), "known": known, "found": outputs,
        "data_sha256": data.digest, "encoder_sha256": trainer.encoder_hash,
    }  # fmt: skip
    kept.write_text(json.dumps(result) + "\n")
    return result


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/ncrna-class.yaml"))
    parser.add_argument("--model", default="stemloop-pico")
    parser.add_argument("--train", type=int, default=1200, help="training and validation records")
    parser.add_argument("--test", type=int, default=800)
    parser.add_argument("--epochs", type=int, default=0, help="with the encoder")
    parser.add_argument("--types", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipes = variants(args)
    found = {name: run(name, recipe, args) for name, recipe in recipes.items()}
    first = next(iter(found.values()))
    known = np.array(first["known"])
    right = {name: np.array(x["found"]) == known for name, x in found.items()}
    methods = {}
    for name, x in found.items():
        guess = np.array(x["found"])
        methods[name] = {
            "validation": x["metrics"]["validation"], "epochs": x["metrics"]["epochs"],
            "best_epoch": x["metrics"]["best_epoch"], "cpu_seconds": x["cpu_seconds"],
            "test": with_intervals(
                lambda rows, guess=guess: class_scores(confusion(known[rows], guess[rows], 13)),
                len(known), seed=args.seed,
            ),
        }  # fmt: skip
    differences = {}
    for name in right:
        way, comma, rest = name.partition(",")
        if way == "most probable types":
            continue
        guided, other = right["most probable types" + comma + rest], right[name]
        differences[f"most probable types minus {name}"] = with_intervals(
            lambda rows, a=guided, b=other: {"accuracy": float(a[rows].mean() - b[rows].mean())},
            len(known),
            seed=args.seed,
        )["accuracy"]
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    result = {
        "command": f"benchmarks/type_guided.py --train {args.train} --test {args.test} "
        f"--epochs {args.epochs} --types {args.types} --seed {args.seed}",
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "seed": args.seed, "types": args.types,
        "recipe": recipes["no types"].model_dump(mode="json"),
        "data_sha256": first["data_sha256"], "encoder_sha256": first["encoder_sha256"],
        "methods": methods, "differences": differences,
        "versions": {name: version(name) for name in ("stemloop", "torch")},
    }  # fmt: skip
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    for name, x in methods.items():
        print(name, x["test"]["accuracy"], x["cpu_seconds"])
    print(json.dumps(differences, indent=2))


if __name__ == "__main__":
    try:
        main()
    except StemloopError as error:
        sys.exit(f"error: {error}")
