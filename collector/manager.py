"""Manager: the tick. Source -> processors -> sinks through the contracts, once a window (`Cadence`).

A batch carries the end of its window as timestamp (behaviour reference, sections 2.1 and 2.2).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from collector.cadence import Cadence, Words
from collector.core.batch import DataBatch
from collector.core.contracts import Source

WORDS = Words("ticks", "batch", "--metric-resolution", "timestamps of batches are repeated from there")


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

    `ticked` is told of each tick that gave a batch, `lost` of windows that gave none: why, `failed` or `skipped`, and
    how many.
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
        lost: Callable[[str, int], None] = lambda _outcome, _windows: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._process = process
        self._export = export
        self._resolution = resolution_ns
        self._ticked = ticked
        self._cadence = Cadence(
            self.tick, WORDS, resolution_ns=resolution_ns, offset_ns=offset_ns, lost=lost, clock=clock
        )

    async def run(self) -> None:
        """Tick until cancelled; then the ticks under way are cancelled too, and awaited."""
        await self._cadence.run()

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
