"""Downloads against a server on this machine: ranges, cuts, changes, wrong sums, refusals."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stemloop.errors import FetchError, OutputError
from stemloop.weights.download import fetch, fetch_json, is_offline

BODY = bytes(i * 7 % 251 for i in range(300_000))


@dataclass
class Site:
    """What the server serves and how it misbehaves; it notes what it was asked."""

    body: bytes = BODY
    etag: str | None = '"one"'
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    chunked: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802
        site: Site = self.server.site  # type: ignore[attr-defined]
        site.requests.append(dict(self.headers))
        if site.status:
            status = site.status.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if wanted and site.ranges and (condition is None or condition == site.etag):
            start = int(wanted[1])
            if start >= len(site.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(site.body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            last = len(site.body) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(site.body)}")
        else:
            self.send_response(200)
        if site.etag:
            self.send_header("ETag", site.etag)
        payload = site.body[start:]
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        cut = site.cut_after.pop(0) if site.cut_after else None
        sent = payload[:cut]
        if site.chunked:
            self.wfile.write(b"%x\r\n" % len(sent) + sent + b"\r\n")
            if cut is None:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(sent)
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


@pytest.fixture
def site() -> Iterator[Site]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.site = Site(url=f"http://127.0.0.1:{server.server_address[1]}/file.pt")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.site  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_with_sums_and_progress(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch(
        site.url,
        tmp_path / "deep" / "file.pt",
        sha256=hashlib.sha256(BODY).hexdigest().upper(),
        md5=hashlib.md5(BODY).hexdigest(),
        size=len(BODY),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert path.read_bytes() == BODY
    assert leftovers(path.parent) == ["file.pt"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert site.requests[0]["User-Agent"].startswith("stemloop/")
    assert site.requests[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_transfer_goes_on_where_it_stopped(site: Site, tmp_path: Path, chunked: bool) -> None:
    site.chunked = chunked
    site.cut_after = [100_000, 50_000]
    path = fetch(site.url, tmp_path / "f", backoff=0, retries=0)
    assert path.read_bytes() == BODY
    assert [request.get("Range") for request in site.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert site.requests[1]["If-Range"] == '"one"'


def test_a_later_call_resumes(site: Site, tmp_path: Path) -> None:
    site.cut_after = [120_000, 0]
    with pytest.raises(FetchError, match="goes on from here"):
        fetch(site.url, tmp_path / "f", backoff=0, retries=0)
    assert (tmp_path / "f.part").stat().st_size == 120_000
    assert not (tmp_path / "f").exists()
    fetch(site.url, tmp_path / "f", backoff=0)
    assert (tmp_path / "f").read_bytes() == BODY
    assert site.requests[-1]["Range"] == "bytes=120000-"
    assert leftovers(tmp_path) == ["f"]


def test_resume_can_be_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * 10)
    fetch(site.url, tmp_path / "f", resume=False, sha256=hashlib.sha256(BODY).hexdigest())
    assert "Range" not in site.requests[0]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_file_that_changed_starts_anew(site: Site, tmp_path: Path) -> None:
    site.cut_after = [120_000, 0]
    with pytest.raises(FetchError):
        fetch(site.url, tmp_path / "f", backoff=0, retries=0)
    site.body, site.etag = BODY[::-1], '"two"'
    fetch(site.url, tmp_path / "f", backoff=0)
    assert (tmp_path / "f").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_validator_or_checksum_nothing_is_glued(
    site: Site, tmp_path: Path, etag: str | None
) -> None:
    site.etag = etag
    site.cut_after = [120_000]
    fetch(site.url, tmp_path / "f", backoff=0)
    assert (tmp_path / "f").read_bytes() == BODY
    assert "Range" not in site.requests[1]


def test_without_validator_a_checksum_allows_resume(site: Site, tmp_path: Path) -> None:
    site.etag = None
    site.cut_after = [120_000]
    fetch(site.url, tmp_path / "f", backoff=0, sha256=hashlib.sha256(BODY).hexdigest())
    assert site.requests[1]["Range"] == "bytes=120000-"
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_server_that_ignores_ranges(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cut_after = [120_000]
    fetch(site.url, tmp_path / "f", backoff=0)
    assert site.requests[1]["Range"] == "bytes=120000-"
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_part_that_is_already_whole(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(BODY)
    fetch(site.url, tmp_path / "f", sha256=hashlib.sha256(BODY).hexdigest())
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_part_longer_than_the_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(BODY + b"more")
    fetch(site.url, tmp_path / "f", sha256=hashlib.sha256(BODY).hexdigest(), backoff=0)
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_checksum_throws_the_bytes_away(site: Site, tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(FetchError, match=f"{algorithm} is .*, expected 00"):
        fetch(site.url, tmp_path / "f", **{algorithm: "00"})
    assert leftovers(tmp_path) == []


def test_an_old_file_survives_a_failed_replacement(site: Site, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(FetchError):
        fetch(site.url, tmp_path / "f", sha256="00")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_wrong_size(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="the server offers 300000 bytes, 5 are expected"):
        fetch(site.url, tmp_path / "f", size=5)
    site.chunked = True
    with pytest.raises(FetchError, match="300000 bytes came, 5 are expected"):
        fetch(site.url, tmp_path / "g", size=5)


def test_missing_file_is_not_asked_for_twice(site: Site, tmp_path: Path) -> None:
    site.status = [404, 404]
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch(site.url, tmp_path / "f", backoff=0)
    assert len(site.requests) == 1


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.status = [503, 429, 500]
    fetch(site.url, tmp_path / "f", backoff=0)
    assert len(site.requests) == 4
    site.status = [503, 503, 503]
    with pytest.raises(FetchError, match="HTTP 503 .* gave up after 3 attempts"):
        fetch(site.url, tmp_path / "g", backoff=0, retries=2)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="refused"):
        fetch("http://127.0.0.1:9/x", tmp_path / "f", backoff=0, retries=1)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/x", "plain"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="only http and https"):
        fetch(url, tmp_path / "f")


def test_offline(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMLOOP_OFFLINE", "0")
    assert not is_offline()
    monkeypatch.setenv("STEMLOOP_OFFLINE", "1")
    with pytest.raises(FetchError, match="switched off"):
        fetch(site.url, tmp_path / "f")
    with pytest.raises(FetchError, match="switched off"):
        fetch_json(site.url)
    assert site.requests == []
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        fetch(site.url, tmp_path / "file" / "f")


def test_a_full_disk(site: Site, tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match="File too large"):
            fetch(site.url, tmp_path / "f")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    fetch(site.url, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_two_processes(site: Site, tmp_path: Path) -> None:
    import fcntl

    with open(tmp_path / "f.part.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another process"):
            fetch(site.url, tmp_path / "f")


def test_json(site: Site) -> None:
    site.body = b'{"files": []}'
    assert fetch_json(site.url) == {"files": []}
    site.body = b"<html>"
    with pytest.raises(FetchError):
        fetch_json(site.url)
