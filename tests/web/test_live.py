"""A real server: 50 users at once, one that is slow, one that hangs up, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn

from stemloop.web.app import create_app
from stemloop.web.limits import Limits
from stemloop.web.server import config_of


def post(address: str, body: dict, wait: float = 60) -> tuple[int, Message, dict]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}api/fold?wait={wait}", data)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def test_fifty_at_once_get_their_own_answer_or_are_told_to_come_back(live: str) -> None:
    def one(k: int) -> tuple[int, bool]:
        stem = "GC" * 3 + "G" * (k % 5) + "A" * (3 + k % 7)
        body = {"sequences": [{"id": f"r{k}", "sequence": stem + "CCGCGC"}], "model": "turner2004"}
        status, headers, answer = post(live, body)
        if status == 503:
            return status, int(headers["Retry-After"]) >= 1
        (result,) = answer["results"]
        return status, (result["id"], result["sequence"]) == (f"r{k}", stem + "CCGCGC")

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(one, range(50)))
    assert all(right for _, right in found)
    assert {status for status, _ in found} <= {200, 503}
    assert sum(status == 200 for status, _ in found) >= 16


def test_ten_megabytes_are_refused_over_the_wire(live: str) -> None:
    status, _, answer = post(live, {"fasta": ">a\n" + "A" * 10_000_000})
    assert (status, "larger" in answer["error"]) == (413, True)


def test_the_server_answers_while_it_folds(live: str) -> None:
    _, _, job = post(live, {"sequences": [{"sequence": "GACU" * 700}], "model": "turner2004"}, 0)
    began = time.monotonic()
    with urllib.request.urlopen(f"{live}api/info", timeout=10) as answer:
        assert answer.status == 200
    assert time.monotonic() - began < 2
    request = urllib.request.Request(f"{live}api/jobs/{job['id']}", method="DELETE")
    urllib.request.urlopen(request).close()
    for _ in range(100):
        with urllib.request.urlopen(f"{live}api/jobs/{job['id']}") as answer:
            state = json.load(answer)["state"]
        if state == "cancelled":
            break
        time.sleep(0.1)
    assert state == "cancelled"
    assert time.monotonic() - began < 8


def test_a_user_who_hangs_up_does_not_block_the_others(live: str) -> None:
    where = urlsplit(live)
    body = json.dumps({"fasta": ">x\n" + "GACU" * 700, "model": "turner2004"}).encode()
    head = (
        f"POST /api/fold?wait=60 HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port)) as line:
        line.sendall(head.encode() + body)
        time.sleep(0.3)
    status, _, answer = post(live, {"fasta": "GGGGAAAACCCC", "model": "turner2004"})
    assert (status, answer["state"]) == (200, "done")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_and_leaves_nothing(tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "stemloop.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    post(address, {"sequences": [{"sequence": "GACU" * 700}], "model": "turner2004"}, 0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    began = time.monotonic()
    process.send_signal(stop)
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 8
    assert "Traceback" not in errors
    assert process.returncode in (130, -stop, 0)
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert list(tmp_path.iterdir()) == []


def test_an_address_in_use_is_a_clear_error(cli, live: str) -> None:
    ran = cli("serve", "--port", urlsplit(live).port)
    assert (ran.code, "cannot listen" in ran.err) == (2, True)


@pytest.fixture
def impatient(engine) -> Iterator[tuple[str, int]]:
    """A server that gives a request half a second to arrive."""
    limits = Limits(body_seconds=0.5)
    server = uvicorn.Server(config_of(create_app(limits, engine=engine), limits))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def answer_of(line: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    line.settimeout(10)
    return b"".join(iter(lambda: line.recv(4096), b""))


def test_slow_clients_are_given_up(impatient) -> None:
    host = b"Host: 127.0.0.1\r\n"
    head = b"POST /api/fold HTTP/1.1\r\n" + host
    with socket.create_connection(impatient) as line:
        line.sendall(head + b"Content-Length: 50\r\n\r\n" + b"{")
        assert answer_of(line).startswith(b"HTTP/1.1 408 ")
    # Nothing, a piece of the headers, a drop now and then, and the same after a request.
    done = b"GET /static/icon.svg HTTP/1.1\r\n" + host + b"\r\n"
    for first, drops, found in ((b"", 0, b""), (head, 0, b""), (head, 8, b""), (done, 8, b" 200 ")):
        with socket.create_connection(impatient) as line:
            began = time.monotonic()
            line.sendall(first)
            try:
                for _ in range(drops):
                    time.sleep(0.15)
                    line.sendall(b"X-Drop: 1\r\n")
            except OSError:
                assert drops
            try:
                assert found in answer_of(line)
            except ConnectionResetError:
                assert drops
            assert time.monotonic() - began < 5
    # Many that only sit there keep nobody else out.
    lines = [socket.create_connection(impatient) for _ in range(50)]
    time.sleep(0.8)
    with socket.create_connection(impatient) as line:
        line.sendall(done.replace(host, host + b"Connection: close\r\n"))
        assert answer_of(line).startswith(b"HTTP/1.1 200 ")
    for line in lines:
        line.close()
