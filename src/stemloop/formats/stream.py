"""Opening input whatever its compression, and writing output whole or not at all.

Input may be plain, gzip, zstd, xz or bzip2, told apart by their first bytes and not by their
names; ``-`` is standard input. A byte-order mark is dropped. Damaged and truncated input is an
error that names the file.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import errno
import io
import lzma
import os
import secrets
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, TextIO, cast, overload

import zstandard

from stemloop.errors import FormatError, InputError, OutputError, OutputExistsError

_gzip_reader: Any = GzipFile
try:
    # Comes with dnaio on the usual processors and reads gzip two to three times faster.
    from isal.igzip import IGzipFile

    _gzip_reader = IGzipFile
except ImportError:
    pass

Source = str | os.PathLike[str] | IO[str] | IO[bytes]

BLOCK = 1 << 20

# Fields of tables hold whole transcripts and more; Python's own limit is 131,072 characters.
csv.field_size_limit(1 << 28)

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)
_FULL = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file grows too large",
}


class _ZstdReader(io.RawIOBase):
    """Decompressed bytes of zstd frames. zstandard's own reader passes truncation over."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._out = memoryview(b"")
        self._inside = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._out:
            chunk = b""
            if self._frame.eof:
                chunk = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._inside = False
            # A small chunk: what it decompresses to must fit in memory.
            chunk = chunk or self._raw.read(1 << 16)
            if not chunk:
                if self._inside:
                    raise EOFError("the last zstd frame is incomplete")
                return 0
            self._inside = True
            self._out = memoryview(self._frame.decompress(chunk))
        size = min(len(self._out), len(buffer))
        buffer[:size] = self._out[:size]
        self._out = self._out[size:]
        return size


class _Source(io.RawIOBase):
    """A decompressor whose failures name the file, closing what it opened."""

    def __init__(self, inner: IO[bytes], path: str, opened: list[IO[bytes]]) -> None:
        self._inner = inner
        self._path = path
        self._opened = opened

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            if not isinstance(self._inner, io.BufferedReader):
                return self._inner.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
            # Its readinto waits until the block is full (and its readinto1 may, too); read1 hands
            # over what a pipe has by now.
            data = self._inner.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise InputError(f"cannot be read: {error.strerror}", path=self._path) from error
            what = "truncated" if isinstance(error, EOFError) else "damaged"
            raise FormatError(
                f"compressed data is {what}: {error}", path=self._path, expected="a whole file"
            ) from error

    def close(self) -> None:
        for handle in self._opened:
            handle.close()
        super().close()


_DECOMPRESSORS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda raw: _gzip_reader(fileobj=raw, mode="rb"),
    b"\x28\xb5\x2f\xfd": _ZstdReader,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


def source_name(source: Source) -> str:
    """Name of an input for messages: its path, or ``-`` for standard input.

    Examples
    --------
    >>> source_name("a.fa"), source_name(io.StringIO())
    ('a.fa', '<StringIO>')
    """
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    if name == "<stdin>":
        return "-"
    return name if isinstance(name, str) else f"<{type(source).__name__}>"


def open_binary(source: Source) -> io.BufferedReader:
    """Open input for reading bytes: decompressed, without byte-order mark.

    Parameters
    ----------
    source : str, path or file object
        ``-`` is standard input. File objects that are passed in stay open.

    Raises
    ------
    InputError
        The file cannot be opened.
    FormatError
        It holds UTF-16 text; or, while reading, its compressed data is damaged.

    Examples
    --------
    >>> open_binary(io.BytesIO(b"\\xef\\xbb\\xbf>x")).read()
    b'>x'
    """
    path = source_name(source)
    opened: list[IO[bytes]] = []
    raw: Any
    if path == "-":
        raw = sys.stdin.buffer
    elif isinstance(source, str | os.PathLike):
        try:
            raw = open(source, "rb", buffering=BLOCK)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", path=path) from error
        opened.append(raw)
    elif isinstance(source, io.TextIOBase):
        raw = source.buffer if hasattr(source, "buffer") else io.BytesIO(source.read().encode())
    else:
        raw = source
    if not hasattr(raw, "peek"):
        raw = io.BufferedReader(raw, BLOCK)
    try:
        head = raw.peek(6)[:6]
    except OSError as error:
        for handle in opened:
            handle.close()
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    for magic, decompressor in _DECOMPRESSORS.items():
        if head.startswith(magic):
            raw = decompressor(raw)
            break
    reader = io.BufferedReader(_Source(raw, path, opened), BLOCK)
    start = reader.peek(3)[:3]
    if start.startswith(codecs.BOM_UTF8):
        reader.read(3)
    elif start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        reader.close()
        raise FormatError("UTF-16 text", path=path, expected="UTF-8 or ASCII text")
    return cast("io.BufferedReader", reader)


def open_text(source: Source) -> TextIO:
    """Open input for reading lines; every kind of line end arrives as ``\\n``.

    Bytes that are not UTF-8 arrive as ``\\xNN``, so that a header in some old encoding is kept
    legible and can be written anywhere.

    Parameters
    ----------
    source : str, path or file object
        As for :func:`open_binary`.

    Examples
    --------
    >>> list(open_text(io.BytesIO(b"a\\r\\nb\\xe9\\r\\n")))
    ['a\\n', 'b\\\\xe9\\n']
    """
    return io.TextIOWrapper(open_binary(source), encoding="utf-8", errors="backslashreplace")


@overload
def atomic_output(
    path: str | os.PathLike[str], *, force: bool = False, binary: Literal[False] = False
) -> AbstractContextManager[TextIO]: ...
@overload
def atomic_output(
    path: str | os.PathLike[str], *, force: bool = False, binary: Literal[True]
) -> AbstractContextManager[BinaryIO]: ...
def atomic_output(
    path: str | os.PathLike[str], *, force: bool = False, binary: bool = False
) -> AbstractContextManager[TextIO] | AbstractContextManager[BinaryIO]:
    """Write a file whole or not at all.

    The text goes to a temporary file in the same folder, which takes the name when everything
    is written and synced to disk; after an error nothing is left. Names ending in ``.gz``,
    ``.zst`` or ``.xz`` are compressed, the same input to the same bytes.

    Parameters
    ----------
    path : str or path
        File to write; ``-`` is standard output.
    force : bool
        Replace a file that is there already.
    binary : bool
        Write bytes.

    Yields
    ------
    file object

    Raises
    ------
    OutputExistsError
        The file exists and `force` is false.
    OutputError
        The file cannot be written, for instance because the disk is full.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_output(f"{folder}/x.txt") as out:
    ...         _ = out.write("one line")
    ...     print(Path(folder, "x.txt").read_text())
    one line
    """
    manager = _atomic(os.fspath(path), force, binary)
    return cast("AbstractContextManager[TextIO]", manager)


@contextmanager
def _atomic(path: str, force: bool, binary: bool) -> Iterator[IO[Any]]:
    if path == "-":
        with _write_errors("standard output"):
            yield sys.stdout.buffer if binary else sys.stdout
            sys.stdout.flush()
        return
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path}: is a folder")
    if target.exists() and not target.is_file():
        # A device or a pipe cannot be replaced; it is written to as it is.
        with (
            _write_errors(path, target),
            open(target, "wb") as raw,
            _layers(raw, path, binary) as handle,
        ):
            yield handle
        return
    _refuse_existing(target, path, force)
    temporary = target.with_name(f".stemloop-{secrets.token_hex(8)}.tmp")
    try:
        with _write_errors(path, temporary):
            # Created with the permissions of any new file, unlike those of module tempfile.
            with open(temporary, "xb") as raw:
                with _layers(raw, path, binary) as handle:
                    yield handle
                raw.flush()
                os.fsync(raw.fileno())
            _refuse_existing(target, path, force)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(target: Path, path: str, force: bool) -> None:
    if target.exists() and not force:
        raise OutputExistsError(f"{path} exists already; use --force to replace it")


@contextmanager
def _layers(raw: BinaryIO, path: str, binary: bool) -> Iterator[IO[Any]]:
    """Compression and text encoding on top of the raw file, which stays open."""
    suffix = Path(path).suffix
    inner: AbstractContextManager[Any] = nullcontext(raw)
    if suffix == ".gz":
        inner = GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
    elif suffix == ".zst":
        inner = zstandard.ZstdCompressor(write_checksum=True).stream_writer(raw, closefd=False)
    elif suffix == ".xz":
        inner = lzma.LZMAFile(raw, "wb")
    with inner as handle:
        if binary:
            yield handle
        else:
            text = io.TextIOWrapper(handle, encoding="utf-8", newline="\n", write_through=False)
            try:
                yield text
                text.flush()
            finally:
                # Otherwise the text layer would close the raw file before it is synced; what it
                # still holds after an error is dropped with the temporary file.
                _detach(text)


def _detach(text: io.TextIOWrapper) -> None:
    try:
        text.detach()
    except (OSError, ValueError):
        # detach() flushes first; on a full disk that fails again.
        pass


@contextmanager
def _write_errors(path: str, file: Path | None = None) -> Iterator[None]:
    """Turn what the system says of the output into OutputError; leave errors of the input."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(f"{path}: {_FULL[error.errno]}") from error
        if file is not None and error.filename is not None and Path(error.filename) == file:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
        raise
