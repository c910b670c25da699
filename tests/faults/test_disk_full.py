"""A real disk that is full and freed again, under the running collector: nothing of it ends, and nothing is unaccounted
for."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, Heapster, heapster, source
from tests.faults.smalldisk import small_disk
from tests.servers import influxd

SPOOLED, HISTORY, WARM = "InfluxDB Sink", "History Sink", "Warm Restart"


async def asked(url: str) -> Any:
    def read() -> Any:
        with urlopen(url, timeout=10) as answer:
            return json.load(answer)

    return await asyncio.to_thread(read)


class Ledger:
    """What a collector's books say, each of them balanced whenever they are looked at."""

    def __init__(self, running: Heapster) -> None:
        self._running = running

    async def now(self) -> dict[str, dict[str, Any]]:
        found = (await asked(f"{await self._running.url()}/api/v1/ledger"))["sinks"]
        assert all(sink["balanced"] for sink in found), found
        return {sink["name"]: sink for sink in found}

    async def until(self, condition: Any, seconds: float = 60) -> dict[str, dict[str, Any]]:
        ends = time.monotonic() + seconds
        while not condition(found := await self.now()):
            assert time.monotonic() < ends, found
            await asyncio.sleep(0.2)
        return found


def ticks(ledger: dict[str, dict[str, Any]], name: str, what: str) -> int:
    """Of a sink's ticks: those `scraped`, `delivered`, or dropped for a reason."""
    found = ledger[name]["ticks"]
    return int(found[what] if what in found else found["dropped"].get(what, 0))


async def test_a_full_disk_is_survived_and_used_again_by_all_who_write_to_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk, influxd(tmp_path) as database:
        await asyncio.to_thread(database.stop)
        async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
            state = {"STATE_DIRECTORY": str(disk.path)}
            history = f"--sink=history:{disk.path}/history"
            flags = (*BRISK, source(cluster), f"--sink=influxdb:{database.url}?db=full", history)
            async with heapster(*flags, within=disk.within, **state) as running:
                ledger = Ledger(running)
                await ledger.until(lambda now: all(ticks(now, name, "delivered") for name in (HISTORY, WARM)))
                before = await ledger.until(lambda now: ticks(now, SPOOLED, "scraped"))
                assert before[SPOOLED]["keeps"] == "disk"

                await asyncio.to_thread(disk.fill)
                full = await ledger.until(
                    lambda now: (
                        now[SPOOLED]["keeps"] == "memory"
                        and all(ticks(now, name, "failed") for name in (HISTORY, WARM))
                    )
                )
                assert "No space left on device" in full[HISTORY]["trouble"]
                assert "No space left on device" in full[WARM]["trouble"]
                await asyncio.to_thread(disk.fill)  # what somebody gave back meanwhile
                scraped = ticks(full, SPOOLED, "scraped")
                await ledger.until(lambda now: ticks(now, SPOOLED, "scraped") > scraped)
                assert (await asked(f"{await running.url()}/api/v1/model/nodes/")) == sorted(cluster.node_names)

                disk.free()
                stored = ticks(await ledger.now(), HISTORY, "delivered")
                freed = await ledger.until(
                    lambda now: (
                        now[SPOOLED]["keeps"] == "disk"
                        and ticks(now, HISTORY, "delivered") > stored
                        and now[HISTORY]["trouble"] is now[WARM]["trouble"] is None
                    )
                )
                assert freed[SPOOLED]["points"]["dropped"] == {}

                await asyncio.to_thread(database.start)
                done = await ledger.until(
                    lambda now: now[SPOOLED]["trouble"] is None and not now[SPOOLED]["points"]["queued"]
                )
                assert done[SPOOLED]["points"]["dropped"] == {}
                assert ticks(done, SPOOLED, "delivered") == ticks(done, SPOOLED, "scraped") > scraped
                nodes = f"{await running.url()}/api/v1/model/nodes/{cluster.node_names[0]}/metrics/cpu/usage_rate"
                shown = (await asked(nodes))["metrics"]
                assert await running.stop(signal.SIGKILL) == -signal.SIGKILL
            times = database.query("SELECT value FROM \"cpu/usage\" WHERE type = 'cluster' OR type = 'node'", "full")
            assert len({at for one in times for at, *_ in one["values"]}) >= ticks(done, SPOOLED, "delivered")
            async with heapster(*flags, "--scrape-offset=4s", within=disk.within, **state) as second:
                await second.until("collecting from 2 nodes")
                url = nodes.replace(nodes[: nodes.index("/api")], await second.url())
                again = (await asked(url))["metrics"]
                assert shown[-2:] == [one for one in again if one in shown][-2:]
                assert await second.stop() == 0
        assert "Traceback" not in running.said + second.said
