"""Throughput of an exported ONNX encoder in onnxruntime beside ``stemloop embed``, on the CPU.

    python benchmarks/onnx_throughput.py --data DATA

DATA holds ``2_secstruct/ArchiveII.csv.xz``. Both compute one mean vector a sequence of the same
RNAs, in one process, by turns, with the same number of threads: ours packed, onnxruntime on padded
rows of similar lengths (sorted, the same budget of tokens a batch). Preparing the sequences and
averaging are inside the measured time, loading and the first call are not. CPU seconds count where
the machine is busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnxruntime
import torch

from embed_throughput import commit, machine, sample
from stemloop import __version__
from stemloop.alphabet import Alphabet
from stemloop.cli.embed import keep_memory
from stemloop.models.presets import PRESETS
from stemloop.models.rinalmo import RiNALMo
from stemloop.tasks.embed import embed
from stemloop.weights.onnx_export import export_onnx, onnx_session
from stemloop.weights.store import load, save_model_dir


def with_onnx(
    session: onnxruntime.InferenceSession, alphabet: Alphabet, rnas: list[str], budget: int
) -> np.ndarray:
    """Mean vectors of the nucleotides, (N, d)."""
    ids, starts = alphabet.encode_many(rnas)
    sizes = np.diff(starts)
    order = np.argsort(-sizes, kind="stable")
    means: list[Any] = [None] * len(rnas)
    begin = 0
    while begin < len(order):
        longest = int(sizes[order[begin]])
        batch = order[begin : begin + max(budget // longest, 1)]
        rows = np.full((len(batch), longest), alphabet.pad_id, np.int64)
        for row, k in zip(rows, batch, strict=True):
            row[: sizes[k]] = ids[starts[k] : starts[k + 1]]
        mask = (np.arange(longest) < sizes[batch][:, None]).astype(np.int64)
        (out,) = session.run(None, {"input_ids": rows, "attention_mask": mask})
        for vectors, k in zip(out, batch, strict=True):
            means[k] = vectors[1 : sizes[k] - 1].mean(axis=0)
        begin += len(batch)
    return np.stack(means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["stemloop-pico", "rinalmo-micro"])
    parser.add_argument("--limit", type=int, default=200, help="RNAs")
    parser.add_argument("--lengths", type=int, nargs=2, default=(30, 500), help="nt")
    parser.add_argument("--token-budget", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    default = Path(__file__).parent / "results" / "onnx_throughput.json"
    parser.add_argument("-o", "--output", type=Path, default=default)
    options = parser.parse_args()

    began = time.perf_counter()
    torch.set_num_threads(options.threads)
    keep_memory()
    rnas, digest = sample(options.data, options.limit, options.lengths, options.seed)
    nucleotides = sum(map(len, rnas))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            place: Path | str = name
            if name not in ("stemloop-pico",):  # random weights of a published size
                torch.manual_seed(options.seed)
                state = RiNALMo(PRESETS[name]).state_dict()
                place = save_model_dir(Path(folder) / name, PRESETS[name], state)
            file = Path(folder) / f"{name}.onnx"
            parity = export_onnx(place, file)
            session = onnx_session(str(file), options.threads)
            alphabet = load(place).alphabet
            budget = options.token_budget

            def ours(place: Path | str = place, budget: int = budget) -> np.ndarray:
                found = embed(rnas, place, token_budget=budget, device="cpu")
                return np.stack([result.arrays["mean"] for result in found])

            def theirs(session: Any = session, alphabet: Alphabet = alphabet) -> np.ndarray:
                return with_onnx(session, alphabet, rnas, options.token_budget)

            seconds: dict[str, list[tuple[float, float]]] = {"stemloop": [], "onnxruntime": []}
            vectors: dict[str, np.ndarray] = {}
            load_before = os.getloadavg()[0]
            for turn in range(options.rounds + 1):
                for kind, run in (("stemloop", ours), ("onnxruntime", theirs)):
                    wall, cpu = time.perf_counter(), time.process_time()
                    vectors[kind] = run()
                    spent = (time.process_time() - cpu, time.perf_counter() - wall)
                    if turn:  # the first is for warming up
                        seconds[kind].append(spent)
            rates = {
                kind: {
                    "nt_per_cpu_second": nucleotides / statistics.median(c for c, _ in spent),
                    "nt_per_second": nucleotides / statistics.median(w for _, w in spent),
                    "cpu_seconds": [round(c, 3) for c, _ in spent],
                }
                for kind, spent in seconds.items()
            }
            results[name] = {
                **rates,
                "onnxruntime / stemloop, nt per CPU second": rates["onnxruntime"][
                    "nt_per_cpu_second"
                ] / rates["stemloop"]["nt_per_cpu_second"],
                "parity_tokens_max_abs": parity,
                "mean_vectors_max_abs": float(
                    np.abs(vectors["stemloop"] - vectors["onnxruntime"]).max()
                ),
                "file_mib": round(file.stat().st_size / 2**20, 1),
                "load_before_after": [load_before, os.getloadavg()[0]],
            }  # fmt: skip
            print(name, json.dumps(results[name]), file=sys.stderr)
    report = {
        "what": __doc__.splitlines()[0],
        "command": f"python benchmarks/onnx_throughput.py --data DATA --limit {options.limit}",
        "machine": machine(),
        "versions": {
            "stemloop": __version__, "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "commit": commit(), "seed": options.seed, "threads": options.threads,
        "token_budget": options.token_budget, "rounds": options.rounds,
        "seconds": round(time.perf_counter() - began, 1),
        "data": {"file": "ArchiveII.csv.xz", "sha256": digest, "rnas": len(rnas),
                 "nucleotides": nucleotides},
        "results": results,
    }  # fmt: skip
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(options.output)


if __name__ == "__main__":
    main()
