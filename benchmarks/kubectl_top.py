"""What the real `kubectl top pods -A` takes: of the collector, and of a server that has the same bytes ready.

    python -m benchmarks.kubectl_top < servers.json

Standard input has a line of JSON: {"name": "http://...", ...}. Each server is asked in turn, by one kubectl at a time,
and a line printed behind each round. When standard input ends it stops, and prints what `benchmarks.asking` does.

kubectl prints into a file. It writes each cell and each run of blanks with a call of its own, twelve for a pod: into a
pipe, each of them wakes the reader, and it is the reader that would be measured.
"""

import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.asking import LIMIT_S, Answered
from benchmarks.proc import as_another_machine
from benchmarks.statistics import spread

COLLECTOR, READY = "kubectl top pods", "kubectl top pods, answer ready"
"""Names of the two servers."""
RUNS = 3
"""Of each server, while no cycle runs."""


def command(server: str) -> list[str]:
    """The words; none where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    options = (f"--server={server}", f"--kubeconfig={os.devnull}", f"--cache-dir={os.devnull}")
    return [kubectl, *options, "top", "pods", "-A"] if kubectl else []


def run(words: list[str]) -> Answered:
    """Run it, and see that it printed something."""
    with tempfile.TemporaryFile() as out:
        at, began, used = time.time(), time.perf_counter(), _children_cpu_s()
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, timeout=LIMIT_S, check=True)
        took, size = time.perf_counter() - began, out.seek(0, os.SEEK_END)
    if not size:
        raise RuntimeError(f"{' '.join(words)} printed nothing")
    return Answered(at, took, size, _children_cpu_s() - used)


@asynccontextmanager
async def answer_ready(server: str) -> AsyncIterator[str]:
    """The address of a process that answers what `server` does now."""
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-m", "benchmarks.canned", server)
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the server that has its answer ready did not start")
        yield address
    finally:
        process.stdin.close()
        await process.wait()


def rows(when: str, found: Mapping[str, Sequence[Answered]]) -> list[dict[str, Any]]:
    """A row for each server that was asked: wall time and kubectl's own CPU, seconds."""
    return [
        {
            "when": when,
            "server": name,
            "collector": name == COLLECTOR,
            "wall_s": spread([one.seconds for one in asked]),
            "kubectl_cpu_s": spread([one.cpu_s for one in asked]),
        }
        for name, asked in found.items()
        if asked
    ]


def _children_cpu_s() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def ask(servers: Mapping[str, str], found: Mapping[str, list[Answered]]) -> None:
    """One after the other, round by round; a line behind each round."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    while not over.is_set():
        for name, server in servers.items():
            found[name].append(await asyncio.to_thread(run, command(server)))
        print("asked", flush=True)


def main() -> None:
    servers = json.loads(sys.stdin.readline())
    as_another_machine()
    found: dict[str, list[Answered]] = {name: [] for name in servers}
    asyncio.run(ask(servers, found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
