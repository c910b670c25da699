"""Two replicas, one database: one writes, both answer, and the end of the writer costs no tick."""

import asyncio
import signal
from pathlib import Path

import aiohttp

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, Heapster, heapster, source
from tests.servers import influxd


async def leads(replica: Heapster) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{await replica.url()}/metrics") as answer:
        return "heapster_leads 1.0" in await answer.text()


async def test_the_writer_is_killed_and_no_tick_is_missing(tmp_path: Path) -> None:
    times = (
        "--leader-elect-lease-duration=3s",
        "--leader-elect-renew-deadline=2s",
        "--leader-elect-retry-period=200ms",
    )
    with influxd(tmp_path) as database:
        async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
            flags = (*BRISK, source(cluster), f"--sink=influxdb:{database.url}", "--leader-elect", *times)
            async with (
                heapster(*flags, f"--spool-dir={tmp_path / 'first'}") as first,
                heapster(*flags, f"--spool-dir={tmp_path / 'second'}") as second,
            ):
                both = [first, second]
                await asyncio.gather(*(one.until("2 nodes answered", times=3) for one in both))
                (leader,) = [one for one in both if await leads(one)]
                (other,) = [one for one in both if one is not leader]
                for replica in both:
                    url = f"{await replica.url()}/api/v1/model/nodes/"
                    async with aiohttp.ClientSession() as session, session.get(url) as answer:
                        assert await answer.json() == sorted(cluster.node_names)
                assert "leads; this replica stands by" in other.said
                assert await leader.stop(signal.SIGKILL) == -signal.SIGKILL
                await other.until("this replica leads", seconds=20)
                seen = other.said.count("2 nodes answered")
                await other.until("2 nodes answered", times=seen + 3)
                assert await leads(other)
                assert await other.stop() == 0
            (lease,) = cluster.api.leases.objects.values()
            assert lease["spec"]["holderIdentity"] == ""
            assert lease["spec"]["leaseTransitions"] == 1
        (series,) = database.query(
            "SELECT count(value) FROM \"memory/usage\" WHERE type = 'node' GROUP BY time(5s)", "k8s"
        )
        written = [(time, count) for time, count in series["values"] if count]
        between = [count for time, count in series["values"] if written[0][0] <= time <= written[-1][0]]
        assert len(between) >= 5
        assert between == [2] * len(between), "two nodes in every window, once each"
