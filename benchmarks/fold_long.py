"""Seconds and memory that long RNAs take, and what windows change.

    python benchmarks/fold_long.py --data DATA -o benchmarks/results/fold_long.json

Time and memory: random RNAs of uniform composition, seeded, each folded by the default model in a
process of its own, as `stemloop fold` does; memory is the most that the process held.

Windows: pieces of human lncRNAs folded whole and in windows, both by plain Turner 2004 energies and
with the same longest span. The difference of the probabilities to be unpaired, and the F1 of the
structures (maximum expected accuracy) against each other, for windows weighted as stemloop does and
for their plain mean. Beside it the F1 between whole RNAs with and without the limit on the span:
that is what a span costs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from stemloop.evaluation.metrics import pair_scores
from stemloop.folding import decode, windows
from stemloop.folding.conditions import FoldOptions
from stemloop.folding.crf import ThermodynamicCRF
from stemloop.formats.stream import atomic_output

LNCRNAS = "1_pretrain/lncrna/cpat/Human_noncoding_transcripts_RNA.fa.gz"
#: Lengths and windows; the default window where it is None.
LENGTHS = ((1000, None), (2000, None), (4000, None), (10000, 200), (10000, None))
WINDOWS = (100, 200, 400)


def fold_one(length: int, window: int | None, seed: int) -> None:
    """Fold one random RNA and print what it took (runs in a process of its own)."""
    from stemloop.records import SequenceRecord
    from stemloop.tasks.structure import Folder, FoldSettings

    letters = np.random.default_rng([seed, length]).choice(list("ACGU"), length)
    folder = Folder(FoldSettings(window=window))
    folder(SequenceRecord("warm-up", "GGGGAAAACCCC"))
    start = time.perf_counter(), time.process_time()
    result = folder(SequenceRecord("x", "".join(letters)))
    row = {
        "length": length,
        "window": result.values.get("window"),
        "longest_span": result.values.get("longest_span"),
        "wall_seconds": round(time.perf_counter() - start[0], 1),
        "cpu_seconds": round(time.process_time() - start[1], 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(row))


def pieces(path: Path, count: int, length: int) -> list[str]:
    """The first nucleotides of the first long enough lncRNAs."""
    found: list[str] = []
    with gzip.open(path, "rt") as handle:
        for entry in handle.read().split(">")[1:]:
            sequence = "".join(entry.split("\n")[1:]).upper().replace("T", "U")
            if len(sequence) >= length and set(sequence) <= set("ACGU"):
                found.append(sequence[:length])
            if len(found) == count:
                break
    return found


def compare(sequences: list[str], window: int) -> dict[str, Any]:
    """Windows against whole RNAs."""
    model = ThermodynamicCRF()
    limited = FoldOptions(max_span=windows.longest_span(window))
    weighted = windows.margins
    values: dict[str, list[float]] = {}

    def agree(name: str, mine: Any, reference: Any) -> None:
        change = np.abs(mine.unpaired_probability - reference.unpaired_probability).mean()
        a, b = (decode.maximum_expected_accuracy(e.pair_probability) for e in (mine, reference))
        f1 = pair_scores(a, b, len(mine.pair_probability)).f1
        values.setdefault(f"{name}_unpaired_difference", []).append(float(change))
        values.setdefault(f"{name}_f1", []).append(f1)

    for sequence in sequences:
        whole = model.ensemble(sequence, limited)
        agree("span_limit", whole, model.ensemble(sequence))
        agree("windows", windows.WindowedModel(model, window).ensemble(sequence), whole)
        windows.margins = lambda start, size, length: (np.ones(size), np.ones(size))
        try:
            agree("plain_mean", windows.WindowedModel(model, window).ensemble(sequence), whole)
        finally:
            windows.margins = weighted
    means = {name: round(float(np.mean(column)), 4) for name, column in values.items()}
    return {"window": window, "longest_span": limited.max_span, **means}


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rnas", type=int, default=8, help="RNAs that windows are compared on")
    parser.add_argument("--piece", type=int, default=800, help="nucleotides of each")
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="*",
        help="only these lengths; others stay as the file has them",
    )
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        fold_one(options.one, options.window, options.seed)
        return
    rows = []
    if options.lengths is not None and options.output.is_file():
        rows = json.loads(options.output.read_text())["lengths"]
        rows = [row for row in rows if row["length"] not in options.lengths]
    for length, window in LENGTHS:
        if options.lengths is not None and length not in options.lengths:
            continue
        busy = os.getloadavg()[0]
        command = [sys.executable, __file__, "--one", str(length), "--seed", str(options.seed)]
        command += ["--window", str(window)] if window else []
        done = subprocess.run([*command, "-o", "-"], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout) | {"load_average_before": round(busy, 1)})
        print(rows[-1], file=sys.stderr, flush=True)
    sequences = pieces(options.data / LNCRNAS, options.rnas, options.piece)
    accuracy = []
    for window in WINDOWS:
        accuracy.append(compare(sequences, window))
        print(accuracy[-1], file=sys.stderr, flush=True)
    result = {
        "benchmark": "fold_long",
        "seed": options.seed,
        "model": "fold-crf",
        "lengths": sorted(rows, key=lambda row: (row["length"], row["window"] or 0)),
        "windows": {"rnas": len(sequences), "nucleotides": options.piece, "rows": accuracy},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1},
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
