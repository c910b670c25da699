"""What kubectl is held against: a server that has the collector's bytes ready."""

import gzip
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest

from benchmarks import kubectl_top, latency
from benchmarks.asking import Answered
from benchmarks.canned import ASKED, Can, canned, server_of
from benchmarks.proc import BEFORE_OTHERS
from benchmarks.tables import kubectl_table

DISCOVERY, PODS = ASKED
BODY = gzip.compress(b"k8s\0 and what follows" * 1_000)


@contextmanager
def running(cans: dict[str, Can]) -> Iterator[str]:
    server: ThreadingHTTPServer = server_of(cans)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CANS = {
    DISCOVERY: Can({"Content-Type": "application/json"}, b"{}"),
    PODS: Can({"Content-Type": "application/vnd.kubernetes.protobuf", "Content-Encoding": "gzip"}, BODY),
}


def test_what_is_kept_is_what_came():
    with running(CANS) as first:
        kept = canned(first)
        assert kept == CANS
    with running(kept) as second, urllib.request.urlopen(f"{second}{PODS}?limit=500") as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.read() == BODY


def test_what_is_not_there_is_not_found():
    with running({}) as server, pytest.raises(HTTPError, match="404") as refused:
        canned(server)
    refused.value.close()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch) -> Path:
    """A program in the place of kubectl, which prints what it was told."""
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$@"; exit "${STATUS:-0}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return program


def test_a_run_is_timed_and_what_it_printed_counted(kubectl):
    words = kubectl_top.command("http://127.0.0.1:1")
    assert words[0] == str(kubectl)
    one = kubectl_top.run(words)
    assert one.size == len(" ".join(words[1:])) + 1
    assert one.seconds > 0
    assert 0 <= one.cpu_s < 5


def test_a_run_that_fails_or_prints_nothing_is_no_measurement(kubectl, monkeypatch):
    with pytest.raises(RuntimeError, match="printed nothing"):
        kubectl_top.run(["true"])
    monkeypatch.setenv("STATUS", "3")
    with pytest.raises(subprocess.CalledProcessError):
        kubectl_top.run([str(kubectl)])


def test_without_kubectl_there_is_nothing_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kubectl_top.command("http://127.0.0.1:1") == []


def test_servers_are_asked_in_turn_until_told_to_end(kubectl):
    servers = {"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:2"}
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kubectl_top"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(servers) + "\n")
        client.stdin.flush()
        assert [client.stdout.readline() for _ in range(2)] == ["asked\n", "asked\n"]
        client.stdin.close()
        found = json.loads(client.stdout.read().splitlines()[-1])
        assert client.wait() == 0
    first, second = ([Answered(*one) for one in found[name]] for name in servers)
    assert len(first) == len(second) >= 2
    for one, other in zip(first, second, strict=True):
        assert one.at <= one.at + one.seconds <= other.at + 0.01


def test_a_client_comes_before_others_where_that_is_permitted():
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from benchmarks.proc import *; a = niceness(); as_another_machine(); print(a, niceness())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    before, now = map(int, told.split())
    assert now in {before, max(-20, before + BEFORE_OTHERS)}


def test_only_what_was_asked_while_a_cycle_ran_counts():
    asked = [Answered(1.0, 0.5, 9), Answered(3.0, 0.25, 9), Answered(6.0, 4.0, 9)]
    assert latency.during(asked, [(0.0, 2.0), (5.5, 7.0)]) == [500.0, 4_000.0]


def test_a_row_for_each_moment_and_server():
    asked = [Answered(1.0, 4.0, 9, 3.0), Answered(9.0, 5.0, 9, 3.5)]
    rows = kubectl_top.rows("no cycle", {kubectl_top.COLLECTOR: asked, kubectl_top.READY: asked[:1], "none": []})
    assert [(row["server"], row["collector"], row["wall_s"]["most"]) for row in rows] == [
        (kubectl_top.COLLECTOR, True, 5.0),
        (kubectl_top.READY, False, 4.0),
    ]
    one = {"kubectl": {"rows": rows, "collector_cpu_s": 1.0, "clients_first": True}}
    assert kubectl_table({"5000-nodes": one, "no kubectl there": {"kubectl": {}}}).row_count == 2
