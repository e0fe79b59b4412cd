"""How much a generator's RNAs look like their family: beside natural, emitted and shuffled ones.

    python benchmarks/rbm_family.py RF00162 --held-out held_out.fa -o rbm_family_RF00162.json

Compared are as many RNAs of each kind: made by the generator (its own steps and labels); training
rows; held-out rows (aligned FASTA), if given; RNAs emitted by the family's covariance model
(``cmemit`` of Infernal), aligned again by ``cmalign``; and training rows with their letters
shuffled (gaps stay). For each kind: bit scores of the covariance model and the share that reaches
the gathering threshold, share of consensus pairs that can pair, energies of the ensemble and of the
consensus fold, sites that differ from the nearest training row (of training rows: the nearest
other one).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stemloop.data.aligned import encode_rows, read_alignment
from stemloop.data.covariance import align
from stemloop.formats.fasta import read_sequences
from stemloop.tasks.generate_family import Order, Scorer, make
from stemloop.tasks.generators import Generator, open_generator


def emitted(generator: Generator, count: int, seed: int) -> np.ndarray:
    """States of RNAs that the covariance model emits."""
    model = generator.family
    assert model is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.cm").write_text(model.text)
        command = ["cmemit", "-N", str(count), "--seed", str(seed), "-o", "x.fa", "x.cm"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        rows = align(model, read_sequences(folder / "x.fa"))
    match = np.array([c not in "-._~" for c in rows.gc["RF"]])
    texts = ["".join(np.array(list(row))[match]) for row in rows.rows]
    return encode_rows(texts, "rna", ids=rows.ids)[0]


def shuffled(states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same letters in another order, gaps where they were."""
    result = states.copy()
    for row in result:
        there = row != 0
        row[there] = rng.permutation(row[there])
    return result


def summary(scorer: Scorer, states: np.ndarray, same: bool = False) -> dict[str, Any]:
    """Scores of rows; `same`: they are training rows."""
    generator = scorer.generator
    values = [found for _, found in scorer.rows(torch.tensor(states))]
    away = np.array([v["distance"] for v in values])
    if same:
        assert generator.training is not None
        away = np.array([_second(row, generator.training.states) for row in states])
    bits = np.array([v["cm_score"] for v in values])
    threshold = generator.family.gathering if generator.family else None
    middle = {
        key: round(float(np.median([v[key] for v in values])), 4)
        for key in ("cm_score", "pairs", "ensemble_energy", "consensus_energy", "free_energy")
    }
    return {
        "rows": len(states),
        "above_gathering": round(float((bits >= (threshold or 0)).mean()), 4),
        "median": middle,
        "cm_score_quartiles": [
            round(float(q), 1) for q in np.percentile(bits, [5, 25, 50, 75, 95])
        ],
        "distance_quartiles": [float(q) for q in np.percentile(away, [5, 25, 50, 75, 95])],
        "copies": round(float((away == 0).mean()), 4),
        "distinct": len(np.unique(states, axis=0)),
    }


def _second(row: np.ndarray, rows: np.ndarray) -> int:
    """Distance of a training row to the nearest other one."""
    return int(np.partition((rows != row).sum(1), 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generator", help="family of a bundled generator, or a folder")
    parser.add_argument("--held-out", type=Path, help="aligned rows that were held out")
    parser.add_argument("-n", "--count", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    generator = open_generator(args.generator)
    scorer = Scorer(generator, energies=True)
    rng = np.random.default_rng(args.seed)
    assert generator.training is not None
    assert generator.family is not None
    train = generator.training.states
    picked = train[rng.permutation(len(train))[: args.count]]
    made = make(generator, args.count, Order(steps=args.steps, seed=args.seed))
    letters = generator.training.letters
    states = np.array([[letters.index(c) for c in r.record.sequence] for r in made.results])
    kinds = {"generated": summary(scorer, states.astype(np.uint8))}
    kinds["training"] = summary(scorer, picked, same=True)
    if args.held_out:
        rows = read_alignment(args.held_out, format="fasta").states
        kinds["held_out"] = summary(scorer, rows[rng.permutation(len(rows))[: args.count]])
    kinds["emitted"] = summary(scorer, emitted(generator, args.count, args.seed + 1))
    kinds["shuffled"] = summary(scorer, shuffled(picked, rng))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "commit": commit or None,
        "generator": generator.facts["name"], "family": generator.facts["family"],
        "data_sha256": generator.facts["data_sha256"], "steps": args.steps, "seed": args.seed,
        "gathering": generator.family.gathering, "sites": train.shape[1],
        "training_rows": len(train), "kinds": kinds,
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
