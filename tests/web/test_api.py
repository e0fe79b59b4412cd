"""The API: what it accepts, what it refuses and how, jobs, cancelling, the queue."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from stemloop.draw.paper import VIRIDIS
from stemloop.errors import ExtraError
from stemloop.web.app import STATIC
from stemloop.web.engine import CrashedError, TaskError

Serving = Callable[..., TestClient]


def finished(server: TestClient, id: str) -> dict:
    for _ in range(500):
        answer = server.get(f"/api/jobs/{id}").json()
        if answer["state"] not in ("waiting", "running"):
            return answer
        time.sleep(0.01)
    raise AssertionError("the job does not end")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"fasta": ">a first\nacg\nut\n>b\nGGN\n"}, [("a", "ACGUU"), ("b", "GGN")]),
        ({"fasta": "\ufeff\r\n>a\r\nACGT\r\n"}, [("a", "ACGU")]),
        ({"fasta": "@a\nACGT\n+\nIIII\n"}, [("a", "ACGU")]),
        ({"fasta": "acgt\n\n GGG \n"}, [("sequence1", "ACGU"), ("sequence2", "GGG")]),
        ({"fasta": ">a\nacg&tt\n>b\nGG\n"}, [("a", "ACG&UU"), ("b", "GG")]),
        ({"fasta": "acg&tt"}, [("sequence1", "ACG&UU")]),
        (
            {"fasta": ">a\nacgt\n.x..\n>b\nGG\n..", "constraints": True},
            [("a", "ACGU"), ("b", "GG")],
        ),
        (
            {"fasta": "acgt\n.x..\nGG\n..", "constraints": True},
            [("sequence1", "ACGU"), ("sequence2", "GG")],
        ),
        (
            {"sequences": [{"sequence": "acg"}, {"id": "b", "sequence": "tt"}]},
            [("sequence1", "ACG"), ("b", "UU")],
        ),
    ],
)
def test_input_comes_as_fasta_fastq_lines_or_a_list(server, body, found) -> None:
    answer = server.post("/api/fold", json=body)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(r["id"], r["sequence"]) for r in results] == found
    assert [r["index"] for r in results] == list(range(len(found)))


ONE = {"fasta": ">a\nACGU\n"}


@pytest.mark.parametrize(
    ("body", "words", "record"),
    [
        ({}, "either", None),
        ({**ONE, "sequences": [{"sequence": "A"}]}, "either", None),
        ({"fasta": ""}, "fasta", None),
        ({"fasta": "\n \n"}, "no sequences", None),
        ({"fasta": ">a\nACGU\n>bad\nACG!\n"}, "line 4: record 'bad'", "bad"),
        ({"fasta": ">a\n>b\nA\n"}, "no sequence", "a"),
        ({"fasta": "BZh91AY&SY"}, "no nucleotide code", "sequence1"),
        ({"fasta": ">d\nGGG&CCC&A\n"}, "3 strands", "d"),
        ({"fasta": ">d\nGGG&\n"}, "without nucleotides", "d"),
        ({"fasta": ">d\nGGG&C!C\n"}, "'!'", "d"),
        ({"fasta": ">a\nACGU\n....\n>b\nACGU\n..\n", "constraints": True}, "2 char", "b"),
        ({"fasta": "ACGU\n....\nACG", "constraints": True}, "without constraint", None),
        ({"sequences": [{"sequence": "A"}], "constraints": True}, "constraints", None),
        ({**ONE, "reactivities": "BZh91AY&SY"}, "no reactivities", None),
        ({**ONE, "reactivities": "5 0.1"}, "position 5 of 4", "a"),
        ({**ONE, "reactivities": ">b\n1 0.1"}, "for this RNA", "a"),
        ({"fasta": "ACGU\nACG", "reactivities": "1 0.1"}, "several", None),
        ({**ONE, "reactivities": "1 0.1", "shape_method": "x"}, "method", None),
        ({"fasta": ">t\nAC&GU", "reactivities": "1 0.1"}, "no reactivities", "t"),
        ({"fasta": ">t\nAC&GU", "max_span": 9}, "no longest span", "t"),
        ({**ONE, "reagent": "dms"}, "go with reactivities", None),
        ({**ONE, "reactivities": "1 0.1", "compute": ["class"]}, "go with 'structure'", None),
        ({"sequences": []}, "sequences", None),
        ({"sequences": [{"id": "n", "sequence": " "}]}, "no nucleotides", "n"),
        ({"sequences": [{"id": "two words", "sequence": "A"}]}, "id", None),
        ({"sequences": [{"sequence": "ACGU", "constraint": "..."}]}, "3 characters", "sequence1"),
        ({"sequences": [{"sequence": "ACGU", "constraint": "((.."}]}, "open", "sequence1"),
        (
            {"sequences": [{"sequence": "AC", "constraint": ".."}], "compute": ["class"]},
            "constraint goes with",
            None,
        ),
        ({**ONE, "model": "/etc/passwd"}, "model", None),
        ({**ONE, "decoder": "magic"}, "decoder", None),
        ({**ONE, "gamma": -1}, "gamma", None),
        ({**ONE, "temperature": 1e9}, "temperature", None),
        ({**ONE, "decoder": "mea", "threshold": 0.5}, "threshold", None),
        ({**ONE, "compute": []}, "compute", None),
        ({**ONE, "output": "/tmp/x"}, "output", None),
        ({"fasta": ">a\nAC\ud800\n"}, "", None),
        ("text", "", None),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(server, engine, body, words, record) -> None:
    # Written here: the client would not send half a character.
    json_type = {"Content-Type": "application/json"}
    answer = server.post("/api/fold", content=json.dumps(body), headers=json_type)
    problem = answer.json()
    assert answer.status_code == 422
    assert words in problem["error"]
    assert (problem["record"] or None) == record
    assert engine.seen == []


@pytest.mark.parametrize(
    ("limits", "fasta", "record"),
    [
        ({"rnas": 2}, ">a\nA\n>b\nA\n>c\nA\n", "c"),
        ({"length": 4}, ">a\nAAAA\n>b\nAAAAA\n", "b"),
        ({"total": 7}, ">a\nAAAA\n>b\nAAAA\n", "b"),
    ],
)
def test_too_much_is_refused_by_name(serving: Serving, engine, limits, fasta, record) -> None:
    server = serving(**limits)
    answer = server.post("/api/fold", json={"fasta": fasta})
    assert (answer.status_code, answer.json()["record"]) == (413, record)
    assert str(next(iter(limits.values()))) in answer.json()["error"]
    assert engine.seen == []


def test_large_requests_are_refused(server, engine) -> None:
    big = server.post("/api/fold", json={"fasta": ">a\n" + "A" * 10_000_000})
    assert (big.status_code, "bytes" in big.json()["error"]) == (413, True)
    many = "".join(f">r{k}\nACGU\n" for k in range(10_000))
    answer = server.post("/api/fold", json={"fasta": many})
    assert (answer.status_code, answer.json()["record"]) == (413, "r1000")
    told = server.post("/api/fold", content=b"x", headers={"Content-Length": "999999999999"})
    assert told.status_code == 413

    def chunks():
        for _ in range(100):
            yield b" " * 100_000

    assert server.post("/api/fold", content=chunks()).status_code == 413
    assert engine.seen == []


def test_other_requests_than_json_from_this_page_are_refused(server) -> None:
    # What a form of a foreign page can send without being asked, and what rebinding a name gives.
    plain = server.post(
        "/api/fold", content='{"fasta": ">a\\nA"}', headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code == 422
    foreign = server.get("/api/info", headers={"Host": "evil.example:8000"})
    assert (foreign.status_code, "evil.example" in foreign.json()["error"]) == (400, True)
    assert server.get("/api/info", headers={"Host": "LOCALHOST:1234"}).status_code == 200
    for site, dest, status in (
        ("cross-site", "image", 403), ("same-site", "empty", 403), ("cross-site", "iframe", 403),
        ("cross-site", "document", 200), ("same-origin", "empty", 200), ("none", "document", 200),
    ):  # fmt: skip
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": dest}
        answer = server.get("/api/fold?sequence=ACGU", headers=headers)
        assert answer.status_code == status, (site, dest)
    for path, method, status in (
        ("/api/fold", "PUT", 405), ("/api/nothing", "GET", 404), ("/static/../app.py", "GET", 404),
        ("/static/%2e%2e/app.py", "GET", 404), ("/api/jobs/unknown", "GET", 404),
        ("/api/jobs/unknown/files/all.dbn", "GET", 404), ("/api/jobs/a/files/x.exe", "GET", 422),
    ):  # fmt: skip
        answer = server.request(method, path)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "record"}), path


def test_every_answer_forbids_foreign_code(server) -> None:
    for path in ("/", "/docs", "/static/app.js", "/api/info", "/openapi.json", "/nothing"):
        headers = server.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_pages_need_nothing_from_elsewhere(server) -> None:
    names = {path.name for path in STATIC.iterdir()}
    assert {"index.html", "docs.html", "app.js", "style.css"} <= names
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\"'\s<>)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text
        )
        for local in re.findall(r"(?:src|href)=\"/static/([^\"]+)\"|from \"\./([^\"]+)\"", text):
            assert set(local) - {""} <= names
    assert server.get("/").text == (STATIC / "index.html").read_text(encoding="utf-8")


def test_the_page_and_the_files_have_one_colour_scale() -> None:
    text = (STATIC / "dom.js").read_text(encoding="utf-8")
    listed = re.search(r"VIRIDIS = (\[.*?\n\]);", text, re.DOTALL)
    assert listed is not None
    assert json.loads(re.sub(r",(\s*\])", r"\1", listed[1])) == VIRIDIS.tolist()


def test_the_example_is_that_of_the_examples(server) -> None:
    shown = server.get("/api/info").json()["example"]
    root = STATIC.parents[3]
    assert shown == (root / "examples" / "rnas.fa").read_text()


def test_a_job_is_followed_and_read_piece_by_piece(server, engine) -> None:
    engine.gate.clear()
    sent = server.post("/api/fold?wait=0", json={"fasta": ">a\nA\n>b\nC\n"})
    assert sent.status_code == 202
    place = sent.headers["Location"]
    assert server.get(place).json()["done"] == 0
    engine.gate.set()
    last = finished(server, sent.json()["id"])
    assert (last["state"], last["done"], last["next"]) == ("done", 2, 2)
    rest = server.get(f"{place}?from=1").json()
    assert [r["id"] for r in rest["results"]] == ["b"]
    assert server.get(f"{place}?from=9").json()["results"] == []


def test_an_address_folds_one_rna(server) -> None:
    answer = server.get("/api/fold", params={"sequence": "acgu", "id": "x", "decoder": "hybrid"})
    (result,) = answer.json()["results"]
    assert (result["id"], result["sequence"]) == ("x", "ACGU")
    assert result["command"] == "stemloop fold -s ACGU --decoder hybrid"
    assert server.get("/api/fold", params={"sequence": "acgu", "nonsense": 1}).status_code == 422


def test_a_running_job_is_cancelled_between_rnas(server, engine) -> None:
    engine.gate.clear()
    sent = server.post("/api/fold?wait=0", json={"fasta": "".join(f">r{k}\nA\n" for k in range(9))})
    engine.started.acquire()
    server.delete(f"/api/jobs/{sent.json()['id']}")
    engine.gate.set()
    last = finished(server, sent.json()["id"])
    assert last["state"] == "cancelled"
    assert len(engine.seen) <= 1
    assert server.post("/api/fold", json=ONE).status_code == 200


def test_a_full_queue_says_when_to_come_back(serving: Serving, engine) -> None:
    server = serving(waiting=2)
    engine.gate.clear()
    first = server.post("/api/fold?wait=0", json=ONE).json()
    engine.started.acquire()
    waiting = [server.post("/api/fold?wait=0", json=ONE).json() for _ in range(2)]
    assert [job["ahead"] for job in waiting] == [1, 2]
    refused = server.post("/api/fold?wait=0", json=ONE)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    gone = server.delete(f"/api/jobs/{waiting[0]['id']}").json()
    assert gone["state"] == "cancelled"
    again = server.post("/api/fold?wait=0", json=ONE)
    assert again.status_code == 202
    engine.gate.set()
    for job in (first, waiting[1], again.json()):
        assert finished(server, job["id"])["state"] == "done"


def test_an_rna_that_fails_is_named_and_the_others_go_on(server, engine) -> None:
    engine.fail = {"b": TaskError("no such fold"), "c": CrashedError("it crashed")}
    answer = server.post("/api/fold", json={"fasta": ">a\nA\n>b\nA\n>c\nA\n>d\nA\n"}).json()
    assert [r["id"] for r in answer["results"]] == ["a", "d"]
    assert [(e["index"], e["id"], e["error"]) for e in answer["errors"]] == [
        (1, "b", "no such fold"), (2, "c", "it crashed"),
    ]  # fmt: skip
    table = server.get(f"/api/jobs/{answer['id']}/files/table.csv").text.splitlines()
    assert [line.split(",")[1] for line in table[1:]] == list("abcd")
    assert table[2].endswith("no such fold")


def test_a_defect_ends_its_job_and_no_other(server, engine) -> None:
    engine.fail = {"a": ZeroDivisionError("secret")}
    answer = server.post("/api/fold", json=ONE).json()
    assert (answer["state"], answer["message"]) == ("failed", "internal error")
    assert server.post("/api/fold", json={"fasta": ">b\nA"}).json()["state"] == "done"


def test_old_results_are_dropped(serving: Serving) -> None:
    server = serving(kept=2)
    ids = [server.post("/api/fold", json=ONE).json()["id"] for _ in range(5)]
    server.post("/api/fold", json=ONE)
    assert server.get(f"/api/jobs/{ids[0]}").status_code == 404
    assert server.get(f"/api/jobs/{ids[-1]}").status_code == 200


def test_closing_ends_what_runs(serving: Serving, engine) -> None:
    server = serving()
    engine.gate.clear()
    server.post("/api/fold?wait=0", json=ONE)
    engine.started.acquire()
    began = time.monotonic()
    server.__exit__(None, None, None)
    server.__enter__()
    assert engine.closed
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("module", "package"), [("app", "fastapi"), ("server", "uvicorn")])
def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"stemloop.web.{module}", raising=False)
    with pytest.raises(ExtraError, match=rf"{package}.*stemloop\[web\]"):
        __import__(f"stemloop.web.{module}")
