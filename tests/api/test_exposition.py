"""`/metrics/cluster`: the text says what the columns hold."""

import subprocess
from decimal import Decimal

import numpy as np
import pytest
from api.golden import Replay
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collector.api.exposition import CHUNK_BYTES, ClusterText, value_texts
from collector.api.families import (
    BATCH_TIMESTAMP,
    NODE_TIMESTAMP,
    Family,
    families,
    family_of,
    gathered_family,
    gathered_label,
    group_label,
)
from collector.api.labeltext import PIECE, escaped
from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import FLOAT64, GROUPS, INDEX, METRICS, Clock, Kind, MetricTable

ALL = frozenset(Kind)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def text_of(batch: DataBatch, kinds=ALL, *, openmetrics=False, writer: ClusterText | None = None) -> str:
    chunks = (writer or ClusterText()).write(batch, kinds, openmetrics=openmetrics)
    return b"".join([chunk async for chunk in chunks]).decode()


def parsed(text: str, parse=parse_text) -> Samples:
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def slow_labels(entities: EntityTable, row: int) -> dict[str, str]:
    """The labels of one entity, written as plainly as can be."""
    kind, name, parent = Kind(entities.kind[row]), entities.name[row], int(entities.parent[row])
    labels = {}
    if kind is Kind.NODE:
        labels["node"] = name
    elif kind is Kind.NAMESPACE:
        labels["namespace"] = name
    elif kind is Kind.POD:
        labels |= {"namespace": entities.name[parent], "pod": name}
    elif kind is Kind.POD_CONTAINER:
        labels |= slow_labels(entities, parent) | {"container": name}
    elif kind is Kind.SYS_CONTAINER:
        labels["container"] = name
    if int(entities.node[row]) != NULL:
        labels["node"] = entities.name[int(entities.node[row])]
    return labels


def slow_samples(batch: DataBatch) -> list[tuple[Family, dict[str, str], float]]:
    """What the text must say, from the batch's cells one by one."""
    found = []

    def sample(family: Family, labels: dict[str, str], value: float) -> None:
        scaled = value / 10**family.places if isinstance(value, float) else float(Decimal(value).scaleb(-family.places))
        found.append((family, labels, scaled))

    sample(BATCH_TIMESTAMP, {}, batch.timestamp)
    for row in np.flatnonzero(batch.exists[: batch.rows]).tolist():
        kind, labels = Kind(batch.entities.kind[row]), slow_labels(batch.entities, row)
        if kind is Kind.NODE and batch.times[Clock.SCRAPE, row]:
            sample(NODE_TIMESTAMP, labels, int(batch.times[Clock.SCRAPE, row]))
        for m, metric in batch.metrics:
            value = batch.value(row, m)
            if value is None:
                continue
            shared = gathered_family(metric, kind)
            own = dict([gathered_label(metric)]) if shared else {}
            sample(shared or family_of(metric, kind), labels | own, value)
        for value in batch.labeled_of(row):
            group = next(group for group in GROUPS if group.column(value.name) is not None)
            metric = next(metric for metric in group.metrics if metric.name == value.name)
            own = {group_label(group, key): text for key, text in value.labels.items()}
            sample(family_of(metric, kind), labels | own, value.value)
    return found


def as_samples(found: list[tuple[Family, dict[str, str], float]]) -> Samples:
    return {(family.sample_name, frozenset(labels.items())): value for family, labels, value in found}


class Reference:
    """The same samples as prometheus-client's own objects."""

    def __init__(self, found: list[tuple[Family, dict[str, str], float]]) -> None:
        self._found = found

    def collect(self):
        made = {}
        for family, labels, value in self._found:
            kind_of = CounterMetricFamily if family.counter else GaugeMetricFamily
            metric = made.setdefault(family.name, kind_of(family.name, family.help))
            metric.add_sample(family.sample_name, labels, value)
        return made.values()

    def text(self) -> str:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode()


def same_layout(text: str) -> list[str]:
    """Lines with labels in alphabetical order and numbers in one form."""
    lines = []
    for family in parse_text(text):
        lines += [f"HELP {family.name} {family.documentation}", f"TYPE {family.name} {family.type}"]
        lines += [f"{s.name} {sorted(s.labels.items())} {float(s.value)!r}" for s in family.samples]
    return sorted(lines)


@pytest.mark.parametrize("source", ["summary", "kubelet"])
@pytest.mark.parametrize("step", [0, 8])
async def test_both_formats_hold_every_cell_of_a_recorded_batch(source, step):
    batch = Replay(source).cluster.batch(step)
    expected = as_samples(slow_samples(batch))
    assert len(expected) > 1000
    assert parsed(await text_of(batch)) == expected
    openmetrics = await text_of(batch, openmetrics=True)
    assert openmetrics.endswith("# EOF\n")
    if step != 8:  # counters that run backwards: the original's, not ours
        assert parsed(openmetrics, parse_openmetrics) == expected


async def test_the_text_says_what_prometheus_client_would_write():
    batch = Replay().cluster.batch(1)
    assert same_layout(await text_of(batch)) == same_layout(Reference(slow_samples(batch)).text())


async def test_promtool_has_no_complaint():
    for source in ("summary", "kubelet"):
        text = await text_of(Replay(source).cluster.batch(1))
        check = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=3), max_size=3), NAMES)
@settings(deadline=None, max_examples=60)
async def test_any_name_comes_back_from_the_text(tree, host):
    entities, metrics = EntityTable(), MetricTable()
    batch = DataBatch(entities, metrics, 0)
    node = entities.node_row(host)
    rows = [node, entities.child_row(Kind.SYS_CONTAINER, node, host[::-1], node)]
    for namespace, pods in tree.items():
        rows.append(entities.namespace_row(namespace))
        for pod, containers in pods.items():
            rows.append(entities.pod_row(namespace, pod, node))
            rows += [entities.child_row(Kind.POD_CONTAINER, rows[-1], name, node) for name in containers[:1]]
    batch.ensure_rows()
    index = np.array(rows)
    batch.exists[index] = True
    batch.put(INDEX["memory/usage"], index, np.arange(index.size))
    custom = metrics.custom(host)
    assert custom is not None
    batch.put(custom, index, np.arange(index.size).astype(FLOAT64) / 3)
    label = entities.labels.intern((("resource_id", host),))
    batch.labeled["disk"].append(index.astype(np.int32), np.full(index.size, label, np.int32), index[None, :] * 1)
    batch.freeze()
    expected = slow_samples(batch)
    assert parsed(await text_of(batch), parse_text) == as_samples(expected)
    assert parsed(await text_of(batch, openmetrics=True), parse_openmetrics) == as_samples(expected)


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1), st.sampled_from([0, 2, 3, 9]))
def test_integers_are_divided_exactly(values, places):
    texts = value_texts(np.array(values, np.int64), places).to_pylist()
    assert [Decimal(text) for text in texts] == [Decimal(value).scaleb(-places) for value in values]
    assert not any("E" in text for text in texts)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back_to_the_bit(values):
    texts = value_texts(np.array(values, FLOAT64), 0).to_pylist()
    assert [float(text) for text in texts] == values


@given(st.text())
def test_an_escaped_value_has_no_bare_quote_and_no_line_end(value):
    text = escaped(value)
    assert "\n" not in text
    assert text.replace(r"\\", "").replace(r"\"", "").count('"') == 0


async def test_what_is_no_number_is_left_out():
    batch = one_pod()
    m = INDEX["network/rx_rate"]
    rows = batch.rows_of(Kind.POD)
    for value in (float("nan"), float("inf")):
        batch.put(m, rows, np.full(rows.size, value))
        assert "network_receive_bytes_per_second{" not in await text_of(batch)


def one_pod(entities: EntityTable | None = None, node: str = "a") -> DataBatch:
    entities = entities or EntityTable()
    host = entities.node_row(node)
    pod = np.array([entities.pod_row("ns", "web", host)], np.int32)
    entities.place(pod, np.array([host], np.int32))
    batch = DataBatch(entities, MetricTable(), 0)
    batch.exists[pod] = True
    batch.put(INDEX["memory/usage"], pod, np.array([5]))
    return batch


async def test_a_pod_that_moves_gets_new_label_text():
    entities, writer = EntityTable(), ClusterText()
    first = await text_of(one_pod(entities), writer=writer)
    second = await text_of(one_pod(entities, "b"), writer=writer)
    assert 'heapster_pod_memory_usage_bytes{namespace="ns",pod="web",node="a"} 5\n' in first
    assert 'heapster_pod_memory_usage_bytes{namespace="ns",pod="web",node="b"} 5\n' in second


async def test_a_row_given_to_another_entity_gets_its_label_text():
    entities, writer = EntityTable(), ClusterText()
    batch = one_pod(entities)
    batch.freeze()
    row = int(batch.rows_of(Kind.POD)[0])
    assert 'pod="web"' in await text_of(batch, writer=writer)
    del batch
    entities.pins.next()
    entities.sweep()
    node = entities.node_row("c")
    batch = DataBatch(entities, MetricTable(), 0)
    other = entities.pod_row("other", "db", node)
    assert other == row
    batch.exists[other] = True
    batch.put(INDEX["memory/usage"], np.array([other]), np.array([6]))
    assert 'heapster_pod_memory_usage_bytes{namespace="other",pod="db",node="c"} 6\n' in await text_of(
        batch, writer=writer
    )


async def test_label_text_spans_pieces_and_grows_with_the_table():
    entities, writer = EntityTable(), ClusterText()
    for size in (PIECE // 2, 2 * PIECE + 7):
        pods = np.array([entities.pod_row("ns", f"pod-{i}") for i in range(size)])
        batch = DataBatch(entities, MetricTable(), 0)
        batch.exists[pods] = True
        batch.put(INDEX["memory/usage"], pods, np.arange(size))
        found = parsed(await text_of(batch, writer=writer))
        name = "heapster_pod_memory_usage_bytes"
        assert all(found[name, frozenset({("namespace", "ns"), ("pod", f"pod-{i}")})] == i for i in range(size))


async def test_no_chunk_holds_more_than_a_small_part_of_a_large_text():
    entities = EntityTable()
    pods = np.array([entities.pod_row("namespace-of-some-length", f"pod-{i}") for i in range(20_000)])
    batch = DataBatch(entities, MetricTable(), 0)
    batch.exists[pods] = True
    for name in ("memory/usage", "memory/working_set", "memory/rss", "cpu/usage"):
        batch.put(INDEX[name], pods, np.arange(pods.size))
    chunks = [len(chunk) async for chunk in ClusterText().write(batch, frozenset(Kind), openmetrics=False)]
    assert sum(chunks) > 20 * CHUNK_BYTES
    assert max(chunks) < 2 * CHUNK_BYTES


async def test_kinds_can_be_left_out():
    batch = Replay().cluster.batch(1)
    found = parsed(await text_of(batch, frozenset({Kind.NODE})))
    assert {name.split("_")[1] for name, _ in found} == {"node"}


def test_families_name_every_family_of_the_recorded_batches():
    listed = {family.sample_name: family for family in families()}
    assert len(listed) == len(list(families()))
    for source in ("summary", "kubelet"):
        for step in (0, 1, 8):
            for family, labels, _ in slow_samples(Replay(source).cluster.batch(step)):
                assert family.sample_name in listed
                assert set(labels) <= set(listed[family.sample_name].labels), family.sample_name


def test_family_names_follow_prometheus_conventions():
    for family in families():
        assert family.sample_name.endswith("_total") == family.counter
        assert family.name.endswith(family.unit)
        assert family.help
        assert not any(part in family.name for part in ("milli", "nano", "__"))


def test_every_metric_has_a_family_and_no_two_share_one():
    for kind in Kind:
        names = [family_of(metric, kind).sample_name for metric in METRICS]
        assert len(set(names)) == len(METRICS), kind
