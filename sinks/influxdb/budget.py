"""The series budget: how many series a namespace may have in a day, and who is left out beyond it.

A series is a measurement with one set of tags; what InfluxDB's memory goes by is how many there are. Counted are
those that this process has written since midnight UTC, dead entities' too: a shard keeps them. An entity is admitted
with all the series it has, the rates among them that it will have a tick later, or not at all; whoever is admitted
stays so. When not all new entities of a namespace fit, they are taken in the order of their names, a pod before its
containers, up to the first that does not fit; from then on the namespace admits nobody until midnight. So a restart
chooses the same ones.

The cluster, nodes and their system containers belong to no namespace and have no budget. What an admitted entity gets
later, such as a volume, is counted and written.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import Kind, MetricDescriptor
from sinks.influxdb.layout import Layout
from sinks.influxdb.lines import Series
from sinks.influxdb.tags import TagTable

DAY = 86_400 * 1_000_000_000

_logger = logging.getLogger(__name__)


class Measured(NamedTuple):
    """Which of some rows, or labelled values, have a series in one measurement."""

    measurement: bytes
    """Escaped."""
    rows: slice | NDArray[np.int32]
    """n entities: of plain values a range of rows, of labelled ones a row for each value."""
    there: NDArray[np.bool_]
    """(n,) whether it has that series, or will have it a tick later."""
    points: NDArray[np.uint16]
    """(n,) how many lines of it there are in this batch."""


def measured(batch: DataBatch, layout: Layout) -> Iterator[Measured]:
    """All series of a batch, measurement by measurement: whole columns, as copying what is wanted takes longer."""
    exists, kinds = batch.exists[: batch.rows], batch.entities.kind[: batch.rows]
    for kind, series in enumerate(layout.plain(batch.metrics)):
        of_kind = exists & (kinds == kind)
        if of_kind.any():
            rows = slice(int(of_kind.argmax()), batch.rows - int(of_kind[::-1].argmax()))
            for one in _measured(series, batch.metrics.descriptors, batch.present[:, rows], rows):
                one.there[:] &= of_kind[rows]
                one.points[:] *= of_kind[rows]
                yield one
    for table in batch.labeled.values():
        if len(table):
            yield from _measured(layout.labeled(table.group), table.group.metrics, table.present, table.row)


def _measured(
    series: Sequence[Series],
    metrics: Sequence[MetricDescriptor],
    present: NDArray[np.bool_],
    rows: slice | NDArray[np.int32],
) -> Iterator[Measured]:
    counters = {metric.rate: m for m, metric in enumerate(metrics) if metric.rate is not None}
    found: dict[bytes, Measured] = {}
    size = present.shape[1]
    for one in series:
        columns = [field.column for field in one.fields]
        now = present[columns[0]].copy()
        for column in columns[1:]:
            now |= present[column]
        name = one.measurement
        if name not in found:
            found[name] = Measured(name, rows, np.zeros(size, np.bool_), np.zeros(size, np.uint16))
        _, _, there, points = found[name]
        points += now
        there |= now
        for column in columns:
            if (counter := counters.get(metrics[column].name)) is not None:
                there |= present[counter]
    yield from found.values()


def spaces(entities: EntityTable, rows: int) -> NDArray[np.int32]:
    """(rows,) the row of each entity's namespace, its own if it is one, NULL if it belongs to none."""
    kind, parent = entities.kind[:rows], entities.parent[:rows]
    found = np.full(rows, NULL, np.int32)
    for one, above in ((Kind.NAMESPACE, 0), (Kind.POD, 1), (Kind.POD_CONTAINER, 2)):
        some = np.flatnonzero(kind == one)
        found[some] = some
        for _ in range(above):
            found[some] = parent[found[some]]
    return found


def _loads(batch: DataBatch, layout: Layout) -> NDArray[np.int64]:
    """(rows,) the series of each entity, those of its labelled values among them."""
    plain, further = np.zeros(batch.rows, np.uint16), np.zeros(batch.rows, np.int64)
    for one in measured(batch, layout):
        if isinstance(one.rows, slice):
            plain[one.rows] += one.there
        else:
            further += np.bincount(one.rows[one.there], minlength=batch.rows)
    return further + plain


class SeriesBudget:
    """Who has been admitted, and what each namespace has used."""

    def __init__(self, limit: int, *, tell: bool = True) -> None:
        self.limit = limit
        """Series of a namespace in a day."""
        self.used: dict[str, int] = {}
        """Namespace -> series since midnight UTC."""
        self.closed: set[str] = set()
        """Namespaces that admit nobody until then."""
        self._tell = tell
        self._day = -1
        self._entities: EntityTable | None = None
        self._admitted: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._paid: NDArray[np.int64] = np.empty(0, np.int64)
        """Series of a row that are part of `used`."""
        self._owners: NDArray[np.int64] = np.empty(0, np.int64)
        self._versions: NDArray[np.int64] = np.empty(0, np.int64)
        """`generation` and `label_version` of a row when it was admitted or looked at last."""

    def admit(self, batch: DataBatch, layout: Layout, tags: TagTable) -> NDArray[np.bool_]:
        """(rows,) which entities of a batch may be written."""
        size, entities = batch.rows, batch.entities
        self._make_room(entities, size)
        if (day := batch.timestamp // DAY) != self._day:
            self._day = day
            self.used, self.closed = {}, set()
            self._paid[:] = 0
        load = _loads(batch, layout)
        self._forget_changed(entities, batch.exists[:size], tags)
        space = spaces(entities, size)
        concerned = batch.exists[:size] & (space != NULL)
        self._charge(entities, np.flatnonzero(concerned & self._admitted[:size]), space, load)
        waiting = np.flatnonzero(concerned & ~self._admitted[:size])
        if waiting.size:
            self._admit_new(entities, waiting, space, load)
        allowed: NDArray[np.bool_] = self._admitted[:size] | ~concerned
        return allowed

    def _forget_changed(self, entities: EntityTable, exists: NDArray[np.bool_], tags: TagTable) -> None:
        """Rows that have another owner are as new, and so are those whose tags have changed."""
        size = exists.size
        admitted = self._admitted[:size]
        gone = np.flatnonzero(self._owners[:size] != entities.generation[:size])
        admitted[gone] = False
        self._paid[gone] = 0
        self._owners[:size] = entities.generation[:size]
        stale = np.flatnonzero(admitted & exists & (self._versions[:size] != entities.label_version[:size]))
        if stale.size:
            before = tags.texts[stale].tolist()
            tags.refresh(stale)
            pairs = zip(before, tags.texts[stale].tolist(), strict=True)
            changed = stale[np.fromiter((old != new for old, new in pairs), np.bool_, stale.size)]
            admitted[changed] = False
            self._paid[changed] = 0
            self._versions[stale] = entities.label_version[stale]

    def _charge(
        self, entities: EntityTable, rows: NDArray[np.int64], space: NDArray[np.int32], load: NDArray[np.int64]
    ) -> None:
        """Count what the series of admitted `rows` have become."""
        more = np.maximum(load[rows] - self._paid[rows], 0)
        rows, more = rows[more > 0], more[more > 0]
        self._paid[rows] += more
        total = np.bincount(space[rows], weights=more)
        for row in np.flatnonzero(total).tolist():
            name = entities.name[row]
            self.used[name] = self.used.get(name, 0) + int(total[row])

    def _admit_new(
        self, entities: EntityTable, waiting: NDArray[np.int64], space: NDArray[np.int32], load: NDArray[np.int64]
    ) -> None:
        asked = np.bincount(space[waiting], weights=load[waiting])
        fitting = np.zeros(asked.size, np.bool_)
        for row in np.unique(space[waiting]).tolist():
            name = entities.name[row]
            if name not in self.closed:
                fitting[row] = self.used.get(name, 0) + asked[row] <= self.limit
                if not fitting[row]:
                    self._close(entities, name, waiting[space[waiting] == row], space, load)
        self._take(entities, waiting[fitting[space[waiting]]], space, load)

    def _close(
        self,
        entities: EntityTable,
        name: str,
        rows: NDArray[np.int64],
        space: NDArray[np.int32],
        load: NDArray[np.int64],
    ) -> None:
        """Admit those of a namespace's new entities that fit, by name, and nobody after them."""
        order = np.array(sorted(rows.tolist(), key=entities.key), np.int64)
        room = self.limit - self.used.get(name, 0)
        count = int(np.searchsorted(np.cumsum(load[order]), room, "right"))
        self._take(entities, order[:count], space, load)
        self.closed.add(name)
        if self._tell:
            _logger.warning(
                "series budget: namespace %s has written %d series since midnight UTC and may have %d; %d entities "
                "with %d further series are not written, nor is any new one today; raise the option series_budget, "
                "or write fewer series (schema=lean, labels=); `heapster doctor --series` counts them",
                name,
                self.used.get(name, 0),
                self.limit,
                order.size - count,
                int(load[order[count:]].sum()),
            )

    def _take(
        self, entities: EntityTable, rows: NDArray[np.int64], space: NDArray[np.int32], load: NDArray[np.int64]
    ) -> None:
        self._admitted[rows] = True
        self._paid[rows] = 0
        self._versions[rows] = entities.label_version[rows]
        self._charge(entities, rows, space, load)

    def _make_room(self, entities: EntityTable, size: int) -> None:
        if self._entities is not entities:
            self._entities = entities
            self._admitted[:] = False
        grow = max(size, entities.generation.size) - self._admitted.size
        if grow > 0:
            self._admitted = np.concatenate([self._admitted, np.zeros(grow, np.bool_)])
            self._paid = np.concatenate([self._paid, np.zeros(grow, np.int64)])
            self._owners = np.concatenate([self._owners, np.zeros(grow, np.int64)])
            self._versions = np.concatenate([self._versions, np.zeros(grow, np.int64)])
