"""``stemloop fold`` on what is broken: one line that names it, the right code, no half output."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

PLAIN = ["--model", "turner2004"]
HAIRPIN = "GGGGAAAACCCC"
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
GOOD = f">a\n{HAIRPIN}\n>b\n{HAIRPIN}\n".encode()

INPUTS = [
    (b"", "no records: the file is empty"),
    (b"\n\n", "no records"),
    (HAIRPIN.encode(), f"no header before '{HAIRPIN}'"),
    (f">p\n{PROTEIN}\n".encode(), "the sequence looks like protein"),
    (b">x\nGGGG5AAA\n", "record 'x': '5' at position 5 is no nucleotide code"),
    (b">x\n>y\nGGGG\n", "record 'x': no sequence"),
    (gzip.compress(GOOD * 500)[:-10], "compressed data is truncated"),
    (b"\xff\xfe>\x00a\x00\n\x00A\x00", "UTF-16 text"),
    (b"\x80\x04\x95PICKLE", "no header before"),
]


@pytest.mark.parametrize(("data", "message"), INPUTS)
@pytest.mark.parametrize("piped", [False, True])
def test_broken_input(cli, tmp_path: Path, data: bytes, message: str, piped: bool) -> None:
    source, output = tmp_path / "in.fa", tmp_path / "out.dbn"
    source.write_bytes(data)
    if piped:
        ran = cli("fold", "-", "-o", output, *PLAIN, stdin=data)
    else:
        ran = cli("fold", source, "-o", output, *PLAIN)
    assert ran.code == 3
    assert ran.out == ""
    place = "standard input" if piped else str(source)
    assert ran.err.startswith(f"error: {place}:")
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.fa"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_middle_leaves_no_output(cli, tmp_path: Path, jobs: int) -> None:
    source = tmp_path / "in.fa"
    source.write_bytes(GOOD + f">third\n{PROTEIN}\n>d\n{HAIRPIN}\n".encode())
    output, table = tmp_path / "out.ct", tmp_path / "bpp.tsv"
    ran = cli("fold", source, "-f", "ct", "-o", output, "--bpp", table, "-j", jobs, *PLAIN)
    assert ran.code == 3
    assert f"{source}:6: record 'third'" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.fa"]


def test_an_error_in_the_middle_keeps_the_old_output(cli, tmp_path: Path) -> None:
    source, output = tmp_path / "in.fa", tmp_path / "out.dbn"
    source.write_bytes(GOOD + f">third\n{PROTEIN}\n".encode())
    output.write_text("old")
    assert cli("fold", source, "-o", output, "--force", *PLAIN).code == 3
    assert output.read_text() == "old"


def test_what_was_folded_before_the_error_is_on_standard_output(cli, tmp_path: Path) -> None:
    source = tmp_path / "in.fa"
    source.write_bytes(GOOD + f">third\n{PROTEIN}\n".encode())
    ran = cli("fold", source, *PLAIN)
    assert ran.code == 3
    assert [line for line in ran.out.splitlines() if line.startswith(">")] == [">a", ">b"]


def test_a_missing_file(cli, tmp_path: Path) -> None:
    ran = cli("fold", tmp_path / "none.fa", *PLAIN)
    assert ran.code == 3
    assert "none.fa: cannot be read: No such file or directory" in ran.err
    assert cli("fold", tmp_path, *PLAIN).code == 3


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("((((....", "record 'x': constraint of 8 characters for 12 nucleotides"),
        ("((((....))).", "record 'x': constraint leaves 1 bracket(s) open"),
        ("))))....((((", "record 'x': constraint closes a bracket at position 1"),
    ],
)
def test_broken_constraints(cli, tmp_path: Path, constraint: str, message: str) -> None:
    source, output = tmp_path / "in.fa", tmp_path / "out.dbn"
    source.write_text(f">x\n{HAIRPIN}\n{constraint}\n")
    ran = cli("fold", "-C", source, "-o", output, *PLAIN)
    assert ran.code == 3
    assert message in ran.err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "turner2005"], 5, "no bundled weights 'turner2005'"),
        (["--model", "FOLDER"], 5, "is no folding model"),
        (["--decoder", "best"], 2, "best"),
        (["-d", "mfe", "--average", "turner1999", *PLAIN], 2, "averages no parameter sets"),
        (["--average", "turner2005", *PLAIN], 2, "unknown parameter set 'turner2005'"),
        (["--gamma", "-1", *PLAIN], 2, "gamma must be positive"),
        (["-T", "1000", *PLAIN], 2, "makes no sense"),
        (["-j", "0", *PLAIN], 2, "--jobs"),
        (["-o", "FOLDER", *PLAIN], 4, "is a folder"),
        (["-o", "FOLDER/none/out.dbn", *PLAIN], 4, "cannot be written: No such file"),
        (["--svg", "INPUT", *PLAIN], 4, "no folder for drawings"),
        (["--threshold", "0.5", *PLAIN], 2, "mea decoder knows no threshold"),
        (["-d", "greedy", "--gamma", "2", *PLAIN], 2, "greedy decoder knows no gamma"),
        (["--seed", "1", *PLAIN], 2, "--seed goes with --samples"),
        (["-n", "-1", *PLAIN], 2, "--samples"),
        (["-n", "2", "--circular", *PLAIN], 2, "circular RNAs cannot be sampled"),
        (["--shape-method", "D", *PLAIN], 2, "--shape-method goes with --shape"),
        (["--reagent", "dms", *PLAIN], 2, "--reagent goes with --shape"),
        (["--shape", "FOLDER/x.shape", *PLAIN], 3, "x.shape: cannot be read"),
        (["--shape", "FOLDER", *PLAIN], 3, "a.shape: record 'a': no file of reactivities"),
        (["--shape", "INPUT", "--shape-method", "E", *PLAIN], 2, "unknown method 'E'"),
        (["--duplex", "-f", "ct", *PLAIN], 2, "two strands and --format ct do not go together"),
        (["--duplex", "--shape", "INPUT", *PLAIN], 2, "two strands and --shape do not"),
        (["--eval", "-C", *PLAIN], 2, "--eval and --constraint do not go together"),
        (["--eval", "-d", "mfe", *PLAIN], 2, "--eval and --decoder do not go together"),
        (["--eval", *PLAIN], 3, "record 'a'"),
    ],
)
def test_options(cli, tmp_path: Path, options: list[str], code: int, message: str) -> None:
    source, folder = tmp_path / "in.fa", tmp_path / "empty"
    source.write_bytes(GOOD)
    folder.mkdir()
    swap = {"FOLDER": str(folder), "INPUT": str(source)}
    for old, new in swap.items():
        options = [option.replace(old, new) for option in options]
    ran = cli("fold", source, *options)
    assert ran.code == code
    assert ran.out == ""
    assert message in ran.err
    assert list(folder.iterdir()) == []


def test_a_table_of_unknown_format_is_refused_before_folding(cli, tmp_path: Path) -> None:
    source, output = tmp_path / "in.fa", tmp_path / "out.dbn"
    source.write_bytes(GOOD)
    ran = cli("fold", source, "-o", output, "--bpp", tmp_path / "bpp.xlsx", *PLAIN)
    assert ran.code == 2
    assert "the suffix must be .tsv, .csv or .parquet" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.fa"]


def test_duplicate_identifiers_are_kept_apart(cli, tmp_path: Path) -> None:
    source, table = tmp_path / "in.fa", tmp_path / "bpp.csv"
    source.write_text(f">x\n{HAIRPIN}\n>x\nGGGCAAAAGCCC\n")
    ran = cli("fold", source, "--bpp", table, *PLAIN)
    assert ran.out.count(">x\n") == 2
    assert {line.split(",")[0] for line in table.read_text().splitlines()[1:]} == {"0", "1"}


@pytest.mark.parametrize("damage", ["truncated", "config"])
def test_damaged_models(cli, tmp_path: Path, damage: str) -> None:
    from stemloop.folding.crf import save_crf
    from stemloop.models.foldnet import FoldNet, FoldNetConfig

    folder = tmp_path / "model"
    save_crf(folder, FoldNet(FoldNetConfig(channels=2, hidden=4)), {})
    file = folder / ("model.safetensors" if damage == "truncated" else "config.json")
    file.write_bytes(file.read_bytes()[:-20])
    ran = cli("fold", "-s", HAIRPIN, "--model", folder)
    assert ran.code == 5
    assert str(folder) in ran.err
    assert ("is not whole" if damage == "truncated" else "is no folding model") in ran.err


def test_reactivities_that_do_not_fit_name_their_line(cli, tmp_path: Path) -> None:
    source, shape, output = (tmp_path / name for name in ("in.fa", "x.shape", "out.dbn"))
    source.write_bytes(GOOD)
    shape.write_text(">a\n1 0.5\n2 0.5\n>b\n13 0.5\n")
    ran = cli("fold", source, "--shape", shape, "-o", output, *PLAIN)
    assert ran.code == 3
    assert f"{shape}:5: record 'b': position 13 of 12 nucleotides" in ran.err
    assert not output.exists()
    shape.write_text("1 0.5\n")
    ran = cli("fold", source, "--shape", shape, "-o", output, *PLAIN)
    assert ran.code == 2
    assert "there are several" in ran.err
    assert not output.exists()


def test_two_strands_need_the_option(cli, tmp_path: Path) -> None:
    source = tmp_path / "in.fa"
    source.write_text(">x\nGGGG&CCCC\n")
    ran = cli("fold", source, *PLAIN)
    assert ran.code == 3
    assert "--duplex" in ran.err
