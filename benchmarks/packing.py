"""How full packs are, and what planning an epoch of 17 million sequences costs.

    python benchmarks/packing.py --data DATA -o benchmarks/results/packing.json

Lengths are those of real RNAs: Rfam seeds, human lncRNAs (cropped to the window) and mature
microRNAs. Three mixtures are packed for three budgets and compared with next-fit, which fills one
pack after the other in random order, and with padding random batches to their longest sequence.
Then one epoch of the size RiNALMo was trained on is planned: members of 17 million clusters drawn,
and packed. Peak memory is that of the process, less what it held before.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from stemloop.data.packing import pack
from stemloop.data.sampling import draw_members
from stemloop.formats.stream import atomic_output

SEEDS = "1_pretrain/rfam_14.2/Rfam.14.2.seed.sto.xz"
LNCRNAS = "1_pretrain/lncrna/cpat/Human_noncoding_transcripts_RNA.fa.gz"
MICRORNAS = "1_pretrain/small_rna/SCRAP_miRBase.fasta.xz"

SPECIALS = 4
Lengths = NDArray[np.int64]


def fasta_lengths(lines: Iterable[str]) -> Lengths:
    """Nucleotides of every record."""
    lengths: list[int] = []
    for line in lines:
        if line.startswith(">"):
            lengths.append(0)
        else:
            lengths[-1] += len(line.strip())
    return np.array(lengths)


def stockholm_lengths(lines: Iterable[str]) -> Lengths:
    """Nucleotides of every row of every alignment; each name has one line."""
    rows = [line.split() for line in lines if line[0] not in "#/\n"]
    return np.array([sum(map(str.isalpha, row[1])) for row in rows])


def next_fit(lengths: Lengths, budget: int) -> float:
    """Fill of packs that take samples in the order they come in."""
    packs, load = 1, 0
    for length in np.random.default_rng(0).permutation(lengths).tolist():
        if load + length > budget:
            packs, load = packs + 1, 0
        load += length
    return float(lengths.sum() / (packs * budget))


def padded(lengths: Lengths, budget: int) -> float:
    """Share of tokens that are no padding, batches having about `budget` tokens."""
    shuffled = np.random.default_rng(0).permutation(lengths)
    size = max(1, budget // int(shuffled.max()))
    batches = shuffled[: len(shuffled) // size * size].reshape(-1, size)
    return float(batches.sum() / (batches.max(axis=1).sum() * size))


def fills(lengths: Lengths, budget: int) -> dict[str, Any]:
    """How full the packs of one mixture are."""
    start = time.process_time()
    packs = pack(lengths, budget)
    seconds = time.process_time() - start
    fill = np.array([lengths[p].sum() for p in packs]) / budget
    return {
        "packs": len(packs),
        "fill_but_last": round(float(fill[:-1].mean()), 4),
        "fill_lowest_but_last": round(float(fill[:-1].min()), 4),
        "fill_next_fit": round(next_fit(lengths, budget), 4),
        "fill_padded": round(padded(lengths, budget), 4),
        "cpu_us_per_sample": round(seconds / len(lengths) * 1e6, 3),
    }


def peak_mib() -> float:
    """Most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large_epoch(pool: Lengths, count: int, budget: int) -> dict[str, Any]:
    """Plan an epoch of `count` clusters with two members each."""
    rng = np.random.default_rng(1)
    lengths = rng.choice(pool.astype(np.int32), 2 * count)
    corpus: Any = SimpleNamespace(
        clusters=np.repeat(np.arange(count), 2),
        types=np.zeros(2 * count, np.int16),
        sources=np.zeros(2 * count, np.int16),
        source_names=("all",),
    )
    held = peak_mib()
    times = [time.process_time()]
    rows = draw_members(corpus, 0, 0, {"source:all": count})
    times.append(time.process_time())
    packs = pack(lengths[rows], budget)
    times.append(time.process_time())
    tokens = lengths[rows].sum()
    return {
        "clusters": count,
        "budget": budget,
        "tokens": int(tokens),
        "packs": len(packs),
        "fill": round(float(tokens / (len(packs) * budget)), 4),
        "draw_cpu_seconds": round(times[1] - times[0], 2),
        "pack_cpu_seconds": round(times[2] - times[1], 2),
        "peak_mib": round(peak_mib() - held),
        "plan_mib": round((packs.samples.nbytes + packs.starts.nbytes * 2) / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--window", type=int, default=1020)
    parser.add_argument("--clusters", type=int, default=17_000_000)
    options = parser.parse_args()

    with lzma.open(options.data / SEEDS, "rt") as handle:
        seeds = stockholm_lengths(handle)
    with gzip.open(options.data / LNCRNAS, "rt") as handle:
        lncrnas = fasta_lengths(handle)
    with lzma.open(options.data / MICRORNAS, "rt") as handle:
        micro = fasta_lengths(handle)
    mixtures = {
        "rfam_seeds": (seeds,),
        "rfam_seeds_and_lncrnas": (seeds, lncrnas),
        "rfam_seeds_lncrnas_micrornas": (seeds, lncrnas, micro),
    }
    mixed = {
        name: np.minimum(np.concatenate(parts), options.window) + SPECIALS
        for name, parts in mixtures.items()
    }
    # First, so that its peak is not hidden below that of the others.
    large = large_epoch(mixed["rfam_seeds_lncrnas_micrornas"], options.clusters, 16384)
    result = {
        "window": options.window,
        "specials": SPECIALS,
        "mixtures": {
            name: {
                "sequences": len(lengths),
                "mean_tokens": round(float(lengths.mean()), 1),
                "budgets": {str(b): fills(lengths, b) for b in (4096, 16384, 65536)},
            }
            for name, lengths in mixed.items()
        },
        "large_epoch": large,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("stemloop", "numpy")},
        },
    }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    sys.exit(main())
