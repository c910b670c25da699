"""A collector in front of a simulated cluster: the cluster a process of its own, the collector in this one."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.drain import Drain
from benchmarks.proc import cpu_seconds
from benchmarks.shapes import SINKS, Shape
from collector.app import Collector
from collector.manager import Tick
from collector.options import SECOND, Options
from collector.sim.process import SimProcess
from collector.sources.rounds import ScrapeReport

WARM_UP = 2
"""Cycles before the first one measured: connections, rows, then the first rates."""
MINUTE = 60 * SECOND
LIMIT_S = 300
SPOOL_REST_S = 1.5
"""After the last write the spool still syncs, notes what was delivered and removes files: within a second."""


@dataclass(slots=True)
class Cost:
    """One cycle: until the batch is stored, every sink has delivered it, and the spool has let go of it."""

    cpu_s: float
    sim_cpu_s: float
    wall_s: float
    processors_s: float
    bytes_read: int
    bytes_written: int


@dataclass(slots=True)
class Clock:
    """The collector's present: the windows follow one another without the pauses between them."""

    end: int
    """Of the latest window, ns since the epoch."""

    def __call__(self) -> float:
        return self.end / SECOND + 5.0


@dataclass
class Stage:
    """What runs; `cycle` is one more window."""

    cluster: SimProcess
    collector: Collector
    start_cpu_s: float
    drain: Drain | None
    clock: Clock
    ticks: list[Tick] = field(default_factory=list)

    async def cycle(self) -> Cost:
        """Fetch over verified TLS, decode, process, store, and what the sinks do; then it is measured."""
        self.clock.end += MINUTE
        written = self.drain.taken if self.drain else 0
        before, began, wall = cpu_seconds(self.cluster.pid), time.process_time(), time.perf_counter()
        await self.collector.tick(self.clock.end)
        await self._delivered()
        took = time.perf_counter() - wall
        if self.drain:
            await asyncio.sleep(SPOOL_REST_S)
        report = self.collector.report
        return Cost(
            time.process_time() - began,
            cpu_seconds(self.cluster.pid) - before,
            took,
            self.ticks.pop().process_seconds,
            report.bytes_read,
            (self.drain.taken - written) if self.drain else 0,
        )

    async def _delivered(self) -> None:
        """Wait until no sink, nor the store, which is one of them, has anything left to do."""
        deadline = time.monotonic() + LIMIT_S
        while any(sink.waiting or sink.exporting for sink in self.collector.sinks.statistics()) or any(
            sink.points.queued for sink in self.collector.sinks.ledger()
        ):
            if time.monotonic() > deadline:
                raise RuntimeError("the sinks never finished with the batch")
            await asyncio.sleep(0.01)
        for sink in self.collector.sinks.statistics():
            if sink.dropped:
                raise RuntimeError(f"{sink.name} lost a batch: {sink.trouble}")
        for sink in self.collector.sinks.ledger():
            if any(sink.points.dropped.values()):
                raise RuntimeError(f"{sink.name} lost points: {sink.points.dropped}, {sink.trouble}")


def all_answered(shape: Shape, report: ScrapeReport) -> None:
    """Raises RuntimeError where a node did not answer that is not dead in this shape: fewer answers cost less."""
    if report.answered < shape.nodes - round(shape.down * shape.nodes):
        raise RuntimeError(f"only {report.answered} of {shape.nodes} nodes answered: {dict(report.failed)}")


@asynccontextmanager
async def staged(shape: Shape, **changed: object) -> AsyncIterator[Stage]:
    """Both running, ready for the first cycle. `changed` are options unlike those of all measurements."""
    async with AsyncExitStack() as stack:
        drain = await stack.enter_async_context(Drain()) if shape.sink.startswith("influxdb") else None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="heapster-bench-"))
        cluster = await stack.enter_async_context(SimProcess(shape.arguments(), limit=LIMIT_S))
        access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
        sink = SINKS[shape.sink].format(influx=drain.url if drain else "", directory=directory) if shape.sink else ""
        options = {
            "source": (f"kubernetes.summary_api:?{access}",),
            "sink": (sink,) if sink else (),
            "listen_ip": "127.0.0.1",
            "heapster_port": 0,
            "scrape_timeout": LIMIT_S * SECOND,
            "scrape_jitter": 0,
            "node_timeout": 120 * SECOND,
            "kube_start_timeout": LIMIT_S * SECOND,
            # As in the manifests, where there is a volume for it: what goes to InfluxDB goes through the spool.
            "spool_dir": f"{directory}/spool" if drain else "off",
        }
        ticks: list[Tick] = []
        clock = Clock(time.time_ns() // MINUTE * MINUTE)
        collector = Collector(Options(**options | changed), ticked=ticks.append, clock=clock)
        began = time.process_time()
        await collector.start()
        stack.push_async_callback(collector.stop)
        yield Stage(cluster, collector, time.process_time() - began, drain, clock, ticks)
