"""A cluster on real sockets that shows one step after another: an API server, and kubelets that answer byte for byte.

Every kubelet has its own loopback address and all have one port. The API server lists and watches; what differs
between two steps is sent as watch events. With a `trustme.CA` both speak TLS and want a bearer token.
"""

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import trustme
from aiohttp import web

from tests.replay.recording import Inputs, Kubelet

KINDS = {"nodes": "Node", "pods": "Pod", "namespaces": "Namespace"}
TOKEN = "replay-token"
_SHUTDOWN_S = 0.2


class ReplayCluster:
    """`async with ReplayCluster(first, ca) as cluster`, then `await cluster.show(next)`."""

    def __init__(self, first: Inputs, ca: trustme.CA | None = None) -> None:
        self._ca = ca
        self.api = ApiServer(first, ca)
        addresses = {kubelet.address for kubelet in first.kubelets.values()}
        self.kubelet_port, held = _one_port(sorted(addresses))
        self._kubelets = {
            name: KubeletServer(held[kubelet.address], ca) for name, kubelet in sorted(first.kubelets.items())
        }
        self._first = first

    async def __aenter__(self) -> Self:
        await self.api.start()
        await self._serve(self._first.kubelets)
        return self

    async def __aexit__(self, *_: object) -> None:
        for kubelet in self._kubelets.values():
            await kubelet.close()
        await self.api.close()

    async def show(self, step: Inputs) -> None:
        """Switch everything to `step`; watchers have been sent the events when it returns."""
        await self._serve(step.kubelets)
        await self.api.show(step)

    def source_options(self, directory: Path) -> tuple[str, str]:
        """The host part and the options of a source URI for this cluster; a kubeconfig goes to `directory`."""
        port = f"kubeletPort={self.kubelet_port}"
        if self._ca is None:
            return self.api.url, f"inClusterConfig=false&{port}&kubeletHttps=false"
        path = directory / "kubeconfig"
        path.write_text(json.dumps(_kubeconfig(self.api.url, self._ca)))  # JSON is YAML
        return "", f"inClusterConfig=false&auth={path}&{port}&kubeletHttps=true"

    def asked(self, node: str) -> list[tuple[str, str]]:
        """Method and path of every request to a node's kubelet so far."""
        return self._kubelets[node].asked

    async def _serve(self, kubelets: Mapping[str, Kubelet]) -> None:
        assert kubelets.keys() == self._kubelets.keys(), "a replay's kubelets stay the same"
        for name, kubelet in kubelets.items():
            await self._kubelets[name].show(kubelet)


class ApiServer:
    """List and watch of three collections; every change of an object is a version of its own."""

    def __init__(self, first: Inputs, ca: trustme.CA | None) -> None:
        self._tls = _server_tls(ca, "127.0.0.1") if ca else None
        self._objects: dict[str, dict[str, dict[str, Any]]] = {plural: {} for plural in KINDS}
        self._events: dict[str, list[tuple[int, bytes]]] = {plural: [] for plural in KINDS}
        self._version = 1
        self._changed = asyncio.Condition()
        self._closing = False
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.lists: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._apply(first)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/{plural}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"

    async def close(self) -> None:
        async with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._runner is not None:
            await self._runner.cleanup()

    async def show(self, step: Inputs) -> None:
        async with self._changed:
            self._apply(step)
            self._changed.notify_all()

    def _apply(self, step: Inputs) -> None:
        for plural, kind in KINDS.items():
            before, after = self._objects[plural], {_name(each): each for each in step.objects[plural]}
            for name in sorted(before.keys() | after.keys()):
                old, new = before.get(name), after.get(name)
                if old is not None and new is not None and _same(old, new):
                    after[name] = old
                    continue
                self._version += 1
                what = "DELETED" if new is None else "MODIFIED" if old is not None else "ADDED"
                shown = _stamped(new if new is not None else old, self._version)
                if new is not None:
                    after[name] = shown
                told = {"type": what, "object": {"kind": kind, "apiVersion": "v1", **shown}}
                self._events[plural].append((self._version, json.dumps(told).encode() + b"\n"))
            self._objects[plural] = after

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        if plural not in KINDS:
            return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound"}, status=404)
        if self._tls is not None and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"kind": "Status", "code": 401, "reason": "Unauthorized"}, status=401)
        if request.query.get("watch") in {"true", "1"}:
            return await self._watch(request, plural)
        self.lists[plural] += 1
        body = {
            "kind": f"{KINDS[plural]}List",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(self._version)},
            "items": list(self._objects[plural].values()),
        }
        return web.json_response(body)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        position = int(request.query.get("resourceVersion") or 0)
        while not self._closing:
            fresh = [event for event in self._events[plural] if event[0] > position]
            for version, line in fresh:
                await response.write(line)
                position = version
            async with self._changed:
                if not fresh and not self._closing and self._newest(plural) <= position:
                    await self._changed.wait()
        return response

    def _newest(self, plural: str) -> int:
        return self._events[plural][-1][0] if self._events[plural] else 0


class KubeletServer:
    """One kubelet. It holds its port also while it refuses: bound, not listening."""

    def __init__(self, held: socket.socket, ca: trustme.CA | None) -> None:
        self._socket: socket.socket | None = held
        self._address: tuple[str, int] = held.getsockname()
        self._tls = _server_tls(ca, self._address[0]) if ca else None
        self._runner: web.AppRunner | None = None
        self._kubelet: Kubelet | None = None
        self.asked: list[tuple[str, str]] = []

    async def show(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet
        if any(kubelet.answers.values()):
            await self._listen()
        else:
            await self._refuse()

    async def close(self) -> None:
        await self._refuse()
        if self._socket is not None:
            self._socket.close()

    async def _listen(self) -> None:
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        assert self._socket is not None
        await web.SockSite(self._runner, self._socket, ssl_context=self._tls).start()
        self._socket = None

    async def _refuse(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            self._socket = _bound(*self._address)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert self._kubelet is not None
        self.asked.append((request.method, request.path))
        if self._tls is not None and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Unauthorized")
        kind = {
            ("GET", "/stats/summary"): "summary",
            ("GET", "/stats/summary/"): "summary",
            ("POST", "/stats/container/"): "cadvisor",
        }.get((request.method, request.path))
        answer = self._kubelet.answers.get(kind or "")
        if answer is None:
            return web.Response(status=404, text="404 page not found\n")
        if kind == "cadvisor":
            asked = await request.json()
            if (asked["containerName"], asked["num_stats"], asked["subcontainers"]) != ("/", 1, True):
                return web.Response(status=400, text="not what Heapster asked for")
        status, content_type, body = answer
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})


@contextlib.asynccontextmanager
async def replay_cluster(first: Inputs, *, tls: bool) -> AsyncIterator[ReplayCluster]:
    async with ReplayCluster(first, trustme.CA() if tls else None) as cluster:
        yield cluster


def _one_port(addresses: list[str]) -> tuple[int, dict[str, socket.socket]]:
    """A port that is free on every address, and a bound socket on each."""
    for _ in range(50):
        held: dict[str, socket.socket] = {}
        port = 0
        try:
            for address in addresses:
                held[address] = _bound(address, port)
                port = held[address].getsockname()[1]
        except OSError:
            for one in held.values():
                one.close()
        else:
            return port, held
    raise RuntimeError("no port is free on all of " + ", ".join(addresses))


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _server_tls(ca: trustme.CA, address: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(address).configure_cert(context)
    return context


def _kubeconfig(url: str, ca: trustme.CA) -> dict[str, Any]:
    authority = base64.b64encode(ca.cert_pem.bytes()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "replay",
        "contexts": [{"name": "replay", "context": {"cluster": "replay", "user": "heapster"}}],
        "clusters": [{"name": "replay", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "heapster", "user": {"token": TOKEN}}],
    }


def _name(each: Mapping[str, Any]) -> str:
    meta = each["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def _stamped(each: Mapping[str, Any] | None, version: int) -> dict[str, Any]:
    assert each is not None
    return {**each, "metadata": {**each["metadata"], "resourceVersion": str(version)}}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing but the version differs."""
    return _stamped(one, 0) == _stamped(other, 0)
