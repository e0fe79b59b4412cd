"""How fast ``stemloop serve`` is: from start to the first structure, and RNAs a second.

    python benchmarks/serve_speed.py benchmarks/results/serve_speed.json

Random RNAs of 100 nt (seed 0), sent as one request and one by one, folded with and without their
class; the answers hold everything that the page shows. With a Chromium, also what a user sees: from
the start of the server over the example to the first structure that is drawn.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import stemloop

COUNT, LENGTH = 200, 100


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}api/fold?wait=60", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@contextmanager
def serving() -> Iterator[str]:
    """Address of a server that has just been started."""
    command = [sys.executable, "-m", "stemloop.cli.main", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def drawn() -> dict[str, float]:
    """Seconds until the first structure of the example is drawn; the browser is open already."""
    path = shutil.which("chromium")
    if path is None:
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        began = time.perf_counter()
        with serving() as address:
            page.goto(address)
            loaded = time.perf_counter() - began
            page.click("#example")
            page.click("#run")
            page.wait_for_selector("#view .base")
            seconds = time.perf_counter() - began
        browser.close()
    return {"start_to_page_s": loaded, "start_to_first_drawing_s": seconds}


def main(output: str) -> None:
    rng = np.random.default_rng(0)
    rnas = [{"sequence": "".join(rng.choice(list("ACGU"), LENGTH))} for _ in range(COUNT)]
    figures = drawn()
    began = time.perf_counter()
    with serving() as address:
        example = json.load(urllib.request.urlopen(f"{address}api/info"))["example"]
        post(address, {"fasta": example})
        figures["start_to_example_folded_s"] = time.perf_counter() - began
        # What the class needs is loaded now.
        post(address, {"sequences": rnas[:1], "compute": ["structure", "class"]})
        for name, compute in (("", ["structure"]), ("_with_class", ["structure", "class"])):
            began = time.perf_counter()
            answer = post(address, {"sequences": rnas, "compute": compute})
            assert len(answer["results"]) == COUNT
            figures[f"rnas_a_second{name}"] = COUNT / (time.perf_counter() - began)
        began = time.perf_counter()
        for rna in rnas[:50]:
            post(address, {"sequences": [rna]})
        figures["requests_a_second_one_rna_each"] = 50 / (time.perf_counter() - began)
        began = time.perf_counter()
        for rna in rnas[:50]:
            post(address, {"sequences": [rna], "compute": ["structure", "class"]})
        figures["requests_a_second_with_class"] = 50 / (time.perf_counter() - began)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout
    record = {
        "command": "python benchmarks/serve_speed.py", "seed": 0, "rnas": COUNT, "length": LENGTH,
        "stemloop": stemloop.__version__, "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count(),
        "niceness": os.nice(0), "commit": commit.strip() or None,
        "figures": {name: round(value, 2) for name, value in figures.items()},
        "note": "one computing process, one thread; two cores shared with other work",
    }  # fmt: skip
    Path(output).write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record["figures"], indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
