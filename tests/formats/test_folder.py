"""Folders appear whole; what a killed call has left is put right by the next one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stemloop.errors import OutputError
from stemloop.formats.folder import new_dir

PROGRAM = """
import os, signal, sys
from pathlib import Path
from stemloop.formats.folder import new_dir
target, moment = Path(sys.argv[1]), sys.argv[2]
rename = os.rename
def renamed(a, b):
    rename(a, b)
    if str(b).endswith(".old"):
        os.kill(os.getpid(), signal.SIGKILL)
if moment == "between":
    os.rename = renamed
with new_dir(target) as folder:
    (folder / "half").write_text("half")
    if moment == "filling":
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "waiting":
        print("ready", flush=True)
        sys.stdin.read()
"""


def killed(target: Path, moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(target), moment], check=False)
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_call_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "out"
    other = tmp_path / ".other.0123456789ab.new"
    other.mkdir()
    killed(target, "filling")
    assert len(names(tmp_path)) == 2
    with new_dir(target) as folder:
        (folder / "whole").write_text("whole")
    assert names(tmp_path) == [other.name, "out"]
    assert names(target) == ["whole"]


def test_what_was_being_replaced_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()
    killed(target, "between")
    assert not target.exists()
    with pytest.raises(OutputError, match="cannot be written"), new_dir(target):
        raise OSError("full")
    assert names(tmp_path) == ["out"]
    assert names(target) == ["old"]


def test_a_call_at_work_keeps_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    other = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(target), "waiting"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout.readline() == "ready\n"
    with new_dir(target) as folder:
        (folder / "mine").touch()
    other.communicate("")
    assert other.returncode == 0
    assert names(tmp_path) == ["out"]
    assert names(target) == ["half"]
