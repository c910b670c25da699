"""InfluxHistory against a real InfluxDB 1.6: what was written is asked back, and computed as we do it."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.core.metrics import Kind
from collector.core.visibility import EVERYTHING
from collector.errors import HistoryError
from collector.history import influxdb as module
from collector.history.aggregate import aggregate
from collector.history.contracts import Aggregation, Bucket, EntityKey, Series
from collector.history.influxdb import InfluxHistory, InfluxServer
from collector.history.influxql import EARLIEST, LATEST, Schema
from sinks.base import build
from sinks.influxdb import InfluxdbSink
from tests.servers import Influxd, free_port, influxd
from tests.sinks.batches import MINUTE, ODD_LABELS, TIMESTAMP, Cluster

SECOND = 1_000_000_000
START = 1_795_397_280 * SECOND
ALWAYS = EARLIEST, LATEST
CLUSTER = EntityKey(Kind.CLUSTER)
PICKING = {
    Aggregation.MAXIMUM, Aggregation.MINIMUM,
    Aggregation.PERCENTILE_50, Aggregation.PERCENTILE_95, Aggregation.PERCENTILE_99,
}  # fmt: skip
SCHEMAS = pytest.mark.parametrize("with_fields", [False, True])

Made = Callable[[str], InfluxdbSink]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    with influxd(tmp_path_factory.mktemp("influxd")) as running:
        yield running


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def past_of(sink: Any, closing: AsyncExitStack) -> InfluxHistory:
    history = sink.history()
    assert isinstance(history, InfluxHistory)
    closing.push_async_callback(sink.stop)
    closing.push_async_callback(history.stop)
    return history


def asking(url: str, database: str, closing: AsyncExitStack, timeout_s: float = 20.0, **words: str) -> InfluxHistory:
    who = {"user": "root", "password": "root"} | words
    history = InfluxHistory(InfluxServer(url=url, database=database, timeout_s=timeout_s, **who), Schema())
    closing.push_async_callback(history.stop)
    return history


# What the sink has written.


@SCHEMAS
async def test_what_the_sink_wrote_is_found_again(server: Influxd, closing: AsyncExitStack, with_fields: bool) -> None:
    sink = build(
        f"influxdb:{server.url}?db=found-{with_fields}&withfields={with_fields}&store_pod_id=true",
        visibility=EVERYTHING,
    )
    history, cluster = past_of(sink, closing), Cluster(pods=4)
    batches = [cluster.batch(TIMESTAMP + k * MINUTE, seed=k) for k in range(3)]
    for batch in batches:
        await sink.export(batch)
    pods = await history.entities(Kind.POD, *ALWAYS)
    assert pods == [EntityKey(Kind.POD, namespace="default", pod=f"web-{i}") for i in range(4)]
    containers = await history.entities(Kind.POD_CONTAINER, *ALWAYS, namespace="default", pod="web-1")
    assert [one.container for one in containers] == ["log,agent", "nginx"]
    for key, row in [(CLUSTER, 0), (containers[0], cluster.containers[3]), (pods[2], cluster.pods[2])]:
        entity = batches[0].metric_sets()[cluster.entities.key(row)]
        names = await history.metric_names(key, *ALWAYS)
        assert set(names) == {*entity.metrics, *(one.name for one in entity.labeled)}
        for name in entity.metrics:
            (series,) = await history.series([key], name, *ALWAYS)
            values = [batch.metric_sets()[cluster.entities.key(row)].metrics[name] for batch in batches]
            assert series.values.tolist() == values, (key, name)
            assert series.times.tolist() == [batch.timestamp for batch in batches]
    uid = EntityKey(Kind.POD_CONTAINER, pod_id="uid-1", container="nginx")
    by_name = EntityKey(Kind.POD_CONTAINER, namespace="default", pod="web-1", container="nginx")
    nobody = EntityKey(Kind.POD_CONTAINER, pod_id="uid-9", container="nginx")
    found = await history.series([by_name, nobody, uid], "cpu/usage", *ALWAYS)
    assert [len(one) for one in found] == [3, 0, 3]
    assert found[0].values.tolist() == found[2].values.tolist()


@SCHEMAS
async def test_entities_of_every_kind(server: Influxd, closing: AsyncExitStack, with_fields: bool) -> None:
    sink = build(f"influxdb:{server.url}?db=kinds-{with_fields}&withfields={with_fields}")
    history, cluster = past_of(sink, closing), Cluster(pods=2)
    for kind in Kind:
        assert await history.entities(kind, *ALWAYS) == []
    await sink.export(cluster.batch())
    assert await history.entities(Kind.CLUSTER, *ALWAYS) == [CLUSTER]
    assert await history.entities(Kind.NODE, *ALWAYS) == [EntityKey(Kind.NODE, node="node-a")]
    assert await history.entities(Kind.NODE, *ALWAYS, node="node-a") == [EntityKey(Kind.NODE, node="node-a")]
    assert await history.entities(Kind.NODE, *ALWAYS, node="node-b") == []
    assert await history.entities(Kind.NAMESPACE, *ALWAYS) == [EntityKey(Kind.NAMESPACE, namespace="default")]
    assert await history.entities(Kind.SYS_CONTAINER, *ALWAYS) == []
    assert len(await history.entities(Kind.POD_CONTAINER, *ALWAYS)) == 4
    assert len(await history.entities(Kind.POD, *ALWAYS, node="node-a")) == 2
    assert await history.entities(Kind.POD, *ALWAYS, node="node-b") == []
    assert await history.entities(Kind.POD, *ALWAYS, namespace="de'fault\\") == []
    # Existence is known by the shard, which is a week.
    assert await history.entities(Kind.POD, TIMESTAMP + 30 * 86_400 * SECOND, LATEST) == []


async def test_labelled_values_by_their_labels(server: Influxd, closing: AsyncExitStack) -> None:
    sink = build(f"influxdb:{server.url}?db=labelled")
    history, cluster = past_of(sink, closing), Cluster(pods=1)
    batch = cluster.batch()
    await sink.export(batch)
    key = EntityKey(Kind.POD_CONTAINER, namespace="default", pod="web-0", container="log,agent")
    values = {
        one.labels["resource_id"]: one.value
        for one in batch.metric_sets()[cluster.entities.key(cluster.containers[1])].labeled
        if one.name == "filesystem/usage"
    }
    assert values.keys() == {"/", "logs"}
    for resource, value in values.items():
        (series,) = await history.series([key], "filesystem/usage", *ALWAYS, {"resource_id": resource})
        assert series.values.tolist() == [value]
    (both,) = await history.series([key], "filesystem/usage", *ALWAYS)
    assert both.values.tolist() == sorted(values.values())
    for labels in ({"resource_id": "x"}, {"no such": "/"}, {'a"b\\': "it's \\ \n"}):
        assert [len(one) for one in await history.series([key], "filesystem/usage", *ALWAYS, labels)] == [0]


async def test_two_clusters_in_one_database_are_told_apart(server: Influxd, closing: AsyncExitStack) -> None:
    for name in ("east", "west", "default"):
        sink = build(f"influxdb:{server.url}?db=shared&cluster_name={name}")
        closing.push_async_callback(sink.stop)
        await sink.export(Cluster(pods=1).batch(seed=len(name)))
    found = {}
    for name in ("east", "default"):
        history = past_of(build(f"influxdb:{server.url}?db=shared&cluster_name={name}"), closing)
        (series,) = await history.series([EntityKey(Kind.NODE, node="node-a")], "cpu/usage", *ALWAYS)
        found[name] = len(series)
    assert found == {"east": 1, "default": 3}, "the default name does not narrow: older points may lack it"


async def test_the_policy_written_to_is_the_one_read(server: Influxd, closing: AsyncExitStack) -> None:
    server.query('CREATE DATABASE "policies"')
    uri = f"influxdb:{server.url}?db=policies&rp=mine&retention=100000h"
    sink = build(uri)
    closing.push_async_callback(sink.stop)
    await sink.export(Cluster(pods=1).batch())
    assert server.policies("policies")["mine"][1] is False
    (series,) = await past_of(build(uri), closing).series([CLUSTER], "memory/usage", *ALWAYS)
    assert len(series) == 1
    (series,) = await past_of(build(f"influxdb:{server.url}?db=policies"), closing).series(
        [CLUSTER], "memory/usage", *ALWAYS
    )
    assert len(series) == 0


async def test_odd_names_are_nobody_and_harm_nobody(server: Influxd, closing: AsyncExitStack) -> None:
    sink = build(f"influxdb:{server.url}?db=odd")
    history = past_of(sink, closing)
    await sink.export(Cluster(pods=1).batch())
    for text in ("' OR 1=1 --", "'; DROP DATABASE odd; --", '"', "\\", "\\'", "a\nb", "é\x00", "/.*/", ODD_LABELS):
        for key in (EntityKey(Kind.NODE, node=text), EntityKey(Kind.POD, namespace=text, pod=text)):
            assert await history.metric_names(key, *ALWAYS) == []
            assert [len(one) for one in await history.series([key], "cpu/usage", *ALWAYS)] == [0]
            assert await history.entities(Kind.POD_CONTAINER, *ALWAYS, namespace=text, pod=text) == []
        for metric in (text, f"cpu/{text}"):
            assert [len(one) for one in await history.series([CLUSTER], metric, *ALWAYS, {text: text})] == [0]
    assert len(await history.entities(Kind.POD, *ALWAYS)) == 1


# Aggregations: the server's and ours.


INTEGERS = st.integers(-(2**52), 2**52) | st.integers(0, 5)
FLOATS = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 0.2, 0.30000000000000004, 4003.0, 1e-9])
TIMES = st.integers(1, 100_000).map(lambda tick: START + tick * SECOND)
_numbers = itertools.count()


@pytest.mark.parametrize("values", [INTEGERS, FLOATS], ids=["integers", "floats"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_aggregations_are_those_of_the_server(
    server: Influxd, closing: AsyncExitStack, values: st.SearchStrategy[float], data: st.DataObject
) -> None:
    if not (number := next(_numbers)):
        server.query('CREATE DATABASE "computed"')
    points = data.draw(st.dictionaries(TIMES, values, min_size=1, max_size=40))
    metric = f"random/{number}"
    suffix = "" if values is FLOATS else "i"
    lines = [f"{metric},type=cluster value={np.format_float_positional(v) if not suffix else v}{suffix} {t}\n"
             for t, v in points.items()]  # fmt: skip
    server.write("computed", "".join(lines).replace(". ", ".0 "))
    times = sorted(points)
    series = Series(np.array(times), np.array([points[time] for time in times], np.int64 if suffix else np.float64))
    wanted = data.draw(st.lists(st.sampled_from(list(Aggregation)), min_size=1, max_size=8))
    bucket = data.draw(st.sampled_from([0, 0, 1_000_000, 7 * SECOND, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]))
    start, end = sorted(data.draw(st.tuples(TIMES, TIMES)))
    inside = (series.times >= start) & (series.times <= end)
    ours = aggregate(Series(series.times[inside], series.values[inside]), wanted, start, bucket)
    history = asking(server.url, "computed", closing)
    (theirs,) = await history.aggregate([CLUSTER], metric, wanted, start, end, bucket_ns=bucket)
    assert comparable(theirs, wanted, points, bucket) == comparable(ours, wanted, points, bucket)


def comparable(
    buckets: Sequence[Bucket], wanted: Sequence[Aggregation], points: dict[int, Any], bucket_ns: int
) -> list[tuple[Any, ...]]:
    """Time and values; where a single pick decides on the time and several points are alike, any of theirs is right:
    Go's sort does not keep their order."""
    found = []
    for bucket in buckets:
        timestamp: Any = bucket.timestamp
        if not bucket_ns and len(set(wanted)) == 1 and wanted[0] in PICKING:
            value = bucket.values[wanted[0]]
            assert points[timestamp] == value
            timestamp = value
        found.append((timestamp, [bucket.values[one] for one in wanted]))
    return found


async def test_several_entities_and_the_time_of_one_pick(server: Influxd, closing: AsyncExitStack) -> None:
    sink = build(f"influxdb:{server.url}?db=several")
    history, cluster = past_of(sink, closing), Cluster(pods=3)
    batches = [cluster.batch(TIMESTAMP + k * MINUTE, seed=k) for k in range(5)]
    for batch in batches:
        await sink.export(batch)
    keys = [EntityKey(Kind.POD, namespace="default", pod=name) for name in ("web-2", "none", "web-0")]
    start, end = TIMESTAMP + 1, TIMESTAMP + 10 * MINUTE
    series = await history.series(keys, "memory/rss", start, end)
    for wanted in ([Aggregation.MAXIMUM], [Aggregation.AVERAGE], [Aggregation.MAXIMUM] * 2, list(Aggregation)):
        for bucket in (0, 2 * MINUTE):
            found = await history.aggregate(keys, "memory/rss", wanted, start, end, bucket_ns=bucket)
            assert found == [aggregate(one, wanted, start, bucket) for one in series]
    assert [len(one) for one in series] == [4, 0, 4]


# Limits and faults.


async def test_an_answer_with_too_many_rows_is_stopped(
    server: Influxd, closing: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.query('CREATE DATABASE "long"')
    server.write("long", "".join(f"cpu/usage,type=cluster value={k}i {START + k * SECOND}\n" for k in range(12_000)))
    history = asking(server.url, "long", closing)
    (series,) = await history.series([CLUSTER], "cpu/usage", *ALWAYS)
    assert series.values.tolist() == list(range(12_000)), "in several chunks"
    monkeypatch.setattr(module, "MAX_POINTS", 11_999)
    with pytest.raises(HistoryError, match="more than 11999 rows; ask for a shorter range"):
        await history.series([CLUSTER], "cpu/usage", *ALWAYS)
    with pytest.raises(HistoryError, match="more than 11999 rows"):
        await history.aggregate([CLUSTER], "cpu/usage", [Aggregation.COUNT], *ALWAYS, bucket_ns=SECOND)
    monkeypatch.setattr(module, "ANSWER_LIMIT", 1 << 16)
    with pytest.raises(HistoryError, match="longer than 0 MiB"):
        await history.series([CLUSTER], "cpu/usage", *ALWAYS)
    (after,) = await history.series([CLUSTER], "cpu/usage", START, START + SECOND)
    assert len(after) == 2


async def test_more_statements_than_one_request_takes(
    server: Influxd, closing: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENTS_AT_ONCE", 2)
    sink = build(f"influxdb:{server.url}?db=requests")
    history = past_of(sink, closing)
    await sink.export(Cluster(pods=5).batch())
    pods = await history.entities(Kind.POD, *ALWAYS)
    found = await history.series(pods, "cpu/usage", *ALWAYS)
    assert [len(one) for one in found] == [1] * 5
    assert len({one.values[0] for one in found}) == 5


async def test_a_server_that_is_not_there_is_named(closing: AsyncExitStack) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(HistoryError, match=f"history in {url}: cannot be reached"):
        await asking(url, "k8s", closing, password="secret-word").series([CLUSTER], "cpu/usage", *ALWAYS)


async def test_a_frozen_server_is_given_up(tmp_path: Any, closing: AsyncExitStack) -> None:
    with influxd(tmp_path) as own:
        history = asking(own.url, "k8s", closing, timeout_s=0.3)
        own.freeze()
        with pytest.raises(HistoryError, match=r"no answer within 0\.3 s; .* option timeout"):
            await history.series([CLUSTER], "cpu/usage", *ALWAYS)
        own.thaw()
        assert [len(one) for one in await history.series([CLUSTER], "cpu/usage", *ALWAYS)] == [0]
        own.stop()
        own.start()
        assert [len(one) for one in await history.series([CLUSTER], "cpu/usage", *ALWAYS)] == [0], "asked again"


async def test_refusals_say_what_to_turn_and_no_secret(tmp_path: Any, closing: AsyncExitStack) -> None:
    with influxd(tmp_path, {"auth-enabled": True}) as own:
        own.user = "admin0"
        own.query("CREATE USER admin0 WITH PASSWORD 'admin0' WITH ALL PRIVILEGES")
        own.query("CREATE USER reader WITH PASSWORD 'reader'; CREATE DATABASE k8s")
        with pytest.raises(HistoryError, match=r"401.*check the options user and pw") as caught:
            await asking(own.url, "k8s", closing, user="admin0", password="wrong-secret").metric_names(CLUSTER, *ALWAYS)
        assert "wrong-secret" not in str(caught.value)
        reader = asking(own.url, "k8s", closing, user="reader", password="reader")
        with pytest.raises(HistoryError, match=r"authoriz|403"):
            await reader.series([CLUSTER], "cpu/usage", *ALWAYS)
        own.query("GRANT READ ON k8s TO reader")
        assert [len(one) for one in await reader.series([CLUSTER], "cpu/usage", *ALWAYS)] == [0]


async def test_with_the_second_api_there_is_no_past() -> None:
    sink: Any = build("influxdb:http://127.0.0.1:1?token=t&org=o&bucket=b")
    assert sink.history() is None
    await sink.stop()
