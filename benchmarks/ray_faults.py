"""Workers and the driver of a bulk run on Ray are killed; the output stays that of one process.

    python benchmarks/ray_faults.py --seed 0 -o benchmarks/results/ray_faults.json

`stemloop fold --engine ray` with two worker processes on a local cluster; RNAs of one length are a
block each. At five points, drawn by the seed from the number of finished blocks, SIGKILL goes to a
worker or to the driver; after that of a driver the same command is called again. At the end the
Parquet file is compared, byte for byte, with that of the command without ``--engine``, and the
block folder must be gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from stemloop.formats.stream import atomic_output


def main() -> None:
    """Run and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rnas", type=int, default=60, help="at most 256")
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--model", default="turner2004")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kinds = ["worker", "worker", "worker", "driver", "driver"]
    draw.shuffle(kinds)
    points = sorted(draw.sample(range(1, options.rnas - 20), len(kinds)))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.fa"
        source.write_text(
            "".join(
                f">r{k}\n{''.join(draw.choices('ACGU', k=options.length))}\n"
                for k in range(options.rnas)
            )
        )
        command = [
            sys.executable, "-m", "stemloop.cli.main", "fold", str(source),
            "--model", options.model, "-o",
        ]  # fmt: skip
        subprocess.run([*command, str(folder / "one.parquet")], check=True)
        kills = with_kills(
            [*command, str(folder / "ray.parquet"), "--engine", "ray", "--workers", "2"],
            folder / "ray.parquet", list(zip(points, kinds, strict=True)),
        )  # fmt: skip
        one, ray = (folder / f"{kind}.parquet" for kind in ("one", "ray"))
        result = {
            "benchmark": "ray_faults",
            "command": "python " + " ".join(sys.argv),
            "seed": options.seed,
            "commit": subprocess.run(
                ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
            ).stdout.strip(),
            "input_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            "rnas": options.rnas,
            "length": options.length,
            "model": options.model,
            "blocks": options.rnas,
            "workers": 2,
            "kills": kills,
            "same_bytes": one.read_bytes() == ray.read_bytes(),
            "sha256": hashlib.sha256(ray.read_bytes()).hexdigest(),
            "left_behind": sorted(p.name for p in folder.iterdir() if p not in (source, one, ray)),
            "seconds": round(time.monotonic() - began, 1),
            "load_average": round(os.getloadavg()[0], 1),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("stemloop", "ray", "ViennaRNA", "pyarrow")},
            },
        }
    with atomic_output(options.output, force=True) as out:
        json.dump(result, out, indent=2)
        out.write("\n")
    if not result["same_bytes"] or result["left_behind"]:
        sys.exit("the output differs, or something is left behind")


def with_kills(
    command: list[str], output: Path, points: list[tuple[int, str]]
) -> list[dict[str, object]]:
    """Run the command to its end, killing somebody at each point; what was killed when."""
    env = {**os.environ, "RAY_ADDRESS": "local"}
    folder = output.with_name(output.name + ".blocks")
    kills: list[dict[str, object]] = []
    run = subprocess.Popen(command, env=env)
    for point, kind in points:
        while len(list(folder.glob("block-*.part"))) < point:
            if run.poll() is not None:
                raise SystemExit(f"the run ended with {run.returncode} before point {point}")
            time.sleep(0.01)
        done = len(list(folder.glob("block-*.part")))
        if kind == "worker":
            pid = newest_worker(folder)
        else:
            pid = run.pid
        os.kill(pid, signal.SIGKILL)
        kills.append({"killed": kind, "planned_at": point, "blocks_done": done})
        if kind == "driver":
            run.wait()
            run = subprocess.Popen(command, env=env)
    if run.wait():
        raise SystemExit(f"the run ended with {run.returncode}")
    return kills


def newest_worker(folder: Path) -> int:
    """A worker that is alive: the one that began a block last."""
    while True:
        notes = sorted(folder.glob("*.tries"), key=lambda p: p.stat().st_mtime, reverse=True)
        for note in notes:
            pid = int(note.read_text().split()[-1].rpartition(":")[2])
            if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
                return pid
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


if __name__ == "__main__":
    main()
