"""Asking many nodes at once: one deadline for all, a bound on how many are asked at the same time, no node left out.

Asking waits, so many nodes are asked side by side; what is done with an answer computes, so answers pass a gate one by
one, and the event loop gets a turn whenever they have kept it for SLICE_S, or for less while it has clients.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from collector.errors import FetchError, ScrapeError
from collector.turns import Turns

log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")

SLICE_S: Final = 0.003
"""Longest computation on answers, in seconds, between two turns of the event loop; one answer more may overrun it."""


class Reply(NamedTuple, Generic[T, A]):
    """What came of one target; every target gives exactly one."""

    target: T
    answer: A | ScrapeError
    """what it said, or why there is none; FetchError with reason `late` if the deadline came first"""
    started: float
    """time.monotonic() when it was asked; the end of the fan-out if it never was"""
    finished: float
    """time.monotonic() when its answer was there"""


@dataclass(frozen=True, slots=True)
class FanOutCount:
    """How a fan-out went: `answered + failed + late` is the number of targets."""

    answered: int
    failed: int
    late: int
    seconds: float


async def fan_out(
    targets: Sequence[T],
    fetch_one: Callable[[T], Awaitable[A]],
    *,
    deadline_s: float,
    concurrency: int,
    on_result: Callable[[Reply[T, A]], None],
    spread_s: float = 0.0,
    turns: Turns | None = None,
) -> FanOutCount:
    """Ask every target; `on_result` gets each reply as it arrives, on the event loop, never two at a time.

    `fetch_one` raises ScrapeError for a failure of its target; a failure is a reply like another, so nobody waits for
    it. What `fetch_one` has not returned `deadline_s` after the start is cancelled and reported late. At most
    `concurrency` targets are asked or wait for `on_result` at any moment. With `spread_s` the targets are begun evenly
    over so many seconds, in their order, so that a node keeps its place from one scrape to the next.

    What `on_result` raises ends the fan-out and is raised here. No task outlives the call, however it ends.
    """
    run = _FanOut(targets, fetch_one, on_result, spread_s, turns or Turns())
    return await run.run(deadline_s, min(concurrency, len(targets)))


class _FanOut(Generic[T, A]):
    def __init__(
        self,
        targets: Sequence[T],
        fetch_one: Callable[[T], Awaitable[A]],
        on_result: Callable[[Reply[T, A]], None],
        spread_s: float,
        turns: Turns,
    ) -> None:
        self._turns = turns
        self._targets = targets
        self._fetch_one = fetch_one
        self._on_result = on_result
        self._began = time.monotonic()
        self._loop_began = asyncio.get_running_loop().time()
        self._step = spread_s / max(len(targets), 1)
        self._untaken: Iterator[int] = iter(range(len(targets)))
        # By index: when those not answered yet were asked (None: not yet), and what has not passed the gate yet.
        self._open: dict[int, float | None] = dict.fromkeys(range(len(targets)))
        self._waiting: dict[int, Reply[T, A]] = {}
        self._gate = asyncio.Lock()
        self._computed = 0.0  # since the loop's last turn
        self._answered = self._failed = self._late = 0
        self._defect_logged = False

    async def run(self, deadline_s: float, workers: int) -> FanOutCount:
        """Do it with so many workers."""
        tasks = [asyncio.create_task(self._work(), name=f"fan-out-{n}") for n in range(workers)]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=deadline_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):  # of on_result; CancelledError is none
                raise end
        await self._after_deadline()
        return FanOutCount(self._answered, self._failed, self._late, time.monotonic() - self._began)

    async def _work(self) -> None:
        """Ask one target after the other, as long as there are any."""
        loop = asyncio.get_running_loop()
        for index in self._untaken:
            if self._step:
                await asyncio.sleep(self._loop_began + index * self._step - loop.time())
            target = self._targets[index]
            started = self._open[index] = time.monotonic()
            try:
                answer: A | ScrapeError = await self._fetch_one(target)
            except ScrapeError as error:
                answer = error
            except Exception as error:  # noqa: BLE001  see there
                answer = self._defect(target, error)
            self._waiting[index] = Reply(target, answer, started, time.monotonic())
            del self._open[index], answer  # a large body is not kept until the next one comes
            if self._gate.locked() or self._computed > self._turns.stretch(SLICE_S):
                async with self._gate:
                    await self._give_turn()
                    self._deliver(self._waiting.pop(index))
            else:
                self._deliver(self._waiting.pop(index))

    def _defect(self, target: T, error: Exception) -> FetchError:
        """A defect of ours met by one node must not cost the others their place in the batch."""
        if not self._defect_logged:  # once: it may meet all of them
            self._defect_logged = True
            log.error("asking %s failed unexpectedly", target, exc_info=error)
        fault = FetchError(f"{target}: could not be asked: {error!r}", reason="internal")
        fault.__cause__ = error
        return fault

    def _deliver(self, reply: Reply[T, A]) -> None:
        if isinstance(reply.answer, ScrapeError):
            self._failed += 1
        else:
            self._answered += 1
        began = time.monotonic()
        self._on_result(reply)
        self._computed += time.monotonic() - began

    async def _give_turn(self) -> None:
        if self._computed > self._turns.stretch(SLICE_S):
            self._computed = 0.0
            await asyncio.sleep(0)

    async def _after_deadline(self) -> None:
        """Hand over what came in time but found the gate busy, then report who did not answer."""
        for index in list(self._waiting):
            await self._give_turn()
            self._deliver(self._waiting.pop(index))
        now = time.monotonic()
        for index, started in self._open.items():
            self._late += 1
            target = self._targets[index]
            fault = FetchError(
                f"{target}: no answer before the deadline of the whole scrape (--scrape-timeout)", reason="late"
            )
            self._on_result(Reply(target, fault, now if started is None else started, now))
