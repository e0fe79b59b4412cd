"""Broken input and full disks: every message names the place, and no half output stays."""

from __future__ import annotations

import errno
import gzip
import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import (
    AlphabetError,
    FormatError,
    InputError,
    OutputError,
    OutputExistsError,
    StructureError,
)
from stemloop.formats.alignment import Alignment, read_alignments, write_stockholm
from stemloop.formats.fasta import read_sequences, write_fasta
from stemloop.formats.structure import read_structures, write_structures
from stemloop.formats.tables import write_arrays, write_table
from stemloop.records import SequenceRecord, Structure

RECORD = SequenceRecord("x", "GGGAAACCC" * 2000)
STRUCTURE = Structure(RECORD, np.zeros((0, 2), int))


def broken(path: Path, data: str | bytes, reader: Callable[[Path], object]) -> InputError:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as caught:
        list(reader(path))  # type: ignore[call-overload]
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 3
    return caught.value


FASTA_FAULTS = [
    ("", FormatError, None, None, "no records: the file is empty (expected a header line"),
    ("\n \r\n", FormatError, None, None, "no records"),
    ("\ufeff", FormatError, None, None, "no records"),
    ("ACGUACGU\n", FormatError, 1, None, "no header before 'ACGUACGU' (expected a header line"),
    ("\n\nACGU\n>x\nA\n", FormatError, 3, None, "no header before 'ACGU'"),
    (">a\nACG\n>b\n>c\nA\n", FormatError, 3, "b", "no sequence (expected nucleotides)"),
    (">a\nACG\n>b", FormatError, 3, "b", "no sequence"),
    (">a\rACG\rACG\r", FormatError, 1, "a", "no sequence"),
    (">p\r\nMKTAYIAKQR\r\nQISFVKSHFSRQ\r\n", AlphabetError, 2, "p", "'Q' at position 9 is no"),
    (">p\nMKTAYIAKQR\n", AlphabetError, 2, "p", "the sequence looks like protein"),
    (">a\nACGU\nAC>U\n", AlphabetError, 3, "a", "'>' at position 7 is no nucleotide code"),
    (">a\nACGµ\n", AlphabetError, 2, "a", "at position 4 is no nucleotide code"),
    ("@a\nACGU\n+\nIII\n", FormatError, None, None, "broken FASTQ"),
    ("@a\nACGU\n+\nIIII\n@b\nACG", FormatError, None, None, "(expected four lines a record)"),
    ("@a\nAC*U\n+\nIIII\n", AlphabetError, 2, "a", "'*' at position 3"),
    ("@a\n\n+\n\n", FormatError, 2, "a", "no sequence"),
]


@pytest.mark.parametrize(("text", "kind", "line", "record", "message"), FASTA_FAULTS)
def test_fasta(
    tmp_path: Path, text: str, kind: type, line: int | None, record: str | None, message: str
) -> None:
    error = broken(tmp_path / "x.fa", text, read_sequences)
    assert type(error) is kind
    assert error.record == record
    assert message in str(error)
    if line is not None:
        assert error.line == line


STRUCTURE_FAULTS = [
    ("x.dbn", ">a\nGGAACC\n((..)\n", 3, "a", "structure of 5 characters for 6 nucleotides"),
    ("x.dbn", ">a\nGGAACC\n((..).\n", 3, "a", "'(' at position 1 is never closed"),
    ("x.dbn", ">a\nGGAACC\n(..)).\n", 3, "a", "')' at position 5 closes nothing"),
    ("x.dbn", ">a\nGGAACC\n((?.))\n", 3, "a", "'?' at position 3 is no structure sign"),
    ("x.dbn", ">a\nGGAACC\n>b\nG\n.\n", 1, "a", "no structure line (expected a sequence, then"),
    ("x.dbn", ">a\n", 1, "a", "no sequence"),
    ("x.dbn", ">a\nGGAACC\n((..)) cold\n", 3, "a", "'cold' after the structure (expected an"),
    ("x.dbn", ">a\nGGEACC\n((..))\n", 2, "a", "'E' at position 3 is no nucleotide code"),
    ("x.dbn", "\n", None, None, "no records"),
    ("x.ct", "3 a\n1 G 0 2 3 1\n2 A 1 3 0 2\n3 C 2 0 0 3\n", 2, "a", "position 1 names partner 3"),
    ("x.ct", "3 a\n1 G 0 2 3 1\n2 A 1 3 3 2\n3 C 2 0 1 3\n", 3, "a", "but 3 names 1"),
    ("x.ct", "2 a\n1 G 0 2 5 1\n2 A 1 3 0 2\n", 2, "a", "partner 5, outside 1 to 2"),
    ("x.ct", "2 a\n1 G 0 2 1 1\n2 A 1 3 0 2\n", 2, "a", "partner 1, itself"),
    ("x.ct", "2 a\n1 G 0 2 0 1\n", 1, "a", "the file ends after 1 of 2 nucleotides"),
    ("x.ct", "2 a\n1 G 0 2 0 1\n3 A 1 3 0 2\n", 3, "a", "is not the line of position 2"),
    ("x.ct", "2 a\n1 G 0 2 x 1\n2 A 1 3 0 2\n", 2, "a", "(expected position, nucleotide,"),
    ("x.ct", "2 a\n1 G 0 2 0 1\n2 ! 1 3 0 2\n", 3, "a", "'!' at position 2 is no nucleotide"),
    ("x.ct", "0 a\n", 1, "a", "no nucleotides"),
    ("x.ct", "two a\n", 1, None, "'two a' starts no record (expected a CT header"),
    ("x.bpseq", "1 G 3\n2 A 0\n3 C 2\n", 1, "x", "position 1 names partner 3, but 3 names 2"),
    ("x.bpseq", "1 G 0\n3 A 0\n", 2, None, "position 3 follows position 1"),
    ("x.bpseq", "1 G 0\nGARBAGE\n", 2, None, "'GARBAGE' is no BPSEQ line (expected position"),
    ("x.bpseq", "1 G 0\n2 ! 0\n", 2, "x", "'!' at position 2 is no nucleotide code"),
    ("x.bpseq", "#Name: a\n", 1, "a", "no nucleotides"),
    ("x.st", "#Name: a\n#Length: 5\nGAAAC\n(..)\n", 4, "a", "structure of 4 characters for 5"),
    ("x.st", "#Name: a\nGAAAC\n", 1, "a", "no structure line"),
]


@pytest.mark.parametrize(("name", "text", "line", "record", "message"), STRUCTURE_FAULTS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_structures(
    tmp_path: Path,
    name: str,
    text: str,
    line: int | None,
    record: str | None,
    message: str,
    end: str,
) -> None:
    error = broken(tmp_path / name, "\ufeff" + text.replace("\n", end), read_structures)
    assert isinstance(error, FormatError | AlphabetError | StructureError)
    assert (error.line, error.record) == (line, record)
    assert message in str(error)


def test_truncated_gzip(tmp_path: Path) -> None:
    lines = "".join(f">r{i}\n{'ACGU' * 9}{i % 2 * 'A'}\n" for i in range(5000))
    packed = gzip.compress(lines.encode())
    for reader in (read_sequences, read_structures):
        error = broken(tmp_path / "x.fa.gz", packed[:-20], reader)
        assert "compressed data is truncated" in str(error)


def test_wrong_compression_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.fa.gz"
    path.write_bytes(b"\xef\xbb\xbf>x\r\nACG\r\n")
    assert [r.sequence for r in read_sequences(path)] == ["ACG"]


Writer = Callable[[Path, bool], None]
WRITERS: dict[str, Writer] = {
    "x.fa": lambda p, force: write_fasta(p, [RECORD], force=force),
    "x.fa.gz": lambda p, force: write_fasta(p, [RECORD], force=force),
    "x.fa.zst": lambda p, force: write_fasta(p, [RECORD], force=force),
    "x.ct": lambda p, force: write_structures(p, [STRUCTURE], force=force),
    "x.dbn": lambda p, force: write_structures(p, [STRUCTURE], force=force),
    "x.sto": lambda p, force: write_stockholm(p, [Alignment(("x",), ("A",))], force=force),
    "x.tsv": lambda p, force: write_table(p, {"a": range(9999)}, force=force),
    "x.parquet": lambda p, force: write_table(p, {"a": range(9999)}, force=force),
    "x.npz": lambda p, force: write_arrays(p, {"a": np.ones(9999)}, force=force),
    "x.safetensors": lambda p, force: write_arrays(p, {"a": np.ones(9999)}, force=force),
}


@pytest.mark.parametrize("name", WRITERS)
def test_existing_output_is_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("precious")
    with pytest.raises(OutputExistsError, match="exists already; use --force") as caught:
        WRITERS[name](path, False)
    assert str(path) in str(caught.value)
    assert path.read_text() == "precious"
    WRITERS[name](path, True)
    assert path.read_bytes() != b"precious"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("when", ["write", "sync"])
def test_full_disk(tmp_path: Path, name: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullDisk(io.FileIO):
        write = full

    if when == "sync":
        monkeypatch.setattr("os.fsync", full)
    else:
        monkeypatch.setattr(
            "stemloop.formats.stream.open",
            lambda path, mode: io.BufferedWriter(FullDisk(path, mode.replace("b", ""))),
            raising=False,
        )
    path = tmp_path / name
    path.write_text("precious")
    with pytest.raises(OutputError, match="no space is left") as caught:
        WRITERS[name](path, True)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 4
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_device_that_is_always_full() -> None:
    with pytest.raises(OutputError, match="/dev/full: no space is left"):
        write_fasta("/dev/full", [RECORD])


def test_broken_input_leaves_no_output(tmp_path: Path) -> None:
    source = tmp_path / "x.fa"
    source.write_text(">a\nACG\n>b\nAC5\n")
    with pytest.raises(AlphabetError):
        write_fasta(tmp_path / "y.fa", read_sequences(source))
    assert os.listdir(tmp_path) == ["x.fa"]


VALID = [
    b">a one\nACGU\nAC\n>b\nGG\n",
    b"@a\nACGU\n+\nIIII\n@b\nA\n+\nI\n",
    b">a\nGGGAAACCC\n(((...))) (-1.20)\n>b\nGAAAC\n(...)\n",
    b"#Name: a\n#Length: 5\n#Energy: -1.20\nGAAAC\n(...)\nSHHHS\n",
    b"3 ENERGY = -1.2 a\n1 G 0 2 3 1\n2 A 1 3 0 2\n3 C 2 0 1 3\n",
    b"#Name: a\n#Energy: -1.20\n1 G 3\n2 A 0\n3 C 1\n",
    b"# STOCKHOLM 1.0\n#=GF ID a\nx GA\n#=GC SS_cons <.\n\nx C\n#=GC SS_cons >\n//\n",
]
READERS: list[Callable[[io.BytesIO], object]] = [
    read_sequences,
    *(partial(read_structures, format=name) for name in (None, "dbn", "ct", "bpseq", "st")),
    lambda source: [list(a.structures()) for a in read_alignments(source) if "SS_cons" in a.gc],
]


@given(
    data=st.sampled_from(VALID),
    edits=st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 3), st.binary(max_size=3)), max_size=4
    ),
    pack=st.sampled_from([bytes, gzip.compress]),
    cut=st.integers(0, 30),
)
def test_no_damage_ends_in_another_error(
    data: bytes, edits: list[tuple[int, int, bytes]], pack: Callable[[bytes], bytes], cut: int
) -> None:
    for place, length, new in edits:
        data = data[:place] + new + data[place + length :]
    packed = pack(data)
    errors = []
    for reader in READERS:
        try:
            list(reader(io.BytesIO(packed[: len(packed) - cut])))  # type: ignore[call-overload]
        except InputError as error:
            errors.append(error)
    # A row of an alignment that was read does not know its file any more.
    assert all(e.path == "<BytesIO>" or isinstance(e, AlphabetError) for e in errors)
