"""`/api/v1/metric-export` against the same answer made from objects; what the recordings do not show."""

import asyncio
import json

import numpy as np
import pytest
from api import synthetic
from api.golden import Cluster, Replay

from collector.api import export
from collector.api.export import export_metrics, export_text, number_texts, start_texts
from collector.api.exportschema import COMMON_LABELS, EXPORTED, POD_LABELS
from collector.api.gotime import ZERO_TIME, format_time
from collector.api.route import Context, Request
from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import ACCELERATOR, FILESYSTEM, GROUPS, INDEX, METRICS, Clock, Kind, MetricTable, MetricType
from collector.core.store import MetricStore
from collector.selfmetrics import SelfMetrics

REQUEST = Request("GET", export.ROOT, {}, {}, {})
S = 1_000_000_000


async def exported(batch: DataBatch) -> list:
    return json.loads(b"".join([piece async for piece in export_text(batch)]))


def from_objects(batch: DataBatch) -> list:
    """What section 8.4 says, entity by entity, without columns."""
    end = format_time(batch.timestamp)
    kept = {key for key, _ in (*COMMON_LABELS, *POD_LABELS)}
    names = {metric.name for metric in EXPORTED}
    cumulative = {"uptime", "cpu/usage", "memory/page_faults", "memory/major_page_faults"}
    cumulative |= {f"network/{name}" for name in ("rx", "rx_errors", "tx", "tx_errors")}
    found = []
    for one in batch.metric_sets().values():
        if one.labels["type"] in {"cluster", "ns"}:
            continue
        started = format_time(one.start_time) if one.start_time else ZERO_TIME
        metrics: dict[str, list] = {}
        for name, value in one.metrics.items():
            if name in names:
                start = started if name in cumulative else end
                metrics[name] = [{"start": start, "end": end, "value": value}]
        for value in one.labeled:
            if value.name in names:
                number = int(value.value) if float(value.value).is_integer() else value.value
                point = {"start": end, "end": end, "labels": value.labels, "value": number}
                metrics.setdefault(value.name, []).append(point)
        labels = {name: text for name, text in one.labels.items() if name in kept}
        forced = {"node": "machine", "pod": "/pod"}.get(one.labels["type"])
        found.append({"metrics": metrics, "labels": labels | ({"container_name": forced} if forced else {})})
    return found


def in_order(entities: list) -> list[str]:
    return sorted(json.dumps(entity, sort_keys=True) for entity in entities)


@pytest.mark.parametrize("piece", [1, 7, export.PIECE])
async def test_columns_give_what_objects_give(monkeypatch, piece):
    monkeypatch.setattr(export, "PIECE", piece)
    for batch in (Cluster("kubelet").batch(3), synthetic.batch(synthetic.cluster(3, 4, 2))):
        assert in_order(await exported(batch)) == in_order(from_objects(batch))


async def test_a_long_answer_comes_in_many_pieces_and_others_get_their_turn():
    batch = synthetic.batch(synthetic.cluster(20, 30, 2))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(others())
    pieces = [piece async for piece in export_text(batch)]
    busy.cancel()
    rows = sum(batch.count(kind) for kind in export.KINDS)
    assert len(json.loads(b"".join(pieces))) == rows
    assert len(pieces) - 1 == -(-rows // export.PIECE)
    assert turns >= len(pieces) - 1


def context(store: MetricStore, **changed: object) -> Context:
    return Context(store, SelfMetrics("test"), **changed)  # type: ignore[arg-type]


def test_before_the_first_batch_it_is_null_and_with_disable_export_an_empty_list():
    store = MetricStore()
    assert export_metrics(context(store), REQUEST).body == b"null\n"
    assert export_metrics(context(store, export_disabled=True), REQUEST).body == b"[]\n"
    replay = Replay()
    replay.until(1)
    assert export_metrics(context(replay.store, export_disabled=True), REQUEST).body == b"[]\n"


async def test_a_batch_without_any_entity_is_an_empty_list():
    batch = DataBatch(EntityTable(), MetricTable(), S)
    batch.freeze()
    assert b"".join([piece async for piece in export_text(batch)]) == b"[]\n"


async def test_the_newest_batch_is_exported_even_when_an_older_one_came_last():
    cluster = Cluster()
    store = MetricStore(clock=lambda: cluster.timestamps[2] / S)
    store.add(cluster.batch(2))
    store.add(cluster.batch(1))
    body = export_metrics(context(store), REQUEST).body
    assert not isinstance(body, bytes)
    [first, *_] = json.loads(b"".join([piece async for piece in body]))
    assert first["metrics"]["memory/usage"][0]["end"] == format_time(cluster.timestamps[2])


async def test_names_are_escaped_and_label_maps_sorted():
    entities = EntityTable()
    batch = DataBatch(entities, MetricTable(), 5 * S)
    node = entities.node_row("a<b>")
    row = entities.child_row(Kind.SYS_CONTAINER, node, 'quote"\n', node)
    batch.ensure_rows()
    batch.exists[[node, row]] = True
    label = entities.labels.intern((("make", "nvidia"), ("model", "t4"), ("accelerator_id", "GPU-1")))
    values = np.array([[8], [4], [-1]])
    batch.labeled[ACCELERATOR.name].append(np.array([row], np.int32), np.array([label], np.int32), values)
    batch.freeze()
    text = b"".join([piece async for piece in export_text(batch)]).decode()
    at = '"start":"1970-01-01T00:00:05Z","end":"1970-01-01T00:00:05Z"'
    labels = '"labels":{"accelerator_id":"GPU-1","make":"nvidia","model":"t4"}'
    host = '"host_id":"","hostname":"a\\u003cb\\u003e","nodename":"a\\u003cb\\u003e"'
    assert text == (
        f'[{{"metrics":{{}},"labels":{{"container_name":"machine",{host}}}}},'
        f'{{"metrics":{{"accelerator/memory_total":[{{{at},{labels},"value":8}}],'
        f'"accelerator/memory_used":[{{{at},{labels},"value":4}}]}},'
        f'"labels":{{"container_name":"quote\\"\\n",{host}}}}}]\n'
    )


def test_numbers_are_written_as_go_writes_them():
    floats = np.array([3_150_000.0, 0.5, -2.0, 1e21, 1e-7, 2.0**53, 1 / 3, 0.0, np.nan, 7.0])
    present = np.ones(10, np.bool_)
    present[9] = False
    assert number_texts(floats, present).to_pylist() == [
        *("3150000", "0.5", "-2", "1e+21", "1e-7", "9007199254740992", "0.3333333333333333", "0", None, None)
    ]
    integers = np.array([2**63 - 1, -(2**63), 0, 5])
    assert number_texts(integers, np.array([True, True, True, False])).to_pylist() == [
        *("9223372036854775807", "-9223372036854775808", "0", None)
    ]


def test_start_times_have_as_many_digits_as_they_need():
    times = [1_527_634_422 * S, 1_527_634_399_000_535_760, 1_527_634_399_100_000_000, -1, 0]
    expected = [*map(format_time, times[:4]), ZERO_TIME]
    assert expected[1] == "2018-05-29T22:53:19.00053576Z"
    assert start_texts(np.array(times)).to_pylist() == expected


def test_an_entity_that_never_started_has_the_time_that_was_never_set():
    entities = EntityTable()
    batch = DataBatch(entities, MetricTable(), 5 * S)
    node = entities.node_row("a")
    batch.ensure_rows()
    batch.exists[node] = True
    batch.put(INDEX["cpu/usage"], np.array([node]), np.array([7]))
    batch.times[Clock.SCRAPE, node] = S
    batch.freeze()
    [entity] = asyncio.run(exported(batch))
    assert entity["metrics"] == {"cpu/usage": [{"start": ZERO_TIME, "end": "1970-01-01T00:00:05Z", "value": 7}]}


def test_the_table_agrees_with_the_metrics_there_are():
    known = {metric.name: metric for metric in METRICS}
    labeled = {metric.name: metric for group in GROUPS for metric in group.metrics}
    for metric in EXPORTED:
        column = labeled[metric.name] if metric.labels else known[metric.name]
        assert metric.cumulative == (column.type is MetricType.CUMULATIVE), metric.name
        assert metric.double == column.is_float, metric.name
    assert len({metric.name for metric in EXPORTED}) == len(EXPORTED) == 28
    assert {metric.name for metric in FILESYSTEM.metrics if not metric.extended} <= {metric.name for metric in EXPORTED}
