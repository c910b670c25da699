"""A batch as Prometheus text, written from its columns.

prometheus-client makes several objects of every sample; with millions of samples that takes minutes. Here a line is
put together by Arrow's string kernels, thousands of rows in one call, from three columns of text:

    name            entity, kept from batch to batch              value
    heapster_pod..  {namespace="a",pod="b",node="c"  }            12.5

Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.

Samples carry no timestamp. Prometheus then stamps them with its own scrape time, and marks a series stale as soon as a
scrape lacks it: a pod or node that is gone from the batch ends at once, where a series with timestamps of its own
would live on for five minutes. What a rate() over scrapes of an unchanged batch loses in precision, the `_per_second`
and `cpu_usage_cores` families have: they are divided by the kubelet's own sample times. How old a batch and a node's
sample are is in `heapster_cluster_batch_timestamp_seconds` and `heapster_node_sample_timestamp_seconds`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.api.families import (
    BATCH_TIMESTAMP,
    NODE_TIMESTAMP,
    Family,
    family_of,
    gathered_family,
    gathered_label,
    group_label,
)
from collector.api.labeltext import PIECE, GroupTexts, RowTexts, Texts, label
from collector.core.batch import Column, DataBatch, LabeledTable
from collector.core.metrics import Clock, Kind, MetricDescriptor

CHUNK_BYTES = 1 << 18
"""Text handed on at once; the event loop is free between two chunks."""

Rows = NDArray[np.intp]

_join: Any = pc.binary_join_element_wise
"""Its stubs know no mixture of texts and columns of texts."""


class ClusterText:
    """Writes batches as text. Keeps the label texts, so that the next batch finds most of them made."""

    def __init__(self) -> None:
        self._rows = RowTexts()
        self._groups: dict[str, GroupTexts] = {}

    def forget(self) -> None:
        """Let go of the label texts, some 110 bytes an entity; the next writing makes them anew."""
        self._rows, self._groups = RowTexts(), {}

    async def write(self, batch: DataBatch, kinds: frozenset[Kind], *, openmetrics: bool) -> AsyncIterator[bytes]:
        """The families of these kinds, chunk by chunk. Holding `batch` keeps its rows from being given to others."""
        waiting: list[bytes] = []
        size = 0
        for text in self._texts(batch, kinds, openmetrics=openmetrics):
            if text:
                waiting.append(text)
                size += len(text)
            if size >= CHUNK_BYTES:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
            if not size or not text:
                await asyncio.sleep(0)
        if openmetrics:
            waiting.append(b"# EOF\n")
        yield b"".join(waiting)

    def _texts(self, batch: DataBatch, kinds: frozenset[Kind], *, openmetrics: bool) -> Iterator[bytes]:
        """Headers and lines, at most PIECE lines at a time; an empty text is a good moment to look up."""
        yield from self._clocks(batch, kinds, openmetrics=openmetrics)
        gathered: dict[str, tuple[Family, list[tuple[int, Rows]]]] = {}
        for m, metric in batch.metrics:
            yield b""
            for kind, rows in _by_kind(batch, batch.rows_with(m), kinds):
                shared = gathered_family(metric, kind)
                if shared is not None:
                    gathered.setdefault(shared.name, (shared, []))[1].append((m, rows))
                    continue
                family = family_of(metric, kind)
                yield family.header(openmetrics=openmetrics).encode()
                yield from self._lines(batch, family, rows, batch.column(m), _closing(kind))
        for family, columns in gathered.values():
            yield family.header(openmetrics=openmetrics).encode()
            for m, rows in columns:
                own = label(*gathered_label(batch.metrics.descriptors[m]))
                yield from self._lines(batch, family, rows, batch.column(m), _closing(family.kind, own))
        for table in batch.labeled.values():
            yield from self._labeled(batch, table, kinds, openmetrics=openmetrics)

    def _clocks(self, batch: DataBatch, kinds: frozenset[Kind], *, openmetrics: bool) -> Iterator[bytes]:
        """The times that tell how old the samples are."""
        if Kind.CLUSTER in kinds:
            yield BATCH_TIMESTAMP.header(openmetrics=openmetrics).encode()
            moment = value_texts(np.array([batch.timestamp]), BATCH_TIMESTAMP.places)
            yield f"{BATCH_TIMESTAMP.sample_name} {moment[0].as_py()}\n".encode()
        measured = batch.times[Clock.SCRAPE, : batch.rows]
        for _, rows in _by_kind(batch, np.flatnonzero(measured > 0), kinds & {Kind.NODE}):
            yield NODE_TIMESTAMP.header(openmetrics=openmetrics).encode()
            yield from self._lines(batch, NODE_TIMESTAMP, rows, measured, _closing(Kind.NODE))

    def _lines(self, batch: DataBatch, family: Family, rows: Rows, column: Column, closing: str) -> Iterator[bytes]:
        """One line for each of `rows`, which ascend."""
        rows = rows[_finite(column[rows])]
        for first, last in _pieces(rows):
            of_piece = rows[first:last]
            bodies = self._rows.take(batch.entities, of_piece)
            yield _joined(family, bodies, closing, value_texts(column[of_piece], family.places))

    def _labeled(
        self, batch: DataBatch, table: LabeledTable, kinds: frozenset[Kind], *, openmetrics: bool
    ) -> Iterator[bytes]:
        """The families of one labelled table. Its entries are taken in the order of their rows."""
        if not len(table):
            return
        texts = self._groups.setdefault(table.group.name, GroupTexts(lambda key: group_label(table.group, key)))
        for _ in texts.refresh(batch.entities.labels, table.label):
            yield b""
        order = np.argsort(table.row, kind="stable")
        for j, metric in enumerate(table.group.metrics):
            yield b""
            entries = order[table.present[j][order]]
            entries = entries[_finite(table.column(j)[entries])]
            for kind, positions in _by_kind(batch, table.row[entries].astype(np.intp), kinds - {Kind.CLUSTER}, at=True):
                yield family_of(metric, kind).header(openmetrics=openmetrics).encode()
                yield from self._labeled_lines(batch, table, metric, kind, entries[positions], texts)

    def _labeled_lines(
        self,
        batch: DataBatch,
        table: LabeledTable,
        metric: MetricDescriptor,
        kind: Kind,
        entries: Rows,
        texts: GroupTexts,
    ) -> Iterator[bytes]:
        family = family_of(metric, kind)
        column = table.column(table.group.metrics.index(metric))
        rows = table.row[entries]
        for first, last in _pieces(rows):
            bodies = self._rows.take(batch.entities, rows[first:last])
            of_piece = entries[first:last]
            values = value_texts(column[of_piece], family.places)
            yield _joined(family, bodies, texts.take(table.label[of_piece]), values)


def value_texts(values: Column, places: int) -> Texts:
    """Each value divided by 10**places, as text: integers exactly, by their digits; floats in shortest form."""
    if values.dtype.kind == "f":
        return pc.cast(pa.array(values / 10**places if places else values), pa.string())
    while places >= 3 and not (values % 1000).any():  # shorter text, same value
        values, places = values // 1000, places - 3
    if not places:
        return pc.cast(pa.array(values), pa.string())
    whole, fraction = np.divmod(np.abs(values), 10**places)
    parts: list[Texts] = [
        pc.cast(pa.array(whole), pa.string()),
        pc.utf8_lpad(pc.cast(pa.array(fraction), pa.string()), places, "0"),
    ]
    if (values < 0).any():
        sign = pc.if_else(pa.array(values < 0), "-", "")
        parts[0] = _join(sign, parts[0], "")
    return _join(*parts, ".")


def _joined(family: Family, bodies: Texts, closing: "str | Texts", values: Texts) -> bytes:
    lines = _join(family.sample_name, bodies, closing, values, "\n", "")
    text = lines.buffers()[2]
    return text.to_pybytes() if text else b""


def _closing(kind: Kind, own_label: str = "") -> str:
    """What stands between an entity's labels and the value."""
    if kind is not Kind.CLUSTER:
        return f",{own_label}}} " if own_label else "} "
    return f"{{{own_label}}} " if own_label else " "


def _by_kind(batch: DataBatch, rows: Rows, kinds: frozenset[Kind], *, at: bool = False) -> Iterator[tuple[Kind, Rows]]:
    """`rows` by the kind of their entity; with `at`, the positions in `rows` instead."""
    of_row = batch.entities.kind[rows]
    for kind in sorted(kinds):
        positions = np.flatnonzero(of_row == kind)
        if positions.size:
            yield kind, positions if at else rows[positions]


def _pieces(rows: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Where the ascending `rows` cross from one piece of the label texts into the next, at most PIECE at a time."""
    numbers = rows // PIECE
    edges = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(rows)]
    for first, last in pairwise(edges):
        for start in range(first, last, PIECE):
            yield start, min(start + PIECE, last)


def _finite(values: Column) -> Rows | Sequence[int] | slice:
    return np.flatnonzero(np.isfinite(values)) if values.dtype.kind == "f" else slice(None)
