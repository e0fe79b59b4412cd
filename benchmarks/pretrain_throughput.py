"""Tokens a second of pre-training beside a padded Trainer loop with multimolecule's RiNALMo.

    python benchmarks/pretrain_throughput.py --corpus CORPUS --peer-python PEER/bin/python

Both train the same shape from random weights on the same RNAs (one of each cluster, cropped to the
window, in random order) with transformers' Trainer, AdamW, 15 % masking and the same number of
threads, in processes of their own, one after the other. Ours packs (`stemloop pretrain`); the peer
is what a user would write from its documentation: its tokenizer, its masked-LM class,
``DataCollatorForLanguageModeling``, padded batches in random order (`--peer-batch`), and the same
with Trainer's own grouping by length. Only tokens that are no padding count. The first two steps of
each are left out. PEER is an environment of its own with ``multimolecule==0.2.2``, ``accelerate``
and the same torch (AGPL: run, never imported here).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

PEER = Path(__file__).with_name("pretrain_throughput_peer.py")


def ours(task: dict[str, Any]) -> None:
    """Run in a process of its own: a run of `stemloop pretrain`, timed by its own metrics."""
    import torch

    from stemloop.training.pretrain import pretrain
    from stemloop.training.pretrain_recipe import PretrainRecipe

    torch.set_num_threads(task["threads"])
    recipe = PretrainRecipe.model_validate(
        {
            "task": "pretrain",
            "name": "throughput",
            "model": task["model"],
            "overrides": task["overrides"],
            "masking": {"prompt": False},
            "sampling": {"window": task["window"]},
            "batch": {"tokens": task["pack"]},
            "optimiser": {"learning_rate": 1e-4},
            "precision": task["precision"],
            "compile": task["compile"],
            "steps": task["steps"],
            "log_every": 1,
            "save_every": task["steps"],
            "evaluate_packs": 0,
        }
    )
    lines: list[dict[str, Any]] = []
    cpu: list[float] = []

    def note(line: dict[str, Any]) -> None:
        lines.append(line)
        cpu.append(time.process_time())

    pretrain(recipe, task["corpus"], task["run"], device=task["device"], report=note)
    kept = lines[2:]
    tokens = lines[-1]["tokens"] - lines[1]["tokens"]
    seconds = 0.0
    for before, line in zip(lines[1:], kept, strict=False):
        seconds += (line["tokens"] - before["tokens"]) / line["tokens_per_second"]
    print(json.dumps({"tokens": tokens, "seconds": seconds, "cpu_seconds": cpu[-1] - cpu[1]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--model", default="rinalmo-nano")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--pack", type=int, default=8192, help="tokens of our packs")
    parser.add_argument("--peer-batch", type=int, nargs="+", default=[32])
    parser.add_argument("--window", type=int, default=508)
    parser.add_argument("--count", type=int, default=4000, help="RNAs")
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    if args.output and args.output.exists():
        sys.exit(f"{args.output} exists already")

    import numpy as np

    from stemloop.data.corpus import Corpus
    from stemloop.data.sampling import draw_members
    from stemloop.models.presets import PRESETS

    corpus = Corpus.open(args.corpus)
    rows = draw_members(corpus, 0, 0)[: args.count]
    sequences = [corpus.sequence(int(row))[: args.window] for row in rows]
    shape = PRESETS[args.model]
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "sequences.json").write_text(json.dumps(sequences))

        def measure(name: str, command: list[str], task: dict[str, Any]) -> None:
            load = os.getloadavg()[0]
            done = subprocess.run(
                [*command, json.dumps(task)], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-3000:]}")
            found = json.loads(done.stdout.strip().splitlines()[-1])
            found["tokens_per_second"] = found["tokens"] / found["seconds"]
            found["tokens_per_cpu_second"] = found["tokens"] / found["cpu_seconds"]
            found["load_before"] = load
            results[name] = found
            print(name, f"{found['tokens_per_second']:.0f} tokens/s", file=sys.stderr)

        common = {"threads": args.threads, "device": args.device, "window": args.window}
        for precision in args.precision:
            task = common | {
                "model": args.model,
                "overrides": {"max_length": args.window + 2},
                "steps": args.steps,
                "pack": args.pack,
                "precision": precision,
                "compile": args.compile,
                "corpus": str(args.corpus),
                "run": str(folder / f"run-{precision}"),
            }
            measure(f"stemloop-packed-{precision}", [sys.executable, __file__, "--ours"], task)
        for batch in args.peer_batch if args.peer_python else ():
            for grouped in (False, True):
                mean = float(np.mean([len(s) + 2 for s in sequences]))
                task = common | {
                    "hidden": shape.hidden,
                    "layers": shape.layers,
                    "heads": shape.heads,
                    "inner": shape.ffn_inner,
                    "batch": batch,
                    "grouped": grouped,
                    "steps": max(4, round(args.steps * args.pack / (batch * mean))),
                    "sequences": str(folder / "sequences.json"),
                    "run": str(folder / f"peer-{batch}-{grouped}"),
                }
                name = f"peer-padded-batch{batch}" + ("-grouped" if grouped else "")
                measure(name, [str(args.peer_python), str(PEER)], task)
    best = max(r["tokens_per_second"] for n, r in results.items() if n.startswith("stemloop"))
    report = {
        "command": " ".join(["python", "benchmarks/pretrain_throughput.py", *sys.argv[1:]]),
        "results": results,
        "ratios": {
            name: best / r["tokens_per_second"] for name, r in results.items() if "peer" in name
        },
        "options": {k: v for k, v in vars(args).items() if k not in ("output", "peer_python")},
        "corpus_sha256": hashlib.sha256((args.corpus / "manifest.json").read_bytes()).hexdigest(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {n: version(n) for n in ("stemloop", "torch", "transformers", "accelerate")},
    }
    text = json.dumps(report, indent=2, default=str) + "\n"
    if args.output:
        args.output.write_text(text)
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        ours(json.loads(sys.argv[2]))
    else:
        main()
