"""Rounds of the light cadence: fetch of /metrics/resource over verified TLS, decode, store. Prints one line of JSON.

    python -m benchmarks.light 1000-nodes

They follow cycles, as they do in life: the rows are there, and what the process holds more afterwards is what the light
cadence adds. The simulated cluster is a process of its own.
"""

import asyncio
import json
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict

import uvloop

from benchmarks.latency import blocks_of
from benchmarks.proc import cpu_seconds, load, peak_mib, resident_mib
from benchmarks.shapes import LIGHT, Shape
from benchmarks.stage import WARM_UP, Cost, Stage, all_answered, staged
from benchmarks.watchdog import Watchdog
from collector.options import SECOND
from collector.sources.rounds import ScrapeReport

ROUND = 15 * SECOND


async def measure(shape: Shape) -> dict[str, object]:
    """The costs of all rounds, each as `stage.Cost`; what the light cadence adds to memory; the loop's blocks."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="heapster-bench-"))
        served = {"api_server": True, "bind_address": "127.0.0.1", "secure_port": port, "cert_dir": folder}
        stage = await stack.enter_async_context(staged(shape, **served))
        for _ in range(WARM_UP):
            await stage.cycle()
            await asyncio.sleep(1.1)
        before = resident_mib()
        with Watchdog() as first_watchdog:
            first, _ = await _round(stage)
        costs: list[Cost] = []
        with Watchdog() as watchdog:
            for _ in range(WARM_UP + shape.cycles):
                await asyncio.sleep(shape.pause_s)  # the next sample of every kubelet
                cost, report = await _round(stage)
                costs.append(cost)
        all_answered(shape, report)
        return {
            "nodes": shape.nodes,
            "entities": shape.entities,
            "answered": report.answered,
            "failed": dict(report.failed),
            "first": asdict(first),
            "cycles": [asdict(cost) for cost in costs[WARM_UP:]],
            "added_mib": resident_mib() - before,
            "blocks_first_cycle": blocks_of(first_watchdog),
            "blocks": blocks_of(watchdog),
            "peak_mib": peak_mib(),
            "machine": load(),
        }


async def _round(stage: Stage) -> tuple[Cost, ScrapeReport]:
    """One round, the collector's clock 15 s on."""
    light = stage.collector.light
    assert light is not None, "the second server is there, so is the light cadence"
    stage.clock.end += ROUND
    before, began, wall = cpu_seconds(stage.cluster.pid), time.process_time(), time.perf_counter()
    report = await light.scrape(stage.clock.end)
    cpu_s, wall_s = time.process_time() - began, time.perf_counter() - wall
    return Cost(cpu_s, cpu_seconds(stage.cluster.pid) - before, wall_s, 0.0, report.bytes_read, 0), report


def main() -> int:
    print(json.dumps(uvloop.run(measure(LIGHT[sys.argv[1]]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
