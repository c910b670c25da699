"""`heapster` as a Deployment runs it: a process that serves until SIGTERM, then delivers and ends with status 0."""

import asyncio
import signal
import sys

import pytest

from collector.sim import SimConfig, SimulatedCluster


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_with_status_0(number, tmp_path):
    async with SimulatedCluster(SimConfig(nodes=2, pods=2)) as cluster:
        access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "collector", f"--source=kubernetes.summary_api:?{access}"),
            *(f"--sink=history:{tmp_path / 'history'}", "--metric-resolution=5s", "--scrape-offset=0s", "--v=1"),
            *("--listen-ip=127.0.0.1", "--heapster-port=0"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        said = ""
        try:
            async with asyncio.timeout(60):
                while "2 nodes answered" not in said:
                    line = await process.stderr.readline()
                    assert line, said
                    said += line.decode()
                process.send_signal(number)
                said += (await process.stderr.read()).decode()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert "stopping" in said
    assert "Traceback" not in said
    # The batch that was on its way when the signal came was delivered.
    assert list((tmp_path / "history" / "metrics").glob("[!.]*.parquet"))
