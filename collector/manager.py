"""Manager: the tick. Aligned wake-ups, an overlap limit, and source -> processors -> sinks through the contracts.

Heapster's cycle (behaviour reference, sections 2.1 and 2.2): a window ends on a multiple of the resolution, its batch
carries that end as timestamp, and the nodes are asked `offset` after it. Missed windows are skipped, never caught up.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from collector.core.batch import DataBatch
from collector.core.contracts import Source
from collector.durations import format_duration
from collector.errors import HeapsterError

log = logging.getLogger(__name__)

MAX_TICKS = 3
"""Ticks that may be under way at the same time."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick cost."""

    batch: DataBatch
    seconds: float
    """From the wake-up until every sink was offered the batch."""
    cpu_seconds: float
    """CPU time of the whole process, user and system, over the same span."""
    process_seconds: float
    """The processors' share of `seconds`; the event loop waits that long."""


class Manager:
    """Ticks. `process` runs the pipeline and freezes the batch; `export` offers it to the sinks without waiting.

    `ticked` is told of each tick that gave a batch, `lost` of each window that gave none: `failed` or `skipped`.
    """

    def __init__(
        self,
        source: Source,
        process: Callable[[DataBatch], None],
        export: Callable[[DataBatch], None],
        *,
        resolution_ns: int,
        offset_ns: int,
        ticked: Callable[[Tick], None] = lambda _tick: None,
        lost: Callable[[str], None] = lambda _outcome: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._process = process
        self._export = export
        self._resolution = resolution_ns
        self._offset = offset_ns
        self._ticked = ticked
        self._lost = lost
        self._clock = clock
        self._permits = asyncio.Semaphore(MAX_TICKS)
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tick until cancelled; then the ticks under way are cancelled too, and awaited."""
        end = self._window_end(self._now())
        try:
            while True:
                await asyncio.sleep(max(0.0, (end + self._offset - self._now()) / 1e9))
                if await self._permit():
                    task = asyncio.create_task(self._guarded_tick(end), name=f"tick {end}")
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                end = self._next_end(end)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def tick(self, end: int) -> Tick:
        """Collect the window that ends at `end` (ns since the epoch)."""
        began, cpu_began = time.perf_counter(), time.process_time()
        batch = await self._source.scrape(end - self._resolution, end)
        scraped = time.perf_counter()
        self._process(batch)
        processed = time.perf_counter()
        self._export(batch)
        done = Tick(batch, time.perf_counter() - began, time.process_time() - cpu_began, processed - scraped)
        self._ticked(done)
        return done

    async def _guarded_tick(self, end: int) -> None:
        try:
            await self.tick(end)
        except HeapsterError as error:
            self._lost("failed")
            log.error("window ending at %d abandoned: %s", end, error)  # noqa: TRY400 - the text says it all
        except Exception:
            self._lost("failed")
            log.exception("window ending at %d abandoned", end)
        finally:
            self._permits.release()

    async def _permit(self) -> bool:
        try:
            await asyncio.wait_for(self._permits.acquire(), self._resolution / 2e9)
        except TimeoutError:
            self._lost("skipped")
            log.warning(
                "window skipped: %d ticks are under way; raise --metric-resolution (%s) or lower --scrape-timeout",
                MAX_TICKS,
                format_duration(self._resolution),
            )
            return False
        return True

    def _next_end(self, end: int) -> int:
        """The end of the next window that is not yet over: the one after `end`, unless that was slept through."""
        following = end + self._resolution
        latest = self._window_end(self._now() - self._offset) - self._resolution
        if latest > following:
            missed = (latest - following) // self._resolution
            for _ in range(missed):
                self._lost("skipped")
            log.warning("%d windows missed: the process was held up", missed)
            return latest
        return following

    def _window_end(self, now: int) -> int:
        return now - now % self._resolution + self._resolution

    def _now(self) -> int:
        return int(self._clock() * 1e9)
