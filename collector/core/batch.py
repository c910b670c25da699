"""DataBatch: the columns of one tick, presence, labelled tables, freezing.

And MetricSet, a row of it seen as an object.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from collector.core.entities import FREE, NULL, EntityTable
from collector.core.metrics import FLOAT64, GROUPS, INT64, Clock, Kind, LabeledGroup, MetricTable
from collector.core.pages import untouched
from collector.core.visibility import EVERYTHING, Visibility

Column = NDArray[np.int64] | NDArray[np.float64]

ROWS_A_NODE = 96
"""Room a new batch has for each node it will hear of: a node of 30 pods with two containers each has 91 rows."""
ROWS_AT_ONCE = 32_768
"""Rows and label sets marked between two looks at the event loop: some milliseconds."""


class _Room(NamedTuple):
    """The arrays of a LabeledTable while it grows, longer than what is in them."""

    row: NDArray[np.int32]
    label: NDArray[np.int32]
    values: NDArray[np.int64]
    present: NDArray[np.bool_]

    @classmethod
    def of(cls, metrics: int, size: int) -> Self:
        """Room for `size` label sets."""
        wide = (metrics, size)
        return cls(
            untouched(wide[1:], np.int32),
            untouched(wide[1:], np.int32),
            untouched(wide, INT64),
            untouched(wide, np.bool_),
        )


def _closing_up(wide: NDArray[Any], length: int) -> Generator[None, None, NDArray[Any]]:
    """The first `length` columns of `wide`, moved together so that they lie one row after the other; a row a step."""
    rows, room = wide.shape
    if length == room:
        return wide
    flat = wide.reshape(-1)
    for j in range(1, rows):
        flat[j * length : (j + 1) * length] = flat[j * room : j * room + length]
        yield
    return flat[: rows * length].reshape(rows, length)


class LabeledTable:
    """The labelled values of one group in one batch: k label sets of entities, one column a metric of the group.

    `row` int32 (k,), `label` int32 (k,) into the LabelTable, `values` int64 (metrics, k), float metrics as the bits
    of a float64, `present` bool (metrics, k).
    """

    row: NDArray[np.int32]
    label: NDArray[np.int32]
    values: NDArray[np.int64]
    present: NDArray[np.bool_]
    _room: _Room
    _end: int
    """Label sets in `_room`; those beyond the attributes' lengths are not shown yet."""

    def __init__(self, group: LabeledGroup, expected: int = 0) -> None:
        """`expected` label sets have room without being moved; room costs nothing until it is written."""
        self.group = group
        self._expected = expected
        self._replace(
            np.empty(0, np.int32),
            np.empty(0, np.int32),
            np.empty((len(group.metrics), 0), np.int64),
            np.empty((len(group.metrics), 0), np.bool_),
        )

    def __len__(self) -> int:
        return self.row.size

    def append(self, row: NDArray[np.int32], label: NDArray[np.int32], values: NDArray[np.int64]) -> None:
        """Add label sets; `values` is (m, k) for the group's first m metrics, negative where absent.

        They are seen in the attributes after the next `join`.
        """
        if not self.row.flags.writeable:
            raise ValueError(f"the {self.group.name} table is read-only: its batch is frozen")
        begin, end = self._end, self._end + row.size
        if end > self._room.row.size:
            self._grow(end)
        room, m = self._room, len(values)
        room.row[begin:end], room.label[begin:end] = row, label
        room.values[:m, begin:end], room.values[m:, begin:end] = values, -1
        np.greater_equal(values, 0, out=room.present[:m, begin:end])
        self._end = end

    def _grow(self, wanted: int) -> None:
        old, end = self._room, self._end
        self._room = _Room.of(len(self.group.metrics), max(wanted + wanted // 2, self._expected))
        new = self._room
        new.row[:end], new.label[:end] = old.row[:end], old.label[:end]
        new.values[:, :end], new.present[:, :end] = old.values[:, :end], old.present[:, :end]

    def resume(
        self,
        row: NDArray[np.int32],
        label: NDArray[np.int32],
        values: NDArray[np.int64],
        present: NDArray[np.bool_],
    ) -> None:
        """Be the table that an earlier process had; all shaped as the attributes of these names."""
        shape = (len(self.group.metrics), row.size)
        if label.shape != row.shape or values.shape != shape or present.shape != shape:
            raise ValueError(f"the {self.group.name} table has columns of unequal lengths")
        self._replace(row, label, values, present)

    def forget(self, rows: NDArray[np.int32]) -> None:
        """Drop what was appended for `rows` so far: a later answer about them replaces the earlier one."""
        self.join()
        keep = ~np.isin(self.row, rows)
        # `[:, keep]` alone would lie column by column; `compress` gives rows, as sinks want them.
        values, present = self.values.compress(keep, axis=1), self.present.compress(keep, axis=1)
        self._replace(self.row[keep], self.label[keep], values, present)

    def join(self) -> None:
        """Show what was appended. No column is copied to another place than where it was written, or near it."""
        for _ in self.joining():
            pass

    def joining(self) -> Iterator[None]:
        """The same in steps; until they are over, nothing else may be done with the table."""
        end, room = self._end, self._room
        if end != self.row.size:
            values = yield from _closing_up(room.values, end)
            present = yield from _closing_up(room.present, end)
            self._replace(room.row[:end], room.label[:end], values, present)

    def _replace(
        self,
        row: NDArray[np.int32],
        label: NDArray[np.int32],
        values: NDArray[np.int64],
        present: NDArray[np.bool_],
    ) -> None:
        self.row, self.label, self.values, self.present = row, label, values, present
        self._room, self._end = _Room(row, label, values, present), row.size
        self.__dict__.pop("_by_row", None)  # the index of the old arrays

    def column(self, j: int) -> Column:
        """The values of the group's metric `j`, (k,), typed."""
        column: NDArray[np.int64] = self.values[j]
        return column.view(FLOAT64) if self.group.metrics[j].is_float else column

    def of(self, row: int) -> NDArray[np.intp]:
        """The positions that belong to entity `row`, in the order they were reported."""
        order, sorted_rows = self._by_row
        return order[np.searchsorted(sorted_rows, row, "left") : np.searchsorted(sorted_rows, row, "right")]

    @cached_property
    def _by_row(self) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        order = np.argsort(self.row, kind="stable")
        return order, self.row[order]

    def freeze(self) -> None:
        """No more changes."""
        self.join()
        for array in (self.row, self.label, self.values, self.present):
            array.setflags(write=False)


@dataclass(frozen=True, slots=True)
class LabeledMetric:
    """One labelled value, for people, tests and sinks that need objects."""

    name: str
    labels: dict[str, str]
    value: int | float


@dataclass(frozen=True, slots=True)
class MetricSet:
    """A frozen look at one row: for people, tests, debugging, and sinks that truly need an object."""

    key: str
    labels: dict[str, str]
    scrape_time: int
    start_time: int
    metrics: dict[str, int | float]
    labeled: tuple[LabeledMetric, ...]


class DataBatch:
    """One tick's columns.

    `cells` is (metrics, rows) int64; a float metric's column holds the bits of float64 (use `column`). `present[m,
    row]` says whether the cell holds a value: absent is never NaN and never 0. `exists[row]` says whether the entity
    is in this batch at all. `times[clock, row]` are ns since the epoch, 0 when absent.

    `share[row]` says whether a pod's values are those of its pause container alone, so that its containers' are still
    to be added.

    The writer is the pipeline, alone, until `freeze()`; from then on every array is read-only and may be shared.
    """

    def __init__(self, entities: EntityTable, metrics: MetricTable, timestamp: int, *, nodes: int = 0) -> None:
        """`nodes` is how many it will hear of. Room that is not used costs nothing, growing copies everything."""
        self.entities = entities
        self.metrics = metrics
        self.timestamp = timestamp
        """End of the window, ns since the epoch: the time every sink stamps its points with."""
        self.pin = entities.pins.next()
        self.frozen = False
        self.rows = 0
        """Rows below this may exist here; set by `freeze`."""
        self.values = 0
        """How many values it holds, labelled ones included; set by `freeze`."""
        entities.expect(ROWS_A_NODE * nodes)
        expected = max(entities.size, ROWS_A_NODE * nodes)
        self._capacity = 1 << max(12, (2 * expected - 1).bit_length())
        self._allocate()
        lengths = entities.labels.lengths
        # A sixteenth more than last time, at first two a row: then none of them is moved before it is whole.
        self.labeled = {
            group.name: LabeledTable(group, lengths[group.name] * 17 // 16 if group.name in lengths else 2 * expected)
            for group in GROUPS
        }
        self.rows = entities.size

    def ensure_rows(self) -> None:
        """Make room for every row of the entity table; called after rows may have been created."""
        self.rows = self.entities.size
        if self.rows <= self._capacity:
            return
        old, self._capacity = self._capacity, 1 << (2 * self.rows - 1).bit_length()
        cells, present, times, exists, share = self.cells, self.present, self.times, self.exists, self.share
        self._allocate()
        # Cell by cell: copying whole columns would touch the pages that no value needs.
        for m in range(len(self.metrics)):
            given = present[m]
            np.copyto(self.cells[m, :old], cells[m], where=given)
            np.copyto(self.present[m, :old], given, where=given)
        np.copyto(self.times[:, :old], times, where=times != 0)
        self.exists[:old] = exists
        self.share[:old] = share

    def _allocate(self) -> None:
        shape = (self.metrics.capacity, self._capacity)
        self.cells: NDArray[np.int64] = untouched(shape, INT64)
        self.present: NDArray[np.bool_] = untouched(shape, np.bool_)
        self.exists: NDArray[np.bool_] = untouched(shape[1:], np.bool_)
        self.share: NDArray[np.bool_] = untouched(shape[1:], np.bool_)
        self.times: NDArray[np.int64] = untouched((len(Clock), self._capacity), INT64)

    # Columns.

    def column(self, m: int) -> Column:
        """The values of metric `m`, (rows,), typed; meaningful only where `present[m]`."""
        column: NDArray[np.int64] = self.cells[m, : self.rows]
        return column.view(FLOAT64) if self.metrics.descriptors[m].is_float else column

    def presence(self, m: int) -> NDArray[np.bool_]:
        """Where metric `m` has a value, (rows,) bool."""
        return self.present[m, : self.rows]

    def rows_with(self, m: int) -> NDArray[np.intp]:
        """The rows that have a value of metric `m`, ascending."""
        return np.flatnonzero(self.present[m, : self.rows])

    def put(self, m: int, rows: NDArray[Any], values: Column) -> None:
        """Give metric `m` of `rows` these values."""
        self.column(m)[rows] = values
        self.present[m, rows] = True

    def rows_of(self, kind: Kind) -> NDArray[np.intp]:
        """The rows of the entities of `kind` in this batch, ascending."""
        return np.flatnonzero((self.entities.kind[: self.rows] == kind) & self.exists[: self.rows])

    def count(self, kind: Kind) -> int:
        """How many entities of `kind` this batch holds."""
        return int(np.count_nonzero((self.entities.kind[: self.rows] == kind) & self.exists[: self.rows]))

    def forget(self, rows: NDArray[np.int32]) -> None:
        """Drop all that is known of `rows`."""
        self.present[:, rows] = False
        self.exists[rows] = False
        self.share[rows] = False
        self.times[:, rows] = 0
        for table in self.labeled.values():
            table.forget(rows)

    def freeze(self) -> None:
        """End the writing: from here on the batch may be handed out. Marks its rows as seen in the entity table."""
        for _ in self.freezing():
            pass

    def freezing(self) -> Iterator[None]:
        """The same in steps of some milliseconds; the batch is frozen when they are over."""
        self.ensure_rows()
        self.exists[self.entities.cluster] = True
        for table in self.labeled.values():
            yield from table.joining()
            yield
            for start in range(0, len(table), ROWS_AT_ONCE):
                self.entities.labels.mark_seen(table.label[start : start + ROWS_AT_ONCE], self.pin.sequence)
                yield
            table.freeze()
            self.entities.labels.lengths[table.group.name] = len(table)
        rows = np.flatnonzero(self.exists[: self.rows])
        for start in range(0, rows.size, ROWS_AT_ONCE):
            self.entities.mark_seen(rows[start : start + ROWS_AT_ONCE], self.pin.sequence)
            yield
        values = sum(int(np.count_nonzero(table.present)) for table in self.labeled.values())
        for m in range(len(self.metrics)):
            yield  # a look at a page that nobody has written costs a page fault
            values += int(np.count_nonzero(self.present[m, : self.rows]))
        self.values = values
        for array in (self.cells, self.present, self.exists, self.share, self.times):
            array.setflags(write=False)
        self.frozen = True

    # Looking at single cells.

    def value(self, row: int, m: int) -> int | float | None:
        """The value of metric `m` for the entity in `row`, None when absent."""
        if not 0 <= row < self.rows or not self.present[m, row]:
            return None
        value: int | float = self.column(m)[row].item()
        return value

    def metric_set(self, row: int, visibility: Visibility = EVERYTHING) -> MetricSet:
        """The entity in `row` as one object, with the metrics that may be shown."""
        metrics: dict[str, int | float] = {}
        kind = Kind(self.entities.kind[row])
        for m, descriptor in self.metrics:
            value = self.value(row, m)
            if value is not None and visibility.shows(descriptor, kind):
                metrics[descriptor.name] = value
        return MetricSet(
            self.entities.key(row),
            self.entities.label_set(row),
            int(self.times[Clock.SCRAPE, row]),
            int(self.times[Clock.START, row]),
            metrics,
            tuple(self.labeled_of(row, visibility)),
        )

    def labeled_of(self, row: int, visibility: Visibility = EVERYTHING) -> list[LabeledMetric]:
        """The labelled values of the entity in `row` that may be shown, as objects, in the order they were reported."""
        found = []
        for table in self.labeled.values():
            shown = visibility.labeled(table.group)
            for k in table.of(row).tolist():
                labels = dict(self.entities.labels.pairs[table.label[k]] or ())
                found += [
                    LabeledMetric(metric.name, labels, table.column(j)[k].item())
                    for j, metric in enumerate(table.group.metrics)
                    if shown[j] and table.present[j, k]
                ]
        return found

    def metric_sets(self, visibility: Visibility = EVERYTHING) -> dict[str, MetricSet]:
        """Every entity of the batch as an object, by key: for tests and for people, not for the hot path."""
        rows = np.flatnonzero(self.exists[: self.rows] & (self.entities.kind[: self.rows] != FREE))
        return {(found := self.metric_set(row, visibility)).key: found for row in rows.tolist() if row != NULL}
