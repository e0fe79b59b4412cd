"""The worker process: same results as the library and the command line, cancelling, crashes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from starlette.testclient import TestClient

import stemloop
from stemloop.records import SequenceRecord
from stemloop.tasks.mutations import MutationScanner
from stemloop.tasks.rna_types import guess_type
from stemloop.tasks.structure_settings import FoldSettings
from stemloop.web.answers import text_of
from stemloop.web.app import create_app
from stemloop.web.compute import Computer, Task
from stemloop.web.engine import CrashedError, ProcessEngine, StoppedError, TaskError
from stemloop.web.generate import MakeTask, make
from stemloop.web.limits import Limits
from stemloop.web.requests import offered, read_tasks
from stemloop.web.schema import Answer, FoldRequest, JobAnswer, Wanted
from stemloop.weights.store import load

PLAIN = FoldSettings(model="turner2004")
SHORT = Task(SequenceRecord("x", "GGGGAAAACCCC"), PLAIN)


def long_task() -> Task:
    letters = np.random.default_rng(1).choice(list("ACGU"), 3000)
    return Task(SequenceRecord("long", "".join(letters)), PLAIN)


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    engine = ProcessEngine()
    yield engine
    engine.close()


def test_a_process_computes_is_stopped_and_crashes(engine: ProcessEngine) -> None:
    assert json.loads(engine.run(SHORT, lambda: False).payload)["structure"] == "((((....))))"
    with pytest.raises(TaskError, match="no nucleotides"):
        engine.run(Task(SequenceRecord("e", ""), PLAIN), lambda: False)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    with pytest.raises(StoppedError):
        engine.run(long_task(), stop.is_set)
    assert time.monotonic() - began < 5
    # It comes back after that, and after a crash.
    assert json.loads(engine.run(SHORT, lambda: False).payload)["energy"] == -5.4
    assert engine._process is not None
    pid = engine._process.pid
    assert pid is not None
    threading.Timer(0.3, os.kill, (pid, signal.SIGSEGV)).start()
    with pytest.raises(CrashedError, match="-11"):
        engine.run(long_task(), lambda: False)


def test_answers_are_those_of_the_library(trna_phe) -> None:
    sequence, _ = trna_phe
    task = Task(
        SequenceRecord("t", sequence, "yeast"), FoldSettings(decoder="hybrid"), frozenset({"class"})
    )
    outcome = Computer()(task)
    answer = json.loads(outcome.payload)
    (known,) = stemloop.fold(sequence, decoder="hybrid", probabilities=True)
    assert answer["structure"] == known.structure.dot_bracket
    assert answer["pairs"] == (known.structure.pairs + 1).tolist()
    np.testing.assert_allclose(answer["confidence"], known.arrays["confidence"], atol=1e-4)
    matrix = np.zeros((len(sequence), len(sequence)))
    for i, j, p in answer["pair_probabilities"]:
        matrix[i - 1, j - 1] = p
    np.testing.assert_allclose(matrix, known.arrays["pair_probability"], atol=1.1e-3)
    assert np.shape(answer["layout"]) == (len(sequence), 2)
    assert answer["class"]["label"] == "tRNA"
    assert sum(answer["class"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


LET7 = "UGAGGUAGUAGGUUGUAUAGUU&AAGCCUUAACUACCUCAAUUAAC"


def in_shell(command: str, folder: Path) -> str:
    """What the command prints, typed into a shell."""
    shell = f'stemloop() {{ {shlex.quote(sys.executable)} -m stemloop.cli.main "$@"; }}\n'
    ran = subprocess.run(
        ["sh", "-c", shell + command], capture_output=True, text=True, cwd=folder, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"model": "turner1999", "decoder": "centroid", "gamma": 2.5},
        {"decoder": "hybrid", "threshold": 0.9, "temperature": -5.5, "max_span": 30},
        {"fasta": LET7},
        {"fasta": "GGGGAAAACCCC&GGGG\n....xxxx....&....", "constraints": True},
        {"reactivities": "1 0\n2 1.5\n10 2\n20 0.1", "reagent": "dms"},
        {
            "fasta": "GGGGAAAACCCC\nx...........", "constraints": True, "model": "turner2004",
            "reactivities": "1 0\n4 1.5\n", "shape_method": "Zb0.7",
        },
    ],
)  # fmt: skip
def test_the_command_gives_the_same(cli, trna_phe, tmp_path: Path, request_) -> None:
    (task,) = read_tasks(FoldRequest(**{"fasta": trna_phe[0]} | request_), Limits())
    program, *arguments = shlex.split(task.command)
    if program == "stemloop":
        ran = cli(*arguments)
        assert ran.code == 0, ran.err
        out = ran.out
    else:
        out = in_shell(task.command, tmp_path)
    own = text_of(Computer()(task), "dbn")
    assert own is not None
    assert out.splitlines()[1:] == own.splitlines()[1:]


def test_files_are_those_of_the_command(cli, tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(">k a knot\nGGGGAACCCCAACCCCAAGGGGAACUUCGGUUCC\n")
    request = FoldRequest(fasta=(tmp_path / "x.fa").read_text(), model="turner2004")
    (task,) = read_tasks(request, Limits())
    outcome = Computer()(task)
    for format in ("ct", "bpseq"):
        ran = cli("fold", tmp_path / "x.fa", "--model", "turner2004", "-f", format)
        assert ran.out == text_of(outcome, format)
    ran = cli(
        "fold", tmp_path / "x.fa", "--model", "turner2004", "--svg", tmp_path, "--bpp",
        tmp_path / "x.csv",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (tmp_path / "x.csv").read_text() == text_of(outcome, "csv")
    # Places have three decimals in the answer, and probabilities four.
    colour = re.compile("#[0-9a-f]{6}")
    own, drawn = (
        colour.sub("", text)
        for text in (text_of(outcome, "svg") or "", (tmp_path / "k-1.svg").read_text())
    )
    pattern = re.compile(r"-?\d+\.?\d*")
    np.testing.assert_allclose(
        [float(n) for n in pattern.findall(own)], [float(n) for n in pattern.findall(drawn)],
        atol=0.2,
    )  # fmt: skip
    assert pattern.sub("", own) == pattern.sub("", drawn)


def test_two_strands_fold_and_bind(cli) -> None:
    long = "GGGGACUUCGGUCCCAAGGCUACGAUCGAUUUACGGC&GCCGUAAAUCGAUCGUAGCCAAAAA"
    request = FoldRequest(
        fasta=f">mi\n{LET7}\n>long\n{long}\n>one\nGGGGAAAACCCC\n",
        compute=["structure", "interaction", "class", "mutations", "ribosome_load"],
    )
    computer = Computer()
    outcomes = [computer(task) for task in read_tasks(request, Limits())]
    answers = [json.loads(outcome.payload) for outcome in outcomes]
    for answer in answers:
        Answer.model_validate(answer)
    for answer, text in zip(answers, (LET7, long), strict=False):
        cut = text.index("&")
        assert (answer["cut"], answer["sequence"]) == (cut, text.replace("&", ""))
        (known,) = stemloop.fold(text)
        assert answer["structure"] == known.structure.dot_bracket
        assert answer["binding_energy"] == round(known.values["binding_energy"], 2)
        assert len(answer["layout"]) == answer["length"] == len(text) - 1
        assert answer["class"] is answer["mutations"] is answer["ribosome_load"] is None
        program, *arguments = shlex.split(answer["command"].splitlines()[-1])
        header, row = (line.split("\t") for line in cli(*arguments).out.splitlines())
        told = dict(zip(header, row, strict=True))
        for name, value in answer["interaction"].items():
            if name != "model":
                assert told[name] == str(value), name
    assert answers[0]["interaction"]["model"] == "mirna-target"
    assert "probability" not in answers[1]["interaction"]
    assert answers[2]["interaction"] is None
    assert "interact" not in answers[2]["command"]
    # Formats of one strand.
    assert text_of(outcomes[0], "ct") is None
    svg = text_of(outcomes[0], "svg")
    assert svg is not None
    assert svg.count("5\u2032") == 2


def test_the_command_of_any_name_is_safe_in_a_shell(tmp_path: Path) -> None:
    name = "x';echo$IFS`id`;$(id)\"%s\\n"
    request = FoldRequest(
        sequences=[{"id": name, "sequence": "GGGGAAAACCCC", "constraint": "x..........x"}],
        model="turner2004",
    )
    (task,) = read_tasks(request, Limits())
    out = in_shell(task.command, tmp_path)
    assert out == text_of(Computer()(task), "dbn")
    assert out.startswith(f">{name}\n")


def test_markup_in_names_stays_text() -> None:
    evil = "<script>alert(1)</script>\"'&"
    body = {"fasta": f">{evil} <img/src=x/onerror=alert(2)>\nGGGGAAAACCCC\n", "model": "turner2004"}
    with TestClient(create_app(engine=InProcess()), base_url="http://localhost") as server:
        answer = server.post("/api/fold", json=body)
        assert answer.headers["content-type"] == "application/json"
        (result,) = answer.json()["results"]
        assert result["id"] == evil
        for name in ("0.svg", "0.arcs.svg", "0.json", "0.dbn", "0.csv", "all.ct", "table.csv"):
            file = server.get(f"/api/jobs/{answer.json()['id']}/files/{name}")
            assert file.headers["content-disposition"].startswith("attachment; filename="), name
            assert "<" not in file.headers["content-disposition"]
            assert "html" not in file.headers["content-type"]
            if name.endswith("svg"):
                assert "<script" not in file.text
                assert "&lt;script&gt;" in file.text


def test_other_models_look_at_rnas_of_their_lengths() -> None:
    wanted = frozenset(get_args(Wanted)) & set(offered()) - {"structure"}
    assert {"class", "mutations"} <= wanted
    computer = Computer()
    for length in (42, 24, 101):
        record = SequenceRecord("x", ("GACUUCAGN" * 12)[:length])
        answer = json.loads(computer(Task(record, None, wanted)).payload)
        Answer.model_validate(answer)
        scan = MutationScanner.load()(record).arrays["score"]
        for k, row in enumerate(answer["mutations"]):
            if record.sequence[k] == "N":
                assert row is None
            else:
                np.testing.assert_allclose(row, scan[k], atol=1e-3)
        if "splice" in wanted:
            assert (answer["splice"] is None) == (length != 42)
        named = guess_type(load("stemloop-pico"), record.sequence)
        assert (answer["type"]["label"], answer["type"]["probability"]) == (
            named[0], pytest.approx(named[1], abs=1e-4),
        )  # fmt: skip
        assert sum(answer["type"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        if "ribosome_load" in wanted:
            assert (answer["ribosome_load"] is None) == (length != 42)


class InProcess(Computer):
    """The real computing in this process."""

    def run(self, task, cancelled):
        return make(task) if isinstance(task, MakeTask) else self(task)

    def close(self) -> None:
        pass


def test_sequences_of_a_family_are_those_of_the_command(
    cli, generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Limits(rnas=50), engine=InProcess(), generators=(generator,))
    with TestClient(app, base_url="http://localhost") as server:
        listed = server.get("/api/info").json()["families"]
        assert {"name": "hairpins", "labels": ["one", "two"]} in listed
        order = {"family": "hairpins", "count": 40, "seed": 3, "labels": {"two": 1}, "unique": True}
        answer = server.post("/api/generate", json=order).json()
        JobAnswer.model_validate(answer)
        (made,) = answer["results"]
        assert {s["values"]["label"] for s in made["sequences"]} == {"two"}
        assert len({s["aligned"] for s in made["sequences"]}) == 40
        fasta = server.get(f"/api/jobs/{answer['id']}/files/0.fa").text
        table = server.get(f"/api/jobs/{answer['id']}/files/0.csv").text.splitlines()
        assert len(table) == 41
        for wrong, status, words in (
            ({"family": "nobody", "count": 5}, 422, "hairpins"),
            ({**order, "labels": {"three": 1}}, 422, "one, two"),
            ({**order, "count": 51}, 413, "50"),
            ({**order, "seed": -1}, 422, "seed"),
        ):
            refused = server.post("/api/generate", json=wrong)
            assert (refused.status_code, words in refused.json()["error"]) == (status, True)
    monkeypatch.chdir(generator.parent)
    program, *arguments = shlex.split(made["command"])
    ran = cli(*arguments)
    assert (program, ran.code) == ("stemloop", 0), ran.err
    own = [line for line in fasta.splitlines() if line[0] != ">"]
    assert [line for line in ran.out.splitlines() if line[0] != ">"] == own


def test_a_folder_that_is_no_generator_is_a_clear_error(cli, tmp_path: Path) -> None:
    ran = cli("serve", "--port", "0", "--generator", tmp_path)
    assert (ran.code, "no generator" in ran.err) == (5, True)
