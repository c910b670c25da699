"""A sink with a wire whose other side the tests play."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collector.core.batch import DataBatch
from collector.errors import ExportError


class Lines(NamedTuple):
    """One write."""

    body: bytes
    points: int


@dataclass
class ScriptedWire:
    """Encodes each batch as `writes` writes of `points` lines; `answer` may raise, or wait, for a body."""

    name: str = "Scripted Sink"
    identity: str = "scripted"
    concurrency: int = 1
    max_points: int = 10_000
    writes: int = 2
    points: int = 5
    answer: Callable[[bytes], object] = lambda _: None
    received: list[bytes] = field(default_factory=list)
    """Lines the other side has kept."""
    sent: list[bytes] = field(default_factory=list)
    """Bodies, in the order they were tried."""
    under_way: int = 0
    most_under_way: int = 0
    stopped: int = 0

    def encode(self, batch: DataBatch) -> Iterator[Lines]:
        for write in range(self.writes):
            lines = [f"m,w={write},i={i} value=1i {batch.timestamp}\n".encode() for i in range(self.points)]
            yield Lines(b"".join(lines), len(lines))

    async def send(self, body: bytes) -> None:
        self.sent.append(body)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            answer = self.answer(body)
            if asyncio.iscoroutine(answer):
                await answer
        finally:
            self.under_way -= 1
        self.received += body.splitlines(keepends=True)

    async def export(self, _batch: DataBatch) -> None:
        raise AssertionError("a spooled sink encodes and sends")

    async def stop(self) -> None:
        self.stopped += 1


def partial(bad: Sequence[bytes], kept: list[bytes]) -> Callable[[bytes], None]:
    """A server like InfluxDB: it keeps the good lines and tells how many it dropped."""

    def answer(body: bytes) -> None:
        lines = body.splitlines(keepends=True)
        dropped = [line for line in lines if any(word in line for word in bad)]
        if dropped:
            kept.extend(line for line in lines if line not in dropped)
            raise ExportError(
                f"partial write: field type conflict dropped={len(dropped)}",
                retryable=False,
                status=400,
                refused_points=len(dropped),
            )

    return answer


def whole(bad: Sequence[bytes]) -> Callable[[bytes], None]:
    """A server that refuses a write with one bad line altogether."""

    def answer(body: bytes) -> None:
        if any(word in body for word in bad):
            raise ExportError("unable to parse", retryable=False, status=400)

    return answer
