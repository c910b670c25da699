"""What the collector holds while pods come and go, a tenth of them a minute: no more at the end than in the middle.

In virtual time, as part of `make soak`.
"""

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from collector.app import Collector
from collector.core.entities import EntityTable
from collector.core.metrics import Kind
from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.clock import ManualClock
from tests.e2e.test_collector import options, running

TICKS = int(os.environ.get("SOAK_TICKS", "0"))
NODES, PODS, CHURN = 2, 100, 0.1
NEW_PODS = NODES * PODS * CHURN
"""A tick. For some 270 ticks what is held grows, as rows that were free remember the names of their last owners."""

WARM_TICKS = TICKS // 2
LOOKS = 10
"""While what is held is compared, each of them 0.2 s of CPU time."""

OBJECT_BYTES = 48
"""The smallest thing that could be kept for a pod: a short string, or a place in a list and a number."""


@cache
def is_ours(file: str) -> bool:
    """Whether what is allocated there is the collector's. The simulated cluster lives in this process, too."""
    return ("/collector/" in file and "/collector/sim/" not in file) or "/sinks/" in file or file == __file__


def held() -> int:
    """Bytes that the collector holds now."""
    gc.collect()
    traces = tracemalloc.take_snapshot().traces
    return sum(size for _, size, frames, _ in traces._traces if is_ours(frames[0][0]))  # one object less for each


def slope(sizes: dict[int, int]) -> float:
    """Bytes a tick: the median of the slopes between any two looks, which a table that grows once does not sway."""
    x, y = np.array(list(sizes)), np.array(list(sizes.values()))
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


@asynccontextmanager
async def database() -> AsyncIterator[str]:
    """The URL of a server that takes every write."""

    async def taken(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/api/v2/write", taken)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name if not site.name.endswith(":0") else f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Soak:
    """A collector over a cluster that changes, tick by tick."""

    def __init__(self, collector: Collector, cluster: SimulatedCluster, clock: ManualClock) -> None:
        self.collector, self.cluster, self.clock = collector, cluster, clock
        self.ticks = 0

    async def run(self, ticks: int, looks: int = 0) -> dict[int, int]:
        """So many minutes; what was held at some of them."""
        found = {}
        for done in range(1, ticks + 1):
            self.cluster.advance(60)
            await asyncio.sleep(0.01)  # the watches bring the pods that are new
            await self.collector.tick(int(self.clock() // 60) * 60 * SECOND)
            self.ticks += 1
            async with asyncio.timeout(60):
                while not self._is_delivered():
                    await asyncio.sleep(0.002)
            if looks and done % max(1, ticks // looks) == 0:
                found[self.ticks] = held()
        return found

    def _is_delivered(self) -> bool:
        ledgers = self.collector.sinks.ledger()
        assert all(sink.balanced for sink in ledgers)
        return all(sink.ticks.delivered == self.ticks for sink in ledgers)


@pytest.mark.skipif(not TICKS, reason="part of make soak: it takes minutes until all rows have been used")
async def test_with_pods_that_come_and_go_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(1_800_000_000.0)
    sim = SimConfig(nodes=NODES, pods=PODS, containers=1, clock=clock, churn=CHURN)
    async with database() as url, SimulatedCluster(sim) as cluster:
        given = options(
            cluster,
            sink=(f"influxdb:{url}?api=v2&bucket=b&timeout=60s",),
            spool_dir=str(tmp_path / "spool"),
            warm_dir=str(tmp_path / "warm"),
            node_timeout=20 * SECOND,
            scrape_timeout=40 * SECOND,
        )
        async with running(Collector(given, clock=clock)) as collector:
            soak = Soak(collector, cluster, clock)
            tracemalloc.start()
            try:
                await soak.run(WARM_TICKS)
                sizes = await soak.run(TICKS - WARM_TICKS, LOOKS)
                leak(monkeypatch)
                leaking = await soak.run(100, LOOKS)
            finally:
                tracemalloc.stop()
    noise = NEW_PODS * OBJECT_BYTES / 2
    assert abs(slope(sizes)) < noise, f"{slope(sizes):.0f} bytes a tick; held: {sizes}"
    assert slope(leaking) > noise, f"a leak of an object for each pod would not be seen: {leaking}"


def leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep one small thing for each pod and container that is new."""
    kept: list[str] = []
    create: Callable[..., int] = EntityTable._create

    def keeping(self: EntityTable, kind: Kind, parent: int, node: int, name: str) -> int:
        kept.append(f"{kind} {name}")
        return create(self, kind, parent, node, name)

    monkeypatch.setattr(EntityTable, "_create", keeping)
