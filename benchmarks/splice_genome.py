"""Seconds that `stemloop splice --genome` takes for a contig.

    python benchmarks/splice_genome.py -o benchmarks/results/splice_genome.json

The contig is random, of uniform composition and seeded: it has more GT and AG than a genome. Both
strands are scored at every one of them, once with one thread and once with two.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from stemloop.formats.stream import atomic_output
from stemloop.tasks.labels import Labeller
from stemloop.tasks.splice_genome import scan, write_sites


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="splice")
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    labeller = Labeller.load(options.model)
    letters = np.random.default_rng(options.seed).choice(list("ACGT"), options.length)
    text = "".join(letters)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        fasta = Path(name) / "contig.fa"
        fasta.write_text(f">contig\n{text}\n")
        for threads in options.threads:
            torch.set_num_threads(threads)
            begin = time.perf_counter(), time.process_time()
            found = write_sites(Path(name) / f"{threads}.bed", scan(labeller, fasta))
            rows.append({
                "threads": threads,
                "wall_seconds": round(time.perf_counter() - begin[0], 1),
                "cpu_seconds": round(time.process_time() - begin[1], 1),
                "load_average": round(os.getloadavg()[0], 1),
                "sites": found,
            })  # fmt: skip
    result = {
        "command": "benchmarks/splice_genome.py",
        "model": options.model,
        "nucleotides": options.length,
        "windows": sum(text.count(two) for two in ("GT", "AG", "AC", "CT")),
        "threshold": 0.99,
        "seed": options.seed,
        "runs": rows,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": {"processor": platform.processor() or platform.machine(),
                    "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("stemloop", "torch")},
    }  # fmt: skip
    with atomic_output(options.output, force=True) as out:
        out.write(json.dumps(result, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
