"""Named downloads: where their checksums come from, and that none is trusted blindly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from stemloop.errors import FetchError, UsageError, WeightsError
from stemloop.weights import catalog
from stemloop.weights.catalog import CATALOG, Entry, download, find, read_lock
from stemloop.weights.install import install
from stemloop.weights.store import load


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Record:
    """A record on this machine: a page with files, and the JSON that lists them."""

    def __init__(self, root: Path, address: str) -> None:
        self.root = root
        self.entry = Entry("tiny", "tiny.pt", "test", f"{address}/records/1", f"{address}/api.json")

    def publish(self, data: bytes, **changes: Any) -> None:
        folder = self.root / "records" / "1" / "files"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.pt").write_bytes(data)
        facts = {"key": "tiny.pt", "size": len(data),
                 "checksum": "md5:" + hashlib.md5(data).hexdigest()} | changes  # fmt: skip
        (self.root / "api.json").write_text(json.dumps({"files": [facts]}))


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    root = tmp_path / "site"
    root.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Record(root, f"http://127.0.0.1:{server.server_address[1]}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_first_download_is_checked_by_md5_and_recorded(record: Record, tmp_path: Path) -> None:
    record.publish(b"weights")
    path, digest = download(record.entry, tmp_path / "cache")
    assert path.read_bytes() == b"weights"
    assert digest == hashlib.sha256(b"weights").hexdigest()
    facts = read_lock(tmp_path / "cache")["tiny.pt"]
    assert facts["sha256"] == digest
    assert facts["verified_by"].startswith("md5 ")
    assert facts["url"] == record.entry.url


def test_later_downloads_are_checked_by_the_recorded_sha256(record: Record, tmp_path: Path) -> None:
    record.publish(b"weights")
    path, _ = download(record.entry, tmp_path)
    path.unlink()
    record.publish(b"swapped")  # consistent with its own md5, yet not what was seen before
    with pytest.raises(FetchError, match="sha256 is"):
        download(record.entry, tmp_path)
    record.publish(b"weights")
    (record.root / "api.json").unlink()  # not needed any more
    assert download(record.entry, tmp_path)[0].read_bytes() == b"weights"


def test_a_verified_file_is_not_fetched_again(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.publish(b"weights")
    path, digest = download(record.entry, tmp_path)
    monkeypatch.setenv("STEMLOOP_OFFLINE", "1")
    assert download(record.entry, tmp_path) == (path, digest)
    path.write_bytes(b"damaged")
    with pytest.raises(FetchError, match="switched off"):
        download(record.entry, tmp_path)


def test_pinned_sha256(record: Record, tmp_path: Path) -> None:
    record.publish(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(FetchError, match="expected " + "0" * 64):
        download(record.entry, tmp_path, sha256="0" * 64)
    (record.root / "api.json").unlink()
    download(record.entry, tmp_path, sha256=digest.upper())
    assert read_lock(tmp_path)["tiny.pt"]["verified_by"] == "sha256 given by the user"
    with pytest.raises(FetchError, match="was recorded earlier"):
        download(record.entry, tmp_path, sha256="0" * 64)


def test_damaged_transfer(record: Record, tmp_path: Path) -> None:
    record.publish(b"weights", checksum="md5:" + "0" * 32)
    with pytest.raises(FetchError, match="md5 is"):
        download(record.entry, tmp_path)
    assert read_lock(tmp_path) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": "other.pt"}, "no file tiny.pt; it has other.pt"),
        ({"checksum": "sha1:00"}, "an MD5 is expected"),
        ({"size": None}, "not the list of files"),
    ],
)
def test_record_that_says_something_else(
    record: Record, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    record.publish(b"weights", **changes)
    with pytest.raises(FetchError, match=said):
        download(record.entry, tmp_path)


def test_a_mirror_needs_a_checksum(record: Record, tmp_path: Path) -> None:
    record.publish(b"weights")
    with pytest.raises(FetchError, match="a mirror needs --sha256"):
        download(record.entry, tmp_path, url=record.entry.url)
    digest = hashlib.sha256(b"weights").hexdigest()
    download(record.entry, tmp_path, url=record.entry.url, sha256=digest)


def test_a_damaged_lock_is_not_passed_over(record: Record, tmp_path: Path) -> None:
    (tmp_path / catalog.LOCK_NAME).write_text("[")
    with pytest.raises(FetchError, match="damaged"):
        download(record.entry, tmp_path)


def test_names_of_the_published_record() -> None:
    assert {"rinalmo-micro", "rinalmo-mega", "rinalmo-giga"} <= set(CATALOG)
    for entry in CATALOG.values():
        assert entry.url.startswith("https://zenodo.org/records/15043668/files/rinalmo_")
        assert entry.licence == "CC BY 4.0"
    with pytest.raises(UsageError, match="no weights are called 'x'; known: rinalmo-micro"):
        find("x")


def test_install(
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flash: dict[str, Tensor],
) -> None:
    file = tmp_path / "tiny.pt"
    torch.save(flash, file)
    record.publish(file.read_bytes())
    monkeypatch.setattr(catalog, "CATALOG", {"tiny": record.entry})
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    path = install("tiny", report=said.append)
    assert path == tmp_path / "cache" / "models" / "tiny"
    assert any("CC BY 4.0" in text for text in said)
    model = load("tiny")
    assert torch.equal(model.encoder.embedding.weight, flash["embedding.weight"])
    source = model.facts["source"]
    assert source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert source["licence"] == "CC BY 4.0"
    assert not (tmp_path / "cache" / "downloads").exists()
    monkeypatch.setenv("STEMLOOP_OFFLINE", "1")
    assert install("tiny", report=said.append) == path
    assert said[-1] == "tiny is there already"
    with pytest.raises(FetchError, match="switched off"):
        install("tiny", force=True)


def test_install_of_something_else(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.publish(b"<html>not weights</html>")
    monkeypatch.setattr(catalog, "CATALOG", {"tiny": record.entry})
    monkeypatch.setenv("STEMLOOP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="tiny.pt"):
        install("tiny")
    assert not (tmp_path / "cache" / "models" / "tiny").exists()
