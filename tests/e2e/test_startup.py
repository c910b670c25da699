"""What the start goes on with: as a process against a simulated cluster (behaviour reference, 1.7)."""

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e import process
from tests.e2e.process import BRISK, Heapster


@pytest.fixture
async def source() -> AsyncIterator[str]:
    async with SimulatedCluster(SimConfig(nodes=2, pods=2)) as cluster:
        yield process.source(cluster)


def heapster(*arguments: str) -> AbstractAsyncContextManager[Heapster]:
    return process.heapster(*BRISK, "--stop-timeout=2s", *arguments)


async def test_a_broken_sink_and_an_unreachable_one_keep_nobody_from_starting(source, tmp_path):
    with socket.socket() as refusing, socket.socket() as silent:
        refusing.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes connections and never answers: where Heapster hung for ever
        sinks = (
            "--sink=statsd:udp://127.0.0.1:8125",
            "--sink=influxdb:?concurrency=0",
            f"--sink=influxdb:http://u:geheim@127.0.0.1:{refusing.getsockname()[1]}?pw=geheim",
            f"--sink=influxdb:http://127.0.0.1:{silent.getsockname()[1]}",
            f"--sink=history:{tmp_path}",
        )
        async with heapster(source, *sinks, "--logtostderr", "--max_procs", "4") as running:
            await running.until("2 nodes answered")
            url = await running.url()
            async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
            assert await running.stop() == 0
    assert "a sink is left out: sink statsd: one of Heapster's" in running.said
    assert "a sink is left out: sink influxdb: option concurrency is '0'" in running.said
    assert "command line: heapster" in running.said
    assert "geheim" not in running.said
    assert "without effect: --max-procs, --logtostderr" in running.said
    assert "Traceback" not in running.said
    assert list((tmp_path / "metrics").glob("[!.]*.parquet"))


async def test_a_sink_whose_directory_is_taken_is_left_out_beside_another(source, tmp_path):
    async with heapster(source, f"--sink=history:{tmp_path}") as first:
        await first.until("collecting from")
        async with heapster(source, f"--sink=history:{tmp_path}", "--sink=metric") as second:
            await second.until("2 nodes answered")
            assert await second.stop() == 0
        assert "a sink is left out: history" in second.said
        async with heapster(source, f"--sink=history:{tmp_path}") as third:
            assert await third.process.wait() == 255
        assert await first.stop() == 0


async def test_without_the_metric_sink_nothing_is_kept_and_health_comes_from_the_cycle(source):
    async with heapster(source, "--disable_metric_sink", "--v=2") as running:
        url = await running.url()
        async with aiohttp.ClientSession() as session:

            async def asked(path: str) -> tuple[int, str]:
                async with session.get(url + path) as answer:
                    return answer.status, await answer.text()

            assert await asked("/healthz/healthz") == (500, "internal server error: no batch has been collected yet\n")
            await running.until("2 nodes answered")
            assert await asked("/healthz") == (200, "ok")
            for path in ("/api/v1/model/metrics", "/api/v1/model/namespaces/", "/api/v1/metric-export"):
                assert (await asked(path))[0] == 404
            assert (await asked("/metrics/cluster"))[0] == 404
            status, own = await asked("/metrics")
            assert status == 200
            assert 'heapster_nodes{state="ok"} 2.0' in own
            assert "Metric Sink" not in own
        assert await running.stop() == 0
    assert 'FLAG: --disable-metric-sink="true"' in running.said
    assert 'FLAG: --metric-resolution="5s"' in running.said
