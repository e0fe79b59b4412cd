"""The folder of a corpus while it is built: one build at a time, resumed after interruptions.

Everything unfinished is in ``FOLDER/.partial``; what has been done stands in its ``state.json``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stemloop.data.corpus_holdout import SPLITS
from stemloop.data.manifest import MANIFEST
from stemloop.errors import OutputError, OutputExistsError, UsageError
from stemloop.formats.stream import BLOCK, atomic_output

PARTIAL = ".partial"
STATE = "state.json"


class BuildState:
    """What has been done, in ``state.json``; written whole or not at all."""

    def __init__(self, folder: Path, plan: dict[str, Any], force: bool) -> None:
        self._path = folder / STATE
        text = json.dumps(plan, sort_keys=True)
        self.data: dict[str, Any] = {"plan": text, "done": []}
        if self._path.exists():
            known = json.loads(self._path.read_text(encoding="utf-8"))
            if known["plan"] == text:
                self.data = known
                return
            if not force:
                raise UsageError(
                    f"an unfinished build with other options, inputs or versions is in {folder}; "
                    "repeat its options to go on with it, or add --force to drop it"
                )
        _clear(folder)
        self.save()

    def save(self) -> None:
        with atomic_output(self._path, force=True) as out:
            json.dump(self.data, out)


def spool(folder: Path, force: bool) -> Path:
    """Keep standard input on disk: a build that goes on reads it from there."""
    path = folder / "stdin" / "stdin.fasta"
    if not path.exists() or not (folder / STATE).exists() or force:
        path.parent.mkdir(exist_ok=True)
        with atomic_output(path, force=True, binary=True) as out:
            while block := sys.stdin.buffer.read(BLOCK):
                out.write(block)
    return path


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name != "stdin":
            shutil.rmtree(path)
        elif path.is_file() and path.name != "lock":
            path.unlink()


@contextmanager
def claim(target: Path, force: bool) -> Iterator[Path]:
    """Folder for intermediate results, for one build at a time."""
    folder = target / PARTIAL
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file, and a corpus is a folder")
    if (target / MANIFEST).exists():
        if not force:
            raise OutputExistsError(f"{target} holds a corpus already; use --force to replace it")
    elif target.exists() and any(target.iterdir()) and not folder.exists():
        raise OutputExistsError(f"{target} holds something that is no corpus; name a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "wb")
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{target}: another build is writing it") from error
        yield folder


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Name the folder when the disk is full; what is there already stays for the next call."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"{target}: {error.strerror}; make room and call the same command again to go on"
            ) from error
        raise


def publish(target: Path, folder: Path, manifest: dict[str, Any]) -> None:
    """Move the shards to their places, and then the manifest: without it there is no corpus."""
    (target / MANIFEST).unlink(missing_ok=True)
    shards = folder / "shards"
    names = {shard["file"] for shard in manifest["shards"]}
    for split in SPLITS:
        for old in target.glob(f"{split}-*-of-*.parquet"):
            if old.name not in names:
                old.unlink()
    for name in sorted(names):
        # Those that are not there were moved before an interruption.
        if (shards / name).exists():
            os.replace(shards / name, target / name)
    with atomic_output(target / MANIFEST, force=True) as out:
        json.dump(manifest, out, indent=1)
        out.write("\n")
    shutil.rmtree(folder, ignore_errors=True)
