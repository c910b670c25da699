"""The kubelets: one listening socket a node, all of them served by this process.

Routes as on a real kubelet: /stats/summary (with or without a slash at its end), /metrics/resource, /metrics/cadvisor,
/healthz, and with old kubelets POST /stats/container/. Every route but /healthz wants the bearer token.
"""

import errno
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from OpenSSL import SSL

from collector.errors import StartError
from collector.sim.access import FORBIDDEN_TOKEN, kubelet_refusal
from collector.sim.config import SimConfig
from collector.sim.faults import Fault, FaultKind
from collector.sim.http import Answer, KubeletProtocol, Request
from collector.sim.wire import Listener

_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
_RUNTIME_GONE = b"Internal Error: failed to list pod stats: rpc error: code = Unavailable desc = connection error\n"
_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
_PORT_ATTEMPTS = 20
_CONGESTION = b"reno"
"""Every kernel has it. A loopback needs no pacing, for which BBR, a common default, sets a timer now and again."""


class NodeAnswers(Protocol):
    """What the kubelets have to say; `node` counts from 0."""

    def summary(self, node: int, *, only_cpu_and_memory: bool) -> bytes | memoryview:
        """The body of /stats/summary, now."""

    def resource(self, node: int) -> bytes | memoryview | None:
        """The body of /metrics/resource, now; None where the kubelet has no such endpoint."""

    def cadvisor(self, node: int) -> bytes | None:
        """The body of /metrics/cadvisor, now; None where the kubelet has no such endpoint."""

    def containers(self, node: int, question: bytes) -> bytes | None:
        """The answer to a POST to /stats/container/, now; None for a question that cannot be understood."""


class Kubelets:
    """Servers on `addresses`, all on one port; `contexts(node)` gives a node's TLS context, or None for plain HTTP."""

    def __init__(
        self,
        config: SimConfig,
        answers: NodeAnswers,
        addresses: tuple[str, ...],
        contexts: Callable[[int], SSL.Context | None],
        started: float,
    ) -> None:
        self._config = config
        self._answers = answers
        self._addresses = addresses
        self._contexts = contexts
        self._listeners: dict[int, Listener] = {}
        self._connections: list[set[KubeletProtocol]] = [set() for _ in addresses]
        self._faults: dict[int, Fault] = {}
        self._summary = Answer(200, b"", content_type="application/json")
        self._begun = (("Process-Start-Time-Unix", str(int(started))),)
        self.port = 0
        self.token = config.token
        """The bearer token that may everything."""
        self.forbidden: set[str] = set()
        """Subresources of nodes (`stats`, `metrics`) that nobody has the right to read."""
        self.ahead: dict[int, int] = {}
        """Node -> seconds by which its clock is ahead of the others', as far as the Date of its answers tells."""

    async def start(self, faults: dict[int, Fault]) -> None:
        """Listen everywhere but where the fault is `down`. StartError when the port is taken."""
        self._faults = dict(faults)
        down = {node for node, fault in faults.items() if fault.kind is FaultKind.DOWN}
        sockets = _bind_all(self._addresses, self._config.kubelet_port)
        self.port = sockets[0].getsockname()[1]
        for node, listening in enumerate(sockets):
            if node in down:
                listening.close()
            else:
                self._listen(node, listening)

    async def stop(self) -> None:
        """Close every socket and connection."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for node in range(len(self._addresses)):
            self._drop_connections(node)

    async def set_fault(self, node: int, fault: Fault | None) -> None:
        """Give `node` a fault, or none; open connections stay, except when the node goes down."""
        if fault is None:
            self._faults.pop(node, None)
        else:
            self._faults[node] = fault
        down = fault is not None and fault.kind is FaultKind.DOWN
        if down and node in self._listeners:
            self._listeners.pop(node).close()
            self._drop_connections(node)
        elif not down and node not in self._listeners:
            self._listen(node, _bind(self._addresses[node], self.port))

    def _drop_connections(self, node: int) -> None:
        for connection in tuple(self._connections[node]):
            connection.abort()

    def _listen(self, node: int, listening: socket.socket) -> None:
        respond = partial(self._respond, node)
        self._listeners[node] = Listener(
            listening, self._contexts(node), lambda: KubeletProtocol(respond, self._connections[node])
        )

    def _respond(self, node: int, request: Request) -> Answer:
        answer = self._answer(node, request)
        return replace(answer, ahead=self.ahead[node]) if node in self.ahead else answer

    def _answer(self, node: int, request: Request) -> Answer:
        fault = self._faults.get(node)
        match fault.kind if fault else None:
            case FaultKind.HANG:
                return Answer(200, b"", silent=True)
            case FaultKind.ERROR:
                return Answer(500, _RUNTIME_GONE, length=len(_RUNTIME_GONE))
            case FaultKind.GARBAGE:
                return self._garbage(node, request)
            case _:
                pass
        answer = self._route(node, request)
        if fault is None or answer.status != 200:
            return answer
        return _spoil(answer, fault)

    def _route(self, node: int, request: Request) -> Answer:
        path = request.path.rstrip("/") or "/"
        if path == "/healthz":
            return _text(200, b"ok")
        subresource = "stats" if path.startswith("/stats") else "metrics"
        verb = "create" if request.method == "POST" else "get"
        shown = FORBIDDEN_TOKEN if subresource in self.forbidden else request.authorization
        refusal = kubelet_refusal(shown, self.token, subresource, verb)
        if refusal is not None:
            return _text(*refusal)
        if request.path == "/stats/container/":
            return self._containers(node, request)
        if request.method != "GET":
            return _text(405, b"405: Method Not Allowed")
        if path == "/stats/summary":
            light = "only_cpu_and_memory=true" in request.query
            body = self._answers.summary(node, only_cpu_and_memory=light)
            if body is not self._summary.body:  # most are written into the same memory
                self._summary = replace(self._summary, body=body)
            return self._summary
        resource = self._answers.resource(node) if path == "/metrics/resource" else None
        if resource is not None:
            return Answer(200, resource, _TEXT_FORMAT, headers=self._begun)
        cadvisor = self._answers.cadvisor(node) if path == "/metrics/cadvisor" else None
        if cadvisor is not None:
            return Answer(200, cadvisor, _TEXT_FORMAT)
        return _text(404, b"404: Page Not Found" if path.startswith("/stats") else b"404 page not found\n")

    def _containers(self, node: int, request: Request) -> Answer:
        """CAdvisor's JSON; current kubelets do not have it."""
        if not self._config.old_kubelets:
            return _text(404, b"404: Page Not Found")
        if request.method != "POST":
            return _text(405, b"405: Method Not Allowed")
        body = self._answers.containers(node, request.body)
        if body is None:
            return _text(400, b"invalid request\n")
        return Answer(200, body, content_type="application/json")

    def _garbage(self, node: int, request: Request) -> Answer:
        """HTML from even nodes, bytes that are no text from odd ones."""
        if node % 2 == 0:
            return Answer(200, _HTML, content_type="text/html", length=len(_HTML))
        noise = random.Random(node).randbytes(5_000)
        kind = "application/json" if request.path.startswith("/stats") else "text/plain"
        return Answer(200, noise, content_type=kind, length=len(noise))


def _spoil(answer: Answer, fault: Fault) -> Answer:
    body, kind = answer.body, answer.content_type
    match fault.kind:
        case FaultKind.SLOW:
            return Answer(200, body, kind, headers=answer.headers, delay=fault.seconds)
        case FaultKind.DRIP:
            return Answer(200, body, kind, headers=answer.headers, drip=fault.seconds)
        case FaultKind.TRUNCATED:
            cut = len(body) * 2 // 3
            return Answer(200, bytes(body[:cut]), kind, length=cut, headers=answer.headers)
        case _:
            return answer


def _text(status: int, body: bytes) -> Answer:
    return Answer(status, body, length=len(body))


def _bind(address: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CONGESTION)
        listening.setblocking(False)
        listening.bind((address, port))
        listening.listen(64)
    except OSError:
        listening.close()
        raise
    return listening


def _bind_all(addresses: tuple[str, ...], wanted: int) -> list[socket.socket]:
    """A socket on each address, all on one port: `wanted`, or one that is free everywhere."""
    for _ in range(1 if wanted else _PORT_ATTEMPTS):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                port = wanted if not sockets else sockets[0].getsockname()[1]
                sockets.append(_bind(address, port))
        except OSError as error:
            for listening in sockets:
                listening.close()
            taken = addresses[len(sockets)]
            if error.errno == errno.EMFILE:
                raise StartError(
                    f"--nodes {len(addresses)}: only {len(sockets)} sockets could be opened; raise the limit of open "
                    f"files (ulimit -n) or lower --nodes"
                ) from error
            if wanted or error.errno != errno.EADDRINUSE:
                raise StartError(
                    f"the kubelet on {taken}:{wanted} cannot listen: {error.strerror}; choose another --kubelet-port"
                    f" (0 takes a free one) or --network"
                ) from error
        else:
            return sockets
    raise StartError(f"no port was free on all {len(addresses)} addresses; choose one with --kubelet-port")
