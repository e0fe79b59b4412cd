"""Peak memory and time of ``stemloop corpus build`` on synthetic records.

    python benchmarks/corpus_memory.py -o benchmarks/results/corpus_memory.json

Random RNAs of 20 to 100 nt with RNAcentral's headers, a fifth of them copies of others. Each size
is built in a process of its own; its peak resident memory is that of the operating system
(``ru_maxrss``), and MMseqs2's is given apart. ``before`` is what the imports alone take. CPU
seconds say what the work costs; wall-clock seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from stemloop.data.clusters import mmseqs_version
from stemloop.formats.stream import atomic_output

CHILD = """
import json, resource, sys, time
from stemloop.data.corpus_build import build_corpus
from stemloop.data.corpus_clean import BuildOptions
import pyarrow.parquet
def peak(who):
    return round(resource.getrusage(who).ru_maxrss / 1024, 1)
before, start, seconds, last = peak(resource.RUSAGE_SELF), time.time(), {}, [None, time.time()]
peaks = {}
def progress(stage, done, total):
    now = time.time()
    if last[0] is not None:
        seconds[last[0]] = seconds.get(last[0], 0) + now - last[1]
        peaks[last[0]] = peak(resource.RUSAGE_SELF)
    last[:] = stage, now
options = BuildOptions(clusterer=sys.argv[3])
counts = build_corpus([sys.argv[1]], sys.argv[2], options=options, progress=progress)["counts"]
print(json.dumps({
    "kept": sum(c["sequences"] for c in counts.values()),
    "clusters": sum(c["clusters"] for c in counts.values()),
    "cpu_seconds": {"build": round(time.process_time(), 1),
                    "mmseqs": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), 1)},
    "wall_seconds": round(time.time() - start, 1),
    "wall_seconds_by_stage": {k: round(v, 1) for k, v in seconds.items()},
    "peak_mib": {"before": before, "build": peak(resource.RUSAGE_SELF),
                 "by_stage": peaks, "mmseqs": peak(resource.RUSAGE_CHILDREN)},
}))
"""


def write_records(path: Path, count: int, seed: int = 0) -> None:
    """Write a FASTA file of random RNAs, every fifth a copy of an earlier one."""
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGU", np.uint8)
    pool: list[str] = []
    with open(path, "w", encoding="ascii") as out:
        for start in range(0, count, 10_000):
            size = min(10_000, count - start)
            lengths = rng.integers(20, 101, size)
            text = letters[rng.integers(0, 4, int(lengths.sum()))].tobytes().decode()
            ends = np.cumsum(lengths)
            for k in range(size):
                sequence = text[ends[k] - lengths[k] : ends[k]]
                if k % 5 == 4 and pool:
                    sequence = pool[(start + k) % len(pool)]
                elif k % 100 == 0 and len(pool) < 50_000:
                    pool.append(sequence)
                kind = ("rRNA", "tRNA", "misc_RNA", "lncRNA")[k % 4]
                out.write(f">URS{start + k:010X} {kind} from 2 species\n{sequence}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--records", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--clusterer", default="mmseqs")
    parser.add_argument("--folder", help="folder for temporary files")
    options = parser.parse_args()
    runs = []
    for count in options.records:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            fasta = Path(folder, "records.fa")
            write_records(fasta, count)
            start = time.time()
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(fasta), f"{folder}/corpus", options.clusterer],
                stdout=subprocess.PIPE,
                check=True,
            )
            run = {"records": count, "megabytes": round(fasta.stat().st_size / 1e6)}
            runs.append(run | json.loads(done.stdout))
            print(f"{count} records: {time.time() - start:.0f} s", file=sys.stderr)
    result = {
        "runs": runs,
        "clusterer": options.clusterer,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "stemloop": version("stemloop"),
            "python": platform.python_version(),
            "pyarrow": version("pyarrow"),
            "mmseqs": mmseqs_version() if options.clusterer == "mmseqs" else None,
        },
    }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=1)
        out.write("\n")


if __name__ == "__main__":
    main()
