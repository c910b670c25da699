"""Metric export: `/api/v1/metric-export`, every entity's newest values, and its schema (behaviour reference, 8.4, 8.5).

The answer of a large cluster is some hundred megabytes. It is written PIECE entities at a time: each metric's column
becomes a column of text by Arrow's kernels, absent values null; a row of text columns joined is an entity's metrics.

    "cpu/limit" column                                     "cpu/usage" column           ...
    ,"cpu/limit":[{"start":T,"end":T,"value":500}]         ,"cpu/usage":[{...}]
    null                                                   ,"cpu/usage":[{...}]
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.api import jsontext
from collector.api.exportschema import COMMON_LABELS, EXPORTED, POD_LABELS, Exported, schema
from collector.api.gotime import ZERO_TIME, format_time
from collector.api.labeltext import Texts
from collector.api.route import Answer, Context, Document, Request, Route, Style
from collector.api.spec import Schema, Spec
from collector.core.batch import Column, DataBatch, LabeledTable
from collector.core.metrics import Clock, Kind

ROOT = "/api/v1/metric-export"
SCHEMA_ROOT = "/api/v1/metric-export-schema"

PIECE = 256
"""Entities written between two looks at the event loop: about 10 ms, 500 KB."""

KINDS = (Kind.NODE, Kind.POD, Kind.POD_CONTAINER, Kind.SYS_CONTAINER)

LABELS = tuple(sorted(key for key, _ in (*COMMON_LABELS, *POD_LABELS)))
"""The labels kept, in their order in the answer. A consumer finds no namespace name, type or stored label (K20)."""

FORCED_NAMES = {Kind.NODE.label: "machine", Kind.POD.label: "/pod"}
"""`container_name` of what is no container, by `type` label."""

_EXACT = 2.0**53
"""Up to here an integral float is exactly the integer its digits say."""

Rows = NDArray[np.intp]

_join: Any = pc.binary_join_element_wise
_list_join: Any = pc.binary_join
_array: Any = pa.array
"""The stubs know no mixture of texts and columns of texts."""


def export_metrics(context: Context, _request: Request) -> Answer:
    """Newest values of every node, system container, pod and container."""
    if context.export_disabled:
        return Answer(b"[]\n")
    batch = max(context.store.batches, key=lambda batch: batch.timestamp, default=None)
    return Answer(b"null\n") if batch is None else Answer(export_text(batch))


def export_schema(_context: Context, _request: Request) -> Document:
    """Metrics and labels of the export, described."""
    return schema()


async def export_text(batch: DataBatch) -> AsyncIterator[bytes]:
    """The entities of `batch` as one JSON list, in pieces; while it is held, its rows are given to no other entity."""
    columns = _columns(batch)
    moment = format_time(batch.timestamp)
    kinds = batch.entities.kind[: batch.rows]
    rows = np.flatnonzero(batch.exists[: batch.rows] & np.isin(kinds, KINDS))
    opening = "["
    for first in range(0, len(rows), PIECE):
        piece = _Piece(batch, rows[first : first + PIECE], moment)
        yield (opening + ",".join(piece.entities(columns))).encode()
        opening = ","
        await asyncio.sleep(0)
    yield b"]\n" if len(rows) else b"[]\n"


class _Values:
    """A column of plain values."""

    def __init__(self, metric: Exported, m: int) -> None:
        self.metric = metric
        self.m = m


class _Labeled:
    """A column of labelled values, its entries in the order of their rows."""

    def __init__(self, metric: Exported, table: LabeledTable, j: int, order: Rows) -> None:
        self.metric = metric
        self.table = table
        self.j = j
        self.order = order
        self.rows = table.row[order]


def _columns(batch: DataBatch) -> list[_Values | _Labeled]:
    """The columns that hold any value, sorted by name, as the answer lists them."""
    columns: list[_Values | _Labeled] = []
    orders = {name: np.argsort(table.row, kind="stable") for name, table in batch.labeled.items() if len(table)}
    for metric in sorted(EXPORTED, key=lambda metric: metric.name):
        if not metric.labels:
            m = batch.metrics.find(metric.name)
            if m is not None and batch.presence(m).any():
                columns.append(_Values(metric, m))
            continue
        for name, order in orders.items():
            table = batch.labeled[name]
            j = table.group.column(metric.name)
            if j is not None and table.present[j].any():
                columns.append(_Labeled(metric, table, j, order))
    return columns


class _Piece:
    """Some entities of one batch, on their way to text."""

    def __init__(self, batch: DataBatch, rows: Rows, moment: str) -> None:
        self._batch = batch
        self._rows = rows
        self._moment = moment
        self._starts = start_texts(batch.times[Clock.START, rows])

    def entities(self, columns: list[_Values | _Labeled]) -> Iterator[str]:
        """The JSON object of each entity."""
        texts = [
            text
            for column in columns
            for text in (self._values(column) if isinstance(column, _Values) else self._labeled(column),)
            if text.null_count < len(text)
        ]
        # One column, even an empty one, gives the kernel its length.
        nothing = pa.array([""] * len(self._rows), pa.string())
        joined = _join(nothing, *texts, "", null_handling="replace", null_replacement="").to_pylist()
        for row, metrics in zip(self._rows.tolist(), joined, strict=True):
            yield f'{{"metrics":{{{metrics[1:]}}},"labels":{_label_text(self._batch, row)}}}'

    def _values(self, column: _Values) -> Texts:
        present = self._batch.present[column.m, self._rows]
        values = number_texts(self._batch.column(column.m)[self._rows], present)
        return _join(*self._opening(column.metric, self._starts), values, "}]", "")

    def _labeled(self, column: _Labeled) -> Texts:
        """Of each entity all points of this metric, in the order they were reported; null where there are none."""
        table, count = column.table, len(self._rows)
        first, last = (np.searchsorted(column.rows, self._rows, side) for side in ("left", "right"))
        each = last - first
        owner = np.repeat(np.arange(count), each)
        position = np.arange(len(owner)) + np.repeat(first - (np.cumsum(each) - each), each)
        entries = column.order[position]
        given = table.present[column.j][entries]
        entries, owner = entries[given], owner[given]
        values = number_texts(table.column(column.j)[entries], np.ones(len(entries), np.bool_))
        points = _join(
            f'{{"start":"{self._moment}","end":"{self._moment}","labels":',
            self._label_sets(table.label[entries]),
            ',"value":',
            values,
            "}",
            "",
        )
        each = np.bincount(owner, minlength=count)
        offsets = pa.array(np.concatenate([[0], np.cumsum(each)]), pa.int32())
        lists = _list_join(pa.ListArray.from_arrays(offsets, points), ",")
        lists = pc.if_else(pa.array(each > 0), lists, pa.scalar(None, pa.string()))
        return _join(f',"{column.metric.name}":[', lists, "]", "")

    def _opening(self, metric: Exported, starts: Texts) -> tuple[Any, ...]:
        before, after = f',"{metric.name}":[{{"start":"', f'","end":"{self._moment}","value":'
        return (before, starts, after) if metric.since_start else (f"{before}{self._moment}{after}",)

    def _label_sets(self, numbers: NDArray[np.int32]) -> Texts:
        pairs = self._batch.entities.labels.pairs
        used, inverse = np.unique(numbers, return_inverse=True)
        texts = [jsontext.compact(dict(sorted(pairs[i] or ()))) for i in used.tolist()]
        return pa.array(texts, pa.string()).take(_array(inverse))


def start_texts(starts: NDArray[np.int64]) -> Texts:
    """Times in ns since the epoch as RFC 3339 texts; 0 is the time that was never set."""
    digits = pc.strftime(_array(starts, pa.timestamp("ns")), format="%Y-%m-%dT%H:%M:%S")
    trimmed: Any = pc.ascii_rtrim(pc.ascii_rtrim(digits, "0"), ".")
    return pc.if_else(pa.array(starts != 0), _join(trimmed, "Z", ""), ZERO_TIME)


def number_texts(values: Column, present: NDArray[np.bool_]) -> Texts:
    """Numbers as Go writes them in JSON, null where not `present`."""
    if values.dtype.kind != "f":
        return pc.cast(pa.array(values, mask=~present), pa.string())
    finite = present & np.isfinite(values)
    whole = finite & (np.abs(values) < _EXACT) & (values == np.trunc(values)) & ~((values == 0) & np.signbit(values))
    texts: Any = pc.cast(pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole), pa.string())
    other = np.flatnonzero(finite & ~whole)
    if not len(other):
        return texts
    listed = texts.to_pylist()
    for i in other.tolist():
        listed[i] = jsontext.number(float(values[i]))
    return pa.array(listed, pa.string())


def _label_text(batch: DataBatch, row: int) -> str:
    labels = batch.entities.label_set(row)
    forced = FORCED_NAMES.get(labels["type"])
    if forced is not None:
        labels["container_name"] = forced
    pairs = [f'"{key}":{jsontext.string(labels[key])}' for key in LABELS if key in labels]
    return f"{{{','.join(pairs)}}}"


_POINT = Schema(
    "ExportedPoint",
    {
        "type": "object",
        "required": ["start", "end", "value"],
        "properties": {
            "start": {"type": "string", "format": "date-time"},
            "end": {"type": "string", "format": "date-time"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "value": {"type": "number"},
        },
        "additionalProperties": False,
    },
)
_ENTITIES = Schema(
    "ExportedEntities",
    {
        "description": "Null before the first batch.",
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "required": ["metrics", "labels"],
            "properties": {
                "metrics": {"type": "object", "additionalProperties": {"type": "array", "items": _POINT}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "additionalProperties": False,
        },
    },
)
_LABEL_ROWS = Schema(
    "ExportedLabels",
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["key", "description"],
            "properties": {"key": {"type": "string"}, "description": {"type": "string"}},
        },
    },
)
_SCHEMA = Schema(
    "ExportSchema",
    {
        "type": "object",
        "required": ["metrics", "common_labels", "pod_labels"],
        "properties": {
            "metrics": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "description", "type", "value_type"],
                    "properties": {
                        "name": {"type": "string"},
                        "description": {"type": "string"},
                        "labels": _LABEL_ROWS,
                        "type": {"enum": ["cumulative", "gauge", "delta"]},
                        "value_type": {"enum": ["int64", "double"]},
                        "units": {"enum": ["bytes", "ms", "ns", "millicores"]},
                    },
                },
            },
            "common_labels": _LABEL_ROWS,
            "pod_labels": _LABEL_ROWS,
        },
    },
)

ROUTE = Route("GET", ROOT, export_metrics, Style.COMPACT, "exportMetrics", Spec(_ENTITIES))
SCHEMA_ROUTE = Route("GET", SCHEMA_ROOT, export_schema, Style.PRETTY, "exportmetricsSchema", Spec(_SCHEMA))
"""This one needs no batch."""
