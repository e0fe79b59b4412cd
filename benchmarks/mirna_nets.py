"""Networks for microRNA targets on the same pairs: cross-attention, CNN and BiLSTM, with states.

Each is trained by its recipe, on the same parts and decoys by the same seed. ``validation`` is what
chooses between them; ``test`` is the same comparison on families that none of them has seen, made
once, when all are trained. Intervals are over resampled families; differences are those of
cross-attention on letters and duplexes minus each other, on the same resampled families.

    python benchmarks/mirna_nets.py --data DATA/6_rri --runs runs/mirna-nets \\
        -o benchmarks/results/mirna_nets.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from stemloop.errors import StemloopError
from stemloop.evaluation.interaction import compare
from stemloop.training.interaction import InteractionTrainer, Progress, logits
from stemloop.training.interaction_data import MATCHED, RANDOM, TABLE, TRUE
from stemloop.training.interaction_recipe import InteractionRecipe
from stemloop.training.recipe_base import read_recipe, revise
from stemloop.weights.interaction_store import load_interaction
from stemloop.weights.store import load

FIRST = "cross-attention"
RECIPES = {
    FIRST: "recipes/mirna-target.yaml",
    "CNN and BiLSTM": "recipes/mirna-target-cnn-bilstm.yaml",
}


def trainers(args: argparse.Namespace) -> dict[str, InteractionTrainer]:
    """Both kinds, without and with states."""
    found = {}
    for kind, file in RECIPES.items():
        for encoder in ("none", "frozen"):
            recipe = revise(read_recipe(file, InteractionRecipe), {"encoder": encoder})
            name = kind + (", states" if encoder == "frozen" else "")
            found[name] = InteractionTrainer(
                recipe, args.data, args.runs / name.replace(", ", "-").replace(" ", "-"),
                encoder=load(args.encoder) if encoder == "frozen" else None,
                embeddings=args.runs / "states" if encoder == "frozen" else None,
            )  # fmt: skip
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="goes on with what is there")
    parser.add_argument("--take", help="finished cross-attention: name or folder of the network")
    parser.add_argument("--encoder", default="stemloop-pico")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    every = trainers(args)
    parts = None
    models, nets = {}, {}
    for name, trainer in every.items():
        # Decoys and duplexes depend on what all recipes have in common.
        trainer.parts = parts or trainer.parts
        trainer.prepare()
        parts = trainer.parts

        def show(state: Progress, name: str = name) -> None:
            print(name, state.epoch, round(state.loss, 4), state.scores, f"{state.seconds:.0f} s",
                  flush=True)  # fmt: skip

        if name == FIRST and args.take:
            models[name] = load_interaction(args.take)
            metrics = models[name].facts["metrics"]
        else:
            metrics = trainer.run(show)
            models[name] = load_interaction(trainer.output / "model")
        if models[name].facts["data_sha256"] != trainer.digest:
            raise StemloopError(f"{name} was trained with other data")
        nets[name] = {
            "parameters": sum(p.numel() for p in models[name].head.parameters()),
            "net": models[name].head.config.to_dict(),
            "encoder": models[name].encoder,
            "training": metrics,
        }
    assert parts is not None
    comparisons = {}
    for part in ("validation", "test"):
        items = [x.input for x in parts[part]]
        store = every[f"{FIRST}, states"].store
        scores = {"duplex energy": np.array([-item.duplex.energy for item in items])} | {
            name: logits(model, items, store.__getitem__ if store and model.states else None)
            for name, model in models.items()
        }
        kinds = np.array([x.kind for x in parts[part]])
        comparisons[part] = {}
        for kind in (MATCHED, RANDOM, TABLE):
            rows = np.flatnonzero((kinds == TRUE) | (kinds == kind))
            comparisons[part][kind] = compare(
                [items[k].pair for k in rows], kinds[rows] == TRUE,
                {name: values[rows] for name, values in scores.items()}, subject=FIRST,
            )  # fmt: skip
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                            check=True).stdout.strip()  # fmt: skip
    trainer = every[FIRST]
    result = {
        "command": "benchmarks/mirna_nets.py",
        "commit": commit,
        "seed": trainer.recipe.seed,
        "data_sha256": trainer.digest,
        "examples": nets[FIRST]["training"]["examples"],
        "nets": nets,
        **comparisons,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("stemloop", "torch", "ViennaRNA")},
    }
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    for name, net in nets.items():
        print(name, net["parameters"], net["training"]["validation"], net["training"]["test"])


if __name__ == "__main__":
    try:
        main()
    except StemloopError as error:
        sys.exit(f"error: {error}")
