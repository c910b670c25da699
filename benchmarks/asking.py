"""The client of the latency measurement: a process that asks the collector, and notes how long each answer took.

    python -m benchmarks.asking < questions.json

Standard input has a line of JSON: {"name": {"url": ..., "every_s": ...}}. It asks, each name over a connection of its
own, and prints a line when all have been answered once. When standard input ends it stops, and prints
{"name": [[at, seconds, bytes, CPU seconds], ...]}, each an `Answered`.
"""

import asyncio
import json
import sys
import time
from typing import Any, NamedTuple

import aiohttp
import uvloop

LIMIT_S = 120


class Answered(NamedTuple):
    """One answer."""

    at: float
    """Asked at, Unix time."""
    seconds: float
    size: int
    """Bytes."""
    cpu_s: float = 0.0
    """Of the program that asked, where it was one."""


async def ask(question: dict[str, Any], over: asyncio.Event, found: list[Answered]) -> None:
    """Ask again and again; a moment that passes while an answer is under way is not asked at."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        due = time.monotonic()
        while not over.is_set():
            at, began = time.time(), time.perf_counter()
            size = await _get(session, question["url"])
            found.append(Answered(at, time.perf_counter() - began, size))
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
