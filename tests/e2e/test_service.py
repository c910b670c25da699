"""`heapster` as a Deployment runs it: a process that serves until SIGTERM, then delivers and ends with status 0."""

import asyncio
import signal

import aiohttp
import pytest

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, heapster, source


async def test_it_is_not_ready_any_more_before_it_stops_to_answer():
    async with (
        SimulatedCluster(SimConfig(nodes=2, pods=2)) as cluster,
        heapster(source(cluster), "--shutdown-delay-duration=3s", *BRISK) as running,
        aiohttp.ClientSession() as session,
    ):
        url = await running.url()

        async def status(path: str) -> tuple[int, str]:
            async with session.get(url + path) as answer:
                return answer.status, await answer.text()

        assert await status("/livez") == (200, "ok")
        await running.until("2 nodes answered")
        assert await status("/readyz") == (200, "ok")
        verbose = await status("/livez?verbose")
        assert verbose == (
            200,
            "[+]ping ok\n[+]event-loop ok\n[+]scrape-loop ok\n[+]light-scrape-loop ok\nlivez check passed\n",
        )
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        ready = await status("/readyz")
        assert (ready[0], "[-]shutdown failed" in ready[1]) == (500, True)
        assert await status("/livez") == (200, "ok")
        assert (await status("/api/v1/model/nodes/"))[0] == 200
        async with asyncio.timeout(20):
            assert await running.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_with_status_0(number, tmp_path):
    async with (
        SimulatedCluster(SimConfig(nodes=2, pods=2)) as cluster,
        heapster(source(cluster), f"--sink=history:{tmp_path / 'history'}", *BRISK) as running,
    ):
        await running.until("2 nodes answered")
        assert await running.stop(number) == 0
    assert "stopping" in running.said
    assert "Traceback" not in running.said
    assert "leaked" not in running.said
    # The batch that was on its way when the signal came was delivered.
    assert list((tmp_path / "history" / "metrics").glob("[!.]*.parquet"))
