"""Two processes on CPUs (gloo) see the same losses as one, with DDP and with sharded parameters."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stemloop.weights.store import load

RECIPE: dict[str, Any] = {
    "task": "pretrain",
    "name": "two",
    "model": "stemloop-pico",
    # Dropout would draw other numbers in each process.
    "overrides": {
        "hidden": 32, "layers": 2, "heads": 2, "ffn_inner": 48, "residual_dropout": 0.0
    },
    "sampling": {"window": 124},
    "batch": {"tokens": 512, "packs": 4},
    "optimiser": {"learning_rate": 0.01, "warm_up": 2},
    "steps": 6,
    "log_every": 1,
    "save_every": 3,
    "evaluate_every": 3,
    "evaluate_packs": 3,
}  # fmt: skip


def run(recipe: Path, corpus: Path, output: Path, *options: str, processes: int = 1) -> str:
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
        command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    command += ["-m", "stemloop.cli.main", "pretrain", str(recipe), "--corpus", str(corpus)]
    done = subprocess.run(
        [*command, "--output", str(output), "--device", "cpu", *options],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    # The launcher's own traceback is last and long; what went wrong comes before it.
    assert done.returncode == 0 or "cannot be shared" in done.stderr, done.stderr[:6000]
    return done.stderr


def curve(output: Path) -> list[tuple[float, ...]]:
    found = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    keys = ("loss", "grad_norm", "masked_accuracy", "tokens", "eval_loss", "eval_masked_accuracy")
    return [tuple(line[key] for key in keys if key in line) for line in found]


@pytest.mark.slow
def test_two_processes_give_the_same_loss_curve_as_one(
    write_corpus: Callable[..., Path],
    random_rows: Callable[..., list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    corpus = write_corpus(train=random_rows(150), validation_clusters=random_rows(30, seed=1))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    run(recipe, corpus, tmp_path / "one")
    one = curve(tmp_path / "one")
    known = load(tmp_path / "one" / "model").encoder.state_dict()
    for parallel in ("ddp", "fsdp2"):
        output = tmp_path / parallel
        run(recipe, corpus, output, "--parallel", parallel, processes=2)
        two = curve(output)
        assert len(two) == len(one) == 8
        for a, b in zip(one, two, strict=True):
            assert a == pytest.approx(b, rel=2e-4)
        found = load(output / "model").encoder.state_dict()
        assert all(torch.allclose(known[k], found[k], atol=2e-3) for k in known)
    odd = tmp_path / "odd.yaml"
    odd.write_text(yaml.safe_dump(RECIPE | {"batch": {"tokens": 512, "packs": 3}}))
    assert "batch.packs 3 cannot be shared by 2 processes" in run(
        odd, corpus, tmp_path / "odd", processes=2
    )
