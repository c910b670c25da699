"""The API server: discovery, list, get and watch of nodes, pods and namespaces; reviews of tokens and rights.

Lists come in pages (limit, continue) that all show one moment; a continue token older than `watch_history` is
answered 410 Gone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from aiohttp import web

from collector.sim.access import FORBIDDEN_TOKEN, FORBIDDEN_USER
from collector.sim.apiservices import ApiServices
from collector.sim.apiwire import JSON_TYPE, encode, read_continue, read_selector, status_body, write_continue
from collector.sim.config import SimConfig
from collector.sim.inventory import Collection
from collector.sim.leases import Leases
from collector.sim.objects import KUBELET_VERSION, Json
from collector.sim.reviews import MASTERS, Account, Reviews
from collector.sim.versions import list_version
from collector.sim.watches import Watches

_BATCH = 500
_OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_DISCOVERY: Json = {
    "/version": {"major": "1", "minor": "36", "gitVersion": KUBELET_VERSION, "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiServer:
    """Answers for `collections` (resource name to collection); its faults are set at runtime.

    `fail_next(n)` answers 500 to so many requests, `refuse(True)` drops every connection that asks,
    `watches.drop()` breaks the open watches, `watches.expire()` makes all versions so far too old. `reviews` says who
    is who and who may what, `apiservices` and `leases` hold the objects of these kinds.
    """

    def __init__(self, config: SimConfig, origin: int, collections: dict[str, Collection]) -> None:
        self._config = config
        self._collections = collections
        self._failing = 0
        self._refusing = False
        self.watches = Watches(config, origin)
        self.apiservices = ApiServices()
        self.leases = Leases()
        self.date_offset = 0.0
        """Seconds by which its clock is ahead."""
        self._token = config.token
        self.reviews = Reviews({config.token: Account("kubernetes-admin", (MASTERS,))})

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._date)
        for path in ("/healthz", "/livez", "/readyz"):
            app.router.add_get(path, _ok)
        for path, body in _DISCOVERY.items():
            app.router.add_get(path, _constant(body))
        self.reviews.add_routes(app.router)
        self.apiservices.add_routes(app.router)
        self.leases.add_routes(app.router)
        app.router.add_get("/api/v1", _constant(_resources(self._collections)))
        app.router.add_get("/api/v1/{resource}", self._collection)
        app.router.add_get("/api/v1/{resource}/{name}", self._one)
        app.router.add_get("/api/v1/namespaces/{namespace}/{resource}", self._collection)
        app.router.add_get("/api/v1/namespaces/{namespace}/{resource}/{name}", self._one)
        return app

    def fail_next(self, requests: int) -> None:
        """Answer HTTP 500 to the next `requests` requests."""
        self._failing = requests

    def refuse(self, refusing: bool) -> None:
        """Drop the connection of every request, or answer again."""
        self._refusing = refusing

    def set_token(self, token: str) -> None:
        """Let `token` be the one that may everything, in place of the one before."""
        self.reviews.accounts[token] = self.reviews.accounts.pop(self._token)
        self._token = token

    async def _date(self, _request: web.Request, response: web.StreamResponse) -> None:
        if self.date_offset:
            response.headers["Date"] = formatdate(time.time() + self.date_offset, usegmt=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if self._refusing and request.transport is not None:
            request.transport.abort()
            return web.Response(status=503)
        if self._failing > 0:
            self._failing -= 1
            return _status(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path not in _OPEN_PATHS:
            if token == FORBIDDEN_TOKEN:
                resource = request.path.rpartition("/")[2]
                message = f'{resource} is forbidden: User "{FORBIDDEN_USER}" cannot list resource "{resource}"'
                return _status(403, "Forbidden", f'{message} in API group "" at the cluster scope')
            if token != self._token:
                return _status(401, "Unauthorized", "Unauthorized")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _status(404, "NotFound", "the server could not find the requested resource")
        except ValueError as error:
            return _status(400, "BadRequest", str(error))

    def _find(self, request: web.Request) -> tuple[Collection, dict[str, str]]:
        """The collection asked for and what selects in it; HTTPNotFound when there is none."""
        collection = self._collections.get(request.match_info["resource"])
        namespace = request.match_info.get("namespace")
        if collection is None or (namespace and collection.kind != "Pod"):
            raise web.HTTPNotFound
        selector = read_selector(request.query.get("fieldSelector", ""))
        return collection, selector | ({"metadata.namespace": namespace} if namespace else {})

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        collection, selector = self._find(request)
        if request.query.get("watch") in {"true", "1"}:
            return await self.watches.serve(request, collection, selector)
        return await self._list(request, collection, selector)

    async def _one(self, request: web.Request) -> web.StreamResponse:
        collection, selector = self._find(request)
        name, second = request.match_info["name"], self.watches.second()
        rows = collection.select({**selector, "metadata.name": name}, second)
        if not rows:
            return _status(404, "NotFound", f'{request.match_info["resource"]} "{name}" not found')
        body = {"kind": collection.kind, "apiVersion": "v1", **next(collection.objects(rows, second))}
        return web.Response(body=encode(body), content_type=JSON_TYPE)

    async def _list(self, request: web.Request, collection: Collection, selector: dict[str, str]) -> web.Response:
        second, begin = self.watches.second(), 0
        token = request.query.get("continue", "")
        if token:
            second, begin = read_continue(token)
            if self.watches.too_old(list_version(second)):
                message = "The provided continue parameter is too old to display a consistent list result."
                return _status(410, "Expired", message)
        rows = collection.select(selector, second)
        limit = int(request.query.get("limit", "0")) or len(rows)
        page = rows[begin : begin + limit]
        remaining = len(rows) - begin - len(page)
        metadata: Json = {"resourceVersion": str(list_version(second))}
        if remaining > 0:
            metadata["continue"] = write_continue(second, begin + len(page))
            if not selector:
                metadata["remainingItemCount"] = remaining
        head = encode({"kind": f"{collection.kind}List", "apiVersion": "v1", "metadata": metadata})
        items: list[bytes] = []
        for first in range(0, len(page), _BATCH):
            items += map(encode, collection.objects(page[first : first + _BATCH], second))
            await asyncio.sleep(0)  # a list of everything must not hold up the kubelets
        return web.Response(body=b'%b,"items":[%b]}\n' % (head[:-1], b",".join(items)), content_type=JSON_TYPE)


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.Response(status=code, body=encode(status_body(code, reason, message)), content_type=JSON_TYPE)


async def _ok(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


def _constant(body: Json) -> _Handler:
    encoded = encode(body)

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=encoded, content_type=JSON_TYPE)

    return answer


def _resources(collections: dict[str, Collection]) -> Json:
    return {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": name,
                "singularName": collection.kind.lower(),
                "namespaced": collection.kind == "Pod",
                "kind": collection.kind,
                "verbs": ["get", "list", "watch"],
            }
            for name, collection in collections.items()
        ],
    }
