"""``--engine ray`` on a local cluster of two processes: the bytes of one process, whoever dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stemloop.models.presets import EncoderConfig
from stemloop.models.rinalmo import RiNALMo
from stemloop.tasks.bulk import block_folder, block_name
from stemloop.tasks.bulk_ray import INPUT, TRIES, Worker, _write_input, start_ray
from stemloop.tasks.bulk_records import plan_fold
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.weights.store import save_model_dir

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two processors of this machine as a cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra 'cluster')")
    start_ray(ray, address="local", num_cpus=2, object_store_memory=100_000_000)
    yield ray
    ray.shutdown()


def random_rnas(path: Path, count: int, longest: int, seed: int = 0) -> Path:
    draw = random.Random(seed)
    with open(path, "w") as out:
        for k in range(count):
            letters = "".join(draw.choices("ACGU", k=draw.randint(longest // 2, longest)))
            out.write(f">r{k}\n{letters}\n")
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_and_a_driver_are_killed(cluster: Any, cli: Cli, tmp_path: Path) -> None:
    source = random_rnas(tmp_path / "in.fa", 100, 200)
    command = ["fold", str(source), "--model", "turner2004", "-o"]
    whole, target = tmp_path / "whole.parquet", tmp_path / "ray.parquet"
    assert cli(*command, whole).code == 0
    blocks = tmp_path / "ray.parquet.blocks"
    run = subprocess.Popen(
        [sys.executable, "-m", "stemloop.cli.main", *command, str(target), "--engine", "ray",
         "--workers", "1"],
        env={**os.environ, "RAY_ADDRESS": "local"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def wait_for(count: int) -> list[int]:
        """Until so many blocks are done; the processes that began the others."""
        deadline = time.monotonic() + 600
        while len(list(blocks.glob("*.part"))) < count:
            assert run.poll() is None, "it ended before anybody was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        names = sorted(blocks.glob("*.tries"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.read_text().split(":")[-1]) for path in names]

    chance = random.Random(1)
    worker = wait_for(chance.randint(3, 20))[-1]
    os.kill(worker, signal.SIGKILL)
    # Another one goes on.
    assert wait_for(chance.randint(30, 50))[-1] != worker
    run.kill()
    run.wait()
    assert not target.exists()
    done = len(list(blocks.glob("*.part")))
    assert 30 <= done < 100
    ran = cli(*command, target, "--engine", "ray", "--workers", "2")
    assert (ran.code, "resuming" in ran.err) == (0, True), ran.err
    assert target.read_bytes() == whole.read_bytes()
    assert not blocks.exists()
    assert cli(*command, target, "--engine", "ray").code == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_embed_and_annotate(cluster: Any, cli: Cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=22, hidden=32, layers=2, heads=2, ffn_inner=64)
    model = save_model_dir(tmp_path / "model", config, RiNALMo(config).state_dict())
    source = random_rnas(tmp_path / "in.fa", 30, 80)
    embed = ["embed", source, "-m", model, "--pool", "mean", "--pool", "tokens"]
    embed += ["--long", "window", "--max-length", "50", "--token-budget", "128", "--threads", "1"]
    for command in (embed, ["annotate", source]):
        whole, target = (tmp_path / f"{command[0]}-{kind}.parquet" for kind in ("one", "ray"))
        assert cli(*command, "-o", whole).code == 0
        ran = cli(*command, "-o", target, "--engine", "ray", "--workers", "1")
        assert ran.code == 0, ran.err
        assert target.read_bytes() == whole.read_bytes()
    ran = cli("fold", source, "-o", tmp_path / "x.dbn", "--engine", "ray", "--workers", "3")
    assert (ran.code, "room for 2" in ran.err) == (2, True)


def test_a_block_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    source = random_rnas(tmp_path / "in.fa", 3, 30)
    plan = plan_fold(source, FoldSettings(model="turner2004"), "dbn")
    with block_folder(tmp_path / "out", plan.note(), restart=False) as folder:
        _write_input(plan, folder / INPUT)
        worker = Worker(plan.job, str(folder), plan.note())
        tries = folder / "block-000001.tries"
        tries.write_text("host:1\n" * (TRIES - 1))
        assert worker({"block": 1}) == {"block": 1, "error": "", "code": 0}
        (folder / block_name(1)).unlink()
        found = worker({"block": 1})
        assert found["code"] == 1
        assert f"block 000001 killed {TRIES} workers" in found["error"]


def test_an_error_of_the_input_comes_back_as_itself(tmp_path: Path) -> None:
    source = tmp_path / "in.fa"
    source.write_text(">one\nGGGGAAAACCCC\n>two\nGG&AA&CC\n")
    plan = plan_fold(source, FoldSettings(model="turner2004"), "dbn", duplexes=True)
    with block_folder(tmp_path / "out", plan.note(), restart=False) as folder:
        _write_input(plan, folder / INPUT)
        found = Worker(plan.job, str(folder), plan.note())({"block": 1})
        assert found["code"] == 3
        assert "record 'two': 3 strands" in found["error"]


def test_without_ray_the_extra_is_named(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = random_rnas(tmp_path / "in.fa", 1, 30)
    ran = cli("fold", source, "--engine", "ray", "-o", tmp_path / "x.dbn")
    assert (ran.code, "pip install 'stemloop[cluster]'" in ran.err) == (6, True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.fa"]
