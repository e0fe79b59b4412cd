"""Nucleotides per second on one core: reading FASTA, and turning text into token ids.

    python benchmarks/alphabet_speed.py -o benchmarks/results/alphabet_speed.json

Random RNAs of 30 to 2000 nt, 60 a line. Reading (which brings the letters into canonical form) is
compared with dnaio without and with that step, encoding with the transformers fast tokenizer
that stemloop saves beside each model; the ids are checked to be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

# One core: the tokenizers library would use all of them.
os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import dnaio
import numpy as np

from stemloop.alphabet import RINALMO, normalise
from stemloop.formats.fasta import read_sequences, write_fasta
from stemloop.formats.stream import atomic_output
from stemloop.models.tokenizer import build_fast_tokenizer
from stemloop.records import SequenceRecord


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU seconds of some repeats."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--nucleotides", type=int, default=20_000_000)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    lengths = []
    while sum(lengths) < options.nucleotides:
        lengths.append(int(rng.integers(30, 2001)))
    texts = ["".join(rng.choice(list("ACGU"), length)) for length in lengths]
    few = texts[: max(1, len(texts) // 50)]
    total, part = sum(lengths), sum(map(len, few))

    tokenizer = build_fast_tokenizer(RINALMO)
    tokenizer.model_max_length = sys.maxsize
    ours = RINALMO.encode_many(few)[0].tolist()
    theirs = [i for ids in tokenizer(few, padding=False)["input_ids"] for i in ids]
    assert ours == theirs, "the two tokenizers disagree"

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.fa")
        write_fasta(path, (SequenceRecord(f"r{i}", t) for i, t in enumerate(texts)), width=60)
        reading = {
            "stemloop": best(lambda: sum(r.length for r in read_sequences(path))),
            "dnaio": best(lambda: sum(len(r) for r in dnaio.open(path))),
            "dnaio_then_normalise": best(
                lambda: sum(len(normalise(r.sequence)) for r in dnaio.open(path))
            ),
        }
    encoding = {
        "stemloop_uint8_ragged": total / best(lambda: RINALMO.encode_many(texts)),
        "transformers_fast_tokenizer": part / best(lambda: tokenizer(few, padding=False)),
    }
    result = {
        "sequences": len(texts),
        "nucleotides": total,
        "read_fasta_Mnt_per_cpu_s": {k: round(total / v / 1e6, 1) for k, v in reading.items()},
        "encode_Mnt_per_cpu_s": {k: round(v / 1e6, 2) for k, v in encoding.items()},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("stemloop", "numpy", "dnaio", "tokenizers")},
        },
    }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    sys.exit(main())
