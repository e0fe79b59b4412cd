"""Pre-training on two machines by the script for SLURM: here, two launchers with a process each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stemloop.weights.locate import sha256_file

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "cluster" / "pretrain.sbatch"

RECIPE: dict[str, Any] = {
    "task": "pretrain",
    "name": "nodes",
    "model": "stemloop-pico",
    "overrides": {"hidden": 32, "layers": 2, "heads": 2, "ffn_inner": 48},  # with dropout
    "sampling": {"window": 124},
    "batch": {"tokens": 512, "packs": 4},
    "optimiser": {"learning_rate": 0.01, "warm_up": 2},
    "steps": 6,
    "log_every": 1,
    "save_every": 2,
    "evaluate_every": 6,
    "evaluate_packs": 2,
}

#: What SLURM gives: a machine's name, and a command on each of the machines.
SCONTROL = "#!/bin/bash\necho 127.0.0.1\n"
SRUN = """#!/bin/bash
shift  # --kill-on-bad-exit
"$@" & first=$!
"$@" & second=$!
code=0
wait -n || code=$?
if [ $code != 0 ]; then kill $first $second 2> /dev/null; fi
wait $first || code=$?
wait $second || code=$?
exit $code
"""

#: Loaded by every Python: notes down each pack that a process trains on, and its final weights.
WATCH = """
import os
if "RANK" in os.environ:
    import hashlib, json, signal
    from stemloop.training import pretrain
    seen = open(os.path.join(os.environ["SEEN"], os.environ["RANK"]), "a")
    collate, train = pretrain.collate, pretrain.PackTrainer.train
    count = 0
    def collate_and_tell(packs):
        global count
        count += 1
        digest = hashlib.sha256(packs[0]["tokens"].numpy().tobytes()).hexdigest()
        print(json.dumps({"pack": digest}), file=seen, flush=True)
        if os.environ["RANK"] == "1" and count == int(os.environ.get("DIE_AT", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        return collate(packs)
    def train_and_tell(self, *args, **kwargs):
        result = train(self, *args, **kwargs)
        digest = hashlib.sha256()
        for name, value in self.model.state_dict().items():
            digest.update(value.numpy().tobytes())
        print(json.dumps({"weights": digest.hexdigest()}), file=seen, flush=True)
        return result
    pretrain.collate, pretrain.PackTrainer.train = collate_and_tell, train_and_tell
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_machines_share_the_packs_and_go_on_after_a_kill(
    write_corpus: Callable[..., Path],
    random_rows: Callable[..., list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    corpus = write_corpus(train=random_rows(150), validation_clusters=random_rows(30, seed=1))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tools / "sitecustomize.py").write_text(WATCH)

    def run(name: str, seen: str, die_at: int = 0) -> int:
        (tmp_path / seen).mkdir()
        environment = {
            **os.environ,
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{tools}:{os.environ.get('PYTHONPATH', '')}",
            "SEEN": str(tmp_path / seen),
            "DIE_AT": str(die_at),
            "OMP_NUM_THREADS": "1",
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_NNODES": "2",
            "PROCESSES": "1",
        }
        with open(tmp_path / f"{seen}.log", "w") as log:
            job = subprocess.Popen(
                ["bash", str(SCRIPT), str(recipe), str(corpus), str(tmp_path / name),
                 "--device", "cpu"],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                return job.wait(timeout=600)
            finally:
                if job.poll() is None:
                    os.killpg(job.pid, signal.SIGKILL)

    def told(seen: str) -> list[list[dict[str, str]]]:
        files = (tmp_path / seen / rank for rank in "01")
        return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]

    assert run("whole", "first") == 0, (tmp_path / "first.log").read_text()[-6000:]
    one, two = told("first")
    # Six steps of four packs: twelve packs each, none of them in both.
    packs = [{line["pack"] for line in lines if "pack" in line} for lines in (one, two)]
    assert [len(some) for some in packs] == [12, 12]
    assert not packs[0] & packs[1]
    assert one[-1]["weights"] == two[-1]["weights"]

    # The second machine dies in the fifth step, behind the checkpoint of the fourth.
    assert run("killed", "second", die_at=10) != 0
    assert not (tmp_path / "killed" / "checkpoint-6").exists()
    assert run("killed", "third") == 0, (tmp_path / "third.log").read_text()[-6000:]
    again = told("third")
    assert again[0][-1] == again[1][-1] == one[-1]
    assert sum("pack" in line for line in again[0]) < 12
    weights = "model/model.safetensors"
    assert sha256_file(tmp_path / "killed" / weights) == sha256_file(tmp_path / "whole" / weights)


def test_the_scripts_are_bash(tmp_path: Path) -> None:
    for script in SCRIPT.parent.glob("*.sbatch"):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_array_job_is_a_shard(tmp_path: Path) -> None:
    program = tmp_path / "stemloop"
    program.write_text('#!/bin/bash\necho "$@"\n')
    program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_COUNT": "8",
    }
    words = ["bash", str(SCRIPT.with_name("shards.sbatch")), "parts", "fold", "rnas.fa"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "fold rnas.fa --shard 3/8 --output parts/3.part\n"
