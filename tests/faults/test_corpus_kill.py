"""SIGKILL in ``stemloop corpus build``, stage after stage; the same command ends with the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLUSTERER = "mmseqs" if shutil.which("mmseqs") else "none"


def command(source: Path, target: Path) -> list[str]:
    return [
        sys.executable, "-m", "stemloop.cli.main", "corpus", "build", str(source),
        "-o", str(target), "--clusterer", CLUSTERER, "--shard-size", "500",
        "--hold-out-families", "0.1",
    ]  # fmt: skip


def kill_when(call: list[str], state: Path, ready: Callable[[dict[str, Any]], bool]) -> bool:
    """Kill the program when its state file says so; tell whether it was still running."""
    run = subprocess.Popen(call, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 240
        while run.poll() is None:
            assert time.monotonic() < deadline
            if state.exists() and ready(json.loads(state.read_text())):
                break
            time.sleep(0.001)
    finally:
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
        run.wait()
    return run.returncode == -signal.SIGKILL


def test_killed_at_every_stage(tmp_path: Path) -> None:
    draw = random.Random(0)
    source = tmp_path / "in"
    source.mkdir()
    for number in range(4):
        with open(source / f"RF0000{number + 1}.fa", "w") as out:
            for k in range(2500):
                out.write(f">r{number}-{k}\n{''.join(draw.choices('ACGU', k=80))}\n")
    whole, target = tmp_path / "whole", tmp_path / "corpus"
    subprocess.run(command(source, whole), check=True, timeout=240, stderr=subprocess.DEVNULL)

    state = target / ".partial" / "state.json"
    marks: list[Callable[[dict[str, Any]], bool]] = [
        lambda s: s.get("reading", {}).get("file", 0) >= 1,
        *(lambda s, stage=stage: stage in s["done"] for stage in ("read", "unique", "clusters")),
        lambda s: "arrange" in s["done"],
    ]
    killed = 0
    for ready in marks:
        killed += kill_when(command(source, target), state, ready)
        if killed:
            assert (target / "manifest.json").exists() == (not state.exists())
    assert killed >= 4
    if state.exists():
        subprocess.run(command(source, target), check=True, timeout=240)
    found = {p.name: p.read_bytes() for p in target.iterdir()}
    assert found == {p.name: p.read_bytes() for p in whole.iterdir()}
