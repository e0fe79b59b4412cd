"""Covariance models: found in a file of seeds, built, aligned to, searched with."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from stemloop.data import covariance
from stemloop.data.covariance import align, bit_scores, build, find_family, read_model
from stemloop.errors import ExtraError, FormatError, InputError, UsageError
from stemloop.formats.alignment import Alignment, read_stockholm, write_stockholm
from stemloop.records import SequenceRecord
from stemloop.training.rbm_recipe import DataRecipe

infernal = pytest.mark.skipif(
    shutil.which("cmbuild") is None, reason="the programs of Infernal are not installed"
)

SEEDS = """\
# STOCKHOLM 1.0
#=GF ID other
#=GF AC RF90001
x   GGCAAAGCC
#=GC SS_cons <<<___>>>
//
# STOCKHOLM 1.0
#=GF ID hairpin
#=GF AC RF90002
#=GF GA 12.50
a            GGCAUCGAAUUCAGAUGCCAA
b            GGCCUCGAAUUCAGAGGCCAA
c            GACAUCGUAUUCAGAUGUCAA
d            GGCAAC-AAUUC-GUUGCCAU
#=GC SS_cons <<<<<<<_____>>>>>>>::
#=GC RF      xxxxxxxxxxxxxxxxxxxxx
//
"""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seed") / "seeds.sto"
    path.write_text(SEEDS)
    return path


def test_family_by_accession_or_name(seed: Path) -> None:
    assert find_family(seed, "RF90002").ids == find_family(seed, "hairpin").ids
    assert len(find_family(seed, "other")) == 1
    with pytest.raises(InputError, match="RF1"):
        find_family(seed, "RF1")


def test_other_files_are_no_models() -> None:
    with pytest.raises(FormatError, match="INFERNAL1/a"):
        read_model(io.StringIO("# STOCKHOLM 1.0\n"))
    with pytest.raises(FormatError, match="CLEN"):
        read_model(io.StringIO("INFERNAL1/a [1.1.4]\nNAME x\nCM\n"))


def test_what_is_missing_is_named(seed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariance.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="cmbuild of Infernal"):
        build(find_family(seed, "hairpin"))
    monkeypatch.setitem(__import__("sys").modules, "pyinfernal", None)
    model = read_model(io.StringIO("INFERNAL1/a [1.1.4]\nNAME x\nCLEN 3\nCM\n"))
    with pytest.raises(ExtraError, match=r"stemloop\[generate\]"):
        bit_scores(model, ["ACG"])


@infernal
def test_rows_come_aligned_and_in_order(seed: Path) -> None:
    model = build(find_family(seed, "hairpin"))
    assert (model.name, model.accession, model.length) == ("hairpin", "RF90002", 21)
    assert model.gathering == 12.5
    assert not model.calibrated
    records = [
        SequenceRecord("same", "GGCAUCGAAUUCAGAUGCCAA", "first one", 0),
        SequenceRecord("same", "GGCAUCGAAGUUCAGAUGCCAA", "", 1),
        SequenceRecord("odd name|x", "GGCCUCAUUCAGGCCAA", "", 2),
    ]
    made = align(model, records)
    assert made.ids == ("same", "same/2", "odd name|x")
    assert made.gs["same"]["DE"] == ("first one",)
    match = np.array([c not in "-._~" for c in made.gc["RF"]])
    assert match.sum() == 21
    assert not match.all()  # the insertion of the second row
    rows = ["".join(np.array(list(row))[match]) for row in made.rows]
    assert rows[0] == records[0].sequence
    for row, record in zip(made.rows, records, strict=True):
        assert row.upper().replace("-", "").replace(".", "") == record.sequence
    with pytest.raises(InputError, match="no sequences"):
        align(model, [])
    pytest.importorskip("pyinfernal")
    with pytest.raises(InputError, match="not calibrated"):
        bit_scores(model, ["GGCAUCGAAUUCAGAUGCCAA"])


@infernal
def test_unaligned_data_of_a_recipe(seed: Path, tmp_path: Path) -> None:
    shutil.copy(seed, tmp_path / "seeds.sto")
    rows = ["GGCAUCGAAUUCAGAUGCCAA", "GGCAUCGAAGUUCAGAUGCCAA", "GGCCUCAUUCAGGCCAA"]
    (tmp_path / "x.fa").write_text("".join(f">r{i} of L{i % 2}\n{s}\n" for i, s in enumerate(rows)))
    recipe = DataRecipe.model_validate(
        {"file": "x.fa", "kind": "unaligned", "split": None,
         "family": {"seed": "seeds.sto", "name": "hairpin"},
         "labels": {"header": "of (L.)", "least": 2, "rare": "missing"}}
    )  # fmt: skip
    data = recipe.read(tmp_path)
    assert data.states.shape == (3, 21)
    assert data.ids == ("r0", "r1", "r2")
    assert data.names == ("L0",)
    assert data.text(0) == data.text(1) == rows[0]  # the insertion is left out
    # The same rows, aligned once by the command.
    made = Alignment(data.ids, tuple(data.text(k) for k in range(3)))
    write_stockholm(tmp_path / "x.sto", [made])
    again = DataRecipe.model_validate({"file": "x.sto", "split": None}).read(tmp_path)
    assert (again.states == data.states).all()
    with pytest.raises(ValueError, match="family"):
        DataRecipe.model_validate({"file": "x.fa", "kind": "unaligned"})


@infernal
def test_bit_scores_are_those_of_the_program(seed: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyinfernal")
    import subprocess

    model = build(find_family(seed, "hairpin"), calibrate=0.01)
    assert model.calibrated
    rng = np.random.default_rng(0)
    sequences = ["GGCAUCGAAUUCAGAUGCCAA", "GGCCUCGAAUUCAGAGGCCAA", "A" * 30]
    sequences += ["".join(rng.choice(list("ACGU"), 21)) for _ in range(3)]
    scores = bit_scores(model, sequences)
    (tmp_path / "x.cm").write_text(model.text)
    (tmp_path / "x.fa").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(sequences)))
    command = ["cmsearch", "--toponly", "-Z", "0.001", "-T", "0", "--tblout", "t", "x.cm", "x.fa"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    expected = np.zeros(len(sequences))
    for line in (tmp_path / "t").read_text().splitlines():
        if not line.startswith("#"):
            cells = line.split()
            expected[int(cells[0])] = max(expected[int(cells[0])], float(cells[14]))
    np.testing.assert_allclose(scores, expected, atol=0.1)
    assert (scores[:2] > 10).all()
    assert (scores[2:] < 5).all()


@infernal
def test_align_command(cli: object, seed: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "x.fa"
    fasta.write_text(">a b c\nGGCAUCGAAUUCAGAUGCCAA\n>d\nGGCCUCAUUCAGGCCAA\n")
    out, kept = tmp_path / "x.sto", tmp_path / "x.cm"
    command = ("rbm", "align", fasta, "--seed", seed, "--family", "hairpin", "-o", out)
    ran = cli(*command, "--save-model", kept)  # type: ignore[operator]
    assert ran.code == 0, ran.err
    assert read_stockholm(out).ids == ("a", "d")
    again = tmp_path / "y.sto"
    ran = cli("rbm", "align", fasta, "--model", kept, "-o", again)  # type: ignore[operator]
    assert ran.code == 0, ran.err
    assert again.read_text() == out.read_text()
    assert cli("rbm", "align", fasta, "-o", again).code == 2  # type: ignore[operator]
