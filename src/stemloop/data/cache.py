"""The cache folder: downloaded weights, and corpora unpacked for memory mapping.

It is ``$STEMLOOP_CACHE``, else ``$XDG_CACHE_HOME/stemloop``, else ``~/.cache/stemloop``.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder (not created).

    Examples
    --------
    >>> os.environ["STEMLOOP_CACHE"] = "/data/weights"
    >>> cache_dir().as_posix()
    '/data/weights'
    >>> del os.environ["STEMLOOP_CACHE"]
    """
    own = os.environ.get("STEMLOOP_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification tells programs to ignore relative paths here.
    root = Path(base) if base and os.path.isabs(base) else Path.home() / ".cache"
    return root / "stemloop"
