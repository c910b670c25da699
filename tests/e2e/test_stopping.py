"""The end with a spooled sink whose server is frozen: unready first, on time, and nothing lost."""

import asyncio
import signal
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, heapster, source
from tests.servers import influxd

DELAY_S, LIMIT_S = 2, 3


async def status(url: str) -> int:
    def read() -> int:
        try:
            with urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    return await asyncio.to_thread(read)


@pytest.mark.parametrize("second", [False, True], ids=["in order", "at once"])
async def test_a_frozen_server_delays_no_end_and_costs_no_point(tmp_path: Path, *, second: bool) -> None:
    with influxd(tmp_path) as database:
        async with SimulatedCluster(SimConfig(nodes=2, pods=2, housekeeping=1, churn=0)) as cluster:
            limit = f"{LIMIT_S}s" if not second else "10m"
            flags = (*BRISK, source(cluster), f"--sink=influxdb:{database.url}?db=stopping")
            stopping = (f"--stop-timeout={limit}", f"--shutdown-delay-duration={DELAY_S}s", f"--spool-dir={tmp_path}")
            async with heapster(*flags, *stopping, "--v=4") as first:
                url = await first.url()
                await first.until("points written")
                assert await status(f"{url}/readyz") == 200
                database.freeze()
                answered = first.said.count("2 nodes answered")
                await first.until("2 nodes answered", times=answered + 2)
                began = time.monotonic()
                first.process.send_signal(signal.SIGTERM)
                while await status(f"{url}/readyz") == 200:
                    assert time.monotonic() - began < DELAY_S
                assert await status(f"{url}/livez") == 200, "unready first, while all is still served"
                await first.until("stopping: batches under way")
                assert time.monotonic() - began >= DELAY_S
                if second:
                    await asyncio.sleep(0.5)
                    began = time.monotonic()
                    assert await first.stop() == 128 + signal.SIGTERM
                    assert time.monotonic() - began < 5
                else:
                    async with asyncio.timeout(60):
                        assert await first.process.wait() == 0
                    assert LIMIT_S <= time.monotonic() - began - DELAY_S < LIMIT_S + 10
                    assert "points stay in the spool for the next start" in first.said
            database.thaw()
            async with heapster(*flags, f"--spool-dir={tmp_path}", "--stop-timeout=60s") as later:
                await later.until("2 nodes answered")
                assert await later.stop() == 0
        ticks = first.said.count("2 nodes answered")
        points = database.query("SELECT value FROM \"memory/usage\" WHERE type = 'node' GROUP BY nodename", "stopping")
        assert [len(series["values"]) for series in points] == [ticks + later.said.count("2 nodes answered")] * 2
    assert "Traceback" not in first.said + later.said
