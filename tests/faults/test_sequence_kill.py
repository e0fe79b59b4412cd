"""SIGKILL in the middle of ``stemloop finetune sequence``; the same command ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from stemloop.models.build import new_encoder
from stemloop.models.presets import EncoderConfig
from stemloop.weights.store import save_model_dir

RECIPE = """\
task: classify
name: tiny
data: [{file: a.csv}]
split: {validation: 0.2, test: 0.2}
leakage: null
head: {hidden: 8, dropout: 0.3}
epochs: 3
patience: 3
batch_size: 4
save_every: 3
"""


def test_kill_and_resume(cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64)
    model = save_model_dir(tmp_path / "model", config, new_encoder(config).state_dict())
    rng = np.random.default_rng(0)
    rows = [f"{''.join(rng.choice(list('ACGU'), 60))},{'ab'[k % 2]}" for k in range(120)]
    (tmp_path / "a.csv").write_text("sequence,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "r.yaml").write_text(RECIPE)

    def command(output: str) -> list[str]:
        return [
            "finetune", "sequence", str(tmp_path / "r.yaml"), "-m", str(model),
            "--data", str(tmp_path), "-o", str(tmp_path / output), "--encoder", "full",
        ]  # fmt: skip

    assert cli(*command("whole")).code == 0
    state = tmp_path / "run" / "state.pt"
    run = subprocess.Popen(
        [sys.executable, "-m", "stemloop.cli.main", *command("run")],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not state.exists():
            assert run.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert cli(*command("run")).code == 0
    for name in ("model.safetensors", "head.safetensors"):
        whole, resumed = (tmp_path / run / "model" / name for run in ("whole", "run"))
        assert whole.read_bytes() == resumed.read_bytes()
