"""What an API server's service proxy does to a request: takes the prefix off and passes the rest on, byte for byte.

Both forms: `/api/v1/namespaces/NS/services/ID/proxy/...`, and `/api/v1/proxy/namespaces/NS/services/ID/...` of servers
before 1.10. ID is `name`, `name:port` or `scheme:name:port`. A Location that begins at the root gets the prefix back.
"""

import contextlib
import re
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from yarl import URL

_SERVICE = r"(?:(?:https?)?:)?heapster(?::[a-z0-9-]*)?"
_PREFIXES = (
    re.compile(rf"(/api/v1/namespaces/kube-system/services/{_SERVICE}/proxy)(/.*)?"),
    re.compile(rf"(/api/v1/proxy/namespaces/kube-system/services/{_SERVICE})(/.*)?"),
)
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}


class ServiceProxy:
    """Forwards to one port of loopback."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.forwarded: list[str] = []
        """Request targets as they were passed on."""

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        found = next((found for prefix in _PREFIXES if (found := prefix.fullmatch(path))), None)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        target = (found[2] or "/") + (f"?{query}" if query else "")
        self.forwarded.append(target)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-Host": request.host, "X-Forwarded-Proto": "http", "X-Forwarded-Uri": path}
        async with self._session.request(
            request.method,
            URL(f"http://127.0.0.1:{self._port}{target}", encoded=True),
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if passed.get("Location", "").startswith("/"):
                passed["Location"] = found[1] + passed["Location"]
            return web.Response(status=answer.status, headers=passed, body=await answer.read())

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["ServiceProxy"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with aiohttp.ClientSession(
                auto_decompress=False, skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding")
            ) as self._session:
                yield self
        finally:
            await runner.cleanup()
