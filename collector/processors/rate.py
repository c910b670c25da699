"""RateCalculator: two cumulative columns become a rate column (behaviour reference, section 5.1).

A rate belongs to one life of its entity (equal start times) and to the time its own counter was read at: the pod's CPU
is divided by the time of the pod's CPU sample. Heapster divided everything of an entity by one scrape time, which for a
pod is that of its network sample. A counter that went down gives no rate.
"""

import logging
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch, LabeledTable
from collector.core.entities import SLAB
from collector.core.metrics import DISK, FLOAT64, INDEX, METRICS, Clock
from collector.processors.stepped import Stepped

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 16 * SLAB
"""Enough to pay for NumPy's calls, few enough for what is computed in between to stay in the processor's cache."""

_LARGEST_MILLI_DELTA = np.iinfo(np.int64).max // 1000

_PLAIN = [
    (m, INDEX[metric.rate], metric.clock)
    for m, metric in enumerate(METRICS)
    if metric.rate is not None and metric.clock is not None
]


class RateCalculator(Stepped):
    """Keeps the previous batch; computes the rates of what both batches have."""

    name = "rate calculator"

    def __init__(self, previous: DataBatch | None = None) -> None:
        """`previous` is the latest batch of an earlier process."""
        self._previous = previous
        self._refused: DataBatch | None = None
        """The latest one, if it was not later than the previous one."""

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the rate columns to `batch`, a part of one a step."""
        previous = self._previous
        if previous is not None:
            refused, self._refused = self._refused, None
            if batch.timestamp <= previous.timestamp and refused is not None and batch.timestamp > refused.timestamp:
                previous = refused  # no straggler: the clock was set back, and stays there
            if batch.timestamp <= previous.timestamp:
                self._refused = batch
                log.warning(
                    "no rates in this batch: its timestamp %d is not later than the previous one's, %d",
                    batch.timestamp,
                    previous.timestamp,
                )
                return
            yield from self._compute(previous, batch)
        self._previous = batch

    @staticmethod
    def _compute(previous: DataBatch, batch: DataBatch) -> Iterator[None]:
        n = min(previous.rows, batch.rows)
        # Both batches live, so a row below n is the same entity in both.
        same_life = previous.exists[:n] & batch.exists[:n]
        same_life &= previous.times[Clock.START, :n] == batch.times[Clock.START, :n]
        yield
        # As in Heapster, an entity without a scrape time (a pod that reports no network) has no rates of its own:
        # the sums over its containers stand in for them.
        same_life &= (previous.times[Clock.SCRAPE, :n] > 0) & (batch.times[Clock.SCRAPE, :n] > 0)
        yield
        for m, rate, clock in _PLAIN:
            both = same_life & previous.present[m, :n] & batch.present[m, :n]
            for start in range(0, n, _ROWS_AT_ONCE):
                rows = slice(start, min(start + _ROWS_AT_ONCE, n))
                if both[rows].any():  # most metrics are those of few kinds, and so of few slabs
                    _plain_rates(previous, batch, (m, rate, clock), rows, both[rows])
                    yield
            yield
        yield from _disk_rates(previous, batch, same_life)


def _plain_rates(
    previous: DataBatch, batch: DataBatch, what: tuple[int, int, Clock], rows: slice, both: NDArray[np.bool_]
) -> None:
    """The rates of neighbouring rows, of those in `both`. Neighbours: picking rows costs more than what is computed."""
    m, rate, clock = what
    elapsed = _elapsed(previous, batch, clock, rows, both)
    grown = batch.cells[m, rows] - previous.cells[m, rows]
    valid = both & (elapsed > 0) & (grown >= 0)
    if METRICS[rate].is_float:
        found = np.divide(1e9 * grown.astype(FLOAT64), elapsed.astype(FLOAT64), where=valid, out=np.zeros(both.size))
    else:
        valid &= grown <= _LARGEST_MILLI_DELTA
        # Both positive: rounds toward zero, as Go does.
        found = np.where(valid, 1000 * grown, 0) // np.where(valid, elapsed, 1)
    np.copyto(batch.column(rate)[rows], found, where=valid)
    batch.present[rate, rows] |= valid


def _elapsed(
    previous: DataBatch,
    batch: DataBatch,
    clock: Clock,
    rows: NDArray[np.intp] | slice,
    wanted: NDArray[np.bool_] | Literal[True] = True,
) -> NDArray[np.int64]:
    """Nanoseconds between the two samples by `clock`, or by the scrape time where one of them has no such clock.

    Anything where not `wanted` (parallel to `rows`).
    """
    new: NDArray[np.int64] = batch.times[clock, rows]
    old: NDArray[np.int64] = previous.times[clock, rows]
    given = (new > 0) & (old > 0)
    if not (wanted & ~given).any():
        return new - old
    new_scrape, old_scrape = batch.times[Clock.SCRAPE, rows], previous.times[Clock.SCRAPE, rows]
    by_scrape = np.where((new_scrape > 0) & (old_scrape > 0), new_scrape - old_scrape, 0)
    return np.where(given, new - old, by_scrape)


def _disk_rates(previous: DataBatch, batch: DataBatch, same_life: NDArray[np.bool_]) -> Iterator[None]:
    """Rates of labelled counters: the same entity and the same label set in both batches."""
    old, new = previous.labeled[DISK.name], batch.labeled[DISK.name]
    yield from new.joining()
    if not len(old) or not len(new):
        return
    old_keys, new_keys = _keys(old), _keys(new)
    order = np.argsort(old_keys)
    yield
    found = np.searchsorted(old_keys, new_keys, sorter=order)
    yield
    position = order[np.minimum(found, order.size - 1)]
    alive = (new.row < same_life.size) & same_life[np.minimum(new.row, same_life.size - 1)]
    matched = np.flatnonzero((old_keys[position] == new_keys) & alive)
    before = position[matched]
    elapsed = _elapsed(previous, batch, Clock.DISK, new.row[matched].astype(np.intp))
    for j, metric in enumerate(DISK.metrics):
        rate = DISK.column(metric.rate) if metric.rate else None
        if rate is None:
            continue
        grown = new.values[j, matched] - old.values[j, before]
        valid = new.present[j, matched] & old.present[j, before] & (elapsed > 0) & (grown >= 0)
        at = matched[valid]
        new.column(rate)[at] = 1e9 * grown[valid].astype(FLOAT64) / elapsed[valid].astype(FLOAT64)
        new.present[rate, at] = True
        yield


def _keys(table: LabeledTable) -> NDArray[np.int64]:
    return (table.row.astype(np.int64) << 32) | table.label
