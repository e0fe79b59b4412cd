"""Verified targets of bacterial sRNAs among other genes, ranked by energies.

For each sRNA of the IntaRNA benchmark (E. coli and Salmonella; start codon -200 to +100) its
verified targets and so many random genes a target are ranked by energies as `stemloop interact`
gives them. Nothing is trained. Report: area under the curve within each sRNA, averaged over
verified targets, with intervals over resampled sRNAs.

    python benchmarks/srna_targets.py IntaRNA-benchmark.tar.xz \\
        -o benchmarks/results/srna_targets.json
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import sys
import tarfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from stemloop.data.interactions import Pair
from stemloop.errors import StemloopError
from stemloop.formats.fasta import read_sequences
from stemloop.training.interaction_data import area_under_curve
from stemloop.training.interaction_features import PairInput


def members(path: Path) -> dict[str, bytes]:
    """Files of the archive by name."""
    with tarfile.open(path) as archive:
        return {
            m.name: archive.extractfile(m).read()  # type: ignore[union-attr]
            for m in archive.getmembers()
            if m.isfile()
        }


def pairs(files: dict[str, bytes], decoys: int, seed: int) -> list[Pair]:
    """Verified pairs, and so many random genes for each; the first name is ORGANISM/SRNA."""
    genes: dict[str, dict[str, str]] = {}
    srnas: dict[tuple[str, str], str] = {}
    for name, content in files.items():
        if not name.endswith((".fa", ".fasta")):
            continue
        records = list(read_sequences(io.BytesIO(content)))
        organism = name.split("/")[-3]
        if "/target/" in name:
            genes[organism] = {r.id: r.sequence for r in records}
        elif "/query/" in name:
            srnas[organism, name.split("/")[-1].split("_")[0]] = records[0].sequence
    (verified,) = (v for k, v in files.items() if k.endswith("verified_interactions.tsv"))
    known = defaultdict(list)
    for row in csv.DictReader(io.StringIO(verified.decode("utf-8", "replace")), delimiter="\t"):
        key = (row["organism"].strip(), row["sRNA"].strip())
        gene = row["gene"].strip()
        # Pairs that were verified by mutation of both partners are listed again: take each once.
        if key in srnas and gene in genes[key[0]] and gene not in known[key]:
            known[key].append(gene)
    rng = np.random.default_rng(seed)
    found: list[Pair] = []
    for (organism, srna), targets in sorted(known.items()):
        others = sorted(set(genes[organism]) - set(targets))
        drawn = rng.permutation(len(others))[: decoys * len(targets)]
        for gene, label in [(g, True) for g in targets] + [(others[k], False) for k in drawn]:
            first, second = srnas[organism, srna], genes[organism][gene]
            found.append(Pair(first, second, f"{organism}/{srna}", gene, label, len(found)))
    return found


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--decoys", type=int, default=5, help="random genes a verified target")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.monotonic()
    items = pairs(members(args.archive), args.decoys, args.seed)
    scores: dict[str, list[float]] = defaultdict(list)
    for pair in items:
        item = PairInput.of(pair)
        opening = item.opening_energy()
        scores["duplex energy"].append(-item.duplex.energy)
        scores["duplex and opening energy"].append(-item.duplex.energy - opening)
    names = np.array([pair.first_id for pair in items])
    true = np.array([bool(pair.label) for pair in items])
    units = sorted(set(names.tolist()))
    rng = np.random.default_rng(args.seed)
    draws = rng.integers(0, len(units), (1000, len(units)))
    methods = {}
    for method, values in scores.items():
        table = np.array(
            [
                (area_under_curve(true[names == u], np.array(values)[names == u]),
                 true[names == u].sum())
                for u in units
            ]
        )  # fmt: skip
        drawn = [np.average(table[d, 0], weights=table[d, 1]) for d in draws]
        value = np.average(table[:, 0], weights=table[:, 1])
        low, high = np.quantile(drawn, [0.025, 0.975])
        methods[method] = {
            k: round(float(v), 4) for k, v in (("value", value), ("low", low), ("high", high))
        }
    result = {
        "command": f"benchmarks/srna_targets.py {args.archive.name}",
        "data_sha256": hashlib.sha256(args.archive.read_bytes()).hexdigest(),
        "seed": args.seed, "srnas": len(units), "verified": int(true.sum()),
        "pairs": len(items), "decoys_a_target": args.decoys,
        "area_within_srnas": methods, "seconds": round(time.monotonic() - began, 1),
        "versions": {name: version(name) for name in ("stemloop", "ViennaRNA")},
    }  # fmt: skip
    args.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(methods, indent=2))


if __name__ == "__main__":
    try:
        main()
    except StemloopError as error:
        sys.exit(f"error: {error}")
