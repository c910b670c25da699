"""`heapster` as a Deployment runs it: a process that serves until SIGTERM, then delivers and ends with status 0."""

import signal

import pytest

from collector.sim import SimConfig, SimulatedCluster
from tests.e2e.process import BRISK, heapster, source


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
