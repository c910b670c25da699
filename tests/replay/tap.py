"""A tap between a collector and its InfluxDB: forwards every request and keeps what was asked."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: str
    """Percent-decoded, as recorded of Heapster."""
    body: str


class Tap:
    def __init__(self, target: str) -> None:
        self._target = target
        self.asked: list[Asked] = []
        self.url = ""

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        query = unquote(request.rel_url.raw_query_string.replace("+", " "))
        self.asked.append(Asked(request.method, request.path, query, body.decode()))
        headers = {name: value for name, value in request.headers.items() if name in {"Authorization", "Content-Type"}}
        url = URL(f"{self._target}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                headers={"Content-Type": answer.headers.get("Content-Type", "application/json")},
            )

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Tap"]:
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession() as self._session:
                yield self
        finally:
            await runner.cleanup()
