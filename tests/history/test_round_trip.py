"""What was exported is what is read back: every cell, by pyarrow and by DuckDB."""

import re
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sinks.history
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FILESYSTEM, GROUPS, INDEX, METRICS, MetricTable
from sinks.history import HistorySink
from sinks.history.schema import LABEL_COLUMNS, SCHEMAS
from tests.history.batches import (
    HOUR,
    MINUTE,
    SEVERAL,
    START,
    Fleet,
    exactly,
    expected_rows,
    files_of,
    rows_by_arrow,
    rows_by_duckdb,
)

HOSTILE = (
    "../../etc/passwd",
    "/",
    ".",
    "a'b",
    'a"b',
    "a\nb",
    "a\0b",
    "'; DROP TABLE x; --",
    "$type",
    "%s{0}",
    "käse 🧀 世界",
    "\u202ertl",
    " ",
    "x" * 5000,
    "[abc]*?",
    "\ufeff",
)


async def export(directory: Path, *batches: DataBatch) -> None:
    sink = HistorySink(directory)
    for batch in batches:
        await sink.export(batch)
    await sink.stop()


async def test_every_cell_of_recorded_answers_is_read_back(tmp_path: Path) -> None:
    batch = Fleet(SEVERAL).batch(START + MINUTE)
    await export(tmp_path, batch)
    for table, rows in expected_rows(batch).items():
        assert rows, f"the captures have no {table}"
        paths = files_of(tmp_path, table)
        assert exactly(rows_by_arrow(paths)) == exactly(rows)
        assert exactly(rows_by_duckdb(paths)) == exactly(rows)


async def test_several_ticks_and_hours_are_read_back(tmp_path: Path) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * 25 * MINUTE) for k in range(6)]
    await export(tmp_path, *batches)
    for table in SCHEMAS:
        expected = [row for batch in batches for row in expected_rows(batch)[table]]
        assert exactly(rows_by_arrow(files_of(tmp_path, table))) == exactly(expected)
    hours = {path.name.partition(".")[0] for path in files_of(tmp_path, "metrics")}
    assert hours == {"2026-11-23T00", "2026-11-23T01", "2026-11-23T02"}


async def test_labels_that_change_between_ticks_are_those_of_their_tick(tmp_path: Path) -> None:
    fleet, batches = Fleet(), []
    sink = HistorySink(tmp_path)
    expected = []
    for k in range(3):
        batches.append(fleet.batch(START + k * MINUTE))
        for row in fleet.entities.namespaces.values():
            fleet.entities.set_own_labels(row, {"namespace_id": f"changed-{k}"})
        expected += expected_rows(batches[-1])["metrics"]
        await sink.export(batches[-1])
    await sink.stop()
    assert exactly(rows_by_arrow(files_of(tmp_path, "metrics"))) == exactly(expected)


async def test_a_row_that_changed_hands_has_the_names_of_its_new_owner(tmp_path: Path) -> None:
    entities, metrics = EntityTable(), MetricTable()
    sink = HistorySink(tmp_path)
    expected, used = [], []
    for k in range(4):
        batch = DataBatch(entities, metrics, START + k * MINUTE)
        node = entities.node_row(f"node-{k}")
        used.append(node)
        batch.ensure_rows()
        batch.exists[node] = True
        batch.put(INDEX["memory/usage"], np.array([node]), np.array([k]))
        batch.freeze()
        expected += expected_rows(batch)["metrics"]
        await sink.export(batch)
        del batch
        entities.sweep()
    await sink.stop()
    assert len(set(used)) < len(used), "no row was used twice"
    assert exactly(rows_by_arrow(files_of(tmp_path, "metrics"))) == exactly(expected)


async def test_hostile_names_are_values_and_nothing_else(tmp_path: Path) -> None:
    entities, metrics = EntityTable(), MetricTable()
    batch = DataBatch(entities, metrics, START)
    rows = []
    for name in HOSTILE:
        node = entities.node_row(name)
        pod = entities.pod_rows([name], [name], [name], node)[0]
        entities.set_own_labels(pod, {"labels": name, name: name})
        (container,) = entities.container_rows([pod], [1], [name], node)
        entities.set_own_labels(container, {"container_base_image": name})
        rows += [node, pod, container, entities.find_namespace(name)]
    batch.ensure_rows()
    batch.exists[rows] = True
    for name in HOSTILE[:8]:
        custom = metrics.custom(name)
        assert custom is not None
        batch.put(custom, np.array(rows), np.arange(len(rows), dtype=np.float64))
    labels = np.array([entities.labels.resource(name) for name in HOSTILE for _ in range(4)], np.int32)
    values = np.arange(5 * len(rows)).reshape(5, len(rows))
    batch.labeled[FILESYSTEM.name].append(np.array(rows, np.int32), labels, values)
    batch.freeze()
    directory = tmp_path / "deep" / "history [1]*?"
    await export(directory, batch)
    expected = expected_rows(batch)
    assert exactly(rows_by_arrow(files_of(directory, "metrics"))) == exactly(expected["metrics"])
    assert exactly(rows_by_arrow(files_of(directory, "filesystem"))) == exactly(expected["filesystem"])
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    name = "2026-11-23T00.000001-000001.parquet"
    assert found == {f"deep/history [1]*?/{path}" for path in ("lock", f"metrics/{name}", f"filesystem/{name}")}


async def test_half_a_surrogate_pair_in_a_name_does_not_lose_the_tick(tmp_path: Path) -> None:
    entities, metrics = EntityTable(), MetricTable()
    node = entities.node_row("broken \ud800 name")
    batch = DataBatch(entities, metrics, START)
    batch.ensure_rows()
    batch.exists[node] = True
    batch.freeze()
    await export(tmp_path, batch)
    (path,) = files_of(tmp_path, "metrics")
    assert pq.read_table(path, columns=["nodename"])["nodename"].to_pylist() == [None, "broken ? name"]


async def test_absent_is_null_and_zero_is_zero(tmp_path: Path) -> None:
    entities, metrics = EntityTable(), MetricTable()
    rows = np.array([entities.node_row(f"node-{k}") for k in range(3)])
    batch = DataBatch(entities, metrics, START)
    batch.ensure_rows()
    batch.exists[rows] = True
    batch.put(INDEX["memory/usage"], rows[:1], np.array([0]))
    batch.put(INDEX["network/rx_rate"], rows[1:2], np.array([0.0]))
    batch.freeze()
    await export(tmp_path, batch)
    (path,) = files_of(tmp_path, "metrics")
    table = pq.read_table(path).slice(1)  # the cluster comes first
    assert table["memory/usage"].to_pylist() == [0, None, None]
    assert table["network/rx_rate"].to_pylist() == [None, 0.0, None]
    assert table["memory/rss"].null_count == 3


async def test_every_file_has_every_column_in_its_documented_type(tmp_path: Path) -> None:
    fleet = Fleet()
    await export(tmp_path, *(fleet.batch(START + k * HOUR) for k in range(2)))
    wide = {pq.read_schema(path).remove_metadata() for path in files_of(tmp_path, "metrics")}
    assert len(wide) == 1
    (schema,) = wide
    for metric in METRICS:
        assert schema.field(metric.name).type == (pa.float64() if metric.is_float else pa.int64())
    for group in GROUPS:
        (path, *_) = files_of(tmp_path, group.name)
        expected = ["time", "type", "namespace_name", "pod_name", "container_name", "nodename", "pod_id"]
        expected += [*LABEL_COLUMNS[group.name], *(metric.name for metric in group.metrics)]
        assert pq.read_schema(path).names == expected
    for name in ("time", "start_time", "scrape_time"):
        assert schema.field(name).type == pa.timestamp("ns", "UTC")


def test_every_label_of_a_labelled_value_has_a_column() -> None:
    fleet = Fleet(SEVERAL)
    batch = fleet.batch(START)
    for name, table in batch.labeled.items():
        keys = {key for label in table.label.tolist() for key, _ in fleet.entities.labels.pairs[label] or ()}
        assert keys == set(LABEL_COLUMNS[name])


async def test_the_documented_lines_open_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet()
    await export(tmp_path, *(fleet.batch(START + k * HOUR) for k in range(2)))
    monkeypatch.chdir(tmp_path)
    documented = sinks.history.__doc__ or ""
    line = re.search(r"duckdb\.sql\((.*)\)\.show\(\)", documented)
    assert line is not None
    query = line[1].strip('"').replace("DIR/", "")
    with duckdb.connect(":memory:") as connection:
        pods = connection.execute(query.replace("FROM", "SELECT count(*) FROM", 1)).fetchall()
    expected = sum(row["type"] == "pod" for row in expected_rows(fleet.batch(START))["metrics"])
    assert pods == [(2 * expected,)]
    line = re.search(r'pandas\.read_parquet\("DIR/(\w+)", columns=(\[.*\])\)', documented)
    assert line is not None
    # What pandas does with these arguments, pandas itself being no dependency.
    columns = [name.strip(' "') for name in line[2].strip("[]").split(",")]
    assert len(pq.read_table(line[1], columns=columns)) == 2 * len(expected_rows(fleet.batch(START))["metrics"])
