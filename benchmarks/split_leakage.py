"""What the splits of the structure protocols share with their training data.

    python benchmarks/split_leakage.py --data ../shared/data/2_secstruct -o benchmarks/results

For each protocol of `stemloop evaluate structure` and a recipe: the families that both sides have,
identical sequences, and the training RNA most similar to each test RNA by MMseqs2 (which must be
installed). Writes split_leakage.json, and split_leakage.tsv.gz with a line a test RNA.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stemloop.evaluation.leakage import examine
from stemloop.evaluation.protocols import PROTOCOLS, sampled
from stemloop.formats.stream import atomic_output
from stemloop.formats.tables import write_table
from stemloop.training.recipes import load_recipe


def main() -> None:
    """Search and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/2_secstruct"))
    parser.add_argument("--recipe", type=Path, default=Path("recipes/fold-crf.yaml"))
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--sample", type=int, help="only so many test RNAs of each split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--protocol", action="append", choices=sorted(PROTOCOLS))
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    summaries: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for name in options.protocol or PROTOCOLS:
        splits = PROTOCOLS[name].splits(options.data)
        if options.sample:
            splits = [sampled(split, options.sample) for split in splits]
        summary, hits = examine(
            PROTOCOLS[name],
            splits,
            recipe,
            options.data,
            threads=options.threads,
            report=lambda line, name=name: print(name, line, file=sys.stderr, flush=True),
        )
        summaries.append(summary)
        rows += ({"protocol": name} | hit for hit in hits)
    result = {
        "benchmark": "split_leakage",
        "sample": options.sample,
        "protocols": summaries,
        "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("stemloop", "numpy")},
    }
    with atomic_output(options.output / "split_leakage.json", force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")
    write_table(options.output / "split_leakage.tsv.gz", rows, force=True)


if __name__ == "__main__":
    main()
