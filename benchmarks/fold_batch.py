"""Seconds that `stemloop fold` takes for a batch of short RNAs, start-up included.

    python benchmarks/fold_batch.py -o benchmarks/results/fold_batch.json

1,000 random RNAs of 100 nucleotides, seeded, from a FASTA file to a file of structures by the
default model in two processes, as a user would call it. CPU seconds are those of all processes: on
a busy machine they say more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from stemloop.formats.stream import atomic_output


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--rnas", type=int, default=1000)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "rnas.fa", Path(name) / "rnas.dbn"
        letters = rng.choice(list("ACGU"), (options.rnas, options.length))
        source.write_text("".join(f">r{k}\n{''.join(row)}\n" for k, row in enumerate(letters)))
        command = [sys.executable, "-m", "stemloop.cli.main", "fold", str(source)]
        began = time.perf_counter()
        subprocess.run([*command, "-j", str(options.jobs), "-o", str(target)], check=True)
        wall = time.perf_counter() - began
        folded = target.read_text().count(">")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "benchmark": "fold_batch",
        "rnas": folded,
        "length": options.length,
        "model": "fold-crf",
        "jobs": options.jobs,
        "seed": options.seed,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "load_average_before": round(busy, 1),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("stemloop", "torch", "ViennaRNA", "numpy")},
        },
    }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    main()
