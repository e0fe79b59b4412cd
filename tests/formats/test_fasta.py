"""FASTA and FASTQ in every dress they come in."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from stemloop.errors import AlphabetError, FormatError
from stemloop.formats import fasta
from stemloop.formats.fasta import header_text, read_sequences, safe_filename, write_fasta
from stemloop.records import SequenceRecord

header_signs = st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"])
names = st.text(header_signs, min_size=1, max_size=12)
descriptions = st.lists(names, max_size=3).map(" ".join)
records_of_a_file = st.lists(
    st.builds(
        SequenceRecord, names, st.text("ACGURYKMSWBDHVNI-", min_size=1, max_size=70), descriptions
    ),
    min_size=1,
    max_size=5,
).map(
    lambda records: [
        SequenceRecord(r.id, r.sequence, r.description, i) for i, r in enumerate(records)
    ]
)


@given(
    records=records_of_a_file,
    width=st.integers(1, 80),
    end=st.sampled_from(["\n", "\r\n"]),
    start=st.sampled_from(["", "\ufeff", "\n\n", "\ufeff \r\n"]),
    blank=st.sampled_from(["", " ", "\t"]),
    last=st.booleans(),
    pack=st.sampled_from(
        [bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress]
    ),
    block=st.integers(1, 50),
)
def test_fasta_round_trip(
    records: list[SequenceRecord],
    width: int,
    end: str,
    start: str,
    blank: str,
    last: bool,
    pack: object,
    block: int,
) -> None:
    lines = []
    for r in records:
        lines.append(f">{header_text(r)}")
        text = r.sequence.replace("U", "t")
        lines += [text[i : i + width] + blank for i in range(0, r.length, width)]
    text = start + end.join(lines) + (end if last else "")
    with pytest.MonkeyPatch.context() as patch:
        # Small blocks, so that headers and line ends fall on their seams.
        patch.setattr(fasta, "BLOCK", block)
        assert list(read_sequences(io.BytesIO(pack(text.encode())))) == records  # type: ignore[operator]


@given(records=records_of_a_file, width=st.integers(0, 80))
def test_written_fasta_reads_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[SequenceRecord], width: int
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "x.fa.gz"
    write_fasta(path, records, width=width)
    assert list(read_sequences(path)) == records


@given(records=records_of_a_file, end=st.sampled_from(["\n", "\r\n"]))
def test_fastq(records: list[SequenceRecord], end: str) -> None:
    text = "".join(
        f"@r{r.index} first{end}{r.sequence}{end}+{end}{'I' * r.length}{end}" for r in records
    )
    found = list(read_sequences(io.BytesIO(text.encode())))
    assert [r.sequence for r in found] == [r.sequence for r in records]
    assert [(r.id, r.description, r.index) for r in found] == [
        (f"r{i}", "first", i) for i in range(len(records))
    ]
    assert all(r.quality == "I" * r.length for r in found)


def test_text_handles_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">x one\nAC\nGT\n")
    expected = [SequenceRecord("x", "ACGU", "one")]
    assert list(read_sequences(path)) == expected
    assert list(read_sequences(str(path))) == expected
    assert list(read_sequences(io.StringIO(path.read_text()))) == expected
    with open(path) as handle:
        assert list(read_sequences(handle)) == expected


def test_duplicate_identifiers_are_kept_apart() -> None:
    found = list(read_sequences(io.StringIO(">x\nA\n>x\nC\n>x\nG\n")))
    assert [(r.id, r.index, r.sequence) for r in found] == [
        *(("x", 0, "A"), ("x", 1, "C"), ("x", 2, "G")),
    ]
    assert len({safe_filename(r.id, r.index) for r in found}) == 3


def test_unchecked_sequences_arrive_as_they_stand() -> None:
    text = ">p\nMKTa yiaK\n*\n"
    assert next(read_sequences(io.StringIO(text), alphabet_check=False)).sequence == "MKTayiaK*"


def test_hostile_headers_are_data() -> None:
    headers = ["../../etc/passwd", ">>x", "a\tb c", "x" * 100_000, "ré\u202e名", "", "CON", "a|b;c"]
    text = "".join(f">{h}\nACG\n" for h in headers)
    found = list(read_sequences(io.StringIO(text)))
    assert [r.id for r in found] == [
        *("../../etc/passwd", ">>x", "a", "x" * 100_000, "ré\u202e名", "", "CON", "a|b;c"),
    ]
    assert found[2].description == "b c"
    for record in found:
        name = safe_filename(record.id, record.index)
        assert len(name) < 100
        assert name.isascii()
        assert "/" not in name
        assert not name.startswith(".")


@given(st.lists(st.text(max_size=30), max_size=20))
def test_file_names_are_unique(identifiers: list[str]) -> None:
    found = {safe_filename(text, i).lower() for i, text in enumerate(identifiers)}
    assert len(found) == len(identifiers)
    assert all(name.strip("._-") == name for name in found)


def test_line_of_a_bad_character() -> None:
    text = ">a\nACG\n\n>b two\r\nACGU\r\nAC GU\r\nAC5G\r\n>c\nA\n"
    reader = read_sequences(io.StringIO(text, newline=""))
    assert next(reader).id == "a"
    with pytest.raises(AlphabetError) as caught:
        next(reader)
    assert (caught.value.line, caught.value.record) == (7, "b")
    assert "'5' at position 11" in str(caught.value)


def test_lines_count_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "BLOCK", 7)
    text = "".join(f">r{i}\nACGU\nACG\n" for i in range(50)) + ">last\n\n>x\nA\n"
    with pytest.raises(FormatError) as caught:
        list(read_sequences(io.StringIO(text)))
    assert str(caught.value) == (
        "<StringIO>:151: record 'last': no sequence (expected nucleotides)"
    )


def test_records_of_a_pipe_arrive_as_they_come() -> None:
    class Pipe(io.RawIOBase):
        """Never ends, and hands over one record a call."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            record = b">x\n" + b"ACGU" * 64 + b"\n"
            buffer[: len(record)] = record
            return len(record)

    reader = read_sequences(io.BufferedReader(Pipe()))
    assert [next(reader).length for _ in range(3)] == [256] * 3


def test_header_text_is_one_line() -> None:
    assert header_text(SequenceRecord("", "A", index=4)) == "record_5"
    assert header_text(SequenceRecord("a\r\nb", "A", "c\n>d")) == "a b c >d"
