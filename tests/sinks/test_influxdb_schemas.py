"""Which tags, measurements and fields each schema writes; what the database then holds, and whether it is read."""

from collections.abc import Callable
from typing import Any

import pytest

from collector.core.batch import DataBatch
from collector.core.contracts import Sink
from collector.core.metrics import Kind
from collector.errors import ExportError, UsageError
from collector.history.contracts import Aggregation, EntityKey
from sinks.base import build
from sinks.influxdb import InfluxdbSink
from sinks.influxdb.encoder import LineEncoder
from sinks.influxdb.layout import Layout, Place
from sinks.influxdb.tags import Tagging
from sinks.influxdb.types import Conflict, conflicts, told
from tests.servers import Influxd
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, expected_points
from tests.sinks.lines import Line, parse

Make = Callable[[str], Sink]
NAMING = {"type", "nodename", "namespace_name", "pod_name", "container_name"}
OWN = {"resource_id", "make", "model", "accelerator_id"}
LABELS = "app:web,team:blue green,zone:é"


def lines_of(tagging: Tagging, batch: DataBatch, cluster_name: str = "") -> list[Line]:
    encoder = LineEncoder(tagging=tagging, cluster_name=cluster_name, with_fields=tagging.lean)
    return [line for chunk in encoder.encode(batch) for line in parse(chunk.body)]


def tags_of(lines: list[Line], kind: str) -> set[str]:
    return {key for line in lines for key, _ in line.tags if dict(line.tags)["type"] == kind}


def test_the_lean_schema_has_tags_that_name_and_no_others() -> None:
    lines = lines_of(Tagging(lean=True), Cluster(labels=LABELS).batch())
    assert {key for line in lines for key, _ in line.tags} == NAMING | OWN
    assert tags_of(lines, "cluster") == {"type"}
    assert tags_of(lines, "ns") == {"type", "namespace_name"}
    assert tags_of(lines, "node") == {"type", "nodename"}
    assert tags_of(lines, "pod") == NAMING - {"container_name"} | {"resource_id"}
    with_cluster = lines_of(Tagging(lean=True, with_pod_id=True), Cluster().batch(), "east")
    assert tags_of(with_cluster, "pod") >= {"cluster_name", "pod_id"}


def test_the_lean_schema_loses_no_value() -> None:
    batch = Cluster().batch()
    found = {
        (f"{line.measurement}/{field}" if field != "value" else line.measurement, line.tags): value
        for line in lines_of(Tagging(lean=True), batch)
        for field, value in line.fields.items()
    }
    expected = expected_points(batch, "")
    assert len(found) == len(expected)
    assert sorted(found.values()) == sorted(expected.values())


def test_a_relabelled_entity_is_a_new_series_but_in_the_lean_schema() -> None:
    keys: dict[bool, set[Any]] = {}
    cluster = Cluster(labels=LABELS)
    for seed in range(2):
        for lean in (False, True):
            keys.setdefault(lean, set()).update(line.key for line in lines_of(Tagging(lean=lean), cluster.batch()))
        if not seed:
            before = {lean: len(found) for lean, found in keys.items()}
            cluster.entities.set_own_labels(cluster.pods[0], {"labels": "app:other"})
            cluster.entities.set_own_labels(cluster.nodes[0], {"hostname": "new", "labels": "role:y"})
    assert len(keys[True]) == before[True]
    assert len(keys[False]) > before[False]


@pytest.mark.parametrize("lean", [False, True])
def test_labels_of_the_allow_list_are_tags_of_their_own(*, lean: bool) -> None:
    batch = Cluster(labels=LABELS).batch()
    lines = lines_of(Tagging(lean=lean, labels=frozenset({"app", "team", "role", "missing"})), batch)
    pod = next(dict(line.tags) for line in lines if dict(line.tags)["type"] == "pod_container")
    assert (pod["app"], pod["team"]) == ("web", "blue green")
    node = next(dict(line.tags) for line in lines if dict(line.tags)["type"] == "node")
    assert node["role"] == "x"
    further = {"app", "team", "role"} | (set() if lean else {"container_base_image"})
    assert {key for line in lines for key, _ in line.tags} == NAMING | OWN | further


def test_an_empty_allow_list_leaves_all_kubernetes_labels_out() -> None:
    lines = lines_of(Tagging(labels=frozenset()), Cluster(labels=LABELS).batch())
    assert {key for line in lines for key, _ in line.tags} == NAMING | OWN | {"container_base_image"}


def test_a_stored_label_is_kept_when_it_is_listed_and_another_separator_is_understood() -> None:
    cluster = Cluster(labels="app:web | zone:b")
    lines = lines_of(Tagging(labels=frozenset({"team", "zone"}), separator=" | "), cluster.batch())
    pod = next(dict(line.tags) for line in lines if dict(line.tags)["type"] == "pod")
    assert (pod["team"], pod["zone"]) == ("blue green", "b")
    assert "app" not in pod


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("schema=lean&withfields=true", "schema is 'lean'; it must be fields where withfields is true"),
        ("schema=tall", "one of heapster, fields, lean"),
        ("labels=app,type", "type is a tag anyway"),
        ("series_budget=-1", "a whole number from 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(f"influxdb:http://localhost:8086?{options}")


def test_joined_labels_that_cannot_be_told_apart_are_refused() -> None:
    for separator in ("", "-", "x"):
        with pytest.raises(UsageError, match="--label-separator"):
            build("influxdb:http://localhost:8086?labels=app", label_separator=separator)
        build("influxdb:http://localhost:8086?labels=", label_separator=separator)


def test_heapsters_option_is_the_schema_fields() -> None:
    for options in ("withfields=true", "schema=fields", "schema=fields&withfields=true"):
        sink = build(f"influxdb:http://localhost:8086?{options}")
        assert isinstance(sink, InfluxdbSink)
        assert sink._options.layout.with_fields
        assert not sink._options.tagging.lean
        assert sink._options.cluster_name == "default"


# Against a real InfluxDB.


@pytest.mark.parametrize("more", ["", "&labels=team&store_pod_id=true&cluster_name=east"])
@pytest.mark.parametrize("schema", ["heapster", "fields", "lean"])
async def test_the_past_is_read_whatever_the_schema(
    shared_influxd: Influxd, made: Make, schema: str, more: str
) -> None:
    sink = made(f"influxdb:{shared_influxd.url}?db=past-{schema}-{len(more)}&schema={schema}{more}")
    assert isinstance(sink, InfluxdbSink)
    cluster = Cluster()
    batches = [cluster.batch(TIMESTAMP + i * MINUTE, seed=i) for i in range(2)]
    for batch in batches:
        await sink.export(batch)
    history = sink.history()
    assert history is not None
    start, end = TIMESTAMP, TIMESTAMP + MINUTE
    usage = cluster.metrics.find("memory/usage")
    assert usage is not None
    pod = EntityKey(Kind.POD, namespace="default", pod="web-1")
    container = EntityKey(Kind.POD_CONTAINER, namespace="default", pod="web-1", container="log,agent")
    try:
        pods = await history.entities(Kind.POD, start, end, namespace="default")
        assert [key.pod for key in pods] == ["web-0", "web-1", "web-2"]
        for key, row in ((pod, cluster.pods[1]), (container, cluster.containers[3])):
            (series,) = await history.series([key], "memory/usage", start, end)
            assert series.values.tolist() == [batch.column(usage)[row] for batch in batches]
        names = await history.metric_names(container, start, end)
        assert {"cpu/usage_rate", "memory/usage", "filesystem/usage", "custom/queue length"} <= set(names)
        (logs,) = await history.series([container], "filesystem/usage", start, end, {"resource_id": "logs"})
        assert logs.times.tolist() == [start, end]
        ((bucket,),) = await history.aggregate([pod], "memory/usage", [Aggregation.COUNT], start, end)
        assert bucket.values[Aggregation.COUNT] == 2
    finally:
        await history.stop()


async def test_types_that_differ_are_told_before_anything_is_refused(
    shared_influxd: Influxd, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    shared_influxd.query('CREATE DATABASE "types" WITH NAME "default"')
    shared_influxd.write(
        "types", f"memory,x=y usage=0.5 {TIMESTAMP}\nmemory,x=y rss=7i {TIMESTAMP}\nother,x=y usage=1i 1\n"
    )
    sink, cluster = made(f"influxdb:{shared_influxd.url}?db=types&schema=fields"), Cluster()
    for i in range(2):
        with pytest.raises(ExportError, match="field type conflict"):
            await sink.export(cluster.batch(TIMESTAMP + i * MINUTE, seed=i))
    told_of = [record.message for record in caplog.records if "fields of another type" in record.message]
    assert len(told_of) == 1
    assert "memory usage (float, not integer)" in told_of[0]
    assert "rss" not in told_of[0]
    counts = shared_influxd.query("SELECT COUNT(*) FROM memory, cpu", "types")
    found = {
        f"{one['name']} {column}": value
        for one in counts
        for column, value in zip(one["columns"], one["values"][0], strict=True)
    }
    nodes_pods_containers = 1 + 3 + 6
    assert found["memory count_usage"] == 1, "only what was there"
    assert found["cpu count_usage"] == 2 * nodes_pods_containers
    # Of the first batch the neighbours are lost with it; from the second on they have lines of their own.
    assert found["memory count_rss"] == 1 + nodes_pods_containers


async def test_types_that_agree_are_not_told(
    shared_influxd: Influxd, made: Make, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster()
    for _ in range(2):
        await made(f"influxdb:{shared_influxd.url}?db=agreeing").export(cluster.batch())
    assert "another type" not in caplog.text


def test_the_types_of_a_database_are_compared_with_ours() -> None:
    ours = Layout().types()
    assert ours[Place("memory/usage", "value")] == "integer"
    assert ours[Place("cpu/node_utilization", "value")] == "float"
    assert Place("swap/usage", "value") not in ours
    assert Place("cpu/usage", "value") not in Layout(disable_counters=True).types()
    assert Layout(with_fields=True).types().keys() >= {Place("memory", "usage"), Place("uptime", "value")}
    answer = [
        {"name": "memory/usage", "values": [["value", "float"], ["value", "integer"], ["further", "string"]]},
        {"name": "uptime", "values": [["value", "string"]]},
        {"name": "somebody", "values": [["value", "string"]]},
        {"name": "empty"},
        {"name": "cpu/usage", "values": [["value"]]},
    ]
    found = conflicts(answer, ours)
    assert found == [Conflict(Place("uptime", "value"), "string", "integer")]
    many = told("k8s", "default", found * 15)
    assert many.count("(string, not integer)") == 10
    assert "and 5 more" in many
