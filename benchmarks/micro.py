"""The hot functions on their own.

CPU time, best of several runs, the library's way beside ours where there is one.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import TypedDict

import numpy as np
from influxdb_client import Point
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.material import Material
from collector.api.exposition import ClusterText
from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind
from collector.processors import run_pipeline
from collector.sources.projection import AVAILABLE, decode_together
from collector.sources.scrape import DECODED_TOGETHER
from collector.sources.summary import decode_summary
from sinks.influxdb.encoder import LineEncoder

RUNS = 5
NODES = 300
OBJECTS = 20_000
"""Samples given to libraries that make an object of each: enough for a rate, few enough to wait for."""


class Result(TypedDict):
    function: str
    on: str
    cpu_s: float
    rate: float
    unit: str


def best(work: Callable[[], object], runs: int = RUNS) -> float:
    """CPU seconds of the fastest of several runs."""
    times = []
    for _ in range(runs):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def run() -> list[Result]:
    material = Material(NODES)
    return [*_decode(material), *_place_and_process(material), *_encode(material)]


def _decode(material: Material) -> list[Result]:
    bodies = material.bodies(0)
    size = sum(map(len, bodies))
    on = f"{len(bodies)} summaries of {size // len(bodies) // 1000} KB"

    def ours() -> None:
        for body in bodies:
            decode_summary(body, 1)

    def together() -> None:
        for start in range(0, len(bodies), DECODED_TOGETHER):
            decode_together(bodies[start : start + DECODED_TOGETHER], 1)

    def library() -> None:
        for body in bodies:
            json.loads(body)

    found = []
    ways: list[tuple[str, Callable[[], None]]] = [("decode_summary", ours), ("json.loads alone", library)]
    if AVAILABLE:
        ways.insert(0, ("decode_together", together))
    for name, work in ways:
        cpu = best(work)
        found.append(Result(function=name, on=on, cpu_s=cpu, rate=size / cpu / 1e6, unit="MB/s"))
    return found


def _place_and_process(material: Material) -> list[Result]:
    samples = [material.samples(minute) for minute in range(RUNS + 2)]  # minutes 0 to 6; `_encode` goes on from there
    placed: list[float] = []
    steps: dict[str, list[float]] = {}
    for minute, found in enumerate(samples):
        began = time.process_time()
        batch = material.batch(minute, found)
        placed.append(time.process_time() - began)
        began = time.process_time()
        run_pipeline(material.pipeline, batch, lambda name, seconds: steps.setdefault(name, []).append(seconds))
        steps.setdefault("pipeline and freeze", []).append(time.process_time() - began)
    entities = batch.entities.count
    on = f"{entities:,} entities"
    rows = [Result(function="Intake", on=on, cpu_s=min(placed), rate=entities / min(placed), unit="entities/s")]
    if AVAILABLE:
        grouped = _place_groups()
        rows.insert(
            0, Result(function="Intake of groups", on=on, cpu_s=grouped, rate=entities / grouped, unit="entities/s")
        )
    for name, seconds in steps.items():
        # The first tick has no rates: it is not the one to show.
        cpu = min(seconds[1:])
        rows.append(Result(function=name, on=on, cpu_s=cpu, rate=entities / cpu, unit="entities/s"))
    return rows


def _place_groups() -> float:
    """CPU seconds to place the same answers decoded together: with rows of its own, known from the second minute on."""
    material = Material(NODES)
    placed = []
    for minute in range(RUNS + 2):
        groups = material.groups(minute)
        began = time.process_time()
        batch = material.batch_of_groups(minute, groups)
        placed.append(time.process_time() - began)
        batch.freeze()
    return min(placed)


def _encode(material: Material) -> list[Result]:
    batch = material.finished(first=RUNS + 2)
    found = []
    for name, with_fields in (("line protocol", False), ("line protocol, withfields", True)):
        encoder = LineEncoder(with_fields=with_fields)
        lines = sum(chunk.points for chunk in encoder.encode(batch))
        cpu = best(lambda encoder=encoder: sum(chunk.points for chunk in encoder.encode(batch)))
        found.append(Result(function=name, on=f"{lines:,} lines", cpu_s=cpu, rate=lines / cpu, unit="lines/s"))
    found.append(_points(batch))
    found += _exposition(batch)
    return found


def _points(batch: DataBatch) -> Result:
    """What the same lines cost as influxdb-client's Point objects."""
    metric = INDEX["memory/usage"]
    rows = batch.rows_with(metric)[:OBJECTS].tolist()
    labels = [batch.entities.label_set(row) for row in rows]
    values = batch.column(metric)[rows].tolist()

    def work() -> None:
        for tags, value in zip(labels, values, strict=True):
            point = Point("memory/usage").field("value", value).time(batch.timestamp)
            for key, text in tags.items():
                point.tag(key, text)
            point.to_line_protocol()

    cpu = best(work, 2)
    return Result(
        function="influxdb-client's Point", on=f"{len(rows):,} lines", cpu_s=cpu, rate=len(rows) / cpu, unit="lines/s"
    )


def _exposition(batch: DataBatch) -> list[Result]:
    text = ClusterText()
    kinds = frozenset(Kind)

    def ours() -> int:
        async def whole() -> int:
            return sum([len(piece) async for piece in text.write(batch, kinds, openmetrics=False)])

        return asyncio.run(whole())

    size = ours()
    samples = int(np.count_nonzero(batch.present[:, : batch.rows])) + sum(
        int(np.count_nonzero(table.present)) for table in batch.labeled.values()
    )
    cpu = best(ours)
    metric = INDEX["memory/usage"]
    rows = batch.rows_with(metric)[:OBJECTS].tolist()
    registry = CollectorRegistry()
    gauge = Gauge("memory_usage_bytes", "Memory used", ("namespace", "pod", "container"), registry=registry)
    for row in rows:
        gauge.labels(str(row), batch.entities.name[row], batch.entities.key(row)).set(float(batch.cells[metric, row]))
    library = best(lambda: generate_latest(registry), 2)
    return [
        Result(function="Prometheus text", on=f"{size / 1e6:.0f} MB", cpu_s=cpu, rate=samples / cpu, unit="samples/s"),
        Result(
            function="prometheus-client's registry",
            on=f"{len(rows):,} samples",
            cpu_s=library,
            rate=len(rows) / library,
            unit="samples/s",
        ),
    ]
