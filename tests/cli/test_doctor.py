"""``stemloop doctor``: every check finds the damage it is for, and one does not stop the others."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import stemloop
from stemloop.cli import main
from stemloop.errors import ResultError, WeightsError
from stemloop.records import Result, SequenceRecord, Structure
from stemloop.tasks import doctor


@pytest.fixture
def healthy(monkeypatch):
    """Checks that need shipped weights answer as in a complete installation."""
    monkeypatch.setattr(
        "stemloop.weights.locate.check_bundled", lambda: {"fold-crf/model.safetensors": "ok"}
    )
    _fold_as(monkeypatch, doctor.CLOVERLEAF, doctor.CLOVERLEAF_ENERGY)


def _fold_as(monkeypatch, dot_bracket, energy):
    record = SequenceRecord("trna", doctor.TRNA)
    structure = Structure.from_dot_bracket(record, dot_bracket, energy)
    monkeypatch.setattr(
        stemloop, "fold", lambda _: [Result(record, structure=structure)], raising=False
    )


def _run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["stemloop", "doctor", *options])
    with pytest.raises(SystemExit) as exit_:
        main.run()
    return exit_.value.code


@pytest.mark.usefixtures("healthy")
def test_healthy_installation(monkeypatch, capsys):
    assert not _run(monkeypatch)
    out = capsys.readouterr().out
    assert "FAILED" not in out
    assert out.count("  ok ") == len(doctor.CHECKS)
    for word in ("python", "torch", "ViennaRNA", "cores", "attention", "cache", "cloverleaf"):
        assert word in out


@pytest.mark.usefixtures("healthy")
def test_json(monkeypatch, capsys):
    assert not _run(monkeypatch, "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["schema"] == "stemloop.doctor"
    assert report["facts"]["versions"]["stemloop"] == stemloop.__version__
    assert [check["name"] for check in report["checks"]] == list(doctor.CHECKS)


@pytest.mark.usefixtures("healthy")
def test_failure_has_exit_code_8_and_shows_the_rest(monkeypatch, capsys):
    _fold_as(monkeypatch, "." * 76, 0.0)
    assert _run(monkeypatch) == 8
    captured = capsys.readouterr()
    assert captured.out.count("  ok ") == len(doctor.CHECKS) - 1
    assert "FAILED  ......" in captured.out
    assert captured.err == "error: 1 of 4 checks failed: fold of tRNA-Phe\n"


def test_a_broken_library_does_not_stop_the_other_checks():
    def broken():
        raise ImportError("libRNA.so: cannot open shared object file")

    def damaged():
        raise WeightsError("model.safetensors is cut short")

    def missing():
        raise KeyError("fold-crf")

    checks = {"a": broken, "b": damaged, "c": missing, "d": lambda: "fine"}
    results = doctor.run_checks(checks)
    assert [check.passed for check in results] == [False, False, False, True]
    assert results[0].detail == "ImportError: libRNA.so: cannot open shared object file"
    assert results[1].detail == "model.safetensors is cut short"
    assert results[3].detail == "fine"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no weights ship"),
        ({"a": "ok", "b": "damaged", "c": "missing"}, "b damaged, c missing"),
    ],
)
def test_weights(monkeypatch, files, message):
    monkeypatch.setattr("stemloop.weights.locate.check_bundled", lambda: files)
    with pytest.raises(ResultError, match=message):
        doctor.check_weights()


def test_energy():
    assert doctor.check_energy() == "-22.40 kcal/mol"


@pytest.mark.parametrize(
    ("energy", "message"),
    [(-22.3, "-22.30 kcal/mol, expected -22.40"), (None, "no energy"), (float("nan"), "nan")],
)
def test_fold_needs_the_right_energy(monkeypatch, energy, message):
    _fold_as(monkeypatch, doctor.CLOVERLEAF, energy)
    with pytest.raises(ResultError, match=message):
        doctor.check_fold()


def test_golden_structure_is_the_accepted_one():
    """Five pairs in the anticodon stem, seven bases in its loop; also the best by Turner 2004."""
    from stemloop.folding.thermo import compound, minimum_free_energy

    assert doctor.CLOVERLEAF[26:43] == "(((((.......)))))"
    assert doctor.TRNA[33:36] == "GAA"  # the anticodon, positions 34 to 36
    assert minimum_free_energy(compound(doctor.TRNA))[0] == doctor.CLOVERLEAF


def test_golden_fold_needs_the_shipped_weights():
    """Without them the same decoder gives another structure."""
    plain = stemloop.fold(doctor.TRNA, model="turner2004")[0].structure
    assert plain.dot_bracket != doctor.CLOVERLEAF


def test_embedding_is_the_stored_one_and_notices_a_changed_base(monkeypatch):
    assert doctor.check_embedding().startswith("largest error ")
    for backend in ("grouped", "naive"):
        np.testing.assert_allclose(doctor.golden_embedding(backend), doctor.EMBEDDING, atol=1e-4)
    monkeypatch.setattr(doctor, "TRNA", "A" + doctor.TRNA[1:])
    with pytest.raises(ResultError, match="grouped: off by"):
        doctor.check_embedding()


def test_processor(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n\nflags: other\n"
    )
    assert doctor._processor(cpuinfo) == ("Some CPU", {"fpu", "avx2"})
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert doctor._processor(cpuinfo) == ("", {"fp", "asimd", "bf16"})
    assert doctor._processor(tmp_path / "absent") == ("", set())


def test_absent_packages_name_their_extra(monkeypatch):
    def absent(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", absent)
    versions = doctor.facts()["versions"]
    assert versions["torch"] == "not installed"
    assert versions["fastapi"] == "not installed (pip install 'stemloop[web]')"
