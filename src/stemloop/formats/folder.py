"""Writing folders whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemloop.errors import OutputError


@contextmanager
def new_dir(target: Path) -> Iterator[Path]:
    """Fill a folder beside `target`; it takes the name when everything is in it.

    After an error nothing is left. What a killed call has left is cleaned up by the next one: the
    folder it was filling is removed, and the one it was replacing gets its name back.

    Parameters
    ----------
    target : pathlib.Path
        The folder; one that is there is replaced.

    Yields
    ------
    pathlib.Path
        An empty folder.

    Raises
    ------
    OutputError
        It cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as place:
    ...     with new_dir(Path(place, "out")) as folder:
    ...         _ = (folder / "x.txt").write_text("one")
    ...     print(os.listdir(place), os.listdir(f"{place}/out"))
    ['out'] ['x.txt']
    """
    mark = secrets.token_hex(6)
    fresh = target.with_name(f".{target.name}.{mark}.new")
    stale = target.with_name(f".{target.name}.{mark}.old")
    try:
        _clean_up(target)
        fresh.mkdir(parents=True)
        with _mine(fresh):
            yield fresh
            if target.exists():
                os.rename(target, stale)
            os.rename(fresh, target)
    except OSError as error:
        if stale.exists() and not target.exists():
            os.rename(stale, target)
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def _mine(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system gives back when this process ends in any way."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _clean_up(target: Path) -> None:
    """Put right what killed calls have left beside the target."""
    if not target.parent.is_dir():
        return
    left = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.(new|old)")
    for path in sorted(target.parent.iterdir()):
        if not (match := left.fullmatch(path.name)) or not path.is_dir():
            continue
        if match[1] == "old" and not target.exists():
            os.rename(path, target)
            continue
        try:
            with _mine(path):  # locked: another process is filling it at this moment
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
