"""CPU and memory of many entities at once, out of the columns of the latest batch or of the light cadence.

Two ways to show them: as Heapster answered (millicores, all at the batch's time), and as metrics-server does
(nanocores between two samples, at the time of the second, over the time between them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.light import CPU, MEMORY, PREV_CPU, PREV_TIME, SWAP, TIME, LightStore
from collector.core.metrics import INDEX, Clock
from collector.core.sample import ABSENT

CPU_TOTAL = INDEX["cpu/usage"]
CPU_RATE = INDEX["cpu/usage_rate"]
WORKING_SET = INDEX["memory/working_set"]
EPHEMERAL = INDEX["ephemeral_storage/usage"]

HEAPSTER_WINDOW_NS = 60 * 10**9
"""What Heapster says of every window, whatever the resolution."""

_LARGEST_GROWTH = np.iinfo(np.int64).max // 1000


Column: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Usage:
    """Columns, one element for each row asked for."""

    complete: NDArray[np.bool_]
    """Whether the source has both values; the others mean something only where it has."""
    cpu: Column
    """Cores times 10^-`cpu_power`."""
    memory: Column
    """Bytes of the working set."""
    times: Column
    """When the sample was taken, ns since the epoch."""
    windows: Column
    """The time the CPU usage is an average of, ns."""
    cpu_power: int
    """-3 for millicores, -9 for nanocores."""
    ephemeral: Column | None = None
    """Bytes of ephemeral storage, negative where not known; None: of none."""
    swap: Column | None = None
    """Bytes of swap, likewise."""

    def at(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> "Usage":
        """The same of some of the rows."""
        return Usage(
            self.complete[rows],
            self.cpu[rows],
            self.memory[rows],
            self.times[rows],
            self.windows[rows],
            self.cpu_power,
            None if self.ephemeral is None else self.ephemeral[rows],
            None if self.swap is None else self.swap[rows],
        )


def joined(parts: Sequence[Usage]) -> Usage:
    """The rows of all `parts`, one after the other; there is at least one."""
    return Usage(
        np.concatenate([part.complete for part in parts]),
        np.concatenate([part.cpu for part in parts]),
        np.concatenate([part.memory for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.windows for part in parts]),
        parts[0].cpu_power,
        _joined_where_known([(part.ephemeral, part.cpu.size) for part in parts]),
        _joined_where_known([(part.swap, part.cpu.size) for part in parts]),
    )


def _joined_where_known(parts: Sequence[tuple[Column | None, int]]) -> Column | None:
    if all(column is None for column, _ in parts):
        return None
    return np.concatenate([np.full(size, ABSENT) if column is None else column for column, size in parts])


def heapster_usage(batch: DataBatch, rows: NDArray[np.intp]) -> Usage:
    """Usage of `rows` of `batch`, NULL where there is no such entity: `cpu/usage_rate` at the batch's time."""
    complete, at = _complete(batch, rows)
    times, windows = (np.full(rows.size, each, np.int64) for each in (batch.timestamp, HEAPSTER_WINDOW_NS))
    return Usage(complete, batch.cells[CPU_RATE, at], batch.cells[WORKING_SET, at], times, windows, -3)


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
    return Usage(complete, nano, batch.cells[WORKING_SET, at], times, windows, -9)


def light_usage(store: LightStore, batch: DataBatch | None, rows: NDArray[np.intp], now: int) -> Usage:
    """The same between the two latest samples of the light cadence; ephemeral storage is the batch's, if it has any."""
    found = store.read(rows, now)
    time, before, used, memory = found[TIME], found[PREV_TIME], found[CPU], found[MEMORY]
    complete = (time > 0) & (before > 0) & (before < time) & (used >= found[PREV_CPU]) & (memory >= 0)
    elapsed = np.where(complete, time - before, 1)
    nano = _per_second(np.where(complete, used - found[PREV_CPU], 0), elapsed)
    swap = np.where(complete, found[SWAP], ABSENT)
    ephemeral = None if batch is None else _of_batch(batch, EPHEMERAL, rows)
    return Usage(complete, nano, memory, time, elapsed, -9, _known(ephemeral), _known(swap))


def _per_second(grown: NDArray[np.int64], elapsed: NDArray[np.int64]) -> NDArray[np.int64]:
    """10^9 * `grown` / `elapsed`, cut off, without a product that would not fit: a long division by thousands."""
    result, rest = np.divmod(grown, elapsed)
    for _ in range(3):
        digits, rest = np.divmod(1000 * rest, elapsed)
        result = 1000 * result + digits
    return result


def _of_batch(batch: DataBatch, m: int, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Metric `m` of `rows`, ABSENT where the batch does not have it."""
    held = (rows >= 0) & (rows < batch.rows)
    at = np.where(held, rows, batch.entities.cluster)
    return np.where(held & batch.present[m, at], batch.cells[m, at], ABSENT)


def _known(amounts: Column | None) -> Column | None:
    return amounts if amounts is not None and (amounts >= 0).any() else None


def _complete(batch: DataBatch, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which rows have both values; and rows that can be looked up, whatever was given."""
    held = (rows >= 0) & (rows < batch.rows)
    at = np.where(held, rows, batch.entities.cluster)
    return held & batch.present[CPU_RATE, at] & batch.present[WORKING_SET, at], at


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
