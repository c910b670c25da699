"""Manager: the tick. Source -> processors -> sinks through the contracts, once a window (`Cadence`).

A batch carries the end of its window as timestamp (behaviour reference, sections 2.1 and 2.2).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from collector.cadence import Cadence, Words
from collector.core.batch import DataBatch
from collector.core.contracts import Source
from collector.turns import Turns

WORDS = Words("ticks", "batch", "--metric-resolution", "timestamps of batches are repeated from there")


SLICE_S = 0.004
"""Steps of processing go on for so long, in seconds, before the event loop gets a turn, or for less while it has
clients; the last one may overrun it."""


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

    `begins` is awaited before each scrape: what is past its time then need not lie beside the new batch.

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
        begins: Callable[[], Awaitable[None]] | None = None,
        ticked: Callable[[Tick], None] = lambda _tick: None,
        lost: Callable[[str, int], None] = lambda _outcome, _windows: None,
        clock: Callable[[], float] = time.time,
        turns: Turns | None = None,
    ) -> None:
        self._turns = turns or Turns()
        self._source = source
        self._process = process
        self._export = export
        self._resolution = resolution_ns
        self._begins = begins
        self._ticked = ticked
        self._processing = asyncio.Lock()
        self._cadence = Cadence(
            self.tick, WORDS, resolution_ns=resolution_ns, offset_ns=offset_ns, lost=lost, clock=clock
        )

    async def run(self) -> None:
        """Tick until cancelled; then the ticks under way are cancelled too, and awaited."""
        await self._cadence.run()

    def idle(self) -> float:
        """Seconds since a tick ended, see `Cadence.idle`."""
        return self._cadence.idle()

    async def tick(self, end: int) -> Tick:
        """Collect the window that ends at `end` (ns since the epoch)."""
        began, cpu_began = time.perf_counter(), time.process_time()
        if self._begins is not None:
            await self._begins()
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
            if sliced >= self._turns.stretch(SLICE_S):
                spent += sliced
                await asyncio.sleep(0)
                began = time.perf_counter()
        return spent + time.perf_counter() - began
