"""What a newcomer does, in the order of the README: install, fold, look, generate; each step timed.

    python benchmarks/walkthrough.py benchmarks/results/walkthrough.json

The files of the repository are copied to an empty folder and a new virtual environment is made
there; nothing of the calling environment is used. Every line is run as the README prints it,
`stemloop` being that of the new environment. pip takes its packages from where it is configured to;
a second argument is kept as a note on that.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDERS = ("rna.fa", "mirnas.fa")  # files of the reader's own


def copy_of_the_tree(folder: Path) -> None:
    """Copy what git does not ignore, as it is on disk."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def lines() -> list[str]:
    """Commands of the README: its first block, then the table's that run on files of examples/."""
    readme = (ROOT / "README.md").read_text()
    first = re.search(r"^```sh\n(.+)\n```$", readme, re.MULTILINE)
    assert first is not None
    rows = re.findall(r"^\| \[`(\S+ [^`]+)`\]", readme, re.MULTILINE)
    return [
        *first[1].split(" && "),
        *(f"stemloop {row}" for row in rows if not any(name in row for name in PLACEHOLDERS)),
        "stemloop generate --family RF00162 -n 20 | stemloop fold -",
        "pip install 'stemloop[web]'",
    ]


def cpu_of_children() -> float:
    """CPU seconds of the programs that have ended: what a busy machine does not change."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(output: str, note: str = "") -> None:
    steps: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_of_the_tree(folder)
        keep = ("HOME", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_FIND_LINKS", "LANG")
        env = {name: os.environ[name] for name in keep if name in os.environ}
        python = Path(sys.executable).resolve().parent
        env["PATH"] = f"{folder}/.venv/bin:{python}:/usr/bin:/bin"
        env["STEMLOOP_CACHE"] = f"{folder}/cache"
        for line in lines():
            began, cpu = time.perf_counter(), cpu_of_children()
            ran = subprocess.run(
                line, shell=True, cwd=folder, env=env, capture_output=True, text=True
            )
            seconds = round(time.perf_counter() - began, 2)
            print(f"{seconds:8.2f} s  {line}", flush=True)
            if ran.returncode:
                sys.exit(f"exit code {ran.returncode}: {ran.stderr[-2000:]}")
            cpu_seconds = round(cpu_of_children() - cpu, 2)
            steps.append({"line": line, "seconds": seconds, "cpu_seconds": cpu_seconds})
        steps += serve(folder, env)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    record = {
        "command": "python benchmarks/walkthrough.py",
        "commit": commit,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_after": os.getloadavg()[0],
        "steps": steps,
        "seconds": round(sum(step["seconds"] for step in steps), 1),
        "note": note,
    }
    Path(output).write_text(json.dumps(record, indent=2) + "\n")
    print(f"{record['seconds']:8.2f} s  in all")


def serve(folder: Path, env: dict[str, str]) -> list[dict[str, Any]]:
    """Start the page, fetch it, and fold its example."""
    began = time.perf_counter()
    command = [f"{folder}/.venv/bin/stemloop", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert b"<html" in urllib.request.urlopen(address).read()
            page = round(time.perf_counter() - began, 2)
            example = json.load(urllib.request.urlopen(f"{address}api/info"))["example"]
            request = urllib.request.Request(f"{address}api/fold?wait=60")
            request.add_header("Content-Type", "application/json")
            body = json.dumps({"fasta": example}).encode()
            answer = json.load(urllib.request.urlopen(request, body))
            assert answer["results"], answer
        finally:
            server.terminate()
    first = round(time.perf_counter() - began, 2)
    print(
        f"{page:8.2f} s  stemloop serve: the page\n{first:8.2f} s  ... first structure", flush=True
    )
    return [
        {"line": "stemloop serve: start to the page", "seconds": page},
        {"line": "the page to the first structure", "seconds": round(first - page, 2)},
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
