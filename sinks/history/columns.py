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
from sinks.history.names import COLUMNS, NONE, Codes, EntityNames, text_array, text_ranks
from sinks.history.schema import (
    DYNAMIC_FLOAT,
    DYNAMIC_INT,
    IDENTITY,
    KEY,
    LABEL_COLUMNS,
    METRICS_TABLE,
    SCHEMAS,
    TEXT_TYPE,
    TIME_TYPE,
)

PIECE_ROWS = 8192

Order = NDArray[np.intp]


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


def combined(ranks: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """One number for each position that orders as the columns `ranks`, (n,) each and not negative, do one after the
    other.
    """
    total = ranks[0].astype(np.int64)
    for column in ranks[1:]:
        width = int(column.max(initial=0)) + 1
        if int(total.max(initial=0)) >= 2**62 // width:
            total = np.unique(total, return_inverse=True)[1]  # below n, so that n times a width fits again
        total = total * width + column
    return total


def trimmed(codes: Codes, words: pa.StringArray) -> pa.DictionaryArray:
    """A text column with only the words it uses: Parquet stores the dictionary with every row group.

    `codes` is (n,), NONE for null. The words are in order of first use.
    """
    valid = np.flatnonzero(codes != NONE)
    used = codes[valid]
    place = np.empty(len(words), np.int32)
    place[used[::-1]] = np.arange(used.size - 1, -1, -1, dtype=np.int32)  # of equal ones the first stays
    first = place[used] == np.arange(used.size)
    place[used[first]] = np.arange(np.count_nonzero(first), dtype=np.int32)
    indices = np.zeros(codes.size, np.int32)
    indices[valid] = place[used]
    chosen = words.take(pa.array(used[first]))
    return pa.DictionaryArray.from_arrays(
        with_nulls(pa.int32(), indices, codes != NONE), chosen, safe=False
    )


def with_nulls(kind: pa.DataType, values: NDArray[Any], present: NDArray[np.bool_]) -> Any:
    """`values`, (n,), as an Arrow array of type `kind` that shares their memory; null where not `present`."""
    count = int(np.count_nonzero(present))
    if count == 0:
        return pa.nulls(values.size, kind)
    mask = None if count == values.size else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(kind, values.size, [mask, pa.py_buffer(values)], values.size - count)


def _pieces(count: int) -> Iterator[slice]:
    return (slice(start, min(count, start + PIECE_ROWS)) for start in range(0, count, PIECE_ROWS))


def _ticks(batch: DataBatch, count: int) -> Any:
    return with_nulls(TIME_TYPE, np.full(count, batch.timestamp, np.int64), np.ones(count, np.bool_))


def _names(names: EntityNames, rows: Order, columns: int) -> list[pa.DictionaryArray]:
    """The first `columns` of COLUMNS for `rows`."""
    return [trimmed(names.codes[column, rows], names.texts[column].array) for column in range(columns)]


def _plain_pieces(batch: DataBatch, names: EntityNames, order: Order) -> Iterator[pa.Table]:
    known = len(METRICS)
    dynamic = [m for m, _ in batch.metrics if m >= known and batch.presence(m).any()]
    filled = batch.present[:known, : batch.rows].any(axis=1)
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


def _stored(names: EntityNames, rows: Order) -> Any:
    """The map of further labels, null where there are none."""
    kind = SCHEMAS[METRICS_TABLE].field("stored_labels").type
    codes = names.stored[rows]
    if not (codes != NONE).any():
        return pa.nulls(rows.size, kind)
    used, places = np.unique(codes, return_inverse=True)
    sets = pa.array([None if code == NONE else list(names.extras.words[code]) for code in used.tolist()], kind)
    return sets.take(pa.array(places))


def _dynamic(batch: DataBatch, metrics: Sequence[int], rows: Order, name: str) -> Any:
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
    keys = text_array([batch.metrics.descriptors[m].name for m in metrics]).take(pa.array(which))
    missing = pa.array(counts == 0)
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values), type=kind, mask=missing)


def _labeled_pieces(batch: DataBatch, names: EntityNames, table: LabeledTable, entities: Order) -> Iterator[pa.Table]:
    columns_of_labels = LABEL_COLUMNS[table.group.name]
    place = np.zeros(batch.rows, np.int64)
    place[entities] = np.arange(entities.size)
    labels, which = np.unique(table.label, return_inverse=True)
    sets = [dict(batch.entities.labels.pairs[label] or ()) for label in labels.tolist()]
    texts = [text_array([pairs.get(name) for pairs in sets]).dictionary_encode() for name in columns_of_labels]
    codes = [column.indices.fill_null(NONE).to_numpy().astype(np.int32)[which] for column in texts]
    words = [column.dictionary for column in texts]
    ranks = [np.append(text_ranks(word) + 1, 0)[code] for word, code in zip(words, codes, strict=True)]
    order = np.argsort(combined([place[table.row], *ranks]), kind="stable")
    for piece in _pieces(order.size):
        at = order[piece]
        columns = [_ticks(batch, at.size), *_names(names, table.row[at], len(IDENTITY))]
        columns += [trimmed(code[at], word) for code, word in zip(codes, words, strict=True)]
        for j, metric in enumerate(table.group.metrics):
            kind = pa.float64() if metric.is_float else pa.int64()
            columns.append(with_nulls(kind, table.column(j)[at], table.present[j, at]))
        yield pa.Table.from_arrays(columns, schema=SCHEMAS[table.group.name])
