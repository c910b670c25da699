"""What the route table and the handlers are made of: Route, Request, Answer, Context.

A handler is a function of (context, request), a coroutine function where it has to wait. It returns a document, which
is laid out as JSON in the route's style, or an Answer when it writes its own bytes. Nothing here knows how bytes
travel: that is `server`.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from collector.api.exposition import ClusterText
from collector.api.revisions import Revisions
from collector.api.rights import Right
from collector.api.spec import BY_PATH, Spec
from collector.core.light import LightStore
from collector.core.metrics import Kind
from collector.core.store import MetricStore
from collector.core.visibility import Visibility
from collector.errors import HeapsterError
from collector.history.contracts import History
from collector.kube.listers import Listers
from collector.selfmetrics import SelfMetrics
from collector.turns import Turns
from collector.vitals import Vitals

Document: TypeAlias = "bool | float | str | Sequence[Document] | Mapping[str, Document] | None"

ANY = "*"
"""As a route's method: every one."""


class Style(Enum):
    """How a route behaves around its answer (behaviour reference, 8.1)."""

    PRETTY = "JSON, one value a line"
    COMPACT = "JSON on one line, and a newline"
    PLAIN = "whatever the handler writes; the path must match to the slash, `Accept` is the handler's own business"


class RequestError(HeapsterError):
    """The request is answered with this status; the message becomes the body."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BadRequestError(RequestError):
    """The request is at fault: 400."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 400)


@dataclass(frozen=True, slots=True)
class Sight:
    """What of a list its reader may see."""

    everything: bool = False
    nodes: bool = False
    namespaces: frozenset[str] | None = frozenset()
    """None for all of them."""

    def shows(self, namespace: str) -> bool:
        """Whether this namespace may be seen."""
        return self.everything or self.namespaces is None or namespace in self.namespaces


class Viewing(Protocol):
    """A caller whose rights count; `viewer.Viewer` is one."""

    async def admit(self, right: Right, namespace: str) -> None:
        """Let a request pass that needs this right. Raises RequestError."""

    async def sight(self, namespaces: Iterable[str], *, nodes: bool = False) -> Sight:
        """What may be seen of a list about these namespaces, and about `nodes`. Raises RequestError."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read the way Heapster read it."""

    method: str
    path: str
    """Percent-decoded, clean: no empty, `.` or `..` segment."""
    params: Mapping[str, str]
    """The path parameters of the route that matched."""
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    """Header names in any case find their value."""
    viewer: Viewing | None = None
    """Whose rights narrow the answer; None where everybody sees everything."""

    def argument(self, name: str) -> str:
        """The first value of query parameter `name`, empty when there is none."""
        values = self.query.get(name)
        return values[0] if values else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: bytes, or an iterator of bytes for what would be long in the making."""

    body: bytes | AsyncIterator[bytes]
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    live: bool = False
    """Whether the body goes on for as long as the client likes: each piece is sent at once, none compressed. An empty
    piece is a look at whether the client is still there."""


def text_answer(text: str, status: int = 200, **headers: str) -> Answer:
    """A bare message."""
    return Answer(text.encode("utf-8", "replace"), "text/plain; charset=utf-8", status, headers)


@dataclass(frozen=True, slots=True)
class LastBatch:
    """What health asks of the latest batch."""

    timestamp: int
    """End of its window, ns since the epoch."""
    nodes: int
    """Nodes in it."""


@dataclass(frozen=True, slots=True)
class Context:
    """All that handlers may read."""

    store: MetricStore
    metrics: SelfMetrics
    clock: Callable[[], float] = time.time
    """Unix time in seconds."""
    cluster_text: ClusterText = field(default_factory=ClusterText)
    listers: Listers = field(default_factory=Listers)
    """Nodes, pods and namespaces as the API server knows them."""
    light: Callable[[], LightStore | None] = lambda: None
    """The light cadence's store; None while it does not run."""
    history: History | None = None
    """The past; None when no historical source is configured."""
    export_disabled: bool = False
    """--disable-export: `/api/v1/metric-export` answers an empty list."""
    extended: bool = False
    """--extended-metrics: answers of Heapster's API hold metrics that Heapster did not have, too."""
    revisions: Revisions = field(default_factory=Revisions)
    """Versions of what the resource metrics API shows."""
    most_watches: int = 64
    """How many watches of the resource metrics API there may be at the same time."""
    ledger: Callable[[], Sequence[Document]] = tuple
    """What became of every tick and every point, one document a sink."""
    kubelets: Callable[[], Sequence[Document]] = tuple
    """How each node's kubelet is, one document a node."""
    kubelet: Callable[[str], Mapping[str, Document] | None] = lambda _node: None
    """The same of one node; None for one that is not there."""
    last_batch: Callable[[], LastBatch | None] | None = None
    """Knows the latest batch where the store keeps none (--disable-metric-sink)."""

    vitals: Vitals = field(default_factory=Vitals)
    """What probes ask of the process."""
    turns: Turns = field(default_factory=Turns)
    """Told of every request."""

    @property
    def visibility(self) -> Visibility:
        """What answers of Heapster's API may hold."""
        return Visibility(self.extended)

    def now(self) -> int:
        """The present, ns since the epoch."""
        return int(self.clock() * 1e9)

    def latest(self) -> LastBatch | None:
        """The latest batch, None before the first."""
        if self.last_batch is not None:
            return self.last_batch()
        batch = self.store.latest()
        return LastBatch(batch.timestamp, batch.count(Kind.NODE)) if batch is not None else None


Reply: TypeAlias = "Document | Answer"
Handler: TypeAlias = Callable[[Context, Request], "Reply | Awaitable[Reply]"]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the route table."""

    method: str
    path: str
    """Segments are literal, or `{name}`: one segment, or `{name:*}`: all that remain."""
    handler: Handler
    style: Style
    name: str
    """The `handler` label of the HTTP metrics."""
    spec: Spec = BY_PATH
    """What the OpenAPI document says of it; the path tells most."""
    right: Right = Right.EVERYTHING
    """What a caller of the second server needs for it, where it is one of Heapster's API."""
