"""Manager: the tick. Aligned wake-ups, an overlap limit, and source -> processors -> sinks through the contracts.

Heapster's cycle (behaviour reference, sections 2.1 and 2.2): a window ends on a multiple of the resolution, its batch
carries that end as timestamp, and the nodes are asked `offset` after it. Missed windows are skipped, never caught up.
The wall clock decides which window it is; where it is set forwards or back, the windows follow it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from collector.core.batch import DataBatch
from collector.core.contracts import Source
from collector.durations import format_duration
from collector.errors import HeapsterError

log = logging.getLogger(__name__)

MAX_TICKS = 3
"""Ticks that may be under way at the same time."""

YEAR_1_NS = 62_135_596_800 * 1_000_000_000
"""From 1 January of year 1 to the Unix epoch, UTC. Windows are counted from there: for a resolution that divides a day
it makes no difference, 7 s or 90 s would otherwise have other windows than Heapster's."""

SLEEP_LONGER_NS = 1_000_000
"""The wall clock and the loop's differ by their granularity: rather a millisecond too long than a turn too early."""


SLICE_S = 0.004
"""Steps of processing go on for so long, in seconds, before the event loop gets a turn; the last one may overrun it.

An answer to a client takes two or three turns of the loop."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick cost."""

    batch: DataBatch
    seconds: float
    """From the wake-up until every sink was offered the batch."""
    cpu_seconds: float
    """CPU time of the whole process, user and system, over the same span."""
    process_seconds: float
    """The processors' share of `seconds`, without what the event loop did between their steps."""


class Manager:
    """Ticks. `process` runs the pipeline in steps and freezes the batch; `export` offers it to the sinks at once.

    The batches of overlapping ticks are processed one after the other, as processors need it: rates are differences to
    the batch before. Nobody sees a batch until its steps are over.

    `ticked` is told of each tick that gave a batch, `lost` of windows that gave none: why, `failed` or `skipped`, and
    how many.
    """

    def __init__(
        self,
        source: Source,
        process: Callable[[DataBatch], Iterator[None]],
        export: Callable[[DataBatch], None],
        *,
        resolution_ns: int,
        offset_ns: int,
        ticked: Callable[[Tick], None] = lambda _tick: None,
        lost: Callable[[str, int], None] = lambda _outcome, _windows: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._process = process
        self._export = export
        self._resolution = resolution_ns
        self._offset = offset_ns
        # How far the end waited for may lie behind the latest one that is due: after the start, or a small step back.
        self._furthest = resolution_ns * max(2, 1 + -(-offset_ns // resolution_ns))
        self._ticked = ticked
        self._lost = lost
        self._clock = clock
        self._permits = asyncio.Semaphore(MAX_TICKS)
        self._processing = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Tick until cancelled; then the ticks under way are cancelled too, and awaited."""
        end = self._window_start(self._now()) + self._resolution
        try:
            while True:
                end = await self._wait_for(end)
                if await self._permit():
                    task = asyncio.create_task(self._guarded_tick(end), name=f"tick {end}")
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                end += self._resolution
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def tick(self, end: int) -> Tick:
        """Collect the window that ends at `end` (ns since the epoch)."""
        began, cpu_began = time.perf_counter(), time.process_time()
        batch = await self._source.scrape(end - self._resolution, end)
        async with self._processing:
            process_seconds = await self._processed(batch)
            self._export(batch)
        done = Tick(batch, time.perf_counter() - began, time.process_time() - cpu_began, process_seconds)
        self._ticked(done)
        return done

    async def _processed(self, batch: DataBatch) -> float:
        """Take all steps, with turns of the event loop between them; the seconds they took."""
        spent, began = 0.0, time.perf_counter()
        for _ in self._process(batch):
            sliced = time.perf_counter() - began
            if sliced >= SLICE_S:
                spent += sliced
                await asyncio.sleep(0)
                began = time.perf_counter()
        return spent + time.perf_counter() - began

    async def _guarded_tick(self, end: int) -> None:
        try:
            await self.tick(end)
        except HeapsterError as error:
            self._lost("failed", 1)
            log.error("window ending at %d abandoned: %s", end, error)  # noqa: TRY400 - the text says it all
        except Exception:
            self._lost("failed", 1)
            log.exception("window ending at %d abandoned", end)
        finally:
            self._permits.release()

    async def _permit(self) -> bool:
        try:
            await asyncio.wait_for(self._permits.acquire(), self._resolution / 2e9)
        except TimeoutError:
            self._lost("skipped", 1)
            log.warning(
                "window skipped: %d ticks are under way; raise --metric-resolution (%s) or lower --scrape-timeout",
                MAX_TICKS,
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
                "%d windows have no batch: the process was held up, or the clock was set forwards by %s",
                missed,
                format_duration(due - end),
            )
            return due
        # Of a clock set back by less than a window nothing is seen but one longer pause.
        if end > due + self._furthest:
            log.warning(
                "the clock was set back by about %s: timestamps of batches are repeated from there",
                format_duration(end - self._resolution - due),
            )
            return due + self._resolution
        return end

    def _window_start(self, now: int) -> int:
        return now - (now + YEAR_1_NS) % self._resolution

    def _now(self) -> int:
        return int(self._clock() * 1e9)
