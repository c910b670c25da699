"""Columns to lines: nothing lost, nothing doubled, pieces within their limits, tags as fresh as the labels."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, METRICS
from collector.core.visibility import EVERYTHING, HEAPSTERS, Visibility
from sinks.influxdb.encoder import LineEncoder
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, empty_batch, expected_points
from tests.sinks.lines import COUNTING, Line, parse
from tests.sinks.test_influxdb_text import written


def lines_of(encoder: LineEncoder, batch: DataBatch) -> list[Line]:
    return [line for chunk in encoder.encode(batch) for line in parse(chunk.body)]


def as_points(lines: list[Line]) -> dict[object, int | float]:
    found = {line.key: line.fields["value"] for line in lines}
    assert len(found) == len(lines), "a point was written twice"
    return found


def as_read(
    batch: DataBatch, cluster_name: str = "default", visibility: Visibility = HEAPSTERS
) -> dict[object, int | float]:
    return {
        (written(name), tuple((written(k), written(v)) for k, v in tags)): value
        for (name, tags), value in expected_points(batch, cluster_name, visibility).items()
    }


def test_every_value_becomes_one_line_with_its_tags() -> None:
    batch = Cluster().batch()
    lines = lines_of(LineEncoder(), batch)
    assert as_points(lines) == as_read(batch)
    assert {line.timestamp for line in lines} == {TIMESTAMP}
    kinds = {dict(line.tags)["type"] for line in lines}
    assert kinds == {"cluster", "ns", "node", "pod", "pod_container"}


@pytest.mark.parametrize("with_fields", [False, True])
@pytest.mark.parametrize("points", [7, 10_000])
def test_what_heapster_did_not_have_is_sent_when_it_is_asked_for(points: int, *, with_fields: bool) -> None:
    batch = Cluster().batch()
    further = expected_points(batch, visibility=EVERYTHING).keys() - expected_points(batch).keys()
    names = {name for name, _ in further}
    assert {"swap/usage", "cpu/pressure_some", "imagefs/usage", "filesystem/inodes_used"} <= names
    sent = {}
    for visibility in (HEAPSTERS, EVERYTHING):
        encoder = LineEncoder(visibility=visibility, with_fields=with_fields, chunk_points=points)
        lines = lines_of(encoder, batch)
        sent[visibility] = {(line.key, field) for line in lines for field in line.fields}
        assert with_fields or all(len(line.fields) == 1 for line in lines)
        assert len(sent[visibility]) == len(expected_points(batch, visibility=visibility))
        assert encoder.omitted == 0
    assert len(sent[EVERYTHING] - sent[HEAPSTERS]) == len(further)
    assert sent[HEAPSTERS] < sent[EVERYTHING]
    assert as_points(lines_of(LineEncoder(visibility=EVERYTHING), batch)) == as_read(batch, visibility=EVERYTHING)


def test_fields_of_one_measurement_are_one_line_but_those_whose_type_may_change() -> None:
    cluster = Cluster()
    other = cluster.metrics.custom("other")
    assert other is not None
    batch = DataBatch(cluster.entities, cluster.metrics, TIMESTAMP)
    rows = np.array(cluster.containers)
    batch.exists[rows] = True
    for m in (INDEX["cpu/usage"], INDEX["cpu/limit"], cluster.custom, other):
        assert m is not None
        batch.put(m, rows, np.ones(rows.size, batch.column(m).dtype))
    batch.put(INDEX["memory/rss"], rows[:1], np.array([7]))
    batch.freeze()
    lines = lines_of(LineEncoder(with_fields=True), batch)
    found = [(line.measurement, *line.fields) for line in lines]
    every = [("cpu", "usage", "limit"), ("custom", "queue length"), ("custom", "other")]
    assert sorted(found) == sorted([*(every * rows.size), ("memory", "rss")])
    assert len({(line.key, field) for line in lines for field in line.fields}) == 4 * rows.size + 1


def test_integers_and_floats_keep_the_type_of_their_metric() -> None:
    batch = Cluster().batch()
    types = {metric.name: float if metric.is_float else int for metric in METRICS}
    for line in lines_of(LineEncoder(), batch):
        expected = types.get(line.measurement, float if line.measurement.startswith("custom/") else int)
        assert type(line.fields["value"]) is expected, line


def test_tags_are_sorted_without_empty_ones_and_without_identities() -> None:
    for line in lines_of(LineEncoder(cluster_name=""), Cluster(labels="").batch()):
        keys = [key for key, _ in line.tags]
        assert keys == sorted(keys)
        assert not {"namespace_id", "pod_id", "hostname", "host_id", "labels", "cluster_name"} & set(keys) - (
            {"labels"} if dict(line.tags)["type"] == "node" else set()
        )


@pytest.mark.parametrize("points", [1, 7, 100, 10_000])
def test_chunks_hold_at_most_the_asked_number_of_points(points: int) -> None:
    batch = Cluster(pods=40).batch()
    chunks = list(LineEncoder(chunk_points=points, chunk_bytes=10**8).encode(batch))
    assert all(chunk.points == chunk.body.count(b"\n") <= points for chunk in chunks)
    assert sum(chunk.points for chunk in chunks) == len(expected_points(batch))
    assert all(chunk.points > points - 512 for chunk in chunks[:-1]), "what fits into one write is sent as one"


def test_chunks_end_before_the_asked_number_of_bytes() -> None:
    batch = Cluster(pods=40).batch()
    longest = max(len(chunk.body) for chunk in LineEncoder(chunk_points=1).encode(batch))
    chunks = list(LineEncoder(chunk_points=20, chunk_bytes=4_000).encode(batch))
    assert all(len(chunk.body) <= max(4_000, 20 * longest) for chunk in chunks)
    assert sum(chunk.points for chunk in chunks) == len(expected_points(batch))


def test_an_empty_batch_has_no_chunk() -> None:
    assert list(LineEncoder().encode(empty_batch())) == []


def test_labels_that_change_are_written_as_they_are_now() -> None:
    cluster, encoder = Cluster(), LineEncoder()
    entities = cluster.entities
    before = as_points(lines_of(encoder, cluster.batch(seed=1)))
    entities.set_own_labels(cluster.pods[0], {"labels": "app:new"})
    entities.set_own_labels(cluster.nodes[0], {"hostname": "h", "labels": "role:y"})
    entities.set_own_labels(cluster.containers[-1], {"container_base_image": "redis"})
    batch = cluster.batch(TIMESTAMP + MINUTE, seed=1)
    after = as_points(lines_of(encoder, batch))
    assert after == as_read(batch)
    assert after != before


def test_a_row_given_to_another_entity_gets_that_entitys_tags() -> None:
    cluster, encoder = Cluster(), LineEncoder()
    entities = cluster.entities
    lines_of(encoder, cluster.batch())
    for _ in range(2):
        entities.sweep()
    old = set(cluster.pods)
    node = entities.node_row("node-b")
    cluster.nodes = [node]
    cluster.namespaces = [entities.namespace_row("team-a")]
    cluster.pods = entities.pod_rows(["team-a"] * 3, ["p0", "p1", "p2"], ["u0", "u1", "u2"], node)
    cluster.containers = entities.container_rows(cluster.pods, [1] * 3, ["main"] * 3, node)
    assert old & set(cluster.pods), "rows are used again"
    batch = cluster.batch()
    assert as_points(lines_of(encoder, batch)) == as_read(batch)


def test_a_label_number_given_to_another_label_set_gets_its_text() -> None:
    cluster, encoder = Cluster(), LineEncoder()
    batch = cluster.batch()
    lines_of(encoder, batch)
    labels = cluster.entities.labels
    number = labels.resource("logs")
    pairs = (("resource_id", "moved"),)
    labels.pairs[number] = pairs
    assert as_points(lines_of(encoder, batch)) == as_read(batch)


def test_a_stored_label_may_bear_the_name_of_a_labelled_value() -> None:
    cluster = Cluster()
    cluster.entities.set_own_labels(cluster.pods[0], {"labels": "x", "resource_id": "stored", "zzz": "last"})
    batch = cluster.batch()
    assert as_points(lines_of(LineEncoder(), batch)) == as_read(batch)


def test_one_encoder_serves_another_table_from_scratch() -> None:
    encoder = LineEncoder(cluster_name="east")
    for cluster in (Cluster(pods=2), Cluster(pods=5, labels="other")):
        batch = cluster.batch()
        assert as_points(lines_of(encoder, batch)) == as_read(batch, "east")


def test_values_that_no_line_can_hold_are_left_out_and_counted() -> None:
    cluster = Cluster()
    batch = DataBatch(cluster.entities, cluster.metrics, TIMESTAMP)
    rows = np.array(cluster.pods)
    batch.exists[rows] = True
    batch.put(INDEX["network/rx_rate"], rows, np.array([np.nan, np.inf, 2.5]))
    batch.freeze()
    encoder = LineEncoder()
    assert [line.fields["value"] for line in lines_of(encoder, batch)] == [2.5]
    assert encoder.omitted == 2


def test_a_series_whose_tags_are_too_long_is_left_out_and_counted() -> None:
    cluster, encoder = Cluster(), LineEncoder()
    cluster.entities.set_own_labels(cluster.pods[0], {"labels": "é" * 33_000})
    batch = cluster.batch()
    points = as_points(lines_of(encoder, batch))
    assert points
    assert all(len(dict(tags).get("labels", "")) < 33_000 for _, tags in points)  # type: ignore[misc]
    assert encoder.omitted == len(expected_points(batch)) - len(points) > 0


def test_the_batch_may_be_encoded_slowly_while_labels_change() -> None:
    cluster = Cluster(pods=30)
    batch = cluster.batch()
    count = 0
    for chunk in LineEncoder(chunk_points=10).encode(batch):
        count += len(parse(chunk.body, COUNTING))
        cluster.entities.set_own_labels(cluster.pods[count % 30], {"labels": f"v:{count}"})
        cluster.entities.pod_row("default", f"new-{count}", cluster.nodes[0])  # the table may grow meanwhile
    assert count == len(expected_points(batch))


def test_tags_are_rendered_once() -> None:
    cluster, encoder = Cluster(pods=50), LineEncoder()
    lines_of(encoder, cluster.batch())
    rendered: list[int] = []
    label_set = cluster.entities.label_set
    cluster.entities.label_set = lambda row: rendered.append(row) or label_set(row)  # type: ignore[method-assign,func-returns-value]
    batch = cluster.batch(TIMESTAMP + MINUTE)
    list(encoder.encode(batch))
    # An accelerator's label set has three labels, which have no fixed place among the tags.
    assert rendered == cluster.containers[:1]


def test_encoding_holds_one_chunk_in_memory_not_the_batch() -> None:
    batch, encoder = Cluster(pods=600).batch(), LineEncoder(chunk_points=1_000)
    total = sum(len(chunk.body) for chunk in encoder.encode(batch))
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in encoder.encode(batch):
            pass
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < total / 2


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=6), st.text(max_size=6)), max_size=4))
def test_any_label_set_reads_back(labels: list[tuple[str, str]]) -> None:
    cluster = Cluster(pods=1)
    derived = {"type", "nodename", "hostname", "host_id", "pod_id", "pod_name", "namespace_name", "cluster_name"}
    own = {k: v for k, v in labels if k not in derived and k.isprintable() and v.isprintable()}
    cluster.entities.set_own_labels(cluster.pods[0], own)
    batch = cluster.batch()
    read = lines_of(LineEncoder(), batch)
    assert len(read) == len(expected_points(batch))
    expected = {(name, frozenset(tags)) for name, tags in as_read(batch)}  # type: ignore[misc]
    assert {(line.measurement, frozenset(line.tags)) for line in read} == expected
