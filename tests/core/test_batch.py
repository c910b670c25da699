"""DataBatch and its labelled tables: cells, presence, growth, freezing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.batch import DataBatch, LabeledMetric, LabeledTable
from collector.core.entities import NULL, EntityTable
from collector.core.intake import Intake
from collector.core.metrics import DISK, FILESYSTEM, FLOAT64, INDEX, METRICS, Clock, Kind, MetricTable
from tests.core.samples import CPU, RSS, sample

RATE = INDEX["network/rx_rate"]
WEB = ("default", "web-1")


@pytest.fixture
def batch() -> DataBatch:
    """An open batch of one node, one pod, one container."""
    batch = DataBatch(EntityTable(), MetricTable(), 60)
    intake = Intake(batch)
    intake.add(sample("node-a", {WEB: ["nginx"]}, value=5, volumes={WEB: ["v", "w"]}))
    intake.flush()
    return batch


def pod_of(batch: DataBatch) -> int:
    return batch.entities.find_pod(*WEB)


@pytest.mark.parametrize("value", [0, 1, 2**53 + 1, 2**63 - 1])
def test_an_integer_cell_keeps_every_bit(batch: DataBatch, value: int) -> None:
    row = pod_of(batch)
    batch.put(CPU, np.array([row]), np.array([value], np.int64))
    assert batch.value(row, CPU) == value
    assert batch.metric_set(row).metrics["cpu/usage"] == value
    assert batch.column(CPU)[row] == value


@given(st.floats(allow_nan=False))
def test_a_float_cell_keeps_every_bit(value: float) -> None:
    batch = DataBatch(EntityTable(), MetricTable(), 0)
    row = batch.entities.node_row("node-a")
    batch.ensure_rows()
    batch.put(RATE, np.array([row]), np.array([value], FLOAT64))
    assert batch.column(RATE).dtype == FLOAT64
    assert batch.value(row, RATE) == value
    assert isinstance(batch.value(row, RATE), float)


def test_a_value_is_absent_until_it_is_put_and_zero_is_a_value(batch: DataBatch) -> None:
    row = pod_of(batch)
    assert batch.value(row, RATE) is None
    assert row not in batch.rows_with(RATE)
    batch.put(RATE, np.array([row]), np.array([0.0]))
    assert batch.value(row, RATE) == 0.0
    assert batch.presence(RATE)[row]
    assert batch.rows_with(RATE).tolist() == [row]
    assert batch.metric_set(row).metrics == {"cpu/usage": 5, "network/rx_rate": 0.0}


def test_no_value_is_found_outside_the_rows(batch: DataBatch) -> None:
    for row in (NULL, batch.rows, 10**9):
        assert batch.value(row, CPU) is None


def test_rows_and_counts_by_kind(batch: DataBatch) -> None:
    entities = batch.entities
    entities.node_row("not in this batch")
    assert batch.rows_of(Kind.NODE).tolist() == [entities.find_node("node-a")]
    assert batch.rows_of(Kind.POD).tolist() == [pod_of(batch)]
    assert [batch.count(kind) for kind in Kind] == [0, 1, 0, 1, 1, 0]
    batch.freeze()
    assert [batch.count(kind) for kind in Kind] == [1, 1, 0, 1, 1, 0]
    assert set(batch.metric_sets()) == {
        "cluster",
        "node:node-a",
        "namespace:default/pod:web-1",
        "namespace:default/pod:web-1/container:nginx",
    }


def test_growth_keeps_what_was_written(batch: DataBatch) -> None:
    row, capacity = pod_of(batch), batch.cells.shape[1]
    batch.put(RATE, np.array([row]), np.array([1.5]))
    batch.times[Clock.SCRAPE, row] = 9
    entities = batch.entities
    for i in range(2 * capacity):
        entities.pod_row("crowd", f"pod-{i}")
    batch.ensure_rows()
    assert batch.rows == entities.size > capacity
    assert batch.cells.shape == (batch.metrics.capacity, batch.exists.size)
    assert batch.present.shape == batch.cells.shape
    assert batch.times.shape == (len(Clock), batch.exists.size)
    found = batch.metric_set(row)
    assert (found.metrics, found.scrape_time) == ({"cpu/usage": 5, "network/rx_rate": 1.5}, 9)
    assert [batch.count(kind) for kind in Kind] == [0, 1, 0, 1, 1, 0]
    last = entities.find_pod("crowd", f"pod-{2 * capacity - 1}")
    batch.put(CPU, np.array([last]), np.array([7]))
    assert batch.value(last, CPU) == 7


def test_forgetting_a_row_leaves_nothing_of_it_and_everything_of_the_others(batch: DataBatch) -> None:
    pod, node = pod_of(batch), batch.entities.find_node("node-a")
    batch.times[:, [pod, node]] = 3
    batch.forget(np.array([pod], np.int32))
    assert not batch.exists[pod]
    assert not batch.present[:, pod].any()
    assert not batch.times[:, pod].any()
    batch.freeze()
    assert batch.labeled_of(pod) == []
    assert (batch.value(node, CPU), batch.times[Clock.CPU, node]) == (5, 3)


# Freezing.

SCRIBBLES: dict[str, Callable[[DataBatch], None]] = {
    "put": lambda batch: batch.put(CPU, np.array([0]), np.array([1])),
    "cells": lambda batch: batch.cells.fill(0),
    "a column": lambda batch: batch.column(CPU).fill(0),
    "a float column": lambda batch: batch.column(RATE).fill(0),
    "presence": lambda batch: batch.presence(CPU).fill(1),
    "exists": lambda batch: batch.exists.fill(1),
    "times": lambda batch: batch.times.fill(1),
    "forget": lambda batch: batch.forget(np.array([0], np.int32)),
    "a labelled row": lambda batch: batch.labeled["filesystem"].row.fill(1),
    "a labelled label": lambda batch: batch.labeled["filesystem"].label.fill(1),
    "labelled values": lambda batch: batch.labeled["filesystem"].values.fill(1),
    "labelled presence": lambda batch: batch.labeled["filesystem"].present.fill(1),
    "a labelled column": lambda batch: batch.labeled["filesystem"].column(0).fill(1),
    "a labelled append": lambda batch: batch.labeled["disk"].append(
        np.array([0], np.int32), np.array([0], np.int32), np.array([[1]])
    ),
}


@pytest.mark.parametrize("scribble", SCRIBBLES.values(), ids=SCRIBBLES)
def test_a_frozen_batch_refuses_every_write(batch: DataBatch, scribble: Callable[[DataBatch], None]) -> None:
    batch.freeze()
    before = batch.metric_sets()
    with pytest.raises(ValueError, match="read-only"):
        scribble(batch)
    assert batch.metric_sets() == before


def test_every_array_of_a_frozen_batch_is_read_only_also_the_empty_ones(batch: DataBatch) -> None:
    batch.freeze()
    assert batch.frozen
    arrays = [batch.cells, batch.present, batch.exists, batch.times]
    for table in batch.labeled.values():
        arrays += [table.row, table.label, table.values, table.present]
    assert not any(array.flags.writeable for array in arrays)


def test_freezing_marks_rows_and_label_sets_as_held(batch: DataBatch) -> None:
    entities = batch.entities
    stub = entities.child_row(Kind.POD_CONTAINER, entities.pod_row("other", "pending"), "stub", NULL)
    batch.ensure_rows()
    batch.exists[stub] = True
    entities.last_seen[: entities.size] = entities.labels.last_seen[:] = 0
    batch.freeze()
    assert entities.sweep() == 0
    assert entities.find_child(entities.find_pod("other", "pending"), "stub") == stub
    assert len(batch.metric_set(pod_of(batch)).labeled) == 2


# Labelled tables.


def test_labelled_values_are_found_by_row_in_the_order_reported(batch: DataBatch) -> None:
    batch.freeze()
    assert batch.labeled_of(pod_of(batch)) == [
        LabeledMetric("filesystem/usage", {"resource_id": "Volume:v"}, 5),
        LabeledMetric("filesystem/usage", {"resource_id": "Volume:w"}, 5),
    ]
    assert batch.labeled_of(batch.entities.find_node("node-a")) == []


entries = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.lists(st.integers(-1, 2**63 - 1), min_size=5, max_size=5))
)


def append(table: LabeledTable, pieces: list[list[tuple[int, int, list[int]]]]) -> None:
    for piece in pieces:
        table.append(
            np.array([row for row, _, _ in piece], np.int32),
            np.array([label for _, label, _ in piece], np.int32),
            np.array([values for _, _, values in piece], np.int64).reshape(-1, 5).T,
        )


@given(st.lists(entries), st.lists(st.integers(0, 5), max_size=3), st.lists(entries), st.integers(0, 50))
def test_a_labelled_table_equals_a_list_of_tuples(
    pieces: list[list[tuple[int, int, list[int]]]],
    gone: list[int],
    later: list[list[tuple[int, int, list[int]]]],
    room: int,
) -> None:
    table = LabeledTable(FILESYSTEM, room)
    append(table, pieces)
    table.join()
    table.of(0)  # looking does not change what a later look sees
    table.forget(np.array(gone, np.int32))
    append(table, later)
    table.freeze()
    expected = [entry for piece in pieces for entry in piece if entry[0] not in gone]
    expected += [entry for piece in later for entry in piece]
    assert all(array.flags.c_contiguous for array in (table.row, table.label, table.values, table.present))
    assert len(table) == len(expected)
    for row in range(6):
        found = [
            (row, int(table.label[k]), [int(table.values[j, k]) if table.present[j, k] else -1 for j in range(5)])
            for k in table.of(row).tolist()
        ]
        assert found == [entry for entry in expected if entry[0] == row]


def test_the_metrics_of_a_group_that_a_source_does_not_give_are_absent() -> None:
    table = LabeledTable(DISK)
    table.append(np.array([1], np.int32), np.array([0], np.int32), np.array([[10], [20]], np.int64))
    table.join()
    rate = DISK.column("disk/io_read_bytes_rate")
    assert rate is not None
    assert table.present[:, 0].tolist() == [True, True, False, False]
    table.column(rate)[0] = 0.25
    table.present[rate, 0] = True
    table.freeze()
    assert table.column(rate)[0] == 0.25
    assert table.column(0).tolist() == [10]
    assert DISK.column("filesystem/usage") is None


def test_a_metric_that_appears_while_running_has_a_column_in_batches_already_open(batch: DataBatch) -> None:
    m = batch.metrics.custom("queue")
    assert m == len(METRICS)
    batch.put(m, np.array([pod_of(batch)]), np.array([2.5]))
    batch.freeze()
    assert batch.metric_set(pod_of(batch)).metrics == {"cpu/usage": 5, "custom/queue": 2.5}
    assert batch.rows_with(RSS).size == 0
