"""The hot functions on the way out: line protocol, Prometheus text, JSON lists, the embedded history."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import numpy as np
from influxdb_client import Point
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.material import ORIGIN, Material
from benchmarks.timing import Function
from collector.api import aggregated, model
from collector.api.exposition import ClusterText
from collector.api.route import Answer, Context, Request
from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind
from collector.core.store import MetricStore
from collector.kube.listers import Listers
from collector.selfmetrics import SelfMetrics
from sinks.history.sink import HistorySink
from sinks.influxdb.encoder import LineEncoder

OBJECTS = 20_000
"""Samples given to libraries that make an object of each: enough for a rate, few enough to wait for."""


def functions(material: Material) -> Iterator[Function]:
    """Each with the library's way behind it, where there is one."""
    yield from _lines(material.finished[1])
    yield from _exposition(material.finished[1])
    yield from _lists(material)
    yield from _history(material.finished[1])


def _lines(batch: DataBatch) -> Iterator[Function]:
    for name, with_fields in (("line protocol", False), ("line protocol, withfields", True)):
        encoder = LineEncoder(with_fields=with_fields)
        lines = sum(chunk.points for chunk in encoder.encode(batch))

        def work(_: object, encoder: LineEncoder = encoder) -> int:
            return sum(chunk.points for chunk in encoder.encode(batch))

        yield Function(name, f"{lines:,} lines", lines, "lines", work)
    metric = INDEX["memory/usage"]
    rows = batch.rows_with(metric)[:OBJECTS].tolist()
    labels = [batch.entities.label_set(row) for row in rows]
    values = batch.column(metric)[rows].tolist()

    def points(_: object) -> None:
        for tags, value in zip(labels, values, strict=True):
            point = Point("memory/usage").field("value", value).time(batch.timestamp)
            for key, text in tags.items():
                point.tag(key, text)
            point.to_line_protocol()

    yield Function(
        "influxdb-client's Point", f"{len(rows):,} lines", len(rows), "lines", points, beside="line protocol"
    )


def _exposition(batch: DataBatch) -> Iterator[Function]:
    text, kinds = ClusterText(), frozenset(Kind)
    samples, entities = batch.values, sum(batch.count(kind) for kind in Kind)

    def ours(_: object) -> int:
        return asyncio.run(_size(text.write(batch, kinds, openmetrics=False)))

    yield Function("Prometheus text", f"{ours(None) / 1e6:.0f} MB of {entities:,} entities", samples, "samples", ours)
    metric = INDEX["memory/usage"]
    rows = batch.rows_with(metric)[:OBJECTS].tolist()
    registry = CollectorRegistry()
    gauge = Gauge("memory_usage_bytes", "Memory used", ("namespace", "pod", "container"), registry=registry)
    for row in rows:
        gauge.labels(str(row), batch.entities.name[row], batch.entities.key(row)).set(float(batch.cells[metric, row]))
    yield Function(
        "prometheus-client's registry",
        f"{len(rows):,} samples",
        len(rows),
        "samples",
        lambda _: generate_latest(registry),
        beside="Prometheus text",
    )


def _lists(material: Material) -> Iterator[Function]:
    first, second = material.finished
    store = MetricStore(clock=lambda: ORIGIN + 60.0)
    for batch in (first, second):
        store.add(batch)
    context = Context(store, SelfMetrics("bench"), clock=lambda: second.timestamp / 1e9, listers=Listers())
    context.listers.pods.replace(list(material.pods.items.values()))
    pods = len(material.pods.items)
    listed = next(route for route in aggregated.ROUTES if route.path == f"{aggregated.GROUP_ROOT}/v1beta1/pods")
    request = Request("GET", listed.path, {}, {}, {})
    on = f"{pods:,} pods"

    def metrics_list(_: object) -> bytes:
        return asyncio.run(_whole(listed.handler(context, request)))

    def objects(_: object) -> bytes:
        return json.dumps({"items": [_pod_metrics(second, row) for row in second.rows_of(Kind.POD).tolist()]}).encode()

    yield Function("PodMetricsList", on, pods, "pods", metrics_list)
    yield Function("objects and json.dumps", on, pods, "pods", objects, beside="PodMetricsList")
    keys = model.all_keys(context, request)
    found = json.loads(asyncio.run(_whole(keys)))
    yield Function(
        "model: all keys",
        f"{len(found):,} keys",
        len(found),
        "keys",
        lambda _: asyncio.run(_whole(model.all_keys(context, request))),
    )

    def plainly(_: object) -> bytes:
        rows = np.flatnonzero(second.exists[: second.rows]).tolist()
        return json.dumps(sorted(second.entities.key(row) for row in rows), indent=1).encode()

    yield Function(
        "sorted and json.dumps", f"{len(found):,} keys", len(found), "keys", plainly, beside="model: all keys"
    )


def _pod_metrics(batch: DataBatch, row: int) -> dict[str, Any]:
    containers = []
    for name, below in batch.entities.children(row).items():
        metrics = batch.metric_set(below).metrics
        usage = {"cpu": f"{metrics.get('cpu/usage_rate', 0)}m", "memory": f"{metrics.get('memory/working_set', 0)}"}
        containers.append({"name": name, "usage": usage})
    labels = batch.entities.label_set(row)
    metadata = {"name": labels["pod_name"], "namespace": labels["namespace_name"]}
    return {"metadata": metadata, "timestamp": batch.timestamp, "window": "60s", "containers": containers}


def _history(batch: DataBatch) -> Iterator[Function]:
    entities = batch.entities.count

    def work(directory: Any) -> None:
        async def write() -> None:
            sink = HistorySink(Path(directory.name))
            await sink.export(batch)
            await sink.stop()

        asyncio.run(write())

    yield Function(
        "history: one tick",
        f"{entities:,} entities",
        entities,
        "entities",
        work,
        lambda: tempfile.TemporaryDirectory(prefix="heapster-bench-"),
    )


async def _size(pieces: AsyncIterator[bytes]) -> int:
    return sum([len(piece) async for piece in pieces])


async def _whole(reply: Any) -> bytes:
    """The body of what a handler, plain or a coroutine function, has returned."""
    answer = await reply if isawaitable(reply) else reply
    assert isinstance(answer, Answer)
    return answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
