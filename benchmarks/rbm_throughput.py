"""Updates a second of RBM training beside rbms and annadca, and the time of 10,000 samples.

    python benchmarks/rbm_throughput.py --peer-bin PEER/bin -o rbm_throughput.json

All train on the same random alignment (10,000 rows, 100 sites, 5 states, 5 labels) with batches and
chains of 1,000 and 10 Gibbs steps, by their command lines, in processes of their own, one after the
other. Each is run for a few updates and for some more: the difference is the cost of the updates,
without start, reading and saving, in CPU seconds: the machine may do other things besides. On a
device (``--device cuda``) it is wall seconds, so nothing else should run. PEER is an environment
with ``rbms==0.5.0``, ``annadca==0.2.3`` and the same torch; a program that is not there is left
out. rbms knows no labels; ``ff`` makes two updates a batch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROWS, SITES, LABELS, BATCH, STEPS = 10_000, 100, 5, 1000, 10


def write_data(folder: Path) -> None:
    """The alignment as FASTA and as CSV, and our recipe."""
    rng = np.random.default_rng(0)
    letters = np.array(list("-ACGU"))
    own = rng.integers(0, 5, (LABELS, SITES))
    label = rng.integers(0, LABELS, ROWS)
    noise = rng.integers(0, 5, (ROWS, SITES))
    rows = letters[np.where(rng.random((ROWS, SITES)) < 0.4, own[label], noise)]
    with open(folder / "x.fasta", "w") as fasta, open(folder / "x.csv", "w") as table:
        table.write("name,sequence,label\n")
        for i, row in enumerate(rows):
            text = "".join(row)
            fasta.write(f">r{i}\n{text}\n")
            table.write(f"r{i},{text},l{label[i]}\n")
    (folder / "recipe.yaml").write_text(
        "task: rbm\nname: throughput\nhidden: 1\nupdates: 1\nages: 1\nbatch: 1000\nsteps: 10\n"
        "log_every: 10000\nsave_every: 10000\n"
        "data: {file: x.csv, name: name, labels: {column: label}, split: null}\n"
    )


def commands(
    folder: Path, peers: Path | None, hidden: int, updates: int, out: str, device: str
) -> dict:
    """Command line of every program."""
    python = [sys.executable, "-m", "stemloop.cli.main"]
    ours = [*python, "rbm", "train", "recipe.yaml", "--data", ".", "--set", f"hidden={hidden}"]
    ours += ["--set", f"updates={updates}", "--device", device]
    found: dict[str, list[str]] = {
        "stemloop ff": [*ours, "-o", f"{out}-ff"],
        "stemloop pcd": [*ours, "--set", "mode=pcd", "-o", f"{out}-pcd"],
        "stemloop pcd bf16": [
            *ours,
            "--set",
            "mode=pcd",
            "--set",
            "chain_dtype=bfloat16",
            "-o",
            f"{out}-bf16",
        ],  # fmt: skip
    }
    if peers and (peers / "rbms").exists():
        found["rbms pcd"] = [
            str(peers / "rbms"), "train", "-d", "x.fasta", "--alphabet", "rna", "--device", device,
            "--dtype", "float", "--num_hiddens", str(hidden), "--batch_size", str(BATCH),
            "--num_chains", str(BATCH), "--gibbs_steps", str(STEPS), "--train_size", "0.9",
            "--num_updates", str(updates), "--n_save", "1", "-o", f"{out}.h5",
        ]  # fmt: skip
    if peers and (peers / "annadca").exists():
        found["annadca pcd"] = [
            str(peers / "annadca"), "train", "-d", "x.csv", "--alphabet", "rna", "-H", str(hidden),
            "--gibbs_steps", str(STEPS), "--nchains", str(BATCH), "--nepochs", str(updates),
            "--no_reweighting", "--device", device, "-o", f"{out}-anna",
            *(["--no-triton"] if device == "cpu" else []),
        ]  # fmt: skip
    return found


def measure(command: list[str], folder: Path, threads: int, device: str) -> float:
    """CPU seconds of a process, or on a device the seconds that it took."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    env["WANDB_MODE"] = "disabled"
    if "stemloop.cli.main" in command:
        command = [*command, "--threads", str(threads)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    if device != "cpu":
        return time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sampling(hidden: int, device: str) -> dict[str, float]:
    """Seconds for 10,000 sequences after 10 steps, random start, one thread (or the device)."""
    import torch

    from stemloop.models.rbm import RBM
    from stemloop.models.rbm_chains import generate
    from stemloop.models.rbm_config import RBMConfig
    from stemloop.tasks.generate import sample
    from stemloop.weights.rbm_store import StoredRBM

    torch.set_num_threads(1)
    config = RBMConfig("potts", SITES, hidden, "-ACGU", tuple(f"l{k}" for k in range(LABELS)))
    generator = torch.Generator(device).manual_seed(0)
    shapes = config.shapes()
    machine = RBM(
        config,
        {k: 0.1 * torch.randn(s, generator=generator, device=device) for k, s in shapes.items()},
    )
    result = {}
    if device != "cpu":  # the first call makes the device's tables
        generate(machine, machine.random_labels(10, generator), 1, generator).cpu()
    start, cpu = time.perf_counter(), time.process_time()
    generate(machine, machine.random_labels(10_000, generator), 10, generator).cpu()
    result |= {"chain_cpu": time.process_time() - cpu, "chain": time.perf_counter() - start}
    start, cpu = time.perf_counter(), time.process_time()
    made = sample(StoredRBM(machine, {}), 2000)
    result |= {"scored_cpu": time.process_time() - cpu, "scored": time.perf_counter() - start}
    assert len(made) == 10_000
    return {k: round(v, 3) for k, v in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-bin", type=Path, help="bin folder of the peers' environment")
    parser.add_argument("--hidden", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--updates", type=int, nargs=2, default=[5, 45])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    peers = args.peer_bin.resolve() if args.peer_bin else None
    result: dict[str, Any] = {
        "task": f"{ROWS} x {SITES} x 5, {LABELS} labels, batch {BATCH}, {STEPS} steps, fp32",
        "device": args.device,
        "threads": args.threads,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "versions": {"torch": version("torch"), "stemloop": version("stemloop")},
        "peers": {"rbms": "0.5.0", "annadca": "0.2.3"} if peers else {},
        "hidden": {},
    }
    low, high = args.updates
    unit = "cpu_seconds" if args.device == "cpu" else "seconds"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        for hidden in args.hidden:
            costs: dict[str, list[float]] = {}
            for turn in range(args.repeats):
                short = commands(folder, peers, hidden, low, f"{hidden}-{turn}-low", args.device)
                long = commands(folder, peers, hidden, high, f"{hidden}-{turn}-high", args.device)
                for program in short:
                    one = measure(short[program], folder, args.threads, args.device)
                    two = measure(long[program], folder, args.threads, args.device)
                    cost = (two - one) / (high - low)
                    costs.setdefault(program, []).append(cost)
                    print(f"H {hidden}: {program}: {cost:.4f} {unit} an update", flush=True)
            entry: dict[str, Any] = {}
            for program, values in costs.items():
                middle = statistics.median(values)
                entry[program] = {f"{unit}_an_update": round(middle, 5)}
            result["hidden"][str(hidden)] = entry
        result["sampling_10000_sequences_10_steps"] = {
            str(h): sampling(h, args.device) for h in args.hidden
        }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
