"""Batches as arrays under names, and back.

A whole batch of n entities:

    layout, timestamp   int64 ()
    rows                int32 (n,), in the numbers of the process that wrote it
    times               int64 (clocks, n)
    share               bool (n,)
    about               the bytes of `About`, JSON: what follows is numbered by it
    p<i>, v<i>          of plain metric i: where it is present, (n,) bits packed; its values there, int64, of a float
                        metric the bits of a float64
    <group>.rows        int32 (k,), and .label int32 (k,) into `About.labels`, .values int64 and .present bool (m, k)

The window of a tick holds `layout`, `timestamp`, `rows`, `about`, `p<i>` and `v<i>` of the metrics kept for longer; the
light samples `layout`, `rows`, and `fields` int64 (FIELDS, n).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch, LabeledTable
from collector.core.entities import NULL, EntityTable
from collector.core.light import OWNER, LightStore
from collector.core.metrics import GROUPS, Clock, MetricTable
from collector.core.slots import Pin
from collector.core.store import LONG_METRICS, MetricStore
from sinks.warm.names import Owners

LAYOUT = 1
"""Another number: files of another version, which are not read."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class About(msgspec.Struct, frozen=True):
    """What the numbers in a batch stand for."""

    metrics: list[tuple[str, bool]]
    """Name of each plain metric, and whether it is a float."""
    labels: list[list[tuple[str, str]]] = []


class OtherLayoutError(Exception):
    """What was read is of another version."""


# Writing. The batch is frozen, so a thread may do it.


def whole(batch: DataBatch) -> dict[str, NDArray[Any]]:
    """All of a frozen batch."""
    rows = np.flatnonzero(batch.exists[: batch.rows]).astype(np.int32)
    used = [m for m in range(len(batch.metrics)) if batch.presence(m).any()]
    tables = [table for table in batch.labeled.values() if len(table)]
    labels = np.unique(np.concatenate([table.label for table in tables])) if tables else np.empty(0, np.int32)
    pairs = [list(batch.entities.labels.pairs[label] or ()) for label in labels.tolist()]
    found = _plain(batch, rows, used, pairs)
    found |= {"times": batch.times[:, rows], "share": batch.share[rows]}
    for table in tables:
        group = table.group.name
        found[f"{group}.rows"] = table.row
        found[f"{group}.label"] = np.searchsorted(labels, table.label).astype(np.int32)
        found[f"{group}.values"], found[f"{group}.present"] = table.values, table.present
    return found


def window(batch: DataBatch) -> dict[str, NDArray[Any]]:
    """Of a frozen batch what the store keeps for longer."""
    used = [m for name in LONG_METRICS if (m := batch.metrics.find(name)) is not None]
    rows = np.flatnonzero(batch.present[used, : batch.rows].any(axis=0)).astype(np.int32)
    return _plain(batch, rows, used, [])


def light(store: LightStore) -> dict[str, NDArray[Any]]:
    """The samples of the light cadence."""
    rows, fields = store.snapshot()
    return {"layout": np.array(LAYOUT, np.int64), "rows": rows.astype(np.int32), "fields": fields}


def _plain(
    batch: DataBatch, rows: NDArray[np.int32], used: Sequence[int], labels: list[list[tuple[str, str]]]
) -> dict[str, NDArray[Any]]:
    described = [batch.metrics.descriptors[m] for m in used]
    about = msgspec.json.encode(About([(metric.name, metric.is_float) for metric in described], labels))
    found: dict[str, NDArray[Any]] = {
        "layout": np.array(LAYOUT, np.int64),
        "timestamp": np.array(batch.timestamp, np.int64),
        "rows": rows,
        "about": np.frombuffer(about, np.uint8),
    }
    for i, m in enumerate(used):
        present = batch.present[m, rows]
        found[f"p{i}"] = np.packbits(present)
        found[f"v{i}"] = batch.cells[m, rows[present]]
    return found


# Reading. What is damaged makes itself known as one of many errors: see `files.UNREADABLE`.


def batch_of(arrays: Arrays, owners: Owners, entities: EntityTable, metrics: MetricTable) -> DataBatch:
    """The frozen batch that `whole` was given, in the rows of this process."""
    about, rows, known = _opened(arrays, owners)
    batch = DataBatch(entities, metrics, int(arrays["timestamp"]))
    batch.exists[rows[known]] = True
    batch.share[rows[known]] = arrays["share"][known]
    times = arrays["times"]
    if times.shape != (len(Clock), rows.size):
        raise OtherLayoutError
    batch.times[:, rows[known]] = times[:, known]
    for i, (name, is_float) in enumerate(about.metrics):
        m = metrics.named(name, is_float=is_float)
        if m is not None:
            at, values = _column(arrays, i, rows)
            batch.cells[m, at], batch.present[m, at] = values, True
    labels = np.array([entities.labels.intern(tuple(pairs)) for pairs in about.labels], np.int32)
    for group in GROUPS:
        if f"{group.name}.rows" in arrays:
            _fill(batch.labeled[group.name], arrays, owners, labels)
    batch.freeze()
    return batch


def take_window(arrays: Arrays, owners: Owners, entities: EntityTable, store: MetricStore) -> None:
    """Give the store what `window` was given."""
    about, rows, known = _opened(arrays, owners)
    pin: Pin = entities.pins.next()
    columns: dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]] = {}
    for i, (name, _) in enumerate(about.metrics):
        at, values = _column(arrays, i, rows)
        cells, present = np.zeros(entities.size, np.int64), np.zeros(entities.size, np.bool_)
        cells[at], present[at] = values, True
        columns[name] = cells, present
    entities.mark_seen(rows[known], pin.sequence)
    store.keep_window(int(arrays["timestamp"]), pin, columns)


def take_light(arrays: Arrays, owners: Owners, store: LightStore) -> None:
    """Give the light store what `light` was given."""
    if int(arrays["layout"]) != LAYOUT:
        raise OtherLayoutError
    rows, fields = owners.of(arrays["rows"]), arrays["fields"].copy()
    fields[OWNER] = owners.of(fields[OWNER].astype(np.int32))
    known = rows != NULL
    store.resume(rows[known], fields[:, known])


def _opened(arrays: Arrays, owners: Owners) -> tuple[About, NDArray[np.int32], NDArray[np.bool_]]:
    """What its numbers stand for, the rows in this process, and which of them are."""
    if int(arrays["layout"]) != LAYOUT:
        raise OtherLayoutError
    rows = owners.of(arrays["rows"])
    return msgspec.json.decode(arrays["about"].tobytes(), type=About), rows, rows != NULL


def _column(arrays: Arrays, i: int, rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The rows that have metric `i`, and its values there."""
    present = np.unpackbits(arrays[f"p{i}"], count=rows.size).astype(np.bool_)
    at = rows[present]
    return at[at != NULL], arrays[f"v{i}"][at != NULL]


def _fill(table: LabeledTable, arrays: Arrays, owners: Owners, labels: NDArray[np.int32]) -> None:
    group = table.group.name
    rows = owners.of(arrays[f"{group}.rows"])
    values, present = arrays[f"{group}.values"], arrays[f"{group}.present"]
    if len(values) != len(table.group.metrics):
        raise OtherLayoutError
    known = rows != NULL
    table.resume(rows[known], labels[arrays[f"{group}.label"][known]], values[:, known], present[:, known])
