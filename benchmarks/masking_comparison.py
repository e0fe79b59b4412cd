"""Does motif-aware masking help? Small models, equal tokens, the same questions to all.

    python benchmarks/masking_comparison.py --corpus CORPUS --motifs DATA/8_motifs -o RESULT.json

Every variant trains the same network from the same seed on the same RNAs in the same order for the
same number of steps; only what is masked differs. All are then asked the same questions: single
masked positions (15 %) on held-out clusters and held-out families, and the RNA type.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from stemloop.alphabet import RNAERNIE_TYPES, STEMLOOP
from stemloop.data.corpus import Corpus
from stemloop.data.masking import MaskingOptions, make_sample
from stemloop.data.packing import Schedule
from stemloop.training.pack_trainer import PackedLM, collate
from stemloop.training.pretrain import pretrain
from stemloop.training.pretrain_recipe import PretrainRecipe
from stemloop.weights.store import load

VARIANTS: dict[str, dict[str, float]] = {
    "base": {"base": 1.0},
    "subsequence": {"base": 0.0, "subsequence": 1.0},
    "motif": {"base": 0.0, "motif": 1.0},
    "thirds": {"base": 1.0, "subsequence": 1.0, "motif": 1.0},
}


@torch.inference_mode()
def ask(model: Path, corpus: Corpus, packs: int) -> dict[str, float]:
    """Single masked positions, and the type of all RNAs from a masked slot."""
    maker = make_sample(MaskingOptions(type_mask=1.0, prompt=1.0), STEMLOOP)
    schedule = Schedule(
        corpus, make_sample=maker, window=508, budget=4096, items=packs, seed=99,
        specials=maker.specials,
    )  # fmt: skip
    type_ids = torch.tensor([STEMLOOP.ids[name] for name in RNAERNIE_TYPES])
    packed = PackedLM(load(model).encoder, type_ids).eval()
    counts, nll = torch.zeros(4), torch.zeros(2)
    for item in range(packs):
        out = packed(**collate([schedule[item]]))
        counts += out["counts"]
        nll += out["nll"]
    right, letters, types_right, types = counts.tolist()
    return {
        "masked_accuracy": right / letters,
        "loss": float(nll[0]) / letters,
        "type_accuracy": types_right / types,
        "targets": letters,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--motifs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--tokens", type=int, default=4096, help="a step")
    parser.add_argument("--min-length", type=int, default=8, help="of database motifs")
    parser.add_argument("--packs", type=int, default=40, help="asked in each split")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.output and args.output.exists():
        sys.exit(f"{args.output} exists already")
    torch.set_num_threads(1)
    splits = {
        n: Corpus.open(args.corpus, n) for n in ("validation_clusters", "validation_families")
    }
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    for seed in args.seeds:
        for name, weights in VARIANTS.items():
            content = {
                "task": "pretrain",
                "name": f"masking-{name}",
                "seed": seed,
                "model": "stemloop-pico",
                "overrides": {
                    "hidden": 64, "layers": 4, "heads": 1, "ffn_inner": 192,
                    "residual_dropout": 0.0,
                },
                "masking": {"window": 512, "prompt": 0.5, "type_mask": 0.7, **weights},
                "sampling": {"window": 508, "caps": {
                    "type:lncRNA": 1000, "type:ncRNA": 1000, "type:miRNA": 1000,
                    "type:premiRNA": 4000,
                }},
                "batch": {"tokens": args.tokens},
                "optimiser": {"learning_rate": 0.002, "warm_up": 100, "weight_decay": 0.05,
                              "betas": [0.9, 0.98], "min_learning_rate": 0.00002},
                "steps": args.steps,
                "log_every": 50,
                "save_every": args.steps // 50 * 50,
                "evaluate_packs": 0,
            }  # fmt: skip
            if weights.get("motif"):
                content["motifs"] = {
                    "files": ["RNAErnie_ATtRACT.txt", "RNAErnie_SpliceAid.txt"],
                    "min_length": args.min_length,
                }
            recipe = PretrainRecipe.model_validate(content)
            with tempfile.TemporaryDirectory() as scratch:
                model = pretrain(
                    recipe, args.corpus, Path(scratch) / "run", motifs=args.motifs, device="cpu"
                )
                found = {split: ask(model, c, args.packs) for split, c in splits.items()}
            results.append({"variant": name, "seed": seed, **found})
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
            # After each training, so that a run that is cut off has not been for nothing.
            write(args, results, time.monotonic() - began)


def write(args: argparse.Namespace, results: list[dict[str, Any]], seconds: float) -> None:
    """Write all results so far, or print them."""
    report = {
        "command": " ".join(["python", "benchmarks/masking_comparison.py", *sys.argv[1:]]),
        "results": results,
        "tokens_each": args.steps * args.tokens,
        "corpus_sha256": hashlib.sha256((args.corpus / "manifest.json").read_bytes()).hexdigest(),
        "seconds": round(seconds),
    }
    text = json.dumps(report, indent=2) + "\n"
    if args.output:
        args.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
