"""Who is who and who may what in the simulated cluster: TokenReview, SubjectAccessReview, the front proxy's config map.

Accounts and rights are set at runtime, so that a test can revoke a token or a right.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from collector.sim.apiwire import JSON_TYPE, encode, event_line, status_body
from collector.sim.objects import Json

_WATCH_PERIOD_S = 0.02

MASTERS = "system:masters"
"""The group that may everything."""

_GROUPS = {"tokenreviews": "authentication.k8s.io", "subjectaccessreviews": "authorization.k8s.io"}
CONFIG_MAP = "extension-apiserver-authentication"


@dataclass(frozen=True)
class Account:
    """Whose token it is."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


@dataclass(frozen=True)
class Right:
    """`subject` (a user or a group) may `verb` on `what`: a path, or a resource as in `nodes.metrics.k8s.io`.

    With a subresource that is `nodes/stats`. `*` stands for every verb or thing; `namespace` empty for all.
    """

    subject: str
    verb: str
    what: str
    namespace: str = ""


@dataclass
class Reviews:
    """The answers; `versions` are those served, `asked` counts the reviews of each kind."""

    accounts: dict[str, Account] = field(default_factory=dict)
    """bearer token -> account"""
    rights: set[Right] = field(default_factory=set)
    config_map: dict[str, str] = field(default_factory=dict)
    """Data of kube-system/extension-apiserver-authentication."""
    watchable: bool = True
    """Whether that config map may be watched."""
    versions: frozenset[str] = frozenset({"v1", "v1beta1"})
    asked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_GROUPS, 0))
    watching: int = 0
    """Watches of it that are open."""
    config_map_reads: int = 0
    """How often it was read otherwise than by a watch."""
    _seen: tuple[int, dict[str, str]] = field(default_factory=lambda: (1, {}), init=False)
    self_reviews: frozenset[str] = frozenset({"v1", "v1beta1", "v1alpha1"})
    """Versions of SelfSubjectReview: none before Kubernetes 1.26."""
    specs: list[Json] = field(default_factory=list)
    """The latest SubjectAccessReviews' specs, at most a hundred."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the routes into an application's router."""
        for plural, group in _GROUPS.items():
            router.add_post(f"/apis/{group}/{{version}}/{plural}", self._handler(plural))
        router.add_post(f"/apis/{_GROUPS['tokenreviews']}/{{version}}/selfsubjectreviews", self._self)
        router.add_post(
            f"/apis/{_GROUPS['subjectaccessreviews']}/{{version}}/selfsubjectaccessreviews", self._own_access
        )
        collection = "/api/v1/namespaces/kube-system/configmaps"
        router.add_get(f"{collection}/{CONFIG_MAP}", self._config_map)
        router.add_get(collection, self._watch)

    def _handler(self, plural: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            version = request.match_info["version"]
            if version not in self.versions:
                raise web.HTTPNotFound
            review: dict[str, Any] = msgspec.json.decode(await request.read())
            self.asked[plural] += 1
            spec = review["spec"]
            status = self._token(spec) if plural == "tokenreviews" else self._access(spec, version)
            return web.Response(status=201, body=encode({**review, "status": status}), content_type=JSON_TYPE)

        return answer

    def _token(self, spec: dict[str, Any]) -> Json:
        account = self.accounts.get(spec.get("token", ""))
        if account is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        groups = [*account.groups, "system:authenticated"]
        return {"authenticated": True, "user": {"username": account.name, "uid": account.uid, "groups": groups}}

    async def _self(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["version"] not in self.self_reviews:
            raise web.HTTPNotFound
        review: dict[str, Any] = msgspec.json.decode(await request.read())
        user = self._token({"token": _bearer(request)})["user"]
        return web.Response(status=201, body=encode({**review, "status": {"userInfo": user}}), content_type=JSON_TYPE)

    async def _own_access(self, request: web.Request) -> web.StreamResponse:
        version = request.match_info["version"]
        if version not in self.versions:
            raise web.HTTPNotFound
        review: dict[str, Any] = msgspec.json.decode(await request.read())
        user = self._token({"token": _bearer(request)})["user"]
        asker = {"user": user.get("username", ""), "groups" if version == "v1" else "group": user.get("groups", ())}
        status = self._access({**review["spec"], **asker}, version)
        return web.Response(status=201, body=encode({**review, "status": status}), content_type=JSON_TYPE)

    def _access(self, spec: dict[str, Any], version: str) -> Json:
        self.specs = [*self.specs[-99:], spec]
        groups = spec.get("groups" if version == "v1" else "group") or []
        subjects = {spec.get("user", ""), *groups}
        if MASTERS in subjects:
            return {"allowed": True}
        if about := spec.get("nonResourceAttributes"):
            verb, what, namespace = about["verb"], about["path"], ""
        else:
            about = spec["resourceAttributes"]
            verb, namespace = about["verb"], about.get("namespace", "")
            resource = "/".join(filter(None, (about["resource"], about.get("subresource", ""))))
            what = ".".join(filter(None, (resource, about.get("group", ""))))
        allowed = any(
            right.subject in subjects
            and right.verb in {"*", verb}
            and right.what in {"*", what}
            and right.namespace in {"", namespace}
            for right in self.rights
        )
        return {"allowed": True, "reason": "RBAC: allowed"} if allowed else {"allowed": False}

    async def _config_map(self, _request: web.Request) -> web.StreamResponse:
        if not self.config_map:
            raise web.HTTPNotFound
        self.config_map_reads += 1
        return web.Response(body=encode(self._config_map_body()), content_type=JSON_TYPE)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """The watch of that one config map: a line for every change after the version that is named."""
        named = request.query.get("fieldSelector") == f"metadata.name={CONFIG_MAP}"
        if not self.watchable or not named or request.query.get("watch") not in {"true", "1"}:
            message = 'configmaps is forbidden: cannot watch resource "configmaps" in API group "" in the namespace'
            return web.Response(status=403, body=encode(status_body(403, "Forbidden", message)), content_type=JSON_TYPE)
        response = web.StreamResponse(headers={"Content-Type": JSON_TYPE})
        await response.prepare(request)
        known = request.query.get("resourceVersion", "")
        self.watching += 1
        try:
            await self._tell_changes(request, response, known)
        finally:
            self.watching -= 1
        return response

    async def _tell_changes(self, request: web.Request, response: web.StreamResponse, known: str) -> None:
        ends = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", "300"))
        while request.transport is not None and asyncio.get_running_loop().time() < ends:
            if self._version_of_config_map() != known:
                known = self._version_of_config_map()
                change = "MODIFIED" if self.config_map else "DELETED"
                await response.write(event_line(change, self._config_map_body()))
            await asyncio.sleep(_WATCH_PERIOD_S)

    def _config_map_body(self) -> Json:
        metadata = {
            "name": CONFIG_MAP,
            "namespace": "kube-system",
            "resourceVersion": self._version_of_config_map(),
        }
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": self.config_map}

    def _version_of_config_map(self) -> str:
        """Another one for other data."""
        if self.config_map != self._seen[1]:
            self._seen = self._seen[0] + 1, dict(self.config_map)
        return str(self._seen[0])


def _bearer(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")
