"""Columns to line protocol: pure, no I/O, in pieces small enough to let the event loop breathe between them.

    cpu/usage_rate,cluster_name=default,...,type=pod_container value=249i 1795393855000000000

Heapster's two schemas (behaviour reference, section 9.1): a measurement per metric with the field `value`, or,
`with_fields`, the metric's name split at its first slash into measurement and field. Heapster wrote one field a line
in both and left it to the server to merge them; here the fields of one measurement of one entity are one line. Metrics
that only the cluster knows, such as `custom/qps`, keep a line each: their type may change, and then the server refuses
a line whole.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.contracts import Cut
from collector.core.visibility import HEAPSTERS, Visibility
from sinks.influxdb import tags as tagging_of
from sinks.influxdb.budget import SeriesBudget
from sinks.influxdb.layout import Layout, Place
from sinks.influxdb.lines import WRITE, Block, Series, Write
from sinks.influxdb.tags import Tagging, TagTable

BLOCK = 512
"""Rows written together."""

SORTED = 16 * BLOCK
"""Labelled values brought into the order of their entities at a time."""

CHUNK_POINTS = 10_000
"""Most points of a chunk, unless asked otherwise: Heapster's limit per write, and what InfluxDB advises at most."""

CHUNK_BYTES = 2_000_000
"""A chunk has at most so many bytes, unless a single line has more: some 3 ms of work, a write's cost spread wide."""


class Chunk(NamedTuple):
    """What one write carries."""

    body: bytes
    """UTF-8 lines, each with its line feed."""
    points: int


class LineEncoder:
    """Turns batches of one EntityTable into chunks of line protocol."""

    def __init__(
        self,
        *,
        cluster_name: str = "default",
        with_fields: bool = False,
        disable_counters: bool = False,
        tagging: Tagging = tagging_of.HEAPSTERS,
        series_budget: int = 0,
        chunk_points: int = CHUNK_POINTS,
        chunk_bytes: int = CHUNK_BYTES,
        visibility: Visibility = HEAPSTERS,
        write: Write = WRITE,
    ) -> None:
        self.cluster_name = cluster_name
        self.layout = Layout(with_fields=with_fields, disable_counters=disable_counters, visibility=visibility)
        self.tagging = tagging
        self.chunk_points = chunk_points
        self.chunk_bytes = chunk_bytes
        self._write = write
        self.omitted = 0
        """Values left out so far: not finite, or of a series whose tags are too long for InfluxDB."""
        self.cut = Cut(0, 0)
        """What the series budget has cut so far."""
        self._tags: TagTable | None = None
        self._budget = SeriesBudget(series_budget) if series_budget else None

    def encode(self, batch: DataBatch) -> Iterator[Chunk]:
        """The lines of a frozen batch, at most `chunk_points` at a time.

        Between two chunks the caller may wait as long as it likes, as long as it holds the batch.
        """
        if self._tags is None or self._tags.entities is not batch.entities:
            self._tags = TagTable(batch.entities, self.cluster_name, self.tagging)
        room = bytearray(self.chunk_bytes)
        at = points = 0
        for block in self._blocks(batch, self._tags):
            end, next_ = len(block.tags) * len(block.series), 0
            while next_ < end:
                too_large = len(room) > self.chunk_bytes  # made so for one line
                most = 1 if too_large else self.chunk_points - points
                at, next_, lines, omitted = self._write(block, room, at, next_, most)
                points += lines
                self.omitted += omitted
                if points and (next_ < end or too_large):
                    yield Chunk(bytes(memoryview(room)[:at]), points)
                    at = points = 0
                    room = bytearray(self.chunk_bytes) if too_large else room
                elif next_ < end:
                    room = bytearray(2 * len(room))
        if points:
            yield Chunk(bytes(memoryview(room)[:at]), points)

    def set_apart(self, places: Collection[Place]) -> None:
        """From the next batch on, give fields that the server refuses lines of their own: no other goes with them."""
        self.layout = replace(self.layout, apart=frozenset(places))

    def _blocks(self, batch: DataBatch, tags: TagTable) -> Iterator[Block]:
        """All that there is to write, some hundred rows of one kind at a time."""
        tail = f" {batch.timestamp}\n".encode()
        admitted = None if self._budget is None else self._budget.admit(batch, self.layout, tags)
        series = self.layout.plain(batch.metrics)
        for start in range(0, batch.rows, BLOCK):
            rows = start + np.flatnonzero(batch.exists[start : min(start + BLOCK, batch.rows)])
            tags.refresh(rows)
            kinds = batch.entities.kind[rows]
            for kind in np.unique(kinds).tolist():  # one, nearly always: rows come in slabs of a kind
                of_kind = rows[kinds == kind]
                of_kind = self._writable(batch.present, of_kind, of_kind, series[kind], admitted)
                texts = tags.texts[of_kind].tolist()
                yield Block(series[kind], tail, texts, of_kind, batch.cells, batch.present)
        for name in batch.labeled:
            yield from self._labeled(batch, tags, name, tail, admitted)

    def _labeled(
        self, batch: DataBatch, tags: TagTable, group: str, tail: bytes, admitted: NDArray[np.bool_] | None
    ) -> Iterator[Block]:
        """The labelled values of one group's table."""
        table = batch.labeled[group]
        series = self.layout.labeled(table.group)
        for start in range(0, len(table), SORTED):
            order = start + np.argsort(table.row[start : start + SORTED], kind="stable")
            for first in range(0, order.size, BLOCK):
                places = order[first : first + BLOCK]
                tags.refresh(table.row[places])
                places = self._writable(table.present, places, table.row[places], series, admitted)
                texts, where, own = tags.labeled(table.row[places], table.label[places])
                yield Block(series, tail, texts, places, table.values, table.present, where, own)

    def _writable(
        self,
        present: NDArray[np.bool_],
        places: NDArray[np.int64],
        rows: NDArray[Any],
        series: tuple[Series, ...],
        admitted: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]:
        """Those of `places` whose entities, `rows`, are admitted and have tags that InfluxDB takes.

        The others' values are counted.
        """
        assert self._tags is not None
        usable: NDArray[np.bool_] = self._tags.usable[rows]
        if not usable.all():
            columns = np.array([field.column for one in series for field in one.fields], np.int64)
            self.omitted += int(np.count_nonzero(present[np.ix_(columns, places[~usable])]))
            places, rows = places[usable], rows[usable]
        if admitted is not None and not (inside := admitted[rows]).all():
            self._count_cut(present, places[~inside], series)
            places = places[inside]
        return places

    def _count_cut(self, present: NDArray[np.bool_], places: NDArray[np.int64], series: tuple[Series, ...]) -> None:
        points, values = self.cut
        for one in series:
            there = present[np.ix_(np.array([field.column for field in one.fields], np.int64), places)]
            points += int(np.count_nonzero(there.any(axis=0)))
            values += int(np.count_nonzero(there))
        self.cut = Cut(points, values)
