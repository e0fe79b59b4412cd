"""From a name to a model directory in the cache: download, verify, convert."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from stemloop.weights.catalog import download, find
from stemloop.weights.convert import convert
from stemloop.weights.download import Progress
from stemloop.weights.locate import CONFIG, cache_dir


def install(
    name: str,
    *,
    sha256: str | None = None,
    url: str | None = None,
    keep: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Get named weights, ready for `stemloop.load`.

    Parameters
    ----------
    name : str
        Of `stemloop.weights.catalog.CATALOG`.
    sha256, url, progress
        See `stemloop.weights.catalog.download`.
    keep : bool
        Keep the downloaded file too. It can be made again with ``stemloop convert --to official``.
    force : bool
        Fetch and convert again what is there.
    report : callable, optional
        Called with a line of text for each step.

    Returns
    -------
    pathlib.Path
        The model directory.

    Raises
    ------
    UsageError
        Unknown name.
    FetchError
        See `stemloop.weights.catalog.download`.
    WeightsError
        What came is not the checkpoint it should be.
    """
    say = report or (lambda text: None)
    entry = find(name)
    target = cache_dir() / "models" / name
    if (target / CONFIG).is_file() and not force:
        say(f"{name} is there already")
        return target
    say(f"fetching {url or entry.url}")
    say(f"licence of the weights: {entry.licence}; {entry.record}")
    path, digest = download(entry, cache_dir(), sha256=sha256, url=url, progress=progress)
    source = {
        "name": name, "url": url or entry.url, "sha256": digest, "licence": entry.licence,
        "record": entry.record,
    }  # fmt: skip
    checkpoint = convert(path, target, source=source, force=True)
    for note in checkpoint.notes:
        say(note)
    if not keep:
        path.unlink()
        if not any(path.parent.iterdir()):
            shutil.rmtree(path.parent)
    return target
