"""An InfluxDB that forgets: a process that takes writes, counts their bytes and says yes.

A real server would compete with the collector for the two cores; what it would do with the lines is not ours.
"""

import asyncio
import multiprocessing
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Self

from aiohttp import web

KEPT = ["default", "0s", "168h0m0s", 1, True]
"""The retention policy that it says it has."""


class Drain:
    """The process; an async context manager. `url` is where it listens, `taken` the bytes that came."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._taken: Synchronized[int] = context.Value("q", 0)
        self._port = context.Queue()
        self._process = context.Process(target=_serve, args=(self._taken, self._port), daemon=True)
        self.url = ""

    @property
    def taken(self) -> int:
        """Bytes of all bodies so far, as they came: compressed if they were."""
        return self._taken.value

    async def __aenter__(self) -> Self:
        self._process.start()
        port = await asyncio.get_running_loop().run_in_executor(None, self._port.get, True, 30)
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._process.terminate()
        await asyncio.get_running_loop().run_in_executor(None, self._process.join)


def _serve(taken: "Synchronized[int]", port: Any) -> None:
    asyncio.run(_listen(taken, port))


async def _listen(taken: "Synchronized[int]", port: Any) -> None:
    async def take(request: web.BaseRequest) -> web.Response:
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
        with taken.get_lock():
            taken.value += size
        if request.path == "/query":
            series = [{"columns": ["name", "duration", "shardGroupDuration", "replicaN", "default"], "values": [KEPT]}]
            return web.json_response({"results": [{"statement_id": 0, "series": series}]})
        return web.Response(status=204, headers={"X-Influxdb-Version": "1.6.7"})

    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port.put(runner.addresses[0][1])
    await asyncio.Event().wait()
