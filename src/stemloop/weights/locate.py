"""Where weights lie: the cache folder, the bundled files, and finding a model by name or path.

In the cache folder (`stemloop.data.cache`), ``models/<name>`` are model directories, ``downloads``
the files they were made from. No torch here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stemloop.data.cache import cache_dir
from stemloop.errors import WeightsError
from stemloop.models.presets import MODEL_TYPES
from stemloop.weights.catalog import CATALOG
from stemloop.weights.download import file_digest

CONFIG = "config.json"


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return file_digest(path, "sha256")


def _bundled_root() -> Path:
    return Path(__file__).parent / "bundled"


def bundled(name: str) -> Path:
    """Folder of weights that ship with the package.

    Raises
    ------
    WeightsError
        Nothing of that name ships; the message lists what does.
    """
    path = _bundled_root() / name
    if os.sep in name or not path.is_dir():
        raise WeightsError(f"no bundled weights {name!r}; bundled: {', '.join(_names()) or 'none'}")
    return path


def is_bundled(path: Path) -> bool:
    """Whether a folder is one of those that ship with the package."""
    return path.resolve().parent == _bundled_root().resolve()


def _names() -> list[str]:
    root = _bundled_root()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def check_bundled(root: Path | None = None) -> dict[str, str]:
    """Compare the bundled files with ``bundled/SHA256SUMS`` (the format of ``sha256sum``).

    Returns
    -------
    dict of str to str
        File, relative to the folder, to ``ok``, ``damaged``, ``missing`` or ``unlisted``.

    Examples
    --------
    >>> set(check_bundled().values()) <= {"ok"}
    True
    """
    root = root or _bundled_root()
    if not root.is_dir():
        return {}
    sums = root / "SHA256SUMS"
    listed: dict[str, str] = {}
    if sums.exists():
        for line in sums.read_text().splitlines():
            digest, _, file = line.partition("  ")
            listed[file] = digest
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    result = {}
    for file in sorted(found - {"SHA256SUMS"} | set(listed)):
        if file not in found:
            result[file] = "missing"
        elif file not in listed:
            result[file] = "unlisted"
        else:
            result[file] = "ok" if sha256_file(root / file) == listed[file] else "damaged"
    return result


def available() -> list[str]:
    """Names that `load` takes: bundled encoders and downloaded ones."""
    cached = cache_dir() / "models"
    here = [name for name in _names() if _is_encoder(_bundled_root() / name / CONFIG)]
    if cached.is_dir():
        here += sorted(p.parent.name for p in cached.glob(f"*/{CONFIG}") if _is_encoder(p))
    return here


def bundled_configs(kind: str) -> dict[str, dict[str, Any]]:
    """Bundled models of a kind (``model_type``): name to content of ``config.json``."""
    found = {}
    for name in _names():
        path = _bundled_root() / name / CONFIG
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.get("model_type") == kind:
                found[name] = content
    return found


def _is_encoder(config: Path) -> bool:
    """Whether a config.json is an encoder's: folding models ship beside them."""
    try:
        return bool(json.loads(config.read_text(encoding="utf-8"))["model_type"] in MODEL_TYPES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """Model directory of that path or name.

    Raises
    ------
    WeightsError
        There is none: the message says how to get it.
    """
    text = os.fspath(name_or_path)
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise WeightsError(f"{text} is a file: turn it into a directory with 'stemloop convert'")
    for root in (_bundled_root(), cache_dir() / "models"):
        if os.sep not in text and (root / text / CONFIG).is_file():
            return root / text
    if text in CATALOG:
        raise WeightsError(f"{text} is not downloaded yet: run 'stemloop weights get {text}'")
    raise WeightsError(
        f"no model directory {text!r} and no weights of that name; "
        f"here: {', '.join(available()) or 'none'}; to download: {', '.join(CATALOG)}"
    )
