"""The simulated cluster as a process of its own."""

import asyncio
import json
import os
import signal
import ssl
import sys

import aiohttp
import pytest

from collector.errors import StartError
from collector.sim import SimProcess


async def test_a_process_serves_until_it_is_asked_to_stop(tmp_path):
    ready_file = tmp_path / "ready.json"
    process = SimProcess(["--nodes", "2", "--pods", "3", "--ready-file", str(ready_file)])
    async with process:
        config = json.loads(process.kubeconfig.read_bytes())
        assert config["clusters"][0]["cluster"]["server"] == process.api_url
        assert json.loads(ready_file.read_text())["kubelet_port"] == process.kubelet_port
        context = ssl.create_default_context(cafile=config["clusters"][0]["cluster"]["certificate-authority"])
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            async with session.get(f"https://127.77.0.2:{process.kubelet_port}/stats/summary") as response:
                assert len((await response.json())["pods"]) == 3
            async with session.get(f"{process.api_url}/api/v1/nodes") as response:
                assert len((await response.json())["items"]) == 2
        pid = process.pid

    assert not process.kubeconfig.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_status_0(number):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "collector.sim", "--nodes", "1", "--no-tls", stdout=asyncio.subprocess.PIPE
    )
    ready = json.loads(await process.stdout.readline())
    assert ready["api_url"].startswith("http://127.")
    process.send_signal(number)
    rest, _ = await process.communicate()

    assert (process.returncode, rest) == (0, b"")


async def test_it_ends_when_its_standard_input_does():
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "collector.sim", "--nodes", "1", "--until-eof", stdin=pipe, stdout=pipe
    )
    await process.stdout.readline()
    process.stdin.close()

    assert await process.stdout.read() == b""
    assert await process.wait() == 0


async def test_stop_gives_the_exit_status():
    process = SimProcess(["--nodes", "1"])
    await process.start()

    assert await process.stop() == 0
    assert await process.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--nodes", "0"], "--nodes 0"), (["--captures", "/nowhere"], "--captures"), (["--unknown"], "--unknown")],
)
async def test_what_cannot_start_tells_why(arguments, told):
    with pytest.raises(StartError, match=told):
        await SimProcess(arguments).start()


async def test_a_taken_port_is_told_by_the_process_too(simulate):
    simulation = await simulate(nodes=1)

    with pytest.raises(StartError, match="--kubelet-port"):
        await SimProcess(["--nodes", "1", "--kubelet-port", str(simulation.cluster.kubelet_port)]).start()


async def test_a_process_that_is_not_ready_in_time_is_ended():
    with pytest.raises(StartError, match="not ready within"):
        await SimProcess(["--nodes", "1"], limit=0.01).start()
