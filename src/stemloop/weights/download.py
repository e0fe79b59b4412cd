"""Fetch one file over HTTP: resumable, verified, and in its place only when it is whole.

The bytes stream into ``<dest>.part``; a note beside it (``<dest>.part.json``) keeps the address and
the server's validator (ETag, else Last-Modified), so that a later call asks for the rest with
``Range`` and ``If-Range`` and a file that has changed meanwhile starts anew (RFC 9110, sections
13.1.5 and 14.2). Nothing is renamed to `dest` before its size and checksums are right.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

from stemloop import __version__
from stemloop.errors import FetchError, OutputError

CHUNK = 1 << 20

#: Status codes after which asking again may help.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

#: Called with (bytes so far, bytes in all or None).
Progress = Callable[[int, int | None], None]


class _BrokenError(Exception):
    """The transfer stopped early; what came is kept and the rest can be asked for."""


def is_offline() -> bool:
    """Whether ``STEMLOOP_OFFLINE`` switches the network off.

    Examples
    --------
    >>> os.environ["STEMLOOP_OFFLINE"] = "1"
    >>> is_offline()
    True
    >>> del os.environ["STEMLOOP_OFFLINE"]
    >>> is_offline()
    False
    """
    return os.environ.get("STEMLOOP_OFFLINE", "").strip().lower() not in {"", "0", "false", "no"}


def file_digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """Hexadecimal checksum of a file, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def _request(url: str, headers: dict[str, str] | None = None) -> urllib.request.Request:
    if not url.lower().startswith(("http://", "https://")):
        # urllib would open file:// and ftp:// as well; an address from a table must not.
        raise FetchError(f"{url}: only http and https addresses are fetched")
    if is_offline():
        raise FetchError(f"{url}: the network is switched off (STEMLOOP_OFFLINE)")
    return urllib.request.Request(
        # A compressed transfer would break ranges and sizes.
        url, headers={"User-Agent": f"stemloop/{__version__}", "Accept-Encoding": "identity"}
        | (headers or {})
    )  # fmt: skip


def fetch_json(url: str, *, timeout: float = 30.0) -> Any:
    """Content of a small JSON document.

    Raises
    ------
    FetchError
        It could not be had, is no JSON, or the network is switched off.
    """
    request = _request(url, {"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.loads(response.read(16 << 20))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {error}") from error


def fetch(
    url: str,
    dest: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    resume: bool = True,
    retries: int = 4,
    backoff: float = 1.0,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `dest`.

    Parameters
    ----------
    url : str
        http or https address.
    dest : path
        Where the file goes; its folder is made. An existing file is replaced, at the end.
    sha256, md5 : str, optional
        Checksums that the file must have, in hexadecimal.
    size : int, optional
        Bytes that the file must have.
    resume : bool
        Go on from a ``.part`` of an earlier call. That needs a validator of the server, or a
        checksum; without both the file starts anew.
    retries : int
        Attempts after the first that bring no new bytes before giving up. An attempt that does
        bring some is not counted.
    backoff : float
        Seconds before the first retry, doubled each time, at most a minute.
    timeout : float
        Seconds without a byte after which an attempt has failed.
    progress : callable, optional
        Called with (bytes so far, bytes in all or None).

    Returns
    -------
    pathlib.Path
        `dest`.

    Raises
    ------
    FetchError
        The network is switched off; the server refuses or does not have the file; size or
        checksum are wrong (the bytes are thrown away); another process fetches the same file.
    OutputError
        The folder cannot be written.
    """
    target = Path(dest)
    _request(url)  # refuses addresses and offline use before anything is touched
    part = target.with_name(target.name + ".part")
    note = target.with_name(target.name + ".part.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part):
            if not resume:
                _discard(part, note)
            verified = bool(sha256 or md5)
            _transfer(url, part, note, verified, size, retries, backoff, timeout, progress)
            _verify(url, part, note, sha256=sha256, md5=md5, size=size)
            with open(part, "rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(part, target)
            note.unlink(missing_ok=True)
    except FetchError:
        raise
    except OSError as error:
        raise OutputError(f"{error.filename or target}: {error.strerror or error}") from error
    return target


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Hold the download for this process; a second one is told so instead of mixing bytes."""
    lock = part.with_name(part.name + ".lock")
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FetchError(f"{part}: another process is fetching this file") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _discard(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)


def _transfer(
    url: str,
    part: Path,
    note: Path,
    verified: bool,
    size: int | None,
    retries: int,
    backoff: float,
    timeout: float,
    progress: Progress | None,
) -> None:
    """Bring `part` to its full length, in as many attempts as it takes."""
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        wait: float | None = None
        try:
            return _attempt(url, part, note, verified, size, timeout, progress)
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            error.close()
            if error.code not in TRANSIENT:
                raise FetchError(f"{url}: {reason}") from error
            after = (error.headers or Message()).get("Retry-After", "")
            wait = min(float(after), 60.0) if after.isdigit() else None
        except _BrokenError as error:
            reason = str(error)
        gained = part.exists() and part.stat().st_size > before
        fruitless = 0 if gained else fruitless + 1
        if fruitless > retries:
            raise FetchError(
                f"{url}: {reason}; gave up after {fruitless} attempts, "
                "the same command goes on from here"
            )
        time.sleep(wait if wait is not None else min(backoff * 2 ** max(fruitless - 1, 0), 60.0))


def _attempt(
    url: str,
    part: Path,
    note: Path,
    verified: bool,
    size: int | None,
    timeout: float,
    progress: Progress | None,
) -> None:
    """One request: from where `part` ends, or from the start where that is not safe."""
    have = part.stat().st_size if part.exists() else 0
    known = _read_note(note)
    validator = known.get("validator") if known.get("url") == url else None
    if have and not (validator or verified):
        have = 0
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = urllib.request.urlopen(_request(url, headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing lies beyond what we have: either it is all there, or it is another file's.
        total = re.fullmatch(
            r"bytes \*/(\d+)", (error.headers or Message()).get("Content-Range", "")
        )
        error.close()
        if total and int(total[1]) == have:
            return
        _discard(part, note)
        raise _BrokenError("the part on disk does not fit the file on the server") from error
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise FetchError(f"{url}: {cause}") from error  # no retry makes this one right
        raise _BrokenError(str(cause) or type(cause).__name__) from error
    with response:
        total_bytes = _length(response, have)
        if response.status == 206:
            span = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or ""
            )
            if not span or int(span[1]) != have:
                _discard(part, note)
                raise _BrokenError("the server sent another range than the one asked for")
            if span[2] != "*":
                total_bytes = int(span[2])
        else:
            have = 0  # the server ignores ranges, or the file has changed: it sends all of it
        if size is not None and total_bytes is not None and total_bytes != size:
            raise FetchError(f"{url}: the server offers {total_bytes} bytes, {size} are expected")
        note.write_text(json.dumps({"url": url, "validator": _validator(response)}))
        _receive(response, part, have, total_bytes, progress)


def _receive(
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    total: int | None,
    progress: Progress | None,
) -> None:
    """Append the body to `part` from offset `have`."""
    with open(part, "r+b" if have else "wb") as handle:
        handle.seek(have)
        if progress:
            progress(have, total)
        while True:
            try:
                block = response.read(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                handle.write(getattr(error, "partial", b""))
                raise _BrokenError(str(error) or type(error).__name__) from error
            if not block:
                break
            handle.write(block)
            have += len(block)
            if progress:
                progress(have, total)
    if total is not None and have != total:
        raise _BrokenError(f"the connection was cut after {have} of {total} bytes")


def _length(response: http.client.HTTPResponse, have: int) -> int | None:
    text = response.headers.get("Content-Length")
    if text is None or not text.isdigit():
        return None
    return int(text) + (have if response.status == 206 else 0)


def _validator(response: http.client.HTTPResponse) -> str | None:
    """A strong ETag, else the date; If-Range takes no weak ETag (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _read_note(note: Path) -> dict[str, Any]:
    try:
        content = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _verify(
    url: str, part: Path, note: Path, *, sha256: str | None, md5: str | None, size: int | None
) -> None:
    actual_size = part.stat().st_size
    if size is not None and actual_size != size:
        _discard(part, note)
        raise FetchError(f"{url}: {actual_size} bytes came, {size} are expected")
    for algorithm, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        actual = file_digest(part, algorithm)
        if actual != expected.lower():
            _discard(part, note)
            raise FetchError(f"{url}: {algorithm} is {actual}, expected {expected.lower()}")
