"""Peak memory and time of RiNALMo's pair head, as published and with the factorised projection.

    python benchmarks/pair_head_memory.py -o benchmarks/results/pair_head_memory.json

Random representations of giga's width, 1280. Every line is measured in a process of its own: peak
resident memory of the operating system (``ru_maxrss``) minus that of the process after its imports
and a small warm-up. ``map`` is the first map of 64 x L x L alone, ``predict`` the whole head
without gradients, ``train`` loss and gradients. ``concatenation`` is the published form: 2 x 1280
numbers [e_i ; e_j] for every pair, then the same layers. CPU seconds say what the work costs; one
thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from stemloop.formats.stream import atomic_output

WIDTH = 1280

CHILD = """
import json, resource, sys, time
import numpy as np, torch
from torch.nn import functional as F
from stemloop.models.pair_head import PairHead, pair_loss
form, part, dtype = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3])
length, width = int(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(1)
torch.manual_seed(0)
head = PairHead(width).to(dtype)
head.gradient_checkpointing = form == "checkpointing"
def first(x):
    if form != "concatenation":
        return head.pair_map(x)
    n = len(x)
    joined = torch.cat((x[:, None].expand(-1, n, -1), x[None].expand(n, -1, -1)), dim=-1)
    return head.linear_in(joined).permute(2, 0, 1)
def whole(x):
    if form != "concatenation":
        return head(x)
    y = first(x)[None]
    for block in head.resnet.blocks:
        y = y + block.conv_net(y)
    y = head.conv_out(y)[0, 0].triu(1)
    return y + y.T
def work(n):
    x = torch.randn(n, width).to(dtype)
    if part == "train":
        loss = pair_loss(whole(x), np.array([[0, n - 1]]))
        loss.backward()
        return float(loss.detach())
    with torch.no_grad():
        return (first(x) if part == "map" else whole(x)).shape
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
work(16)
before, began = peak(), time.process_time()
work(length)
print(json.dumps({"peak_mib": round(peak() - before, 1),
                  "cpu_seconds": round(time.process_time() - began, 1)}))
"""

#: Form, part, dtype, length.
LINES = [
    ("factorised", "map", "bfloat16", 1024),
    ("concatenation", "map", "bfloat16", 1024),
    ("factorised", "map", "float32", 1024),
    ("factorised", "predict", "bfloat16", 1024),
    ("factorised", "predict", "float32", 1024),
    ("concatenation", "predict", "float32", 512),
    ("factorised", "predict", "float32", 512),
    ("concatenation", "train", "float32", 256),
    ("factorised", "train", "float32", 256),
    ("checkpointing", "train", "float32", 256),
]


def main() -> None:
    """Run the lines and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    lines = []
    for form, part, dtype, length in LINES:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, form, part, dtype, str(length), str(WIDTH)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        line = {"form": form, "part": part, "dtype": dtype, "length": length}
        if done.returncode:
            # The published form may be more than the machine holds.
            line["failed"] = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        else:
            line |= json.loads(done.stdout)
        if form == "concatenation":
            size = 2 if dtype == "bfloat16" else 4
            line["concatenation_alone_mib"] = round(2 * WIDTH * length**2 * size / 2**20, 1)
        print(json.dumps(line), file=sys.stderr, flush=True)
        lines.append(line)
    report = {
        "what": "pair head of width 1280, peak memory above the idle process",
        "stemloop": version("stemloop"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "lines": lines,
    }
    with atomic_output(options.output, force=options.force) as out:
        out.write(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
