"""What the decoys of splice42 are made of: common letters, and what neighbours say of each other.

    python benchmarks/splice_decoys.py --data DATA/3_splice/KorfLab_splice42
        -o benchmarks/results/splice_decoys.json

For the true windows and each kind of decoy, without the site's two letters and their neighbours:
the mutual information of neighbouring letters (mean over positions, in thousandths of a nat; random
letters have 9 / (2 windows), from chance), how much the letters' frequencies vary from position to
position within a half, and how far they are from those of the true windows at the same position and
on average over the half.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stemloop.evaluation.label_baselines import codes
from stemloop.formats.fasta import read_sequences
from stemloop.formats.stream import atomic_output

SPECIES = {"at": "arabidopsis", "ce": "worm", "dm": "fly"}
SITES = {"don": "donor", "acc": "acceptor"}
KINDS = ("", "n1", "n2", "n3", "n4")
#: Positions left and right of the two letters of the site.
HALVES = (range(20), range(22, 42))


def read(path: Path) -> npt.NDArray[np.int64]:
    """Windows of letters A, C, G, U alone, as 0 to 3."""
    rows = [codes(record.sequence) for record in read_sequences(path)]
    windows = np.stack(rows).astype(np.int64)
    return windows[(windows < 4).all(axis=1)]


def information(windows: npt.NDArray[np.int64], i: int, j: int) -> float:
    """Mutual information of two positions, nats."""
    joint = np.bincount(windows[:, i] * 4 + windows[:, j], minlength=16).reshape(4, 4)
    p = joint / joint.sum()
    apart = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    return float((p[p > 0] * np.log(p[p > 0] / apart[p > 0])).sum())


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    digest, found = hashlib.sha256(), {}
    for short, species in SPECIES.items():
        for end, site in SITES.items():
            true = None
            for kind in KINDS:
                path = options.data / f"{short}.{kind}{end}.fa.gz"
                digest.update(path.read_bytes())
                windows = read(path)
                common = np.stack([(windows == k).mean(axis=0) for k in range(4)], axis=1)
                true = common if true is None else true
                pairs = [pair for half in HALVES for pair in pairwise(half)]
                found[f"{species} {site} {kind}".strip()] = {
                    "windows": len(windows),
                    "neighbours_millinats": round(
                        1000 * float(np.mean([information(windows, i, j) for i, j in pairs])), 2
                    ),
                    "by_chance": round(4500 / len(windows), 2),
                    "varies_with_position": round(
                        max(float(common[half].std(axis=0).max()) for half in HALVES), 3
                    ),
                    "from_true_by_position": round(float(np.abs(common - true).max()), 3),
                    "from_true_by_half": round(
                        max(
                            float(np.abs((common - true)[half].mean(axis=0)).max())
                            for half in HALVES
                        ),
                        3,
                    ),
                }  # fmt: skip
    result = {
        "command": "benchmarks/splice_decoys.py",
        "data_sha256": digest.hexdigest(),
        "windows": found,
    }
    with atomic_output(options.output, force=True) as out:
        out.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
