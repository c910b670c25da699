"""Prometheus' text of a whole cluster: ours beside prometheus-client's registry. Prints one line of JSON.

    python -m benchmarks.exposition 5000-nodes

The registry is given one metric of every entity that has it, ours writes all there is of them. What ours needs at a
time is its largest piece; the registry's text is one string.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from benchmarks.proc import load
from benchmarks.shapes import EXPOSITION, Shape
from benchmarks.stage import all_answered, staged
from collector.api.exposition import ClusterText
from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind

RUNS = 3
LABELS = ("namespace", "pod", "container")


async def measure(shape: Shape) -> dict[str, Any]:
    """Samples a CPU second of both, best of RUNS; bytes of ours."""
    async with staged(shape) as stage:
        for _ in range(2):
            await stage.cycle()
            await asyncio.sleep(shape.pause_s)
        all_answered(shape, stage.collector.report)
        batch = stage.collector.store.latest()
        assert batch is not None
        text, ours = ClusterText(), []
        for _ in range(RUNS):
            began = time.process_time()
            pieces = [len(piece) async for piece in text.write(batch, frozenset(Kind), openmetrics=False)]
            ours.append(time.process_time() - began)
        registry, samples = filled(batch)
        theirs = []
        for _ in range(RUNS):
            began = time.process_time()
            size = len(generate_latest(registry))
            theirs.append(time.process_time() - began)
    rates = batch.values / min(ours), samples / min(theirs)
    return {
        "entities": shape.entities,
        "samples": batch.values,
        "bytes": sum(pieces),
        "largest_piece_bytes": max(pieces),
        "cpu_s": min(ours),
        "samples_a_cpu_s": rates[0],
        "registry": {"samples": samples, "bytes": size, "cpu_s": min(theirs), "samples_a_cpu_s": rates[1]},
        "times_the_registry": rates[0] / rates[1],
        "machine": load(),
    }


def filled(batch: DataBatch) -> tuple[CollectorRegistry, int]:
    """A registry with one metric of every entity, and the number of its samples."""
    metric, entities = INDEX["memory/usage"], batch.entities
    registry = CollectorRegistry()
    gauge = Gauge("memory_usage_bytes", "Memory used", LABELS, registry=registry)
    rows = batch.rows_with(metric).tolist()
    for row, value in zip(rows, batch.column(metric)[rows].tolist(), strict=True):
        gauge.labels(str(row), entities.name[row], entities.key(row)).set(value)
    return registry, len(rows)


def main() -> int:
    print(json.dumps(uvloop.run(measure(EXPOSITION[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
