"""`heapster` as a process, and what it says: started on free ports, asked over its sockets, ended by a signal."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from collector.sim import SimulatedCluster

BRISK = ("--metric-resolution=5s", "--scrape-offset=0s")
"""The shortest cycle there is."""


def source(cluster: SimulatedCluster) -> str:
    """The flag that makes it collect from a simulated cluster."""
    access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
    return f"--source=kubernetes.summary_api:?{access}"


class Heapster:
    """A running process; what it has said so far is in `said`, which is read all the while."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._ended = False
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="heapster's log")

    async def until(self, words: str, times: int = 1, seconds: float = 60) -> None:
        """Wait until it has said `words` so many times."""
        async with asyncio.timeout(seconds), self._more:
            while self.said.count(words) < times:
                assert not self._ended, self.said
                await self._more.wait()

    async def ports(self) -> list[int]:
        """The ports it has said it listens on."""
        await self.until("listening on")
        return [int(port) for port in re.findall(r"listening on \S+ port (\d+)", self.said)]

    async def url(self) -> str:
        """Where the main port is, without TLS."""
        return f"http://127.0.0.1:{(await self.ports())[0]}"

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            await self._reading
            return await self.process.wait()

    async def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self._reading
        await self.process.wait()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while not self._ended:
            line = await self.process.stderr.readline()
            async with self._more:
                self._ended = not line
                self.said += line.decode()
                self._more.notify_all()


@contextlib.asynccontextmanager
async def heapster(*arguments: str, within: Sequence[str] = (), **environ: str) -> AsyncIterator[Heapster]:
    """A process with these flags, on free ports; killed in the end if it still runs. `environ` is added to ours.

    `within` is a command that becomes another one, such as nsenter.
    """
    running = Heapster(
        await asyncio.create_subprocess_exec(
            *(
                *within,
                sys.executable,
                "-m",
                "collector",
                "--listen-ip=127.0.0.1",
                "--heapster-port=0",
                "--v=1",
                *arguments,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environ},
        )
    )
    try:
        yield running
    finally:
        await running.end()
