"""A frozen batch as Arrow tables, ready to be written: pure computation, no file, no event loop.

Rows come in the order of KEY, in pieces of `PIECE_ROWS`: a piece becomes a row group, and merging many files holds one
piece of each in memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collector.core.batch import DataBatch, LabeledTable
from collector.core.metrics import METRICS, Clock
from sinks.history.arrow import NONE, ArrowArray, combined, text_array, text_ranks, trimmed, with_nulls
from sinks.history.names import COLUMNS, EntityNames
from sinks.history.schema import (
    DYNAMIC_FLOAT,
    DYNAMIC_INT,
    IDENTITY,
    KEY,
    LABEL_COLUMNS,
    METRICS_TABLE,
    SCHEMAS,
    TIME_TYPE,
)

PIECE_ROWS = 8192

Order = NDArray[np.integer[Any]]


def tick_tables(batch: DataBatch, names: EntityNames) -> Iterator[tuple[str, Iterator[pa.Table]]]:
    """Every table of SCHEMAS that has rows in this batch, with its pieces.

    `names` must have followed the batch. The pieces of a table are to be taken before the next table.
    """
    rows = np.flatnonzero(batch.exists[: batch.rows])
    ranks = [names.texts[COLUMNS.index(name)].ranks[names.codes[COLUMNS.index(name), rows]] for name in KEY]
    rows = rows[np.argsort(combined(ranks), kind="stable")]
    for name, table in batch.labeled.items():
        if len(table):
            yield name, _labeled_pieces(batch, names, table, rows)
    yield METRICS_TABLE, _plain_pieces(batch, names, rows)


def _pieces(count: int) -> Iterator[slice]:
    return (slice(start, min(count, start + PIECE_ROWS)) for start in range(0, count, PIECE_ROWS))


def _ticks(batch: DataBatch, count: int) -> ArrowArray:
    return with_nulls(TIME_TYPE, np.full(count, batch.timestamp, np.int64), np.ones(count, np.bool_))


def _names(names: EntityNames, rows: Order, columns: int) -> list[ArrowArray]:
    """The first `columns` of COLUMNS for `rows`."""
    return [trimmed(names.codes[column, rows], names.texts[column].array) for column in range(columns)]


def _plain_pieces(batch: DataBatch, names: EntityNames, order: Order) -> Iterator[pa.Table]:
    known = len(METRICS)
    dynamic = [m for m in range(known, len(batch.metrics)) if batch.presence(m).any()]
    filled = [bool(batch.presence(m).any()) for m in range(known)]
    for piece in _pieces(order.size):
        rows = order[piece]
        columns = [_ticks(batch, rows.size), *_names(names, rows, len(COLUMNS)), _stored(names, rows)]
        for clock in (Clock.START, Clock.SCRAPE):
            moments = batch.times[clock, rows]
            columns.append(with_nulls(TIME_TYPE, moments, moments != 0))
        for m, metric in enumerate(METRICS):
            kind = pa.float64() if metric.is_float else pa.int64()
            if filled[m]:
                columns.append(with_nulls(kind, batch.column(m)[rows], batch.presence(m)[rows]))
            else:
                columns.append(pa.nulls(rows.size, kind))
        for is_float in (False, True):
            alike = [m for m in dynamic if batch.metrics.descriptors[m].is_float == is_float]
            columns.append(_dynamic(batch, alike, rows, DYNAMIC_FLOAT if is_float else DYNAMIC_INT))
        yield pa.Table.from_arrays(columns, schema=SCHEMAS[METRICS_TABLE])


def _stored(names: EntityNames, rows: Order) -> ArrowArray:
    """The map of further labels, null where there are none."""
    kind = SCHEMAS[METRICS_TABLE].field("stored_labels").type
    codes = names.stored[rows]
    if not (codes != NONE).any():
        return pa.nulls(rows.size, kind)
    used, places = np.unique(codes, return_inverse=True)
    sets: ArrowArray = pa.array([None if code == NONE else names.extras.words[code] for code in used.tolist()], kind)
    return sets.take(pa.array(places))


def _dynamic(batch: DataBatch, metrics: Sequence[int], rows: Order, name: str) -> ArrowArray:
    """The map of metrics whose names only the cluster knows, null where an entity has none of them."""
    kind = SCHEMAS[METRICS_TABLE].field(name).type
    present = batch.present[np.ix_(np.array(metrics, np.intp), rows)]
    if not present.any():
        return pa.nulls(rows.size, kind)
    owner, which = np.nonzero(present.T)  # by row, then by metric
    values = np.empty(owner.size, np.float64 if name == DYNAMIC_FLOAT else np.int64)
    for j, m in enumerate(metrics):
        values[which == j] = batch.column(m)[rows[owner[which == j]]]
    counts = np.count_nonzero(present, axis=0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    keys = text_array([batch.metrics.descriptors[m].name for m in metrics])
    of_arrays: Any = pa.MapArray.from_arrays
    return of_arrays(offsets, keys.take(pa.array(which)), values, type=kind, mask=pa.array(counts == 0))


def _labeled_pieces(batch: DataBatch, names: EntityNames, table: LabeledTable, entities: Order) -> Iterator[pa.Table]:
    columns_of_labels = LABEL_COLUMNS[table.group.name]
    place = np.zeros(batch.rows, np.int64)
    place[entities] = np.arange(entities.size)
    labels, which = np.unique(table.label, return_inverse=True)
    sets = [dict(batch.entities.labels.pairs[label] or ()) for label in labels.tolist()]
    texts = [text_array([pairs.get(name) for pairs in sets]).dictionary_encode() for name in columns_of_labels]
    codes = [column.indices.fill_null(NONE).to_numpy().astype(np.int32)[which] for column in texts]
    words = [column.dictionary for column in texts]
    ranks = [text_ranks(word)[code] for word, code in zip(words, codes, strict=True)]
    order = np.argsort(combined([place[table.row], *ranks]), kind="stable")
    for piece in _pieces(order.size):
        at = order[piece]
        columns = [_ticks(batch, at.size), *_names(names, table.row[at], len(IDENTITY))]
        columns += [trimmed(code[at], word) for code, word in zip(codes, words, strict=True)]
        for j, metric in enumerate(table.group.metrics):
            kind = pa.float64() if metric.is_float else pa.int64()
            columns.append(with_nulls(kind, table.column(j)[at], table.present[j, at]))
        yield pa.Table.from_arrays(columns, schema=SCHEMAS[table.group.name])
