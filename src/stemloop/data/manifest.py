"""What a corpus folder says about itself: its manifest, and whether its shards are those meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemloop.errors import FormatError, InputError

MANIFEST = "manifest.json"

#: Layout of manifest and shards; raised when an older program could misread them.
FORMAT = 1

#: Columns of the shards, with the Arrow types they are read as.
COLUMNS = {
    "id": "string",
    "sequence": "string",
    "length": "int32",
    "type": "string",
    "family": "string",
    "source": "string",
    "cluster": "int64",
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Content of a corpus' ``manifest.json``.

    Raises
    ------
    InputError
        There is no such folder.
    FormatError
        There is no manifest in it, or it is damaged or of a newer format.
    """
    if not folder.is_dir():
        raise InputError("no such folder", path=str(folder))
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        number, shards = int(manifest["format"]), manifest["shards"]
        for shard in shards:
            str(shard["file"]), str(shard["sha256"]), int(shard["rows"])
    except FileNotFoundError:
        raise FormatError(
            f"no {MANIFEST}: not a corpus, or one whose building was interrupted",
            path=str(folder),
            expected="a folder that 'stemloop corpus build' has finished",
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"damaged manifest: {error!r}", path=str(path)) from error
    if number != FORMAT:
        hint = "update stemloop, or build the corpus anew"
        raise FormatError(
            f"corpus format {number} cannot be read: {hint}", path=str(path), expected=f"{FORMAT}"
        )
    return dict(manifest)


def _split_of(file: str) -> str:
    return file.rsplit("-", 3)[0]


def shards_of(folder: Path, manifest: Mapping[str, Any], split: str) -> list[dict[str, Any]]:
    """The manifest's shards of a split, in order; all of them present.

    Raises
    ------
    InputError
        The corpus has no such split.
    FormatError
        Shards are missing.
    """
    path = str(folder / MANIFEST)
    shards = sorted(
        (s for s in manifest["shards"] if _split_of(s["file"]) == split), key=lambda s: s["file"]
    )
    if not shards:
        present = sorted({_split_of(s["file"]) for s in manifest["shards"]})
        raise InputError(f"no split {split!r}; here: {', '.join(present) or 'none'}", path=path)
    names = [f"{split}-{k:05d}-of-{len(shards):05d}.parquet" for k in range(len(shards))]
    if [s["file"] for s in shards] != names:
        raise FormatError(f"the shards listed for {split!r} are not complete", path=path)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FormatError(
            f"{len(missing)} of {len(names)} shards are missing, the first is {missing[0]}",
            path=str(folder),
        )
    return shards


def check_shard(path: Path, shard: Mapping[str, Any], verify: bool) -> None:
    """Compare a shard with its entry in the manifest: rows and columns, the content if `verify`.

    Raises
    ------
    InputError
        It cannot be read.
    FormatError
        It is damaged, or not the one that the manifest means.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
        if verify:
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except pyarrow.ArrowInvalid as error:
        raise FormatError("damaged: no complete Parquet file", path=str(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    if verify and digest != shard["sha256"]:
        raise FormatError(f"damaged: SHA-256 is {digest}", path=str(path), expected=shard["sha256"])
    found = {
        name: str(kind).removeprefix("large_")
        for name, kind in zip(schema.names, schema.types, strict=True)
    }
    wrong = [name for name, kind in COLUMNS.items() if found.get(name) != kind]
    if wrong:
        raise FormatError(
            f"column {wrong[0]!r} is {found.get(wrong[0], 'missing')}",
            path=str(path),
            expected=COLUMNS[wrong[0]],
        )
    if rows != shard["rows"]:
        raise FormatError(f"{rows} rows", path=str(path), expected=f"{shard['rows']}")
