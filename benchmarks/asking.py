"""The client of the latency measurement: a process that asks the collector, and notes how long each answer took.

    python -m benchmarks.asking < questions.json

Standard input has a line of JSON: {"name": {"url": ..., "every_s": ...}}; with "command", a list of words, in place of
"url" that is run, and asks. It asks, each name over a connection of its own, and prints a line when all have been
answered once. When standard input ends it stops, and prints {"name": [[asked at (Unix time), seconds, bytes, seconds of
the command's CPU], ...]}; the last are right where only one command is run.
"""

import asyncio
import json
import resource
import sys
import time
from typing import Any, TypeAlias

import aiohttp
import uvloop

LIMIT_S = 120

Answered: TypeAlias = tuple[float, float, int, float]
"""Asked at (Unix time), seconds, bytes, CPU seconds of the command."""


async def ask(question: dict[str, Any], over: asyncio.Event, found: list[Answered]) -> None:
    """Ask again and again; a moment that passes while an answer is under way is not asked at."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        due = time.monotonic()
        while not over.is_set():
            at, began, used = time.time(), time.perf_counter(), _children_cpu_s()
            size = await (_run(question["command"]) if "command" in question else _get(session, question["url"]))
            found.append((at, time.perf_counter() - began, size, _children_cpu_s() - used))
            due = max(due + question["every_s"], time.monotonic())
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await over.wait()
            except TimeoutError:
                pass


async def _get(session: aiohttp.ClientSession, url: str) -> int:
    """The bytes that `url` answers."""
    size = 0
    async with session.get(url) as answer:
        async for piece in answer.content.iter_any():
            size += len(piece)
        if answer.status != 200:
            raise RuntimeError(f"{url} answered {answer.status}")
    return size


async def _run(command: list[str]) -> int:
    """The bytes that `command` prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(LIMIT_S):
        out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return len(out)


def _children_cpu_s() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    questions = json.loads(sys.stdin.readline())
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    found: dict[str, list[Answered]] = {name: [] for name in questions}
    async with asyncio.TaskGroup() as group:
        for name, question in questions.items():
            group.create_task(ask(question, over, found[name]))
        while not all(found.values()):
            await asyncio.sleep(0.02)
        print("ready", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    uvloop.run(main())
