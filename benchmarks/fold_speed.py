"""Seconds a fold takes, beside ViennaRNA's plain partition function on the same RNAs.

    python benchmarks/fold_speed.py -o benchmarks/results/fold_speed.json

Random RNAs of uniform composition, seeded; both sides run in turn on each RNA, so that a machine
whose speed drifts still gives a fair ratio. Ours is everything a prediction needs after start-up:
features, network, soft constraints, partition function, MEA decoding and the energy of the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import RNA
import torch

from stemloop.records import SequenceRecord
from stemloop.tasks.structure import Folder, FoldSettings

COUNTS = {100: 30, 300: 12, 500: 8, 1000: 4}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    folder = Folder(FoldSettings())
    folder(SequenceRecord("warm-up", "GGGGAAAACCCC"))
    rows = []
    for length, count in COUNTS.items():
        seconds = {"stemloop": [], "viennarna_pf": []}
        for _ in range(count):
            sequence = "".join(rng.choice(list("ACGU"), length))
            began = time.perf_counter()
            RNA.fold_compound(sequence).pf()
            middle = time.perf_counter()
            folder(SequenceRecord("x", sequence))
            seconds["viennarna_pf"].append(middle - began)
            seconds["stemloop"].append(time.perf_counter() - middle)
        ratios = np.array(seconds["stemloop"]) / np.array(seconds["viennarna_pf"])
        rows.append(
            {
                "length": length,
                "rnas": count,
                "seconds_stemloop": round(float(np.median(seconds["stemloop"])), 5),
                "seconds_viennarna_pf": round(float(np.median(seconds["viennarna_pf"])), 5),
                "ratio_median": round(float(np.median(ratios)), 3),
                "ratio_min": round(float(ratios.min()), 3),
                "ratio_max": round(float(ratios.max()), 3),
            }
        )
        print(rows[-1], flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "benchmark": "fold_speed",
        "command": f"python benchmarks/fold_speed.py --seed {options.seed}",
        "seed": options.seed,
        "commit": commit or None,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": 1},
        "versions": {name: version(name) for name in ("stemloop", "torch", "ViennaRNA", "numpy")},
        "rows": rows,
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
