"""Named weights that stemloop downloads, and how their bytes are checked.

RiNALMo (Penic et al., Nature Communications 16:5671, 2025) is published in Zenodo record 15043668
under CC BY 4.0. The authors publish no SHA-256, and none is invented here. What is checked:

1. a SHA-256 that the user gives (``--sha256``), or
2. the SHA-256 that an earlier download recorded in ``weights.lock.json`` of the cache folder, or
3. on the first download, the MD5 and the size that the record's own API states. MD5 guards against
   a damaged transfer, not against a forger; the SHA-256 that was seen is then recorded for 2.

Without any of the three nothing is downloaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stemloop.errors import FetchError, UsageError
from stemloop.weights.download import Progress, fetch, fetch_json, file_digest

LOCK_NAME = "weights.lock.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that can be had by name.

    Parameters
    ----------
    name : str
        What the user types.
    file : str
        Name of the file in the record.
    summary : str
        One line for the list.
    record : str
        Address of the record's page; ``{record}/files/{file}?download=1`` is the file.
    api : str
        Address of the record's JSON, where the checksums stand.
    licence : str
        Terms of the weights.
    """

    name: str
    file: str
    summary: str
    record: str = "https://zenodo.org/records/15043668"
    api: str = "https://zenodo.org/api/records/15043668"
    licence: str = "CC BY 4.0"

    @property
    def url(self) -> str:
        """Address of the file.

        Examples
        --------
        >>> CATALOG["rinalmo-micro"].url
        'https://zenodo.org/records/15043668/files/rinalmo_micro_pretrained.pt?download=1'
        """
        return f"{self.record}/files/{self.file}?download=1"


def _entries() -> Mapping[str, Entry]:
    entries = [
        Entry("rinalmo-micro", "rinalmo_micro_pretrained.pt", "33 M parameters, 12 layers of 480"),
        Entry("rinalmo-mega", "rinalmo_mega_pretrained.pt", "148 M parameters, 30 layers of 640"),
        Entry("rinalmo-giga", "rinalmo_giga_pretrained.pt", "651 M parameters, 33 layers of 1280"),
    ]
    # Names of the fine-tuned files as the authors' README lists them; all are of the giga size.
    family = "structure, trained without the ArchiveII family "
    tuned = {f"ss_archiveII-{name}": family + name for name in (
        "5s", "16s", "23s", "grp1", "srp", "telomerase", "RNaseP", "tmRNA", "tRNA")}  # fmt: skip
    tuned |= {
        "ss_bprna": "structure, trained on bpRNA TR0",
        "splice_acceptor": "splice acceptor sites",
        "splice_donor": "splice donor sites",
        "mrl": "mean ribosome load of 5' UTRs",
        "ncrna_class_0_noise": "ncRNA families, no boundary noise",
        "ncrna_class_200_noise": "ncRNA families, 200 % boundary noise",
    }
    for stem, summary in tuned.items():
        name = f"rinalmo-giga-{stem}".lower().replace("_", "-")
        entries.append(Entry(name, f"rinalmo_giga_{stem}_ft.pt", f"fine-tuned: {summary}"))
    return MappingProxyType({entry.name: entry for entry in entries})


#: Everything that ``stemloop weights get`` knows by name.
CATALOG: Mapping[str, Entry] = _entries()


def find(name: str) -> Entry:
    """Entry of that name.

    Raises
    ------
    UsageError
        There is none; the message lists the names.

    Examples
    --------
    >>> find("rinalmo-giga").file
    'rinalmo_giga_pretrained.pt'
    """
    if name not in CATALOG:
        raise UsageError(f"no weights are called {name!r}; known: {', '.join(CATALOG)}")
    return CATALOG[name]


def published_checksum(entry: Entry) -> tuple[str, int]:
    """MD5 and size of the file, as the record states them now.

    Raises
    ------
    FetchError
        The record cannot be read or has no such file (the message lists those it has).
    """
    record = fetch_json(entry.api)
    files: dict[str, tuple[str, int]] = {}
    try:
        for item in record["files"]:
            files[str(item["key"])] = (str(item["checksum"]), int(item["size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FetchError(f"{entry.api}: not the list of files it should be ({error!r})") from error
    if entry.file not in files:
        raise FetchError(f"{entry.api}: no file {entry.file}; it has {', '.join(sorted(files))}")
    checksum, size = files[entry.file]
    algorithm, _, digest = checksum.rpartition(":")
    if algorithm != "md5" or len(digest) != 32:
        raise FetchError(f"{entry.api}: {entry.file} has checksum {checksum!r}, an MD5 is expected")
    return digest, size


def read_lock(cache: Path) -> dict[str, dict[str, Any]]:
    """What was downloaded before: file name to address, sha256, size, date, and what verified it.

    Raises
    ------
    FetchError
        The file is damaged: it must not be taken for "nothing was recorded".
    """
    path = cache / LOCK_NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        return {str(file): dict(facts) for file, facts in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FetchError(f"{path}: damaged ({error}); remove it to start a new one") from error


def _write_lock(cache: Path, file: str, facts: dict[str, Any]) -> None:
    lock = read_lock(cache)
    lock[file] = facts
    temporary = cache / f"{LOCK_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(lock, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, cache / LOCK_NAME)


def download(
    entry: Entry,
    cache: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    url: str | None = None,
    progress: Progress | None = None,
) -> tuple[Path, str]:
    """Fetch an entry into the cache folder and verify it.

    Parameters
    ----------
    entry : Entry
        What to fetch.
    cache : path
        Cache folder; the file goes to its ``downloads``.
    sha256 : str, optional
        Checksum to insist on; it must agree with a recorded one.
    url : str, optional
        A mirror to fetch from. It needs `sha256` or a recorded checksum.
    progress : callable, optional
        See `stemloop.weights.download.fetch`.

    Returns
    -------
    path : pathlib.Path
        The file.
    sha256 : str
        Its checksum, now recorded.

    Raises
    ------
    FetchError
        Network switched off, no way to verify, wrong bytes.
    """
    folder = Path(cache)
    target = folder / "downloads" / entry.file
    recorded = read_lock(folder).get(entry.file, {}).get("sha256")
    if sha256 and recorded and sha256.lower() != recorded:
        raise FetchError(
            f"{entry.file}: sha256 {sha256.lower()} was asked for, but {recorded} was recorded "
            f"earlier in {folder / LOCK_NAME}"
        )
    expected = sha256.lower() if sha256 else recorded
    if expected and target.exists() and file_digest(target) == expected:
        return target, expected
    md5, size = None, None
    checked = "sha256 given by the user" if sha256 else "sha256 of an earlier download"
    if not expected:
        if url:
            raise FetchError(f"{url}: a mirror needs --sha256 the first time")
        md5, size = published_checksum(entry)
        checked = f"md5 {md5} stated by {entry.api}"
    address = url or entry.url
    fetch(address, target, sha256=expected, md5=md5, size=size, progress=progress)
    digest = expected or file_digest(target)
    facts = {
        "url": address,
        "sha256": digest,
        "size": target.stat().st_size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "verified_by": checked,
    }
    _write_lock(folder, entry.file, facts)
    return target, digest
