"""An RBM's training that is killed at any moment goes on, to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stemloop.training.rbm import train_rbm
from stemloop.training.rbm_recipe import RBMRecipe
from stemloop.training.recipe_base import read_recipe

RECIPE: dict[str, Any] = {
    "task": "rbm",
    "name": "killed",
    "data": {"file": "x.fa", "labels": {"header": r"label=(\w+)"}},
    "hidden": 30,
    "mode": "pcd",
    "batch": 50,
    "updates": 100,
    "optimiser": {"name": "adam", "learning_rate": 0.01},
    "save_every": 1,  # most of the time is spent writing: kills hit that, too
    "log_every": 1,
}


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with open(tmp_path / "x.fa", "w") as out:
        for i in range(120):
            row = "".join(rng.choice(list("-ACGU"), 30))
            out.write(f">r{i} label={'xy'[i % 2]}\n{row}\n")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    recipe = read_recipe(tmp_path / "recipe.yaml", RBMRecipe)
    train_rbm(recipe, tmp_path, tmp_path / "whole")
    run, chance = tmp_path / "killed", random.Random(3)
    metrics = run / "metrics.jsonl"
    command = [sys.executable, "-m", "stemloop.cli.main", "rbm", "train"]
    command += [str(tmp_path / "recipe.yaml"), "--data", str(tmp_path), "-o", str(run)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        lines = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
        wanted = lines + chance.randrange(3, 30)
        while process.poll() is None:
            if metrics.exists() and len(metrics.read_bytes().splitlines()) >= wanted:
                time.sleep(chance.random() * 0.02)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL
    assert not (run / "model.safetensors").exists()
    train_rbm(recipe, tmp_path, run)
    names = ["model.safetensors", "last.safetensors"]
    names += [f"ages/{p.name}" for p in (tmp_path / "whole" / "ages").iterdir()]
    for name in names:
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert len(metrics.read_text().splitlines()) == RECIPE["updates"]
    assert not list(run.rglob("*.tmp"))
