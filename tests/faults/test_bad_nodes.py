"""A twentieth of the nodes dead and one that drips, under the whole collector: they cost their own points alone."""

import asyncio
from pathlib import Path

from collector.app import Collector
from collector.manager import Tick
from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.test_collector import options, running, window
from tests.servers import influxd

NODES, DEAD = 40, 2
TICKS = 3
NODE_TIMEOUT_S = 1
LONG_S = 86_400.0
"""What the dripping node's answer would take: it comes by less than a byte a second."""


async def test_dead_and_dripping_nodes_cost_their_own_points_and_a_deadline(tmp_path: Path) -> None:
    ticks: list[Tick] = []

    def ticked(tick: Tick) -> None:
        assert all(sink.balanced for sink in collector.sinks.ledger())
        ticks.append(tick)

    faults = SimConfig(
        nodes=NODES, pods=3, housekeeping=1, churn=0, down=DEAD / NODES, drip=1 / NODES, fault_seconds=LONG_S
    )
    with influxd(tmp_path) as database:
        async with SimulatedCluster(faults) as cluster:
            given = options(
                cluster,
                sink=(f"influxdb:{database.url}?db=bad",),
                spool_dir=str(tmp_path / "spool"),
                node_timeout=NODE_TIMEOUT_S * SECOND,
            )
            collector = Collector(given, ticked=ticked)
            async with running(collector):
                for number in range(TICKS):
                    await collector.tick(window(number))
                    failed = dict(collector.report.failed)
                    assert collector.report.answered == NODES - DEAD - 1
                    assert sum(failed.values()) == DEAD + 1
                    assert failed["refused"] == DEAD
                    assert NODE_TIMEOUT_S <= ticks[-1].seconds < NODE_TIMEOUT_S + 5
                async with asyncio.timeout(60):
                    while collector.sinks.ledger()[0].ticks.delivered < TICKS:
                        await asyncio.sleep(0.05)
                ledger = collector.sinks.ledger()[0]
                assert ledger.balanced
                assert not ledger.points.dropped
        query = "SELECT value FROM \"memory/usage\" WHERE type = 'node' GROUP BY nodename"
        found = {one["tags"]["nodename"]: len(one["values"]) for one in database.query(query, "bad")}
    assert len(found) == NODES - DEAD - 1
    assert set(found.values()) == {TICKS}
