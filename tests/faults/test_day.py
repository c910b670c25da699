"""A day without the server, at a tick a minute, of a small cluster as its kubelets tell it; and the day's end."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import INDEX, Kind, MetricTable
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.kube.objects import ContainerSpec, Pod
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier
from collector.sim.config import SimConfig
from collector.sim.world import InventedWorld
from collector.sources.projection import decode_together
from sinks.base import SinkUri
from sinks.influxdb import InfluxdbSink
from sinks.influxdb.options import InfluxdbOptions
from sinks.manager import SinkManager
from sinks.runner import SpooledSink
from sinks.spool.index import OLDEST_EVERY
from sinks.spool.spool import SpoolLimits
from tests.servers import Influxd, influxd

ORIGIN = 1_800_000_000
MINUTE = 60
SECOND = 10**9
DAY = 24 * 60
"""Ticks."""
NODES, PODS = 20, 2
DATABASE = "day"


class Minutes:
    """The batches of a simulated cluster, minute by minute."""

    def __init__(self) -> None:
        config = SimConfig(nodes=NODES, pods=PODS, containers=1, churn=0.0, clock=lambda: float(ORIGIN))
        self._world = InventedWorld(config, ORIGIN)
        self._entities, self._metrics = EntityTable(), MetricTable()
        self._pods = PodLister()
        self._pipeline = build_pipeline(self._pods, NamespaceLister(), NodeLister(), LabelCopier())

    def batch(self, minute: int) -> DataBatch:
        """Processed and frozen."""
        now = ORIGIN + MINUTE * minute
        batch = DataBatch(self._entities, self._metrics, now * SECOND)
        intake = Intake(batch)
        bodies = [bytes(self._world.summary_at(node, float(now))) for node in range(NODES)]
        group, fit = decode_together(bodies, now * SECOND)
        assert all(fit)
        intake.add_group(group)
        intake.flush()
        if not minute:
            self._pods.replace(list(self._objects(batch)))
        run_pipeline(self._pipeline, batch)
        return batch

    def _objects(self, batch: DataBatch) -> Iterator[Pod]:
        entities = batch.entities
        for row in batch.rows_of(Kind.POD).tolist():
            containers = tuple(ContainerSpec(name, f"example.com/{name}:1") for name in entities.children(row))
            namespace = entities.name[entities.parent[row]]
            yield Pod(namespace, entities.name[row], entities.uid[row], labels={"app": "web"}, containers=containers)


class Watched(InfluxdbSink):
    """It notes which tick each write was of that the server has taken."""

    def __init__(self, options: InfluxdbOptions) -> None:
        super().__init__(options)
        self.taken: list[int] = []

    async def send(self, body: bytes) -> None:
        await super().send(body)
        self.taken.append(int(body[: body.index(b"\n")].rsplit(b" ", 1)[1]))


def orders(ticks: Sequence[int]) -> Iterator[list[int]]:
    """Every order that is newest first, one in OLDEST_EVERY the oldest: they begin at another one of the four."""
    for turn in range(OLDEST_EVERY):
        waiting = deque(ticks)
        yield [
            waiting.popleft() if (turn + taken) % OLDEST_EVERY == OLDEST_EVERY - 1 else waiting.pop()
            for taken in range(len(ticks))
        ]


def found(database: Influxd, kind: str) -> list[int]:
    """How many entities of a kind the database has a value of, minute by minute."""
    first, last = ORIGIN * SECOND, (ORIGIN + DAY * MINUTE) * SECOND
    (series,) = database.query(
        f"SELECT count(usage) FROM memory WHERE type = '{kind}' AND time >= {first} AND time < {last} "
        "GROUP BY time(1m) fill(0)",
        DATABASE,
    )
    return [count for _, count in series["values"]]


async def test_a_day_of_minutes_without_the_server_is_delivered_whole_and_the_newest_first(tmp_path: Path) -> None:
    now = float(ORIGIN)
    minutes = Minutes()
    with influxd(tmp_path) as database:
        await asyncio.to_thread(database.stop)
        wire = Watched.from_uri(SinkUri.parse(f"influxdb:{database.url}?db={DATABASE}&schema=fields"))
        sink = SpooledSink(wire, tmp_path / "spool", SpoolLimits(), clock=lambda: now)
        sink.start()
        manager = SinkManager([sink])
        manager.start()
        try:
            points = 0
            measured: dict[Kind, list[int]] = {Kind.NODE: [], Kind.POD: [], Kind.POD_CONTAINER: []}
            for minute in range(DAY):
                now = ORIGIN + MINUTE * minute
                batch = minutes.batch(minute)
                for kind, counts in measured.items():
                    counts.append(int(np.count_nonzero(batch.present[INDEX["memory/usage"], batch.rows_of(kind)])))
                manager.export(batch)
                async with asyncio.timeout(20):
                    while True:
                        (ledger,) = manager.ledger()
                        assert ledger.balanced, ledger
                        if sink.balances()[0].queued == minute + 1 and not manager.statistics()[0].exporting:
                            break
                        await asyncio.sleep(0.001)
                assert ledger.points.scraped == ledger.points.queued > points
                points = ledger.points.scraped
                assert ledger.ticks.scraped == minute + 1
                assert not ledger.ticks.dropped
                assert not ledger.points.dropped
            assert ledger.size is not None
            assert ledger.size.covers_s == 86_400
            assert ledger.queued_bytes < ledger.size.limit_bytes
            assert wire.taken == []
            await asyncio.to_thread(database.start)
            async with asyncio.timeout(120):
                while (ledger := manager.ledger()[0]).points.queued:
                    assert ledger.balanced, ledger
                    await asyncio.sleep(0.05)
        finally:
            await manager.stop(1)
        ledger = manager.ledger()[0]
        assert (ledger.ticks.delivered, ledger.points.delivered) == (DAY, points)
        assert not ledger.points.dropped
        ticks = [(ORIGIN + MINUTE * minute) * SECOND for minute in range(DAY)]
        assert wire.taken in list(orders(ticks)), "a write a tick, the newest first"
        assert set(measured[Kind.NODE]) == {NODES}
        for kind, counts in measured.items():
            assert found(database, kind.label) == counts
