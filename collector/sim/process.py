"""The simulated cluster as a process of its own, started and stopped from a program."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from collector.errors import StartError

_STOP_SECONDS = 20.0


class Ready(msgspec.Struct):
    """What the process prints when it listens."""

    kubeconfig: str
    api_url: str
    kubelet_port: int


class SimProcess:
    """`python -m collector.sim` with `arguments`; an async context manager that waits until it listens.

    After entering, `kubeconfig`, `api_url` and `kubelet_port` say where it is. StartError, with what the process
    wrote to stderr, when it ends early or is not ready within `limit` seconds. On leaving it is asked to stop, and
    killed after `limit`.
    """

    def __init__(self, arguments: Sequence[str] = (), *, limit: float = 90.0) -> None:
        self._arguments = tuple(arguments)
        self._limit = limit
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[bytes] | None = None
        self.kubeconfig = Path()
        self.api_url = ""
        self.kubelet_port = 0

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None, "the simulated cluster is not running"
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the process and wait until it is ready."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "collector.sim", "--until-eof", *self._arguments, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._errors = asyncio.create_task(self._process.stderr.read(), name="simulated cluster's stderr")
        try:
            async with asyncio.timeout(self._limit):
                line = await self._process.stdout.readline()
        except TimeoutError:
            _, written = await self._end()
            raise StartError(
                f"the simulated cluster was not ready within {self._limit:g} s; "
                f"start fewer nodes or raise the limit\n{written}"
            ) from None
        except BaseException:
            await self._end()
            raise
        if not line.strip():
            _, written = await self._end()
            raise StartError(f"the simulated cluster could not start:\n{written}")
        ready = msgspec.json.decode(line, type=Ready)
        self.kubeconfig, self.api_url, self.kubelet_port = Path(ready.kubeconfig), ready.api_url, ready.kubelet_port

    async def stop(self) -> int:
        """Ask the process to stop and wait for it; gives its exit status. Harmless when it is not running."""
        if self._process is None:
            return 0
        status, _ = await self._end()
        return status

    async def _end(self) -> tuple[int, str]:
        """Ask the process to stop, kill it when it does not; gives its exit status and what it wrote to stderr."""
        process, errors = self._process, self._errors
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        assert errors is not None
        self._process = self._errors = None
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
        status, written, _ = await asyncio.gather(process.wait(), errors, process.stdout.read())
        return status, written.decode(errors="replace").strip()
