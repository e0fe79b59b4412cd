"""SIGKILL in the middle of ``stemloop embed``; the same command with --resume ends the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.weights.store import save_model_dir


def command(source: Path, target: Path, model: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "stemloop.cli.main", "embed", str(source), "-o", str(target),
        "-m", str(model), "--pool", "mean", "--pool", "tokens", "--threads", "1",
        "--token-budget", "256", *more,
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_kill_and_resume(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=22, hidden=128, layers=4, heads=4, ffn_inner=512)
    model = save_model_dir(tmp_path / "model", config, RiNALMo(config).state_dict())
    draw = random.Random(0)
    source = tmp_path / "in.fa"
    lengths = [draw.randint(20, 250) for _ in range(300)]
    source.write_text(
        "".join(f">s\n{''.join(draw.choices('ACGU', k=length))}\n" for length in lengths)
    )
    whole, target = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    subprocess.run(command(source, whole, model), check=True, timeout=240)

    marks = tmp_path / f"out{suffix}.partial" / "done"
    run = subprocess.Popen(command(source, target, model))
    try:
        deadline = time.monotonic() + 240
        while not (marks.exists() and b"\x01" in marks.read_bytes()):
            assert run.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert run.returncode == -signal.SIGKILL
    assert not target.exists()
    done = marks.read_bytes()
    assert 0 < done.count(1) < len(done)

    again = subprocess.run(
        command(source, target, model), capture_output=True, text=True, timeout=240, check=False
    )
    assert again.returncode == 2
    assert "--resume" in again.stderr

    resumed = subprocess.run(
        command(source, target, model, "--resume"),
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    assert f"resuming: {done.count(1)} of {len(done)} batches are done" in resumed.stderr
    assert target.read_bytes() == whole.read_bytes()
    assert not marks.parent.exists()
