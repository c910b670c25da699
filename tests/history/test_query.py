"""The embedded history answers what was exported."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from blockbuster import blockbuster_ctx

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FILESYSTEM, GROUPS, INDEX, Kind, MetricTable
from collector.errors import HistoryError
from collector.history import database, parquet
from collector.history.contracts import Aggregation, Bucket, EntityKey, History
from collector.history.parquet import ParquetHistory
from sinks.history import HistorySink
from tests.history.batches import HOUR, MINUTE, SEVERAL, START, Fleet
from tests.history.test_round_trip import HOSTILE

FOREVER = (0, 2**63 - 1)


async def export(directory: Path, *batches: DataBatch) -> None:
    sink = HistorySink(directory)
    for batch in batches:
        await sink.export(batch)
    await sink.stop()


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    found = ParquetHistory(tmp_path)
    yield found
    await found.stop()


def key_of(entities: EntityTable, row: int) -> EntityKey:
    labels = entities.label_set(row)
    kind = Kind(entities.kind[row])
    fields = {"namespace": "namespace_name", "pod": "pod_name", "container": "container_name"}
    if kind in {Kind.NODE, Kind.SYS_CONTAINER}:
        fields = {"node": "nodename", "container": "container_name"}
    return EntityKey(kind, **{name: labels.get(label, "") for name, label in fields.items()})


async def test_every_series_is_what_was_exported(tmp_path: Path, history: History) -> None:
    fleet = Fleet(SEVERAL)
    batches = [fleet.batch(START + k * 20 * MINUTE) for k in range(5)]
    await export(tmp_path, *batches)
    last = batches[-1]
    rows = np.flatnonzero(last.exists)[::7].tolist()
    for row in rows:
        key = key_of(fleet.entities, row)
        names = await history.metric_names(key, *FOREVER)
        plain = {last.metrics.descriptors[m].name for batch in batches for m in np.flatnonzero(batch.present[:, row])}
        labeled = {one.name for batch in batches for one in batch.labeled_of(row)}
        assert names == sorted(plain | labeled)
        for m, metric in list(last.metrics)[row % 5 :: 5]:
            (series,) = await history.series([key], metric.name, *FOREVER)
            expected = [(batch.timestamp, batch.value(row, m)) for batch in batches]
            expected = [(time, value) for time, value in expected if value is not None]
            assert list(zip(series.times.tolist(), series.values.tolist(), strict=True)) == expected
            assert not expected or series.values.dtype == metric.dtype


async def test_labelled_series_by_all_and_by_some_labels(tmp_path: Path, history: History) -> None:
    fleet = Fleet()
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    await export(tmp_path, *batches)
    row = int(batches[0].rows_of(Kind.POD_CONTAINER)[0])
    key = key_of(fleet.entities, row)
    for group in GROUPS:
        for metric in group.metrics:
            values: dict[str, list[tuple[int, float]]] = {}
            for batch in batches:
                for one in batch.labeled_of(row):
                    if one.name == metric.name:
                        values.setdefault(repr(one.labels), []).append((batch.timestamp, one.value))
            for labels in {repr(one.labels): one.labels for one in batches[0].labeled_of(row)}.values():
                (series,) = await history.series([key], metric.name, *FOREVER, labels)
                points = list(zip(series.times.tolist(), series.values.tolist(), strict=True))
                assert points == values.get(repr(labels), [])
            (series,) = await history.series([key], metric.name, *FOREVER)
            assert len(series) == sum(map(len, values.values()))
    (series,) = await history.series([key], "accelerator/duty_cycle", *FOREVER, {"make": "nvidia"})
    (both,) = await history.series([key], "accelerator/duty_cycle", *FOREVER)
    assert series.values.tolist() == both.values.tolist()
    for labels in ({"resource_id": "no such"}, {"nonsense": "/"}, {"type": "pod"}):
        assert [len(one) for one in await history.series([key], "filesystem/usage", *FOREVER, labels)] == [0]
    assert [len(one) for one in await history.series([key], "cpu/usage", *FOREVER, {"resource_id": "/"})] == [0]


async def test_entities_of_every_kind(tmp_path: Path, history: History) -> None:
    fleet = Fleet(SEVERAL)
    batch = fleet.batch(START)
    await export(tmp_path, batch)
    for kind in Kind:
        expected = sorted(key_of(fleet.entities, row) for row in batch.rows_of(kind).tolist())
        assert await history.entities(kind, *FOREVER) == expected
    pods = await history.entities(Kind.POD, *FOREVER)
    space = pods[0].namespace
    inside = [pod for pod in pods if pod.namespace == space]
    assert await history.entities(Kind.POD, *FOREVER, namespace=space) == inside
    containers = await history.entities(Kind.POD_CONTAINER, *FOREVER, namespace=space, pod=pods[0].pod)
    assert containers == [
        one
        for one in await history.entities(Kind.POD_CONTAINER, *FOREVER)
        if (one.namespace, one.pod) == (space, pods[0].pod)
    ]
    node = (await history.entities(Kind.NODE, *FOREVER))[0].node
    system = await history.entities(Kind.SYS_CONTAINER, *FOREVER, node=node)
    assert system == [one for one in await history.entities(Kind.SYS_CONTAINER, *FOREVER) if one.node == node]


async def test_both_ends_of_a_range_belong_to_it(tmp_path: Path, history: History) -> None:
    fleet = Fleet()
    ticks = [START + k * 40 * MINUTE for k in range(6)]
    await export(tmp_path, *(fleet.batch(tick) for tick in ticks))
    key = EntityKey(Kind.CLUSTER)
    (whole,) = await history.series([key], "memory/usage", *FOREVER)
    for start in [*whole.times.tolist(), START - HOUR, START + 1]:
        for end in [start - 1, start, ticks[3] - 1, ticks[3], ticks[3] + 1]:
            (found,) = await history.series([key], "memory/usage", start, end)
            assert found.times.tolist() == [time for time in whole.times.tolist() if start <= time <= end]
    assert await history.entities(Kind.CLUSTER, ticks[0], ticks[0]) == [key]
    assert await history.entities(Kind.CLUSTER, ticks[0] + 1, ticks[1] - 1) == []


async def test_several_entities_in_one_question_keep_their_order(tmp_path: Path, history: History) -> None:
    fleet = Fleet(SEVERAL)
    batches = [fleet.batch(START + k * MINUTE) for k in range(3)]
    await export(tmp_path, *batches)
    pods = await history.entities(Kind.POD, *FOREVER)
    wanted = [pods[5], EntityKey(Kind.POD, namespace="none", pod="such"), pods[0], pods[5]]
    found = await history.series(wanted, "memory/working_set", *FOREVER)
    for key, series in zip(wanted, found, strict=True):
        (alone,) = await history.series([key], "memory/working_set", *FOREVER)
        assert series.times.tolist() == alone.times.tolist()
        assert series.values.tolist() == alone.values.tolist()
    assert len(found[1]) == 0
    assert await history.series([], "memory/working_set", *FOREVER) == []


async def test_pods_and_containers_are_found_by_uid(tmp_path: Path, history: History) -> None:
    fleet = Fleet()
    batch = fleet.batch(START)
    await export(tmp_path, batch)
    usage = INDEX["cpu/usage"]
    row = int(batch.rows_of(Kind.POD_CONTAINER)[0])
    uid, name = fleet.entities.uid[fleet.entities.parent[row]], fleet.entities.name[row]
    key = EntityKey(Kind.POD_CONTAINER, pod_id=uid, container=name)
    found = await history.series(
        [key, EntityKey(Kind.POD_CONTAINER, pod_id="x", container=name)], "cpu/usage", *FOREVER
    )
    assert [series.values.tolist() for series in found] == [[batch.value(row, usage)], []]


async def test_aggregations_are_of_the_series(tmp_path: Path, history: History) -> None:
    entities, metrics = EntityTable(), MetricTable()
    batches = []
    for k in range(6):
        batch = DataBatch(entities, metrics, START + k * MINUTE)
        batch.put(INDEX["cpu/usage_rate"], np.array([entities.cluster]), np.array([330 + k]))
        batch.freeze()
        batches.append(batch)
    await export(tmp_path, *batches)
    wanted = [Aggregation.AVERAGE, Aggregation.MAXIMUM, Aggregation.COUNT]
    key = EntityKey(Kind.CLUSTER)
    (found,) = await history.aggregate(
        [key], "cpu/usage_rate", wanted, START + 1, START + 10 * MINUTE, bucket_ns=3 * MINUTE
    )
    average, maximum, count = wanted
    assert found == [
        Bucket(START, {average: 331.5, maximum: 332, count: 2}),
        Bucket(START + 3 * MINUTE, {average: 334.0, maximum: 335, count: 3}),
    ]
    assert await history.aggregate([key], "cpu/usage", wanted, *FOREVER) == [[]]


async def test_what_is_not_there_has_an_empty_answer(tmp_path: Path, history: History) -> None:
    nobody = EntityKey(Kind.POD, namespace="a", pod="b")
    for _ in range(2):  # without a directory, then without the entity
        assert await history.entities(Kind.NODE, *FOREVER, node="none") == []
        assert await history.metric_names(nobody, *FOREVER) == []
        for metric in ("cpu/usage", "filesystem/usage", "custom/none", "no such metric", 'cpu/usage" --', ""):
            assert [len(one) for one in await history.series([nobody, nobody], metric, *FOREVER)] == [0, 0]
        await export(tmp_path, Fleet().batch(START))


async def test_metrics_that_files_of_an_older_version_lack_are_absent(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet()
    await export(tmp_path, fleet.batch(START))
    (path,) = (tmp_path / "metrics").glob("*.parquet")
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"""COPY (SELECT * EXCLUDE ("memory/usage", dynamic_int, dynamic_float) FROM '{path}')
                TO '{path}.new' (FORMAT parquet)"""
        )
    path.with_name(path.name + ".new").replace(path)
    key = EntityKey(Kind.CLUSTER)
    assert [len(one) for one in await history.series([key], "memory/usage", *FOREVER)] == [0]
    assert [len(one) for one in await history.series([key], "custom/queries", *FOREVER)] == [0]
    assert "memory/usage" not in await history.metric_names(key, *FOREVER)
    await export(tmp_path, fleet.batch(START + HOUR), fleet.batch(START + 2 * HOUR), fleet.batch(START + 3 * HOUR))
    (series,) = await history.series([key], "memory/usage", *FOREVER)
    assert set(series.times.tolist()) <= {START + k * HOUR for k in (1, 2, 3)}
    assert len(series)


async def test_hostile_names_are_found_and_nothing_else(tmp_path: Path) -> None:
    entities, metrics = EntityTable(), MetricTable()
    rows = [entities.pod_row(name, name, entities.node_row(name)) for name in HOSTILE]
    batch = DataBatch(entities, metrics, START)
    batch.ensure_rows()
    batch.exists[rows] = True
    batch.put(INDEX["memory/usage"], np.array(rows), np.arange(len(rows)))
    custom = metrics.custom(HOSTILE[3])
    assert custom is not None
    batch.put(custom, np.array(rows), np.arange(len(rows)) / 2)
    labels = np.array([entities.labels.resource(name) for name in HOSTILE], np.int32)
    values = np.arange(5 * len(rows)).reshape(5, len(rows))
    batch.labeled[FILESYSTEM.name].append(np.array(rows, np.int32), labels, values)
    batch.freeze()
    directory = tmp_path / "a 'b' [c] *?" / 'ä"b'
    await export(directory, batch)
    (tmp_path / "a 'b' c x").mkdir()
    history = ParquetHistory(directory)
    for at, name in enumerate(HOSTILE):
        key = EntityKey(Kind.POD, namespace=name, pod=name)
        for metric, labels_of, value in (
            ("memory/usage", None, at),
            (f"custom/{HOSTILE[3]}", None, at / 2),
            ("filesystem/usage", {"resource_id": name}, at),
        ):
            (series,) = await history.series([key], metric, *FOREVER, labels_of)
            assert series.values.tolist() == [value]
    found = await history.entities(Kind.POD, *FOREVER)
    assert found == sorted(EntityKey(Kind.POD, namespace=name, pod=name) for name in HOSTILE)
    await history.stop()


# Files that change while they are asked.


async def test_answers_stay_whole_while_files_are_merged_and_removed(tmp_path: Path, history: History) -> None:
    fleet, sink = Fleet(), HistorySink(tmp_path)
    usage, stored = INDEX["memory/usage"], 0
    batches = [fleet.batch(START + k * 10 * MINUTE) for k in range(60)]
    batches = [batch for batch in batches if batch.value(fleet.entities.cluster, usage) is not None]
    expected = [batch.timestamp for batch in batches]

    async def ask() -> None:
        while stored < len(batches):
            before = stored
            (series,) = await history.series([EntityKey(Kind.CLUSTER)], "memory/usage", *FOREVER)
            times = series.times.tolist()
            assert times == expected[: len(times)]
            assert len(times) >= before

    asking = asyncio.create_task(ask())
    for batch in batches:
        await sink.export(batch)
        stored += 1
    await sink.stop()
    await asking


async def test_a_broken_file_is_an_error_that_names_the_history(tmp_path: Path, history: History) -> None:
    await export(tmp_path, Fleet().batch(START))
    (path,) = (tmp_path / "metrics").glob("*.parquet")
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(HistoryError, match=f"history in {tmp_path}: metrics cannot be queried"):
        await history.series([EntityKey(Kind.CLUSTER)], "memory/usage", *FOREVER)


# Limits.


def wait_in_query(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make every query take minutes of DuckDB's time; the event says that one has begun."""
    begun = threading.Event()

    def endless(
        self: object, running: object, paths: list[Path], start: int, end: int, query: object, *, union: bool
    ) -> object:
        with running.cursor(self._open()) as cursor:  # type: ignore[attr-defined]
            begun.set()
            return cursor.execute(
                "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
            ).fetchnumpy()

    monkeypatch.setattr(database.Database, "_run", endless)
    return begun


async def test_a_query_past_its_deadline_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await export(tmp_path, Fleet().batch(START))
    wait_in_query(monkeypatch)
    history = ParquetHistory(tmp_path, deadline_s=0.2)
    with pytest.raises(HistoryError, match=r"took longer than 0\.2 s and was stopped; ask for a shorter range"):
        await history.entities(Kind.NODE, *FOREVER)
    await history.stop()


async def test_more_points_or_names_than_an_answer_may_hold(
    tmp_path: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(SEVERAL)
    await export(tmp_path, *(fleet.batch(START + k * MINUTE) for k in range(4)))
    pods = (await history.entities(Kind.POD, *FOREVER))[:2]
    many = sum(map(len, await history.series(pods, "cpu/usage", *FOREVER)))
    monkeypatch.setattr(parquet, "MAX_POINTS", many)
    monkeypatch.setattr(parquet, "MAX_AGGREGATED", many)
    assert sum(map(len, await history.series(pods, "cpu/usage", *FOREVER))) == many
    assert len(await history.aggregate(pods, "cpu/usage", [Aggregation.COUNT], *FOREVER)) == 2
    monkeypatch.setattr(parquet, "MAX_POINTS", many - 1)
    monkeypatch.setattr(parquet, "MAX_AGGREGATED", many - 1)
    with pytest.raises(HistoryError, match=f"more than {many - 1} points of cpu/usage"):
        await history.series(pods, "cpu/usage", *FOREVER)
    with pytest.raises(HistoryError, match=f"more than {many - 1} points of cpu/usage"):
        await history.aggregate(pods, "cpu/usage", [Aggregation.COUNT], *FOREVER)
    monkeypatch.setattr(parquet, "MAX_NAMES", 1)
    with pytest.raises(HistoryError, match="more than 1 entities of type pod"):
        await history.entities(Kind.POD, *FOREVER)


async def test_a_cancelled_query_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await export(tmp_path, Fleet().batch(START))
    begun = wait_in_query(monkeypatch)
    history = ParquetHistory(tmp_path)
    task = asyncio.create_task(history.entities(Kind.NODE, *FOREVER))
    while not begun.is_set():
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await history.stop()


async def test_the_database_reaches_nothing_but_its_directory(tmp_path: Path) -> None:
    await export(tmp_path / "history", Fleet().batch(START))
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    history = ParquetHistory(tmp_path / "history")
    await history.entities(Kind.NODE, *FOREVER)
    connection = history._database._connection
    assert connection is not None
    for text in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM read_csv('{tmp_path}/history/../secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.parquet'",
        f"ATTACH '{tmp_path}/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '10GB'",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(text)
    await history.stop()


async def test_no_file_is_touched_on_the_event_loop(tmp_path: Path, history: History) -> None:
    await export(tmp_path, Fleet().batch(START))
    with blockbuster_ctx():
        assert await history.entities(Kind.NODE, *FOREVER)
        assert await history.series([EntityKey(Kind.CLUSTER)], "memory/usage", *FOREVER)
