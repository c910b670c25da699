"""What the start goes on with: as a process against a simulated cluster (behaviour reference, 1.7)."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e import process
from tests.e2e.process import BRISK, Heapster

PAST = "/api/v1/historical/nodes/"


@pytest.fixture
async def source() -> AsyncIterator[str]:
    async with SimulatedCluster(SimConfig(nodes=2, pods=2)) as cluster:
        yield process.source(cluster)


def heapster(*arguments: str, **environ: str) -> AbstractAsyncContextManager[Heapster]:
    return process.heapster(*BRISK, "--stop-timeout=2s", *arguments, **environ)


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


async def test_with_no_sink_the_past_is_kept_where_something_can_outlive_the_process(source, tmp_path):
    async with heapster(source, STATE_DIRECTORY=str(tmp_path)) as running:
        await running.until("2 nodes answered", times=2)
        async with aiohttp.ClientSession() as session, session.get(f"{await running.url()}{PAST}") as answer:
            assert answer.status == 200
            assert await answer.json()
        # Another one on the same volume was not asked to keep anything: it runs without.
        async with heapster(source, STATE_DIRECTORY=str(tmp_path)) as second:
            await second.until("2 nodes answered")
            assert await second.stop() == 0
        assert "a sink is left out: history" in second.said
        assert await running.stop() == 0
    assert f"the past is kept in {tmp_path / 'history'}" in running.said
    assert list((tmp_path / "history" / "metrics").glob("[!.]*.parquet"))


async def test_the_metric_sink_alone_keeps_no_past(source, tmp_path):
    async with heapster(source, "--sink=metric", STATE_DIRECTORY=str(tmp_path)) as running:
        await running.until("2 nodes answered")
        async with aiohttp.ClientSession() as session, session.get(f"{await running.url()}{PAST}") as answer:
            assert answer.status == 404
        assert await running.stop() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["warm"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_stops_at_once(source, number):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes the batch and never says that it has it
        sink = "--sink=log:", f"--sink=influxdb:http://127.0.0.1:{silent.getsockname()[1]}"
        async with process.heapster(*BRISK, "--stop-timeout=10m", source, *sink, "--spool-dir=off") as running:
            await running.until("2 nodes answered", times=2)
            running.process.send_signal(signal.SIGTERM)
            await running.until("stopping: batches under way are delivered within 10m")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await running.process.wait()
            assert await running.stop(number) == 128 + number
    assert "a second signal" in running.said
