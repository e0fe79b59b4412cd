"""Records of every kind of input, alone and in archives; what damaged ones do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from stemloop.data.corpus_inputs import Raw, read_records
from stemloop.data.corpus_sources import Sources, list_inputs
from stemloop.errors import FormatError

FASTA = ">a first\nACGU\nAC\n>b\nGGNN\n"
STOCKHOLM = (
    "# STOCKHOLM 1.0\n#=GF AC RF00005\n#=GF TP Gene; tRNA;\nx/1-4 AC-G.U\ny GG---A\n//\n"
    "# STOCKHOLM 1.0\n#=GF TP Cis-reg; riboswitch;\nz ACGU\n//\n"
)
EMBL = 'ID   E1\nFT   ncRNA 1..4\nFT   /ncRNA_class="snoRNA"\nSQ   S\n     acgt 4\n//\n'


def read(path: Path, skip: Callable[[str, str], None] | None = None, **keys: object) -> list[Raw]:
    source = {"name": "s", "files": ["*"], "licence": "CC0-1.0", **keys}
    sources, files, _ = list_inputs([path], Sources.model_validate({"sources": [source]}))
    return [
        record
        for file in files
        for record in read_records(file, sources.sources[0], skip or (lambda name, why: None))
    ]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".bz2", bz2.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_formats_and_compressions(
    suffix: str, compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    texts = {"a.fna": FASTA, "b.sto": STOCKHOLM, "c.embl": EMBL}
    for name, text in texts.items():
        (tmp_path / f"{name}{suffix}").write_bytes(compress(text.encode()))
    assert read(tmp_path) == [
        Raw("a", "ACGUAC", "", ""),
        Raw("b", "GGNN", "", ""),
        Raw("x/1-4", "AC-G.U", "tRNA", "RF00005"),
        Raw("y", "GG---A", "tRNA", "RF00005"),
        Raw("z", "ACGU", "other", ""),
        Raw("E1", "acgt", "snoRNA", ""),
    ]


def test_members_of_archives_in_their_order(tmp_path: Path) -> None:
    members = {
        "d/RF00050.fa": FASTA,
        "d/rows.sto": STOCKHOLM,
        "__MACOSX/d/._RF00050.fa": "junk",
        "d/read.me": "text",
        "d/no.fa": ">no\nAAAA\n",
        "d/inner.fa.gz": "",
    }
    (tmp_path / "zip").mkdir()
    (tmp_path / "tar").mkdir()
    inner = gzip.compress(b">deep\nCCCC\n")
    with zipfile.ZipFile(tmp_path / "zip/x.zip", "w") as archive:
        for name, text in members.items():
            archive.writestr(name, inner if name.endswith(".gz") else text)
    with tarfile.open(tmp_path / "tar/x.tar.xz", "w:xz") as tar:
        for name, text in members.items():
            data = inner if name.endswith(".gz") else text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for kind in ("zip", "tar"):
        missed: list[tuple[str, str]] = []
        records = read(
            tmp_path / kind, lambda name, why, m=missed: m.append((name, why)), exclude=["*/no.fa"]
        )
        assert [r.id for r in records] == ["a", "b", "x/1-4", "y", "z", "deep"]
        # The file name has the family, and the family the type.
        assert records[0] == Raw("a", "ACGUAC", "other", "RF00050")
        assert records[5].family == ""
        assert [(name.split("!")[1], why.split()[0]) for name, why in missed] == [
            ("__MACOSX/d/._RF00050.fa", "left"),
            ("d/read.me", "not"),
            ("d/no.fa", "excluded"),
        ]
        assert [r.id for r in read(tmp_path / kind, members=["*.sto"])] == ["x/1-4", "y", "z"]


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz", "tar", "zip"])
def test_damaged_archives_are_fatal_and_named(suffix: str, tmp_path: Path) -> None:
    # Text that does not compress away, so that the cut falls into the member.
    text = b"".join(b">r%d\n%s\n" % (k, bytes(str(hash((k, 1))), "ascii") * 20) for k in range(500))
    path = tmp_path / f"x.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("m.fa", text)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
    else:
        with tarfile.open(path, f"w:{suffix[4:]}") as tar:
            info = tarfile.TarInfo("m.fa")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
        data = path.read_bytes()[: path.stat().st_size // 3]
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read(path)
    assert "x." in str(caught.value)


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no archive")
    with pytest.raises(FormatError, match="damaged"):
        read(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("header", "keys", "expected"),
    [
        ("URS0000000001 scaRNA from 7 species", {}, ("scaRNA", "")),
        ("URS0000000001 Homo sapiens rRNA", {}, ("", "")),
        ("URS0000000001 Homo sapiens 5S rRNA", {"describe": True}, ("rRNA", "")),
        ("ENST1 ncrna gene_biotype:lncRNA transcript_biotype:lincRNA", {}, ("lncRNA", "")),
        ("ENST1 gene_biotype:protein_coding", {"type": "ncRNA"}, ("ncRNA", "")),
        ("x", {"type": "tRNA", "family": "RF00005"}, ("tRNA", "RF00005")),
        ("x", {"family": "RF00010"}, ("RNasePRNA", "RF00010")),
        ("snR3", {"type_pattern": "^(snR)|^(t)", "types": {"snR": "snoRNA"}}, ("snoRNA", "")),
        ("x RF00023", {"family_pattern": r"(RF\d{5})"}, ("tmRNA", "RF00023")),
        # A general label of the source gives way to a telling one, not the other way round.
        ("URS1 tmRNA from 1 species", {"type": "sRNA"}, ("tmRNA", "")),
        ("URS1 misc_RNA from 1 species", {"type": "rRNA"}, ("rRNA", "")),
    ],
)
def test_labels(
    header: str, keys: dict[str, object], expected: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "x.fa"
    path.write_text(f">{header}\nACGU\n")
    (record,) = read(path, **keys)
    assert (record.type, record.family) == expected


def test_headers_choose_and_name_records(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text("> generated from a/b.bpseq by x\nACGU\n>NON1 y\nGGGG\n")
    records = read(path, id_pattern=r"from \S*/(\w+)\.bpseq", only="^(?!NON)")
    assert [r.id for r in records] == ["b"]


def test_structure_lines_are_no_sequence(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\nGGGAAACCC\n(((...)))\n>b\nGG\nAA\nCC\n((\n..\n))\n")
    assert [r.sequence for r in read(path)] == ["GGGAAACCC", "GGAACC"]


def test_empty_records_are_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">a\n>b\nACGU\n")
    assert [(r.id, r.sequence) for r in read(path)] == [("a", ""), ("b", "ACGU")]


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "n.tsv").write_text(
        "name\tfam\tseq\tkind\nt1\tRF00005\tACGU\ttRNA\n\nt2\t-\tGG\t\n"
    )
    columns = {"sequence": "seq", "id": "name", "family": "fam", "type": "kind"}
    assert read(tmp_path / "n.tsv", columns=columns) == [
        Raw("t1", "ACGU", "tRNA", "RF00005"),
        Raw("t2", "GG", "", ""),
    ]
    (tmp_path / "c.csv").write_text('"a, b",ACGU\nc,GG\n')
    numbers = {"sequence": 2, "id": 1}
    assert [(r.id, r.sequence) for r in read(tmp_path / "c.csv", columns=numbers)] == [
        ("a,", "ACGU"),
        ("c", "GG"),
    ]


def test_long_fields_of_tables(tmp_path: Path) -> None:
    long = "ACGU" * 100_000
    (tmp_path / "x.tsv").write_text(f"sequence\tid\n{long}\tx\n")
    assert read(tmp_path / "x.tsv")[0].sequence == long


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a\tb\n1\t2\n", {"sequence": "seq"}, "no column 'seq'"),
        ("seq\tid\nACGU\n", {"sequence": "seq", "id": "id"}, "1 fields"),
    ],
)
def test_tables_that_do_not_fit(
    text: str, columns: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(FormatError, match=message):
        read(tmp_path / "x.tsv", columns=columns)
