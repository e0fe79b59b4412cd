"""Seconds of one process, of shards side by side, and of Ray with one and two workers.

    python benchmarks/bulk_scaling.py --seed 0 -o benchmarks/results/bulk_scaling.json

`fold` (the default model) and `embed` (`stemloop-pico`), one thread a process, RNAs of one length.
``seconds`` is the whole command, start-up included; ``per_second`` is the rate between the first
finished block and the last, which is what remains of a long run. ``load_before`` is the load
average: on a machine of two cores anything above 0 takes from the second worker. ``cpu_seconds``,
of all processes but those of Ray, do not depend on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pyarrow import parquet

from stemloop.formats.stream import atomic_output


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=["fold", "embed"])
    parser.add_argument("--fold-rnas", type=int, default=500)
    parser.add_argument("--embed-rnas", type=int, default=2000)
    parser.add_argument("--length", type=int, default=100)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in options.tasks:
            count = {"fold": options.fold_rnas, "embed": options.embed_rnas}[task]
            source = folder / f"{task}.fa"
            draw = random.Random(options.seed)
            source.write_text(
                "".join(
                    f">r{k}\n{''.join(draw.choices('ACGU', k=options.length))}\n"
                    for k in range(count)
                )
            )
            more = ["--threads", "1"] if task == "embed" else []
            command = [task, str(source), *more]
            digests = set()
            for how, processes in (
                ("one process", 1), ("shards", 1), ("shards", 2), ("ray", 1), ("ray", 2)
            ):  # fmt: skip
                row, digest = measure(command, how, processes, folder / f"{task}-out")
                rows.append({"task": task, "rnas": count, **row})
                digests.add(digest)
                print(rows[-1], file=sys.stderr, flush=True)
            if len(digests) > 1:
                sys.exit(f"{task}: the outputs differ")
    result = {
        "benchmark": "bulk_scaling",
        "command": "python " + " ".join(sys.argv),
        "seed": options.seed,
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "length": options.length,
        "models": {"fold": "fold-crf", "embed": "stemloop-pico"},
        "outputs_are_the_same": True,
        "rows": rows,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in ("stemloop", "ray", "torch", "ViennaRNA")},
        },
    }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")


def measure(
    command: list[str], how: str, processes: int, stem: Path
) -> tuple[dict[str, object], str]:
    """One run of a command; the row and the checksum of its output."""
    program = [sys.executable, "-m", "stemloop.cli.main"]
    target = stem.with_suffix(".parquet")
    target.unlink(missing_ok=True)
    if how == "shards":
        layout = ["-f", "parquet"] if command[0] == "fold" else []
        parts = [stem.with_name(f"{k}.part") for k in range(1, processes + 1)]
        for part in parts:
            part.unlink(missing_ok=True)
        lines = [
            [*program, *command, *layout, "--shard", f"{k}/{processes}", "-o", str(part)]
            for k, part in enumerate(parts, 1)
        ]
        watched = [part.with_name(part.name + ".blocks") for part in parts]
    else:
        engine = ["--engine", "ray", "--workers", str(processes)] if how == "ray" else []
        lines = [[*program, *command, *engine, "-o", str(target)]]
        watched = [target.with_name(target.name + ".blocks")]
    load, used = os.getloadavg()[0], _cpu()
    began = time.monotonic()
    runs = [subprocess.Popen(line, env={**os.environ, "RAY_ADDRESS": "local"}) for line in lines]
    seen: list[tuple[float, int]] = []
    size = 0
    while any(run.poll() is None for run in runs):
        files = [path for folder in watched for path in folder.glob("block-*.part")]
        done = len(files)
        if files and not size:
            size = parquet.read_metadata(files[0]).num_rows
        if done and (not seen or done > seen[-1][1]):
            seen.append((time.monotonic(), done))
        time.sleep(0.02)
    if any(run.returncode for run in runs):
        sys.exit(f"{lines[0]} failed")
    seconds, used = time.monotonic() - began, _cpu() - used
    if how == "shards":
        merge = [*program, "merge", *map(str, parts), "-o", str(target)]
        subprocess.run(merge, check=True, stderr=subprocess.DEVNULL)
    row: dict[str, object] = {
        "how": how, "processes": processes, "seconds": round(seconds, 1)
    }  # fmt: skip
    if len(seen) > 1:
        (first, some), (last, all_) = seen[0], seen[-1]
        row["per_second"] = round((all_ - some) * size / (last - first), 1)
    if how != "ray":
        row["cpu_seconds"] = round(used, 1)
    row["load_before"] = round(load, 1)
    return row, hashlib.sha256(target.read_bytes()).hexdigest()


def _cpu() -> float:
    """CPU seconds of the processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
