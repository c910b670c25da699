"""A scripted API server on loopback: it answers each request on a collection with the next reply queued for it."""

import asyncio
import json
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.test_utils import TestServer

from collector.kube.client import Collection, Pace
from collector.kube.resources import PODS

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUICK = Pace(
    page_limit=2,
    page_limit_most=8,
    pause_first=0.01,
    pause_most=0.02,
    pause_refused=0.01,
    watch_shortest=0.0,
    watch_seconds=(20, 20),
)


@dataclass(frozen=True)
class Seen:
    """One request as the server saw it."""

    plural: str
    query: dict[str, str]
    authorization: str | None

    @property
    def is_watch(self):
        return self.query.get("watch") == "true"


class FakeApi:
    def __init__(self):
        self.seen: list[Seen] = []
        self.tokens: set[str] | None = None
        self.url = ""
        self._replies: dict[tuple[str, str], deque[Reply]] = defaultdict(deque)
        self._closing = asyncio.Event()

    def on_list(self, plural, *replies):
        self._replies[plural, "list"].extend(replies)

    def on_watch(self, plural, *replies):
        self._replies[plural, "watch"].extend(replies)

    def asked(self, plural, verb="list"):
        return [s.query for s in self.seen if s.plural == plural and s.is_watch == (verb == "watch")]

    async def handle(self, request):
        seen = Seen(request.match_info["plural"], dict(request.query), request.headers.get("Authorization"))
        self.seen.append(seen)
        if self.tokens is not None and (seen.authorization or "").removeprefix("Bearer ") not in self.tokens:
            return await refuse(401, "Unauthorized", "Unauthorized")(request)
        queue = self._replies[seen.plural, "watch" if seen.is_watch else "list"]
        if queue:
            return await queue.popleft()(request)
        return await (self._silent_watch if seen.is_watch else page())(request)

    async def _silent_watch(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await self._closing.wait()
        return response

    def close(self):
        self._closing.set()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None):
    api = FakeApi()
    app = web.Application()
    app.router.add_get("/api/v1/{plural}", api.handle)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls, shutdown_timeout=0.2)
    api.url = str(server.make_url("")).rstrip("/")
    try:
        yield api
    finally:
        api.close()
        await server.close()


def page(*items, version="10", token=""):
    async def reply(_request):
        meta = {"resourceVersion": version}
        if token:
            meta["continue"] = token
        return web.json_response({"kind": "List", "metadata": meta, "items": list(items)})

    return reply


def refuse(code, reason, message, **headers):
    async def reply(_request):
        told = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        return web.json_response(told, status=code, headers=headers)

    return reply


def text(body, status=200, content_type="text/html"):
    async def reply(_request):
        return web.Response(text=body, status=status, content_type=content_type)

    return reply


def stream(*pieces, cut=False, wait=None):
    """A watch that sends `pieces`, then waits for `wait`, then ends, cleanly or (`cut`) in the middle of the body."""

    async def reply(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if wait is not None:
            await wait.wait()
        if cut:
            request.transport.abort()
        return response

    return reply


def line(kind, wired):
    return json.dumps({"type": kind, "object": wired}).encode() + b"\n"


def expired_line():
    return line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"})


def bookmark(version):
    return line("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": version, "creationTimestamp": None}})


def pod(name, version="1", namespace="shop", **spec):
    meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": version}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running"}}


async def until(condition, seconds=5.0):
    """Wait for a condition that another task will make true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def server_context(authority, client_authority=None):
    """TLS of a server with a certificate of `authority`; `client_authority` makes it ask for one of the client."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if client_authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        client_authority.configure_trust(context)
    return context


async def pod_names(connection):
    """List once through `connection`; the names."""
    try:
        return [p.name async for page in Collection(connection, PODS, QUICK).pages(5) for p in page.objects]
    finally:
        await connection.close()
