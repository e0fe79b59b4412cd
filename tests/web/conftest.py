"""A server with an engine that the test holds in its hand, and a real one in a process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from stemloop.web.app import create_app
from stemloop.web.compute import Outcome, Task
from stemloop.web.engine import StoppedError
from stemloop.web.limits import Limits


class ToyEngine:
    """Answers at once; with ``gate`` closed it waits, as a long fold does."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.seen: list[str] = []
        self.closed = False
        self.fail: dict[str, Exception] = {}

    def run(self, task: Task, cancelled: Callable[[], bool]) -> Outcome:
        record = task.record
        self.seen.append(record.id)
        self.started.release()
        while not self.gate.wait(0.01):
            if cancelled():
                raise StoppedError
        if record.id in self.fail:
            raise self.fail[record.id]
        answer = {
            "index": record.index,
            "id": record.id,
            "description": record.description,
            "length": record.length,
            "sequence": record.sequence,
            "command": task.command,
        }
        return Outcome(json.dumps(answer).encode())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine() -> ToyEngine:
    """The engine of `server`."""
    return ToyEngine()


@pytest.fixture
def serving(engine: ToyEngine) -> Iterator[Callable[..., TestClient]]:
    """Start a server with some limits: ``serving(rnas=3)``."""
    clients: list[TestClient] = []

    def start(**limits: float) -> TestClient:
        app = create_app(Limits(**limits), engine=engine)
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        clients.append(client.__enter__())
        return client

    yield start
    engine.gate.set()
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def server(serving: Callable[..., TestClient]) -> TestClient:
    """A server with the usual limits."""
    return serving()


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a generator of hairpins of two kinds."""
    from stemloop.tasks.generators import write_generator
    from stemloop.training.rbm import train_rbm
    from stemloop.training.rbm_recipe import RBMRecipe

    base = tmp_path_factory.mktemp("generator")
    rng = np.random.default_rng(0)
    lines = ["id,sequence,label"]
    for k in range(200):
        label = ("one", "two")[k % 2]
        own = list("GGCAUUCGUGCC" + "AU"[k % 2] * 2)
        text = "".join(np.where(rng.random(14) < 0.9, own, rng.choice(list("ACGU"), 14)))
        lines.append(f"r{k},{text},{label}")
    (base / "x.csv").write_text("\n".join(lines) + "\n")
    recipe = {
        "task": "rbm", "name": "tiny", "hidden": 12, "batch": 80, "updates": 60, "ages": 2,
        "data": {"file": "x.csv", "name": "id", "labels": {"column": "label"}},
        "optimiser": {"name": "adam", "learning_rate": 0.05},
    }  # fmt: skip
    train_rbm(RBMRecipe.model_validate(recipe), base, base / "run")
    return write_generator(base / "run", base, base / "hairpins", name="hairpins")


@pytest.fixture(scope="session")
def live(generator: Path) -> Iterator[str]:
    """Address of a real server, as ``stemloop serve`` runs it."""
    command = [sys.executable, "-m", "stemloop.cli.main", "serve", "--port", "0"]
    command += ["--generator", str(generator)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    assert process.wait(20) is not None
