"""Columns to line protocol: pure, no I/O, in pieces small enough to let the event loop breathe between them.

    cpu/usage_rate,cluster_name=default,...,type=pod_container value=249i 1795393855000000000

Heapster's two schemas (behaviour reference, section 9.1): a measurement per metric with the field `value`, or,
`with_fields`, the metric's name split at its first slash into measurement and field. One field a line in both; the
server merges.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import Column, DataBatch
from collector.core.metrics import MetricDescriptor
from collector.core.visibility import HEAPSTERS, Visibility
from sinks.influxdb.tags import TagTable
from sinks.influxdb.text import escape_key, escape_measurement, float_texts

BLOCK = 512
"""Rows encoded together. Their tags stay in the processor's cache while every metric is written."""

CHUNK_POINTS = 10_000
"""Most points of a chunk: Heapster's limit per write."""

CHUNK_BYTES = 1_000_000
"""A chunk ends before this many bytes, unless a single piece of one metric is longer."""


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
        with_pod_id: bool = False,
        chunk_points: int = CHUNK_POINTS,
        chunk_bytes: int = CHUNK_BYTES,
        visibility: Visibility = HEAPSTERS,
    ) -> None:
        self.cluster_name = cluster_name
        self.with_fields = with_fields
        self.disable_counters = disable_counters
        self.with_pod_id = with_pod_id
        self.chunk_points = chunk_points
        self.chunk_bytes = chunk_bytes
        self.visibility = visibility
        self.omitted = 0
        """Values left out so far: not finite, or of a series whose tags are too long for InfluxDB."""
        self._tags: TagTable | None = None

    def encode(self, batch: DataBatch) -> Iterator[Chunk]:
        """The lines of a frozen batch, at most `chunk_points` at a time.

        Between two chunks the caller may wait as long as it likes, as long as it holds the batch.
        """
        bodies: list[bytes] = []
        points = size = 0
        for piece in self._pieces(batch):
            if points and (points + piece.points > self.chunk_points or size + len(piece.body) > self.chunk_bytes):
                yield Chunk(b"".join(bodies), points)
                bodies, points, size = [], 0, 0
            bodies.append(piece.body)
            points += piece.points
            size += len(piece.body)
        if points:
            yield Chunk(b"".join(bodies), points)

    def _pieces(self, batch: DataBatch) -> Iterator[Chunk]:
        if self._tags is None or self._tags.entities is not batch.entities:
            self._tags = TagTable(batch.entities, self.cluster_name, with_pod_id=self.with_pod_id)
        shown = self.visibility.plain(batch.metrics)
        metrics = [self._writer(metric, batch.timestamp, shown=bool(shown[m].any())) for m, metric in batch.metrics]
        block = min(BLOCK, self.chunk_points)
        starts = np.arange(0, batch.rows, block)
        for first in starts[np.logical_or.reduceat(batch.exists[: batch.rows], starts)].tolist():
            yield from self._plain(batch, self._tags, metrics, shown, slice(first, min(first + block, batch.rows)))
        for name, table in batch.labeled.items():
            writers = [
                self._writer(metric, batch.timestamp, shown=bool(visible))
                for metric, visible in zip(table.group.metrics, self.visibility.labeled(table.group), strict=True)
            ]
            for start in range(0, len(table), block):
                yield from self._labeled(batch, name, writers, slice(start, start + block))

    def _writer(self, metric: MetricDescriptor, timestamp: int, *, shown: bool) -> "_Writer | None":
        if not shown or (self.disable_counters and metric.rate is not None):
            return None
        return _Writer(metric, timestamp, with_fields=self.with_fields)

    def _plain(
        self,
        batch: DataBatch,
        tags: TagTable,
        metrics: "list[_Writer | None]",
        shown: NDArray[np.bool_],
        block: slice,
    ) -> Iterator[Chunk]:
        """The plain metrics of a block of rows; `shown` is (metrics, kinds)."""
        exists, kinds = batch.exists[block], batch.entities.kind[block]
        tags.refresh(block.start + np.flatnonzero(exists))
        texts, usable = tags.texts[block], exists & tags.usable[block]
        present: NDArray[np.bool_] = batch.present[: len(metrics), block]
        there = kinds[exists]
        if (there == there[0]).all():  # the rule: rows come in slabs of a kind
            columns = shown[:, there[0]]
        else:
            columns, present = np.ones(len(metrics), np.bool_), present & shown[:, kinds]
        for m in np.flatnonzero(present.any(axis=1) & columns).tolist():
            if (writer := metrics[m]) is None:
                continue
            places = np.flatnonzero(present[m] & usable)
            self.omitted += int(np.count_nonzero(present[m] & exists)) - places.size
            yield from self._piece(writer, texts[places], batch.column(m)[block][places])

    def _labeled(self, batch: DataBatch, group: str, writers: "list[_Writer | None]", block: slice) -> Iterator[Chunk]:
        """The labelled values at the positions `block` of one group's table."""
        assert self._tags is not None
        table = batch.labeled[group]
        rows = table.row[block]
        self._tags.refresh(np.unique(rows))
        usable = self._tags.usable[rows]
        texts = np.array(self._tags.labeled(rows, table.label[block]), object)
        for j, writer in enumerate(writers):
            if writer is None:
                continue
            places = np.flatnonzero(table.present[j, block] & usable)
            self.omitted += int(np.count_nonzero(table.present[j, block])) - places.size
            yield from self._piece(writer, texts[places], table.column(j)[block][places])

    def _piece(self, writer: "_Writer", texts: NDArray[Any], values: Column) -> Iterator[Chunk]:
        if writer.is_float:
            finite = np.isfinite(values)
            if not finite.all():
                self.omitted += int(np.count_nonzero(~finite))
                texts, values = texts[finite], values[finite]
        if texts.size:
            yield Chunk(writer.lines(texts.tolist(), values.tolist()), texts.size)


class _Writer:
    """The parts of a line that are the same for every point of one metric at one time."""

    __slots__ = ("_field", "_head", "_tail", "is_float")

    def __init__(self, metric: MetricDescriptor, timestamp: int, *, with_fields: bool) -> None:
        measurement, _, field = metric.name.partition("/") if with_fields else (metric.name, "", "")
        self.is_float = metric.is_float
        self._head = escape_measurement(measurement)
        self._field = f" {escape_key(field or 'value')}="
        self._tail = f"{'' if self.is_float else 'i'} {timestamp}\n"

    def lines(self, tags: list[str], values: list[Any]) -> bytes:
        """One line for each of the parallel `tags` and `values`: the hot loop of the sink, well below 1 µs a line.

        Head and tail are joined in between the lines rather than formatted into each.
        """
        texts = float_texts(values) if self.is_float else values
        field = self._field
        joined = f"{self._tail}{self._head}".join(
            [f"{tag}{field}{text}" for tag, text in zip(tags, texts, strict=True)]
        )
        return f"{self._head}{joined}{self._tail}".encode("utf-8", "replace")
