"""The API server: discovery, list and watch of nodes, pods and namespaces.

Lists come in pages (limit, continue) that all show one moment; watches start at a resource version, carry bookmarks when asked, and end at
timeoutSeconds. A version older than `watch_history` is answered 410 Gone, as an ERROR event in a watch.
See https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Callable

import msgspec
from aiohttp import web

from collector.sim.access import FORBIDDEN_TOKEN, FORBIDDEN_USER
from collector.sim.clock import ManualClock
from collector.sim.config import SimConfig
from collector.sim.inventory import Collection, encode_event, encode_list
from collector.sim.objects import KUBELET_VERSION, Json
from collector.sim.versions import list_version, second_of

_JSON = "application/json"
_POLL_SECONDS = 0.25
_DISCOVERY: Json = {
    "/version": {"major": "1", "minor": "36", "gitVersion": KUBELET_VERSION, "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
}


class ApiFaults:
    """What the API server does wrong, set at runtime by tests."""

    def __init__(self) -> None:
        self.failing = 0
        """How many of the next requests are answered 500."""
        self.expired_before = -(2**62)
        """Watches and continue tokens of versions before this are answered 410."""


class ApiServer:
    """Answers for `collections` (resource name to collection) by `config.clock`, times relative to `origin`."""

    def __init__(self, config: SimConfig, origin: int, collections: dict[str, Collection]) -> None:
        self._config = config
        self._origin = origin
        self._collections = collections
        self._watches: set[asyncio.Task[object]] = set()
        self._ticks: set[asyncio.Event] = set()
        self.faults = ApiFaults()
        if isinstance(config.clock, ManualClock):
            config.clock.listen(self._clock_moved)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard])
        for path in ("/healthz", "/livez", "/readyz"):
            app.router.add_get(path, _ok)
        for path, body in _DISCOVERY.items():
            app.router.add_get(path, _constant(body))
        app.router.add_get("/api/v1", _constant(_resources(self._collections)))
        app.router.add_get("/api/v1/{resource}", self._collection)
        app.router.add_get("/api/v1/{resource}/{name}", self._one)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods", self._namespaced)
        return app

    def drop_watches(self) -> None:
        """Break every open watch in the middle of its stream."""
        for watch in tuple(self._watches):
            watch.cancel()

    def expire_watches(self) -> None:
        """Forget the past: every version up to now is too old, for open watches and for new ones."""
        self.faults.expired_before = list_version(self._second()) + 1
        self._clock_moved()

    def close(self) -> None:
        """End the watches and leave the clock."""
        self.drop_watches()
        if isinstance(self._config.clock, ManualClock):
            self._config.clock.unlisten(self._clock_moved)

    def _second(self) -> int:
        return int(self._config.clock() - self._origin)

    def _clock_moved(self) -> None:
        for tick in tuple(self._ticks):
            tick.set()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.faults.failing > 0:
            self.faults.failing -= 1
            return _status(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
        if request.path in {"/healthz", "/livez", "/readyz", "/version"}:
            return await handler(request)  # type: ignore[misc, no-any-return]
        if token == FORBIDDEN_TOKEN:
            message = f'User "{FORBIDDEN_USER}" cannot list resource "{request.path.rpartition("/")[2]}" in API group ""'
            return _status(403, "Forbidden", f"{message} at the cluster scope")
        if token != self._config.token:
            return _status(401, "Unauthorized", "Unauthorized")
        try:
            return await handler(request)  # type: ignore[misc, no-any-return]
        except web.HTTPNotFound:
            return _status(404, "NotFound", "the server could not find the requested resource")

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        collection = self._collections.get(request.match_info["resource"])
        if collection is None:
            raise web.HTTPNotFound
        if request.query.get("watch") in {"true", "1"}:
            return await self._watch(request, collection)
        return self._list(request, collection, self._selector(request))

    async def _one(self, request: web.Request) -> web.StreamResponse:
        collection = self._collections.get(request.match_info["resource"])
        if collection is None:
            raise web.HTTPNotFound
        name, second = request.match_info["name"], self._second()
        rows = collection.row_of({"metadata.name": name}, second)
        if not rows:
            return _status(404, "NotFound", f'{request.match_info["resource"]} "{name}" not found')
        body = {"kind": collection.kind, "apiVersion": "v1", **collection.object(rows[0], second)}
        return web.Response(body=msgspec.json.encode(body), content_type=_JSON)

    async def _namespaced(self, request: web.Request) -> web.StreamResponse:
        selector = {"metadata.namespace": request.match_info["namespace"], **self._selector(request)}
        return self._list(request, self._collections["pods"], selector)

    def _selector(self, request: web.Request) -> dict[str, str]:
        text = request.query.get("fieldSelector", "")
        pairs = (part.replace("==", "=").partition("=") for part in text.split(",") if part)
        return {key: value for key, _, value in pairs}

    def _list(self, request: web.Request, collection: Collection, selector: dict[str, str]) -> web.Response:
        second, begin = self._second(), 0
        token = request.query.get("continue", "")
        if token:
            try:
                second, begin = _read_continue(token)
            except ValueError:
                return _status(400, "BadRequest", "continue key is not valid")
            if self._too_old(list_version(second)):
                message = "The provided continue parameter is too old to display a consistent list result."
                return _status(410, "Expired", message)
        rows = collection.row_of(selector, second)
        known = range(collection.count) if rows is None else rows
        limit = int(request.query.get("limit", "0")) or len(known)
        page = list(known[begin : begin + limit])
        remaining = len(known) - begin - len(page)
        following = _write_continue(second, begin + len(page)) if remaining > 0 else ""
        body = encode_list(collection, page, second, following, remaining)
        return web.Response(body=body, content_type=_JSON)

    def _too_old(self, version: int) -> bool:
        oldest = list_version(self._second() - int(self._config.watch_history))
        return version < max(oldest, self.faults.expired_before)

    async def _watch(self, request: web.Request, collection: Collection) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        response.enable_chunked_encoding()
        await response.prepare(request)
        watch = asyncio.current_task()
        assert watch is not None
        self._watches.add(watch)
        tick = asyncio.Event()
        self._ticks.add(tick)
        try:
            timeout = float(request.query.get("timeoutSeconds", "1800"))
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(timeout):
                    await self._stream(request, response, collection, tick)
        finally:
            self._watches.discard(watch)
            self._ticks.discard(tick)
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, collection: Collection, tick: asyncio.Event
    ) -> None:
        kind, clock = collection.kind, self._config.clock
        bookmarks = request.query.get("allowWatchBookmarks") in {"true", "1"}
        asked = request.query.get("resourceVersion", "0") or "0"
        version = int(asked)
        if version == 0:
            second = self._second()
            for row in range(collection.count):
                await response.write(encode_event(kind, "ADDED", collection.object(row, second)))
            version = list_version(second)
        marked = clock()
        while True:
            if self._too_old(version):
                await response.write(_expired_event(version))
                return
            now = list_version(self._second())
            for change, body in collection.events(version, now):
                await response.write(encode_event(kind, change.name, body))
            version = max(version, now)
            if bookmarks and clock() - marked >= self._config.bookmarks:
                marked = clock()
                mark = {"metadata": {"resourceVersion": str(version), "creationTimestamp": None}}
                await response.write(encode_event(kind, "BOOKMARK", mark))
            tick.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tick.wait(), _POLL_SECONDS)


def _read_continue(token: str) -> tuple[int, int]:
    try:
        second, begin = base64.urlsafe_b64decode(token.encode()).split(b"/")
        return int(second), int(begin)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{token!r} is no continue token") from error


def _write_continue(second: int, begin: int) -> str:
    return base64.urlsafe_b64encode(b"%d/%d" % (second, begin)).decode()


def _expired_event(version: int) -> bytes:
    oldest = second_of(version)
    body = _status_body(410, "Expired", f"too old resource version: {version} ({oldest})")
    return msgspec.json.encode({"type": "ERROR", "object": body}) + b"\n"


def _status_body(code: int, reason: str, message: str) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.Response(
        status=code, body=msgspec.json.encode(_status_body(code, reason, message)), content_type=_JSON
    )


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


def _constant(body: Json) -> Callable[[web.Request], object]:
    encoded = msgspec.json.encode(body)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=encoded, content_type=_JSON)

    return answer


def _resources(collections: dict[str, Collection]) -> Json:
    return {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": name,
                "singularName": collection.kind.lower(),
                "namespaced": name == "pods",
                "kind": collection.kind,
                "verbs": ["get", "list", "watch"],
            }
            for name, collection in collections.items()
        ],
    }
