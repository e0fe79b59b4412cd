"""Transparent decompression, and output that is written whole or not at all."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import FormatError, InputError, OutputError, OutputExistsError
from stemloop.formats.stream import atomic_output, open_binary, open_text

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("kind", COMPRESSORS)
@given(data=st.binary(max_size=2000))
def test_compression_is_told_by_content(kind: str, data: bytes) -> None:
    data = b">" + data
    pack = COMPRESSORS[kind]
    assert open_binary(io.BytesIO(pack(data))).read() == data
    # Frames one after the other, as block compressors and `cat` make them.
    assert open_binary(io.BytesIO(pack(data) + pack(data))).read() == data * 2


@pytest.mark.parametrize("kind", ["gz", "zst", "xz", "bz2"])
def test_truncation_names_the_file(tmp_path: Path, kind: str) -> None:
    whole = COMPRESSORS[kind](os.urandom(200_000))
    for size in (len(whole) // 2, len(whole) - 3):
        path = tmp_path / "x"
        path.write_bytes(whole[:size])
        with pytest.raises(FormatError, match="truncated") as caught, open_binary(path) as handle:
            handle.read()
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["gz", "zst", "xz", "bz2"])
def test_damage_names_the_file(tmp_path: Path, kind: str) -> None:
    data = bytearray(COMPRESSORS[kind](b"ACGU" * 10_000 + os.urandom(5_000)))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="compressed data is") as caught:
        open_binary(path).read()
    assert str(path) in str(caught.value)


def test_text_has_one_kind_of_line_end() -> None:
    raw = b"\xef\xbb\xbfa\r\nb\rc\xff\nd"
    assert list(open_text(io.BytesIO(raw))) == ["a\n", "b\n", "c\\xff\n", "d"]


def test_utf16_is_refused() -> None:
    with pytest.raises(FormatError, match="UTF-16 text"):
        open_text(io.BytesIO(">x\nACG\n".encode("utf-16")))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        open_binary(tmp_path / "absent.fa")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        open_binary(tmp_path)


def test_failing_drive(tmp_path: Path) -> None:
    class Drive(io.RawIOBase):
        name = "x.fa"

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(InputError, match=r"x\.fa: cannot be read: Input/output error"):
        open_binary(io.BufferedReader(Drive()))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(b">x\nACG\n")))
    monkeypatch.setattr("sys.stdin", stdin)
    with open_text("-") as handle:
        assert handle.read() == ">x\nACG\n"
    assert not stdin.closed


def test_output_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with atomic_output(path) as out:
        out.write("µ\n")
        assert not path.exists()
    assert path.read_bytes() == "µ\n".encode()
    assert os.listdir(tmp_path) == ["x.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz"])
def test_output_is_compressed_by_suffix(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        with atomic_output(tmp_path / f"{name}.fa{suffix}") as out:
            out.write(">x\nACG\n")
    assert open_text(tmp_path / f"a.fa{suffix}").read() == ">x\nACG\n"
    first, second = ((tmp_path / f"{name}.fa{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert first != b">x\nACG\n"


def test_existing_output_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match=r"x\.txt exists already"), atomic_output(path):
        pass
    assert path.read_text() == "old"
    with atomic_output(path, force=True) as out:
        out.write("new")
    assert path.read_text() == "new"


def test_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"

    def race() -> None:
        with atomic_output(path) as out:
            out.write("mine")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError):
        race()
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, FormatError])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "x.txt.gz"
    path.write_text("old")

    def stop_half_way() -> None:
        with atomic_output(path, force=True) as out:
            out.write("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        stop_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt.gz"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_output(tmp_path / "link.txt", force=True) as out:
        out.write("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_output_to_impossible_places(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "absent" / "x.txt", "cannot be written: No such file or directory"),
    ):
        with pytest.raises(OutputError, match=message), atomic_output(path):
            pass


def test_devices_are_written_to_as_they_are() -> None:
    with atomic_output("/dev/null") as out:
        out.write("gone")


def test_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with atomic_output("-") as out:
        out.write("shown\n")
    assert capsys.readouterr().out == "shown\n"
