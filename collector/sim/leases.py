"""Lease objects of the simulated API server: created, read, and changed by merge patches that name a version."""

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from collector.sim.apiservices import merge
from collector.sim.apiwire import JSON_TYPE, encode, status_body

GROUP = "coordination.k8s.io"


@dataclass
class Leases:
    """(namespace, name) -> object. Tests set `refusing` to take the right away."""

    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refusing: bool = False
    conflicts: int = 0
    version: int = 1

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the routes into an application's router."""
        collection = f"/apis/{GROUP}/v1/namespaces/{{namespace}}/leases"
        router.add_post(collection, self._create)
        router.add_get(f"{collection}/{{name}}", self._get)
        router.add_patch(f"{collection}/{{name}}", self._patch)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        made = msgspec.json.decode(await request.read())
        key = request.match_info["namespace"], made["metadata"]["name"]
        if self.refusing:
            return self._refused(request)
        if key in self.objects:
            message = f'leases.{GROUP} "{key[1]}" already exists'
            return _answer(409, status_body(409, "AlreadyExists", message))
        self._keep(key, made)
        return _answer(201, self.objects[key])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["namespace"], request.match_info["name"]
        if self.refusing:
            return self._refused(request)
        if key not in self.objects:
            return _answer(404, status_body(404, "NotFound", f'leases.{GROUP} "{key[1]}" not found'))
        return _answer(200, self.objects[key])

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        patch = msgspec.json.decode(await request.read())
        found = await self._get(request)
        if found.status != 200:
            return found
        key = request.match_info["namespace"], request.match_info["name"]
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != self.objects[key]["metadata"]["resourceVersion"]:
            self.conflicts += 1
            message = f'Operation cannot be fulfilled on leases.{GROUP} "{key[1]}": the object has been modified'
            return _answer(409, status_body(409, "Conflict", message))
        self._keep(key, merge(copy.deepcopy(self.objects[key]), patch))
        return _answer(200, self.objects[key])

    def _keep(self, key: tuple[str, str], lease: dict[str, Any]) -> None:
        self.version += 1
        lease["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = lease

    def _refused(self, request: web.Request) -> web.Response:
        message = f'leases.{GROUP} is forbidden: cannot {request.method.lower()} resource "leases"'
        return _answer(403, status_body(403, "Forbidden", message))


def _answer(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type=JSON_TYPE)
