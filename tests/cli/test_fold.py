"""``stemloop fold``: inputs, outputs of every format read back, options."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from stemloop.formats.structure import read_structures
from stemloop.tasks.structure import fold

FASTA = ">one first hairpin\nGGGGAAAACCCC\n>two\nggcaccuucgg\nTGCC\n>one again\nAAAAAAAA\n"
MODEL = ["--model", "turner2004"]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "in.fa"
    path.write_text(FASTA)
    return path


def expected(path: Path):
    return [r.structure for r in fold(path, model="turner2004")]


def test_blocks_on_standard_output(cli, fasta: Path) -> None:
    ran = cli("fold", fasta, *MODEL)
    assert ran.code == 0
    assert ran.err == ""
    lines = ran.out.splitlines()
    assert len(lines) == 9
    assert lines[0] == ">one first hairpin"
    assert lines[1] == "GGGGAAAACCCC"
    assert lines[2].startswith("((((....)))) (")
    assert lines[4] == "GGCACCUUCGGUGCC"


@pytest.mark.parametrize("layout", ["dbn", "ct", "bpseq"])
def test_structure_formats_are_read_back(cli, fasta: Path, tmp_path: Path, layout: str) -> None:
    output = tmp_path / f"out.{layout}"
    ran = cli("fold", fasta, *MODEL, "-f", layout, "-o", output)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert cli("fold", fasta, *MODEL, "-f", layout).out == output.read_text()
    for mine, known in zip(read_structures(output), expected(fasta), strict=True):
        assert mine.record.id == known.record.id
        assert mine.record.sequence == known.record.sequence
        np.testing.assert_array_equal(mine.pairs, known.pairs)
        assert mine.energy == pytest.approx(known.energy, abs=0.005)


def test_json_lines(cli, fasta: Path) -> None:
    lines = [
        json.loads(line) for line in cli("fold", fasta, *MODEL, "-f", "jsonl").out.splitlines()
    ]
    assert [(line["index"], line["id"], line["description"]) for line in lines] == [
        (0, "one", "first hairpin"),
        (1, "two", ""),
        (2, "one", "again"),
    ]
    for line, known in zip(lines, fold(fasta, model="turner2004"), strict=True):
        assert known.structure is not None
        assert line["sequence"] == known.record.sequence
        assert line["structure"] == known.structure.dot_bracket
        assert line["energy"] == pytest.approx(known.structure.energy, abs=0.005)
        assert line["ensemble_energy"] == pytest.approx(known.values["ensemble_energy"], abs=0.005)
        np.testing.assert_allclose(line["confidence"], known.arrays["confidence"], atol=5e-5)


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_table_of_pair_probabilities(cli, fasta: Path, tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / ("bpp.csv" if delimiter == "," else "bpp.tsv")
    assert cli("fold", fasta, *MODEL, "--bpp", path).code == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))
    found: dict[tuple[int, str], dict[tuple[int, int], float]] = {}
    for row in rows:
        record = found.setdefault((int(row["index"]), row["id"]), {})
        record[int(row["i"]), int(row["j"])] = float(row["probability"])
    for result in fold(fasta, model="turner2004", probabilities=True):
        p = result.arrays["pair_probability"]
        record = found.pop((result.record.index, result.record.id), {})
        assert set(record) == {(int(i) + 1, int(j) + 1) for i, j in np.argwhere(p >= 0.001)}
        for (i, j), value in record.items():
            assert value == pytest.approx(p[i - 1, j - 1], abs=1e-6)
    assert found == {}


def test_no_pairs_is_a_table_with_a_header(cli, tmp_path: Path) -> None:
    path = tmp_path / "bpp.tsv"
    assert cli("fold", "-s", "AAAA", *MODEL, "--bpp", path).code == 0
    assert path.read_text() == "index\tid\ti\tj\tprobability\n"


HOSTILE = ["../../escape", "/etc/passwd", "a b", "x" * 500, "..", "-rf", "naïve/ü", "CON:|*?"]


def test_drawings_stay_in_their_folder(cli, tmp_path: Path) -> None:
    source = tmp_path / "in.fa"
    source.write_text("".join(f">{name}\nGGGGAAAACCCC\n" for name in [*HOSTILE, "same", "same"]))
    before = set(tmp_path.rglob("*"))
    folder = tmp_path / "deep" / "svg"
    ran = cli("fold", source, *MODEL, "--svg", folder)
    assert ran.code == 0
    made = set(tmp_path.rglob("*")) - before
    pictures = {path for path in made if path.is_file()}
    assert len(pictures) == len(HOSTILE) + 2
    assert {path.parent for path in pictures} == {folder}
    for path in pictures:
        assert path.suffix == ".svg"
        assert len(path.name) < 100
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    # Drawn again: what is there is kept unless told otherwise.
    assert cli("fold", source, *MODEL, "--svg", folder).code == 4
    assert cli("fold", source, *MODEL, "--svg", folder, "--force").code == 0


def test_one_sequence(cli) -> None:
    ran = cli("fold", "-s", "ggggTTTTcccc", *MODEL)
    assert ran.out.splitlines()[:2] == [">sequence", "GGGGUUUUCCCC"]
    assert cli("fold", "x.fa", "-s", "GGGG", *MODEL).code == 2
    assert cli("fold", "-C", "-s", "GGGG", *MODEL).code == 2


def test_an_empty_sequence(cli) -> None:
    ran = cli("fold", "-s", "", *MODEL)
    assert (ran.code, ran.err) == (3, "error: record 'sequence': no nucleotides\n")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(cli, fasta: Path, arguments: list[str]) -> None:
    ran = cli("fold", *arguments, *MODEL, stdin=FASTA.encode())
    assert ran.code == 0
    assert ran.out == cli("fold", fasta, *MODEL).out


def test_packed_input_and_output(cli, fasta: Path, tmp_path: Path) -> None:
    packed = tmp_path / "in.fa.gz"
    packed.write_bytes(gzip.compress(FASTA.encode()))
    output = tmp_path / "out.dbn.gz"
    assert cli("fold", packed, *MODEL, "-o", output).code == 0
    assert gzip.decompress(output.read_bytes()).decode() == cli("fold", fasta, *MODEL).out


def test_byte_order_mark_and_line_ends(cli, fasta: Path, tmp_path: Path) -> None:
    other = tmp_path / "windows.fa"
    other.write_bytes(b"\xef\xbb\xbf" + FASTA.replace("\n", "\r\n").encode())
    assert cli("fold", other, *MODEL).out == cli("fold", fasta, *MODEL).out


def test_fastq(cli, tmp_path: Path) -> None:
    path = tmp_path / "reads.fq"
    path.write_text("@r1\nGGGGAAAACCCC\n+\nIIIIIIIIIIII\n")
    assert cli("fold", path, *MODEL).out.startswith(">r1\nGGGGAAAACCCC\n((((....))))")


def test_processes_give_the_same_bytes(cli, fasta: Path) -> None:
    one, two = (cli("fold", fasta, *MODEL, "-f", "jsonl", "-j", n) for n in (1, 2))
    assert two.code == 0
    assert one.out == two.out


def test_constraint_lines(cli, tmp_path: Path) -> None:
    path = tmp_path / "c.fa"
    sequence = "GGGGAAAACCCCAAAAGGGG"
    path.write_text(f">free\n{sequence}\n{'.' * 20}\n>held\n{sequence}\nxxxx{'.' * 16}\n")
    lines = cli("fold", path, *MODEL, "-C").out.splitlines()
    assert lines[1] == lines[4] == sequence
    assert lines[2].startswith("((((....))))........")
    assert lines[5].startswith("........((((....))))")


def test_options_reach_the_model(cli, trna_phe: tuple[str, str]) -> None:
    sequence = trna_phe[0]

    def line(*options: object) -> dict[str, object]:
        ran = cli("fold", "-s", sequence, "-f", "jsonl", *options)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    plain = line(*MODEL)
    for options, settings in (
        (["-T", 20], {"temperature": 20.0}),
        (["-d", "mfe"], {"decoder": "mfe"}),
        (["-d", "centroid", "--gamma", 0.2], {"decoder": "centroid", "gamma": 0.2}),
        (["--max-span", 25], {"max_span": 25}),
        (["--average", "langdon2018"], {"average": ["langdon2018"]}),
        (
            ["--average", "langdon2018", "--average", "turner1999"],
            {"average": ["langdon2018", "turner1999"]},
        ),
    ):
        (known,) = fold(sequence, model="turner2004", **settings)  # type: ignore[arg-type]
        found = line(*MODEL, *options)
        assert known.structure is not None
        assert found["structure"] == known.structure.dot_bracket
        np.testing.assert_allclose(found["confidence"], known.arrays["confidence"], atol=5e-5)  # type: ignore[arg-type]
        if options != ["-d", "mfe"]:
            assert found != plain
    assert line("--model", "andronescu2007") != plain


def test_existing_output_is_kept(cli, fasta: Path, tmp_path: Path) -> None:
    for option, name in (("-o", "out.dbn"), ("--bpp", "bpp.csv")):
        path = tmp_path / name
        path.write_text("precious")
        ran = cli("fold", fasta, *MODEL, option, path)
        assert ran.code == 4
        assert ran.out == ""
        assert ran.err == f"error: {path} exists already; --force replaces it\n"
        assert path.read_text() == "precious"
        assert cli("fold", fasta, *MODEL, option, path, "--force").code == 0
        assert path.read_text() != "precious"


def test_the_default_model_is_the_bundled_one(cli, fasta: Path, trna_phe: tuple[str, str]) -> None:
    """By the weights that ship with the package."""
    ran = cli("fold", "-s", trna_phe[0])
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[2].split()[0] == trna_phe[1]
    assert ran.out == cli("fold", "-s", trna_phe[0], "--model", "fold-crf").out


# More than one structure of one strand ---------------------------------------------------------


def test_samples_are_records_of_their_own(cli, fasta: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.ct"
    arguments = ["fold", fasta, *MODEL, "-n", 3, "--seed", 8]
    assert cli(*arguments, "-f", "ct", "-o", output).code == 0
    found = list(read_structures(output))
    assert len(found) == 9
    results = fold(fasta, model="turner2004", samples=3, seed=8)
    texts = [str(text) for r in results for text in r.arrays["samples"]]
    assert [s.dot_bracket for s in found] == texts
    first = cli(*arguments).out
    assert first == cli(*arguments, "-j", 2).out
    assert first.splitlines()[0] == ">one first hairpin sample=1"
    assert first != cli("fold", fasta, *MODEL, "-n", 3, "--seed", 9).out


def test_samples_in_json(cli) -> None:
    ran = cli("fold", "-s", "GGGGAAAACCCC", *MODEL, "-n", 4, "-f", "jsonl")
    line = json.loads(ran.out)
    assert line["structure"] == "((((....))))"
    assert len(line["samples"]) == 4
    assert {"structure", "energy"} == set(line["samples"][0])


def test_a_pseudoknot(cli) -> None:
    knot = "GGGCGCCAAAGCUGCUCAAAAGGCGCCCAAAAAAGAGCAGC"
    ran = cli("fold", "-s", knot, *MODEL, "-d", "hybrid")
    assert ran.out.splitlines()[2].startswith("(((((((...[[[[[[[....)))))))......]]]]]]] (")


def test_reactivities(cli, tmp_path: Path) -> None:
    sequence = "GGGGAAAACCCCAAAAGGGG"
    shape = tmp_path / "x.shape"
    shape.write_text("".join(f"{k} G {3.0 if k < 5 else 0.0}\n" for k in (1, 2, 3, 4, 17, 18)))
    source = tmp_path / "in.fa"
    source.write_text(f">x\n{sequence}\n")

    def structure(*more: object) -> str:
        ran = cli("fold", source, *MODEL, *more)
        assert ran.code == 0, ran.err
        return ran.out.splitlines()[2].split()[0]

    assert structure() == "((((....))))........"
    assert structure("--shape", shape) == "........((((....))))"
    assert structure("--shape", tmp_path) == "........((((....))))"
    assert structure("--shape", shape, "--shape-method", "Zb1.5") == "........((((....))))"
    assert structure("--shape", shape, "--shape-method", "Dm0b0") == structure()
    assert structure("--shape", shape, "--reagent", "dms") == structure()


def test_a_duplex(cli, tmp_path: Path) -> None:
    source, table = tmp_path / "in.fa", tmp_path / "bpp.tsv"
    source.write_text(">x\nGGGGCC&GGCCCC\n>y\nGGGGAAAACCCC\n")
    ran = cli("fold", source, "--duplex", *MODEL, "--bpp", table)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[1] == "GGGGCC&GGCCCC"
    assert lines[2].startswith("((((((&)))))) (")
    assert lines[4:6] == ["GGGGAAAACCCC", "((((....)))) ( -5.40)"]
    assert "0\tx\t1\t12\t" in table.read_text()
    line = json.loads(cli("fold", "-s", "GGGGCC&GGCCCC", *MODEL, "-f", "jsonl").out)
    assert line["sequence"] == "GGGGCC&GGCCCC"
    assert line["structure"] == "((((((&))))))"
    assert line["binding_energy"] < 0
    assert len(line["confidence"]) == 12


def test_a_circle(cli) -> None:
    plain, circle = (
        json.loads(cli("fold", "-s", "AACCCCAAAAGGGGAA", *MODEL, "-f", "jsonl", *more).out)
        for more in ((), ("--circular",))
    )
    assert plain["energy"] != circle["energy"]


def test_energies_of_given_structures(cli, tmp_path: Path) -> None:
    source = tmp_path / "known.dbn"
    source.write_text(">x\nGGGGAAAACCCC\n((((....))))\n>y\nGGGGAAAACCCC\n.(((....))).\n")
    ran = cli("fold", "--eval", source, *MODEL)
    assert ran.code == 0
    assert ran.out == (
        ">x\nGGGGAAAACCCC\n((((....)))) ( -5.40)\n>y\nGGGGAAAACCCC\n.(((....))). ( -3.10)\n"
    )
    lines = [
        json.loads(line)
        for line in cli("fold", "--eval", source, *MODEL, "-f", "jsonl").out.splitlines()
    ]
    assert lines[0]["ensemble_energy"] == lines[1]["ensemble_energy"]
    assert lines[0]["ensemble_defect"] < lines[1]["ensemble_defect"]


def test_a_forbidden_structure_is_null_in_json(cli, tmp_path: Path) -> None:
    source = tmp_path / "known.dbn"
    source.write_text(">x\nGGGGCCCC\n(((())))\n")
    assert cli("fold", "--eval", source, *MODEL).out.splitlines()[2] == "(((())))"
    assert json.loads(cli("fold", "--eval", source, *MODEL, "-f", "jsonl").out)["energy"] is None


def test_long_rnas_are_folded_in_windows_and_it_is_said(cli, tmp_path: Path) -> None:
    path = tmp_path / "two.fa"
    letters = "".join(np.random.default_rng(0).choice(list("ACGU"), 150))
    path.write_text(f">short\n{letters[:90]}\n>long\n{letters}\n")
    command = ("fold", path, "--model", "turner2004", "--window", 100)
    ran = cli(*command, "-f", "jsonl")
    assert ran.code == 0, ran.err
    assert ran.err == (
        "note: record 'long' of 150 nucleotides was folded in windows of 100: no pair spans more "
        "than 50\n"
    )
    short, long = map(json.loads, ran.out.splitlines())
    assert "window" not in short
    assert (long["window"], long["longest_span"], long["ensemble_energy"]) == (100, 50, None)
    assert cli("fold", path, "--model", "turner2004").err == ""
    for more, message in ((("-n", 3), "samples"), (("-d", "mfe"), "the mfe decoder")):
        ran = cli(*command, *more)
        assert (ran.code, f"do not go with {message}" in ran.err) == (2, True)
    assert "80 nucleotides or more" in cli("fold", path, "--window", 20).err


def test_two_strands_are_drawn_with_two_pairs_of_ends(cli, tmp_path: Path) -> None:
    ran = cli("fold", "-s", "GGGGAA&UUCCCC", *MODEL, "--svg", tmp_path / "drawings")
    assert ran.code == 0, ran.err
    (picture,) = (tmp_path / "drawings").iterdir()
    assert picture.read_text().count("5′") == 2
