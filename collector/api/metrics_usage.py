"""CPU and memory of many entities at once, out of the columns of the latest batch.

Two ways to read them: as Heapster answered (millicores, all at the batch's time), and as metrics-server does
(nanocores between two samples, at the time of the second, over the time between them).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Clock

CPU_TOTAL = INDEX["cpu/usage"]
CPU_RATE = INDEX["cpu/usage_rate"]
MEMORY = INDEX["memory/working_set"]

HEAPSTER_WINDOW_NS = 60 * 10**9
"""What Heapster says of every window, whatever the resolution."""

_LARGEST_GROWTH = np.iinfo(np.int64).max // 1000


@dataclass(frozen=True, slots=True)
class Usage:
    """Parallel lists, one element for each row asked for."""

    complete: list[bool]
    """Whether the batch has both values; the others mean something only where it has."""
    cpu: list[int]
    """Cores times 10^-`cpu_power`."""
    memory: list[int]
    """Bytes of the working set."""
    times: list[int]
    """When the sample was taken, ns since the epoch."""
    windows: list[int]
    """The time the CPU usage is an average of, ns."""
    cpu_power: int
    """-3 for millicores, -9 for nanocores."""


def heapster_usage(batch: DataBatch, rows: NDArray[np.intp]) -> Usage:
    """Usage of `rows` of `batch`, NULL where there is no such entity: `cpu/usage_rate` at the batch's time."""
    complete, at = _complete(batch, rows)
    times, windows = [batch.timestamp] * rows.size, [HEAPSTER_WINDOW_NS] * rows.size
    return Usage(
        complete.tolist(), batch.cells[CPU_RATE, at].tolist(), batch.cells[MEMORY, at].tolist(), times, windows, -3
    )


def sampled_usage(batch: DataBatch, before: DataBatch | None, rows: NDArray[np.intp]) -> Usage:
    """The same between the two samples that made the rate: the one in `batch` and the one in the batch `before`.

    Where `before` is not what the rate was made of, the rate itself is given, with Heapster's window.
    """
    complete, at = _complete(batch, rows)
    milli = batch.cells[CPU_RATE, at]
    nano, windows = milli * 10**6, np.full(rows.size, HEAPSTER_WINDOW_NS, np.int64)
    if before is not None:
        both = np.flatnonzero(complete & batch.present[CPU_TOTAL, at] & (at < before.rows))
        both = both[before.present[CPU_TOTAL, at[both]]]
        row = at[both]
        grown = batch.cells[CPU_TOTAL, row] - before.cells[CPU_TOTAL, row]
        elapsed = _elapsed(before, batch, row)
        valid = (elapsed > 0) & (grown >= 0) & (grown <= _LARGEST_GROWTH)
        both, grown, elapsed = both[valid], grown[valid], elapsed[valid]
        same = 1000 * grown // elapsed == milli[both]
        both, grown, elapsed = both[same], grown[same], elapsed[same]
        nano[both] = (1e9 * grown.astype(np.float64) / elapsed.astype(np.float64)).astype(np.int64)
        windows[both] = elapsed
    times = _sample_times(batch, at)
    times[times == 0] = batch.timestamp
    return Usage(
        complete.tolist(), nano.tolist(), batch.cells[MEMORY, at].tolist(), times.tolist(), windows.tolist(), -9
    )


def _complete(batch: DataBatch, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which rows have both values; and rows that can be looked up, whatever was given."""
    held = (rows >= 0) & (rows < batch.rows)
    at = np.where(held, rows, batch.entities.cluster)
    return held & batch.present[CPU_RATE, at] & batch.present[MEMORY, at], at


def _sample_times(batch: DataBatch, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    own: NDArray[np.int64] = batch.times[Clock.CPU, rows]
    return np.where(own > 0, own, batch.times[Clock.SCRAPE, rows])


def _elapsed(before: DataBatch, batch: DataBatch, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Nanoseconds between the two samples, by the clock that the rate was divided by; 0 when there is none."""
    new, old = batch.times[Clock.CPU, rows], before.times[Clock.CPU, rows]
    by_cpu = (new > 0) & (old > 0)
    new_scrape, old_scrape = batch.times[Clock.SCRAPE, rows], before.times[Clock.SCRAPE, rows]
    by_scrape = np.where((new_scrape > 0) & (old_scrape > 0), new_scrape - old_scrape, 0)
    return np.where(by_cpu, new - old, by_scrape)
