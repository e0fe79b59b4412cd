"""How much of motif masking lands in motifs: RNAErnie's published behaviour beside ours.

    python benchmarks/motif_hits.py --data DATA -o benchmarks/results/motif_hits.json

First, of each published motif list: the entries that can match an RNA at all. Then real RNAs are
masked by the motif strategy and by the equal mixture of all three, as published and as here, with
the same motifs, options and budget; base masking shows what chance does. A motif counts as hidden
where one of its occurrences consists of targets altogether. How much of an RNA lies in motifs of
some length is compared with the same RNA shuffled. The RNAs: a random member of each of
random Rfam families, and random human long noncoding RNAs; cropped at random to 508 letters, what
RNAErnie reads. Last, the time a sample takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stemloop.alphabet import RNAERNIE, STEMLOOP, normalise
from stemloop.data.masking import NO_TARGET, MaskingOptions, make_sample
from stemloop.data.motifs import MotifFinder, MotifSet, matchable
from stemloop.formats.alignment import read_alignments
from stemloop.formats.fasta import read_sequences
from stemloop.formats.motifs import read_motifs
from stemloop.formats.stream import atomic_output
from stemloop.weights.locate import sha256_file

LISTS = {
    "ATtRACT": "8_motifs/RNAErnie_ATtRACT.txt",
    "SpliceAid": "8_motifs/RNAErnie_SpliceAid.txt",
    "Statistics": "8_motifs/RNAErnie_Statistics.txt",
}
RNAS = {
    "rfam_seeds": "1_pretrain/rfam_14.2/Rfam.14.2.seed.sto.xz",
    "human_lncRNA": "1_pretrain/lncrna/cpat/Human_noncoding_transcripts_RNA.fa.gz",
}
WINDOW, SPECIALS = 512, 4
SHORTEST = (4, 5, 6, 7, 8, 10)
STRATEGIES = {
    "base": {"base": 1.0},
    "motif": {"base": 0.0, "motif": 1.0},
    "mixture": {"base": 1.0, "subsequence": 1.0, "motif": 1.0},
}
Json = dict[str, Any]


def rfam_seeds(path: Path, rng: np.random.Generator) -> list[str]:
    """One random member of every family."""
    members = []
    for alignment in read_alignments(path):
        row = alignment.rows[int(rng.integers(len(alignment.rows)))]
        members.append(row.replace("-", "").replace(".", ""))
    return members


def draw(texts: Sequence[str], count: int, rng: np.random.Generator) -> list[Any]:
    """Token ids of random RNAs, cropped."""
    rnas = []
    for k in rng.permutation(len(texts))[:count].tolist():
        ids = RNAERNIE.encode(texts[k], special=False)
        start = int(rng.integers(max(0, len(ids) - WINDOW + SPECIALS) + 1))
        rnas.append(ids[start : start + WINDOW - SPECIALS])
    return rnas


def entries(words: list[str]) -> Json:
    """How many entries of a list can match."""
    return {
        "entries": len(words),
        "can_match_published": len(matchable(words, published=True)),
        "can_match": len(matchable(words)),
        "different_words_published": len(set(matchable(words, published=True))),
        "different_words": len(set(map(normalise, matchable(words)))),
    }


def masked(rnas: list[Any], motifs: MotifSet, known: MotifFinder, **settings: Any) -> Json:
    """What one way of masking does to the RNAs.

    `known` finds the motifs in their right spelling, whatever the way of masking can find.
    """
    options = MaskingOptions(window=WINDOW, type_mask=0.0, **settings)
    sample = make_sample(options, RNAERNIE, motifs)
    uracil = RNAERNIE.ids["T"]
    totals = dict.fromkeys(("targets", "budget", "inside", "in_hidden", "uracil", "empty"), 0)
    hidden_words: set[bytes] = set()
    for k, ids in enumerate(rnas):
        _, labels = sample(ids, -1, np.random.default_rng((1, k)))
        target = labels[1:-1] != NO_TARGET
        inside, in_hidden = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
        for start, stop in known(ids)[0]:
            inside[start:stop] = True
            if target[start:stop].all():
                in_hidden[start:stop] = True
                hidden_words.add(ids[start:stop].tobytes())
        totals["targets"] += int(target.sum())
        totals["budget"] += int(options.budget(len(ids)))
        totals["inside"] += int((target & inside).sum())
        totals["in_hidden"] += int(in_hidden.sum())
        totals["uracil"] += int((target & (ids == uracil)).sum())
        totals["empty"] += not target.any()
    targets = max(1, totals["targets"])
    return {
        "targets": totals["targets"],
        "share_of_budget_used": round(totals["targets"] / totals["budget"], 4),
        "rnas_without_target": totals["empty"],
        "share_of_targets_inside_database_motifs": round(totals["inside"] / targets, 4),
        "share_of_targets_in_hidden_database_motifs": round(totals["in_hidden"] / targets, 4),
        "different_database_motifs_hidden": len(hidden_words),
        "share_of_U_among_targets": round(totals["uracil"] / targets, 4),
    }


def coverage(rnas: list[Any], motifs: MotifSet) -> Json:
    """Share of letters inside database motifs of so many letters or more, and by chance."""
    rng = np.random.default_rng(2)
    shuffled = [rng.permutation(ids) for ids in rnas]
    result: Json = {}
    for shortest in SHORTEST:
        words = tuple(word for word in motifs.databases if len(word) >= shortest)
        find = MotifSet(words).finder(RNAERNIE)
        shares = []
        for texts in (rnas, shuffled):
            inside = total = 0
            for ids in texts:
                hit = np.zeros(len(ids), bool)
                for start, stop in find(ids)[0]:
                    hit[start:stop] = True
                inside += int(hit.sum())
                total += len(ids)
            shares.append(round(inside / total, 4))
        result[str(shortest)] = dict(zip(("rnas", "shuffled_rnas"), shares, strict=True))
    return result


def speed(motifs: MotifSet, length: int = 150, samples: int = 3000) -> Json:
    """Microseconds a sample takes on one core: the best of five rounds."""
    rng = np.random.default_rng(0)
    rnas = [rng.integers(5, 9, length).astype(np.uint8) for _ in range(samples)]
    result: Json = {"letters": length}
    for name in ("base", "subsequence", "motif"):
        settings = {"base": 0.0} | {name: 1.0}
        sample = make_sample(MaskingOptions(**settings), STEMLOOP, motifs)
        rounds = []
        for _ in range(5):
            began = time.process_time()
            for ids in rnas:
                sample(ids, 3, rng)
            rounds.append(time.process_time() - began)
        result[f"microseconds_{name}"] = round(min(rounds) / samples * 1e6, 1)
    return result


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--rnas", type=int, default=2000, help="of each group")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()

    words = {name: read_motifs(options.data / path) for name, path in LISTS.items()}
    motifs = MotifSet((*words["ATtRACT"], *words["SpliceAid"]), tuple(words["Statistics"]))
    # What is counted with knows all spellings.
    known = MotifSet(motifs.databases).finder(RNAERNIE)
    groups: Json = {}
    for group, path in RNAS.items():
        rng = np.random.default_rng((options.seed, len(groups)))
        source = options.data / path
        texts = (
            rfam_seeds(source, rng)
            if group == "rfam_seeds"
            else [record.sequence for record in read_sequences(source)]
        )
        rnas = draw(texts, options.rnas, rng)
        joined = np.concatenate(rnas)
        uracil = float((joined == RNAERNIE.ids["T"]).mean())
        groups[group] = {
            "rnas": len(rnas),
            "letters": len(joined),
            "share_of_U": round(uracil, 4),
            "share_of_letters_inside_database_motifs_of_at_least": coverage(rnas, motifs),
            **{
                name: {
                    way: masked(rnas, motifs, known, published=way == "published", **weights)
                    for way in ("published", "stemloop")
                }
                for name, weights in STRATEGIES.items()
            },
        }
    result = {
        "benchmark": "motif_hits",
        "command": f"python benchmarks/motif_hits.py --rnas {options.rnas} --seed {options.seed}",
        "seed": options.seed,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("stemloop", "numpy", "pyahocorasick")},
        },
        "data_sha256": {
            path: sha256_file(options.data / path) for path in (*LISTS.values(), *RNAS.values())
        },
        "entries": {name: entries(found) for name, found in words.items()},
        "masking": groups,
        "sample_time": speed(motifs),
    }
    result["seconds"] = round(time.perf_counter() - began, 1)
    result["cpu_seconds"] = round(time.process_time(), 1)
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")


if __name__ == "__main__":
    sys.exit(main())
