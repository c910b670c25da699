"""A restart goes on where the process before ended, whatever ended it."""

import asyncio
import json
import signal
import time
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.clock import ManualClock
from tests.e2e.process import BRISK, heapster, source
from tests.e2e.test_light import NOW, ROUND, collecting, expected, light_round, usage


async def asked(url: str) -> dict[str, list[dict[str, object]]]:
    def read() -> dict[str, list[dict[str, object]]]:
        with urlopen(url, timeout=10) as answer:
            found: dict[str, list[dict[str, object]]] = json.load(answer)
            return found

    return await asyncio.to_thread(read)


async def test_after_sigkill_the_model_api_goes_on_at_once_and_the_first_tick_has_rates(tmp_path: Path) -> None:
    async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
        path = f"/api/v1/model/nodes/{cluster.node_names[0]}/metrics/cpu/usage_rate"
        async with heapster(*BRISK, source(cluster), "--sink=metric", STATE_DIRECTORY=str(tmp_path)) as first:
            await first.until("2 nodes answered", times=3)
            while not (before := await asked(await first.url() + path))["metrics"]:
                await asyncio.sleep(0.1)
            await asyncio.to_thread(_settled, tmp_path, str(before["latestTimestamp"]))
            assert await first.stop(signal.SIGKILL) == -signal.SIGKILL
        flags = (*BRISK, "--scrape-offset=1s", source(cluster), "--sink=metric")
        async with heapster(*flags, STATE_DIRECTORY=str(tmp_path)) as second:
            await second.until("collecting from 2 nodes")
            after = await asked(await second.url() + path)
            assert "2 nodes answered" not in second.said
            assert after["metrics"][: len(before["metrics"])] == before["metrics"]
            await second.until("2 nodes answered")
            while len(later := (await asked(await second.url() + path))["metrics"]) == len(after["metrics"]):
                await asyncio.sleep(0.1)
            assert later[: len(after["metrics"])] == after["metrics"]
            assert await second.stop() == 0


def _settled(directory: Path, stamp: str) -> None:
    """Wait until the batch that was shown last is on disk, too."""
    wanted = f"{int(datetime.fromisoformat(stamp).timestamp())}{'0' * 9}.batch.npz"
    while not list(directory.rglob(wanted)):
        time.sleep(0.05)


async def test_kubectl_top_is_right_with_the_first_round_and_before_it(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    given = {"sim": {"clock": clock}, "warm_dir": str(tmp_path / "warm")}
    async with collecting(tmp_path, **given) as (cluster, collector):
        one, _ = await light_round(cluster, collector)
        two, _ = await light_round(cluster, collector, later=15)
        await collector.tick(int(clock() * SECOND))
        before = await usage(collector)
        assert before == expected(one, two)
    async with collecting(tmp_path, **given) as (cluster, collector):
        assert await usage(collector) == before
        three, report = await light_round(cluster, collector, later=ROUND / SECOND)
        assert report.answered == 3
        assert await usage(collector) == expected(two, three)
