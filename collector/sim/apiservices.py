"""APIService objects of the simulated API server: read, and changed by merge patches that name a version.

Tests add objects, set `refusing` to take the right away, and count `patches`.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from collector.sim.apiwire import JSON_TYPE, encode, status_body

GROUP = "apiregistration.k8s.io"
MERGE_PATCH = "application/merge-patch+json"


@dataclass
class ApiServices:
    """Name -> object; `version` counts changes."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    refusing: bool = False
    """Whether every request is forbidden."""
    patches: int = 0
    """Patches that were accepted."""
    conflicts: int = 0
    version: int = 1

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the routes into an application's router."""
        path = f"/apis/{GROUP}/v1/apiservices/{{name}}"
        router.add_get(path, self._get)
        router.add_patch(path, self._patch)

    def apply(self, name: str, service: str, namespace: str, **spec: Any) -> None:
        """Put an APIService there, as `kubectl apply` of its manifest would."""
        self.version += 1
        version, _, group = name.partition(".")
        self.objects[name] = {
            "kind": "APIService",
            "apiVersion": f"{GROUP}/v1",
            "metadata": {"name": name, "resourceVersion": str(self.version)},
            "spec": {
                "group": group,
                "version": version,
                "service": {"name": service, "namespace": namespace, "port": 443},
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                **spec,
            },
        }

    def judge(self, name: str, reason: str = "Passed", message: str = "all checks passed", *, available: bool) -> None:
        """Say of an APIService what the aggregation layer says."""
        status = "True" if available else "False"
        condition = {"type": "Available", "status": status, "reason": reason, "message": message}
        self.objects[name]["status"] = {"conditions": [condition]}

    def bundle(self, name: str) -> str:
        """The `caBundle`, base64; empty when there is none."""
        text: str = self.objects[name]["spec"].get("caBundle", "")
        return text

    async def _get(self, request: web.Request) -> web.StreamResponse:
        found = self._refusal(request) or self.objects[request.match_info["name"]]
        return found if isinstance(found, web.StreamResponse) else _answer(200, found)

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.content_type != MERGE_PATCH:
            message = f"the body of the request was in an unknown format - accepted media types include: {MERGE_PATCH}"
            return _answer(415, status_body(415, "UnsupportedMediaType", message))
        name = request.match_info["name"]
        present, patch = self.objects[name], msgspec.json.decode(await request.read())
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != present["metadata"]["resourceVersion"]:
            self.conflicts += 1
            message = f'Operation cannot be fulfilled on apiservices.{GROUP} "{name}": the object has been modified'
            return _answer(409, status_body(409, "Conflict", message))
        changed = merge(copy.deepcopy(present), patch)
        if changed["spec"].get("insecureSkipTLSVerify") and changed["spec"].get("caBundle"):
            message = "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"
            return _answer(422, status_body(422, "Invalid", message))
        if changed != present:
            self.version += 1
            changed["metadata"]["resourceVersion"] = str(self.version)
        self.patches += 1
        self.objects[name] = changed
        return _answer(200, changed)

    def _refusal(self, request: web.Request) -> web.Response | None:
        name, verb = request.match_info["name"], request.method.lower()
        if self.refusing:
            message = f'apiservices.{GROUP} "{name}" is forbidden: cannot {verb} resource "apiservices"'
            return _answer(403, status_body(403, "Forbidden", message))
        if name not in self.objects:
            return _answer(404, status_body(404, "NotFound", f'apiservices.{GROUP} "{name}" not found'))
        return None


def merge(target: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386) applied to `target`, which is changed."""
    if not isinstance(patch, dict):
        return patch
    changed = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            changed.pop(name, None)
        else:
            changed[name] = merge(changed.get(name), value)
    return changed


def _answer(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type=JSON_TYPE)
