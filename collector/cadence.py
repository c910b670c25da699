"""Cadence: aligned wake-ups and an overlap limit for whatever is done once a window.

Heapster's cycle (behaviour reference, sections 2.1 and 2.2): a window ends on a multiple of the resolution, and work
begins `offset` after it. Missed windows are skipped, never caught up. The wall clock decides which window it is; where
it is set forwards or back, the windows follow it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from collector.durations import format_duration
from collector.errors import HeapsterError, MemoryShortError

log = logging.getLogger(__name__)

MAX_TICKS = 3
"""Windows that may be worked on at the same time."""

YEAR_1_NS = 62_135_596_800 * 1_000_000_000
"""From 1 January of year 1 to the Unix epoch, UTC. Windows are counted from there: for a resolution that divides a day
it makes no difference, 7 s or 90 s would otherwise have other windows than Heapster's."""

SLEEP_LONGER_NS = 1_000_000
"""The wall clock and the loop's differ by their granularity: rather a millisecond too long than a turn too early."""


@dataclass(frozen=True, slots=True)
class Words:
    """How a cadence is spoken of in the log."""

    work: str
    """What is under way, in the plural."""
    result: str
    """What a window without it lacks."""
    flag: str
    """The flag of its resolution."""
    repeated: str
    """What it means that windows come again, after the clock was set back."""


class Cadence:
    """Awaits `work(end)` for each window. `lost` is told of windows without: why, and how many."""

    def __init__(
        self,
        work: Callable[[int], Awaitable[object]],
        words: Words,
        *,
        resolution_ns: int,
        offset_ns: int = 0,
        at_once: bool = False,
        lost: Callable[[str, int], None] = lambda _outcome, _windows: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`at_once`: the latest window that is over is worked on at the start, too."""
        self._work = work
        self._words = words
        self._resolution = resolution_ns
        self._offset = offset_ns
        self._at_once = at_once
        # How far the end waited for may lie behind the latest one that is due: after the start, or a small step back.
        self._furthest = resolution_ns * max(2, 1 + -(-offset_ns // resolution_ns))
        self._lost = lost
        self._clock = clock
        self._permits = asyncio.Semaphore(MAX_TICKS)
        self._under_way: set[asyncio.Task[None]] = set()
        self._progressed: float | None = None

    def idle(self) -> float:
        """Seconds since a window ended, well or not, or since `run` began; 0 while it does not run.

        By the monotonic clock: setting the other one is no sign of being stuck.
        """
        return time.monotonic() - self._progressed if self._progressed is not None else 0.0

    async def run(self) -> None:
        """Tick until cancelled; then the ticks under way are cancelled too, and awaited."""
        end = self._window_start(self._now()) + self._resolution
        self._progressed = time.monotonic()
        try:
            if self._at_once:
                await self._begin(end - self._resolution)
            while True:
                end = await self._wait_for(end)
                await self._begin(end)
                end += self._resolution
        finally:
            self._progressed = None
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _begin(self, end: int) -> None:
        if await self._permit():
            task = asyncio.create_task(self._guarded(end), name=f"tick {end}")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _guarded(self, end: int) -> None:
        try:
            await self._work(end)
        except MemoryShortError as error:
            self._lost("skipped", 1)
            log.debug("window ending at %d skipped: %s", end, error)  # said once, where it began
        except HeapsterError as error:
            self._lost("failed", 1)
            log.error("window ending at %d abandoned: %s", end, error)  # noqa: TRY400 - the text says it all
        except Exception:
            self._lost("failed", 1)
            log.exception("window ending at %d abandoned", end)
        finally:
            if self._progressed is not None:
                self._progressed = time.monotonic()
            self._permits.release()

    async def _permit(self) -> bool:
        try:
            async with asyncio.timeout(self._resolution / 2e9):
                await self._permits.acquire()
        except TimeoutError:
            self._lost("skipped", 1)
            log.warning(
                "window skipped: %d %s are under way; raise %s (%s) or lower --scrape-timeout",
                MAX_TICKS,
                self._words.work,
                self._words.flag,
                format_duration(self._resolution),
            )
            return False
        return True

    async def _wait_for(self, end: int) -> int:
        """Wait until the window that ends at `end` is due; the end of the one that is due then.

        That is `end`, unless the process was held up or the clock was set meanwhile.
        """
        while True:
            end = self._followed(end)
            wait = end + self._offset - self._now()
            if wait <= 0:
                return end
            await asyncio.sleep((wait + SLEEP_LONGER_NS) / 1e9)

    def _followed(self, end: int) -> int:
        """`end`, or, where the clock has left it behind or run away from it, the end that belongs to the clock."""
        due = self._window_start(self._now() - self._offset)  # the latest window that is over by `offset`
        if due > end:
            missed = (due - end) // self._resolution
            self._lost("skipped", missed)
            log.warning(
                "%d windows have no %s: the process was held up, or the clock was set forwards by %s",
                missed,
                self._words.result,
                format_duration(due - end),
            )
            return due
        # Of a clock set back by less than a window nothing is seen but one longer pause.
        if end > due + self._furthest:
            log.warning(
                "the clock was set back by about %s: %s",
                format_duration(end - self._resolution - due),
                self._words.repeated,
            )
            return due + self._resolution
        return end

    def _window_start(self, now: int) -> int:
        return now - (now + YEAR_1_NS) % self._resolution

    def _now(self) -> int:
        return int(self._clock() * 1e9)
