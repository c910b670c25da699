"""A spooled InfluxDB sink that is ticked, and what a real server has of it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sinks.base import build
from sinks.influxdb import InfluxdbSink
from sinks.manager import SinkManager
from sinks.runner import SpooledSink
from sinks.runner.ledger import SinkLedger
from sinks.spool.spool import SpoolLimits
from tests.servers import Influxd
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster
from tests.sinks.spooling_child import AGE


class Delivery:
    """A manager with one spooled InfluxDB sink and a cluster to tick."""

    def __init__(self, uri: str, directory: Path) -> None:
        wire = build(f"{uri}&max_points=60")  # several records a tick
        assert isinstance(wire, InfluxdbSink)
        self.cluster = Cluster()
        self.points = sum(chunk.points for chunk in wire.encode(self.cluster.batch()))
        self.sink = SpooledSink(wire, directory, SpoolLimits(max_age_ns=AGE))
        self.sink.start()
        self.manager = SinkManager([self.sink])
        self.manager.start()
        self.ticks = 0

    async def tick(self) -> None:
        """One more tick, spooled within a moment whatever the server does."""
        self.manager.export(self.cluster.batch(TIMESTAMP + self.ticks * MINUTE, seed=self.ticks))
        self.ticks += 1
        await self.until(lambda ledger: ledger.points.scraped == self.ticks * self.points, 5)

    async def until(self, condition: Callable[[SinkLedger], bool], seconds: float = 60) -> SinkLedger:
        async with asyncio.timeout(seconds):
            while True:
                ledger = self.manager.ledger()[0]
                assert ledger.balanced, ledger
                if condition(ledger):
                    return ledger
                await asyncio.sleep(0.005)


def counted(server: Influxd, database: str) -> dict[int, int]:
    """Tick -> points found of it."""
    found: dict[int, int] = {}
    for series in server.query("SELECT value FROM /.*/", database):
        for time_text, *_ in series["values"]:
            found[time_text] = found.get(time_text, 0) + 1
    return {_tick(text): count for text, count in found.items()}


def counted_by_victoria_metrics(series: Mapping[object, Iterable[int]]) -> dict[int, int]:
    """The same of its export."""
    found: dict[int, int] = {}
    for values in series.values():
        for time_ms in values:
            tick = (time_ms * 10**6 - TIMESTAMP) // MINUTE
            found[tick] = found.get(tick, 0) + 1
    return found


def _tick(text: str) -> int:
    seconds = int(time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return (seconds * 10**9 - TIMESTAMP) // MINUTE
