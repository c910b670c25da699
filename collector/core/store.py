"""MetricStore: a ring of past columns, from which the APIs answer.

Heapster's retention (behaviour reference, section 7): whole batches for 140 s, two metrics for 15 minutes.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import coroutine

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind
from collector.core.slots import Pin
from collector.core.visibility import EVERYTHING, Visibility

SHORT_RETENTION_NS = 140 * 1_000_000_000
LONG_RETENTION_NS = 15 * 60 * 1_000_000_000
LONG_METRICS = ("cpu/usage_rate", "memory/usage")

COPIED_AT_ONCE = 65_536
"""Rows whose columns are copied without giving others a turn."""

SWEPT_AT_ONCE = 4_096
"""Rows freed between two turns of the event loop: some ten milliseconds."""


@coroutine
def _turn() -> Generator[None, None, None]:
    """Awaited, it lets others have the event loop once."""
    yield


class _Kept:
    """A column of integers in little memory: four bytes a value where that is enough, a bit for its presence."""

    __slots__ = ("_given", "_values")

    def __init__(self, values: NDArray[np.int64], present: NDArray[np.bool_]) -> None:
        narrow = values.astype(np.int32)
        self._values: NDArray[np.int32] | NDArray[np.int64] = narrow if (narrow == values).all() else values.copy()
        self._given = np.packbits(present, bitorder="little")

    def get(self, row: int) -> int | None:
        """The value at `row`, None where there is none."""
        if not 0 <= row < self._values.size or not self._given[row >> 3] >> (row & 7) & 1:
            return None
        return int(self._values[row])


def _kept(batch: DataBatch, m: int) -> _Kept:
    return _Kept(batch.cells[m, : batch.rows], batch.presence(m))


@dataclass(frozen=True, slots=True)
class _LongEntry:
    """Two columns of one tick; the pin keeps their rows from being given to others."""

    timestamp: int
    pin: Pin
    columns: dict[int, _Kept]
    number: int
    """Counts the ticks, so that some of them can be told to stay."""


class MetricStore:
    """Past batches. Satisfies the Sink contract by shape, so the same manager that feeds sinks feeds it."""

    name = "Metric Sink"

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        short_retention_ns: int = SHORT_RETENTION_NS,
        long_retention_ns: int = LONG_RETENTION_NS,
    ) -> None:
        self._clock = clock
        self._short_retention_ns = short_retention_ns
        self._long_retention_ns = long_retention_ns
        self._short: list[DataBatch] = []
        self._replaced: DataBatch | None = None
        self._long: list[_LongEntry] = []
        self._long_columns = tuple(INDEX[name] for name in LONG_METRICS)
        self._number = 0
        self._every = 1
        self._whole: int | None = None

    async def export(self, batch: DataBatch) -> None:
        """As `add`, with turns for others while columns are copied and many rows are freed."""
        columns = {}
        for m in self._long_columns if self._every else ():
            columns[m] = _kept(batch, m)
            if batch.rows > COPIED_AT_ONCE:
                await _turn()
        self._keep(batch, columns)
        while batch.entities.sweep(SWEPT_AT_ONCE) == SWEPT_AT_ONCE:
            await _turn()

    def expire(self) -> list[DataBatch]:
        """Let go of the whole batches past their time, but never of the latest: before the next one takes room.

        They are the caller's to drop: giving their pages back takes tens of milliseconds, and may happen in a thread.
        """
        before = self._short
        self._short = [*self._in_time(before[:-1]), *before[-1:]]
        self._cut()
        return [batch for batch in before if batch not in self._short]

    def retain(self, *, every: int = 1, whole: int | None = None) -> None:
        """How much of the past to keep from now on: what is more goes at once.

        Of the long window every so manieth tick (0: none) beside those that are young, and at most `whole` whole
        batches, the latest among them (None: all in time). With one, `before` knows none.
        """
        self._every, self._whole = every, whole
        self._cut()

    async def stop(self) -> None:
        """Nothing to release: what is kept stays answerable."""

    def add(self, batch: DataBatch) -> None:
        """Keep a frozen batch, let go of those past their time, and free the rows that only they knew."""
        self.keep(batch)
        batch.entities.sweep()

    def keep_window(
        self, timestamp: int, pin: Pin, columns: Mapping[str, tuple[NDArray[np.int64], NDArray[np.bool_]]]
    ) -> None:
        """Keep LONG_METRICS of a tick of an earlier process: values and presence, each (rows,), by name."""
        kept = {INDEX[name]: _Kept(*columns[name]) for name in LONG_METRICS}
        self._long.append(self._entry(timestamp, pin, kept))

    def keep(self, batch: DataBatch) -> None:
        """`add`, without freeing any row."""
        self._keep(batch, {m: _kept(batch, m) for m in self._long_columns} if self._every else {})

    def _keep(self, batch: DataBatch, columns: dict[int, _Kept]) -> None:
        """`columns` are those of the long window; empty where there is none."""
        self._replaced = self.latest()
        # Overlapping ticks arrive out of order, so the oldest need not be first. The newcomer stays whatever its time.
        self._short = self._in_time(self._short)
        self._short.append(batch)
        if columns and self._every:  # which may have ended meanwhile
            self._long.append(self._entry(batch.timestamp, batch.pin, columns))
        self._cut()

    def _entry(self, timestamp: int, pin: Pin, columns: dict[int, _Kept]) -> _LongEntry:
        self._number += 1
        return _LongEntry(timestamp, pin, columns, self._number)

    def _cut(self) -> None:
        """Let go of what is past its time in the long window, and of what `retain` leaves no room for."""
        now = int(self._clock() * 1e9)
        since, young = now - self._long_retention_ns, now - self._short_retention_ns
        latest = self._long[-1:] if self._every else []
        self._long = [
            kept
            for kept in self._long[:-1]
            if kept.timestamp > since and self._every and (kept.timestamp > young or not kept.number % self._every)
        ] + latest
        if self._whole is not None:
            self._short = self._short[-self._whole :]
            if self._whole == 1:
                self._replaced = None

    def _in_time(self, batches: Sequence[DataBatch]) -> list[DataBatch]:
        since = int(self._clock() * 1e9) - self._short_retention_ns
        return [kept for kept in batches if kept.timestamp > since]

    def latest(self) -> DataBatch | None:
        """The batch that arrived last, None before the first."""
        return self._short[-1] if self._short else None

    def before(self, batch: DataBatch) -> DataBatch | None:
        """The batch whose timestamp comes before that of `batch`: the rates of `batch` span the two.

        The one that `batch` replaced as the latest is kept for this, however long ago it was made.
        """
        kept = self._short if self._replaced is None else [*self._short, self._replaced]
        earlier = [candidate for candidate in kept if candidate.timestamp < batch.timestamp]
        return max(earlier, key=lambda candidate: candidate.timestamp, default=None)

    @property
    def batches(self) -> Sequence[DataBatch]:
        """The whole batches kept, in order of arrival."""
        return tuple(self._short)

    def series(self, row: int, m: int, start: int, end: int) -> tuple[list[int], list[int | float]]:
        """Timestamps (ns) and values of metric `m` for `row`, oldest first, where `start` <= timestamp <= `end`."""
        times: list[int] = []
        values: list[int | float] = []
        if m in self._long_columns and self._every:
            for entry in self._long:
                found = entry.columns[m].get(row) if start <= entry.timestamp <= end else None
                if found is not None:
                    times.append(entry.timestamp)
                    values.append(found)
            return times, values
        for batch in self._short:
            value = batch.value(row, m) if start <= batch.timestamp <= end else None
            if value is not None:
                times.append(batch.timestamp)
                values.append(value)
        return times, values

    def labeled_series(
        self, row: int, metric: str, labels: dict[str, str], start: int, end: int
    ) -> tuple[list[int], list[int | float]]:
        """The same for the labelled value of `metric` whose label set equals `labels`."""
        times: list[int] = []
        values: list[int | float] = []
        for batch in self._short:
            if not start <= batch.timestamp <= end:
                continue
            for found in batch.labeled_of(row):
                if found.name == metric and found.labels == labels:
                    times.append(batch.timestamp)
                    values.append(found.value)
        return times, values

    def metric_names(self, row: int, visibility: Visibility = EVERYTHING) -> list[str]:
        """The plain metrics that any whole batch kept has for the entity in `row` and that may be shown, sorted."""
        names: set[str] = set()
        for batch in self._short:
            if 0 <= row < batch.rows:
                kind, descriptors = Kind(batch.entities.kind[row]), batch.metrics.descriptors
                found = [descriptors[m] for m in np.flatnonzero(batch.present[:, row]).tolist()]
                names.update(metric.name for metric in found if visibility.shows(metric, kind))
        return sorted(names)
