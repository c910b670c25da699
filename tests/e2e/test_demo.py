"""`heapster demo` as a newcomer runs it: a process, its output, its answers while it runs, its end."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import duckdb

CAPTURES = Path(__file__).parents[1] / "captures" / "summary"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collector", "demo", f"--port={free_port()}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_it_ends_by_itself_after_the_cycles_asked_for_and_leaves_a_readable_history(tmp_path):
    done = demo("--cycles=2", "--nodes=3", "--pods=4", "--resolution=1s", f"--history={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "first cycle done" in done.stdout
    assert re.search(r"^cycle 2: 3 nodes, 12 pods, 24 containers", done.stdout, re.MULTILINE)
    assert "History Sink: 2 of 2 batches" in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stderr
    files = [str(path) for path in tmp_path.rglob("*.parquet")]
    query = "SELECT count(DISTINCT time) FROM read_parquet($files, union_by_name=true) WHERE type = 'node'"
    ((count,),) = duckdb.connect().execute(query, {"files": files}).fetchall()
    assert count == 2


def test_it_runs_on_recorded_answers_of_real_kubelets():
    done = demo("--cycles=2", "--resolution=1s", f"--captures={CAPTURES}")
    assert done.returncode == 0, done.stderr
    nodes = int(re.search(r"^cycle 2: (\d+) nodes", done.stdout, re.MULTILINE)[1])
    assert nodes >= 35
    assert "aks-newpool" in done.stdout


def test_a_taken_port_is_said_with_the_flag_to_turn():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "collector", "demo", f"--port={port}", "--nodes=1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_captures_that_are_no_directory_are_named(tmp_path):
    done = demo("--cycles=1", f"--captures={tmp_path / 'nowhere'}")
    assert done.returncode in {1, 2}
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


async def first_answer(url: str) -> list[str]:
    """The first list that is not empty, within a bounded time."""
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    names: list[str] = await response.json()
                    if names:
                        return names
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} never answered")


async def test_it_answers_while_it_runs_on_a_terminal_and_stops_cleanly_on_ctrl_c():
    port = free_port()
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "collector", "demo", f"--port={port}", "--nodes=2", "--pods=3", "--resolution=1s"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "50"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(ours, 65536):
                shown.extend(piece)

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        namespaces = await first_answer(f"http://127.0.0.1:{port}/api/v1/model/namespaces/")
        assert "kube-system" in namespaces
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the demo
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await reading
        os.close(ours)
    text = shown.decode(errors="replace")
    assert "Busiest pods" in text
    assert "curl http://localhost" in text
    assert "Traceback" not in text
