"""A pre-training run that is killed at any moment goes on, to the same weights bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPE: dict[str, Any] = {
    "task": "pretrain",
    "name": "killed",
    "model": "stemloop-pico",
    "overrides": {"hidden": 32, "layers": 2, "heads": 2, "ffn_inner": 48},  # with dropout
    "masking": {"base": 1, "subsequence": 1},
    "sampling": {"window": 124},
    "batch": {"tokens": 512, "packs": 2},
    "optimiser": {"learning_rate": 0.01, "warm_up": 2},
    "steps": 40,
    "log_every": 1,
    "save_every": 1,  # most of the time is spent writing checkpoints: kills hit those, too
    "evaluate_every": 10,
    "evaluate_packs": 2,
}


@pytest.mark.slow
def test_sigkill_at_random_moments(
    write_corpus: Callable[..., Path],
    random_rows: Callable[..., list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    corpus = write_corpus(train=random_rows(150), validation_clusters=random_rows(30, seed=1))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))

    def command(output: Path) -> list[str]:
        start = [sys.executable, "-m", "stemloop.cli.main", "pretrain", str(recipe)]
        return [*start, "--corpus", str(corpus), "--output", str(output), "--device", "cpu"]

    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path / "whole"), env=env, check=True, capture_output=True)
    run = tmp_path / "killed"
    chance = random.Random(7)
    metrics = run / "metrics.jsonl"
    for _ in range(3):
        lines = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
        process = subprocess.Popen(
            command(run), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        more = chance.randrange(2, 9)
        while process.poll() is None:
            now = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
            if now >= lines + more:
                time.sleep(chance.random() * 0.1)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.wait()
    done = subprocess.run(command(run), env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ["model/model.safetensors", "model/config.json"]
    for name in names:
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    steps = [line.split(b",")[0] for line in metrics.read_bytes().splitlines()]
    whole = (tmp_path / "whole" / "metrics.jsonl").read_bytes().splitlines()
    assert steps == [line.split(b",")[0] for line in whole]
