"""The model API: `/api/v1/model` (behaviour reference, 8.2 and 8.3).

An entity, a metric or a time that is not known answers 200 with nothing in it: autoscalers and dashboards rely on it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from collector.api import jsontext
from collector.api.gotime import ZERO_TIME, format_time, parse_time
from collector.api.names import name_list
from collector.api.narrow import visible_rows
from collector.api.rights import Right
from collector.api.route import Answer, BadRequestError, Context, Document, Handler, Request, Route, Sight, Style
from collector.api.target import go_quote
from collector.core.batch import DataBatch
from collector.core.entities import NULL
from collector.core.metrics import Kind

ROOT = "/api/v1/model"

BEGINNING = -(1 << 63)
"""Where a window without `start` begins."""

DEPRECATED: Mapping[str, str] = {
    "cpu-usage": "cpu/usage_rate",
    "cpu-limit": "cpu/limit",
    "memory-limit": "memory/limit",
    "memory-usage": "memory/usage",
    "memory-working": "memory/working_set",
}
"""Old metric names that series routes still take."""

MAX_REPEATS = 100
"""How often one pod may be named in a pod-list: its series is repeated as often, in each of its places."""

_BEYOND = 1 << 63
"""The first integer that 64 bits with a sign do not hold."""

PODS_AT_ONCE = 64
"""Series of a pod-list written between two looks at the event loop."""

Params: TypeAlias = Mapping[str, str]
Locate: TypeAlias = Callable[[DataBatch, Params], int]


# Which entity a path names: its row, NULL when there is none.


def _cluster(batch: DataBatch, _params: Params) -> int:
    return batch.entities.cluster


def find_node(batch: DataBatch, name: str) -> int:
    """The row of a node, by its name or by the host name that the node list prints; NULL when there is none."""
    entities = batch.entities
    row = entities.find_node(name)
    if row == NULL:
        hosts = (row for row in batch.rows_of(Kind.NODE).tolist() if _host_name(batch, row) == name)
        row = next(hosts, NULL)
    return row


def _node(batch: DataBatch, params: Params) -> int:
    return find_node(batch, params["node"])


def _namespace(batch: DataBatch, params: Params) -> int:
    return batch.entities.find_namespace(params["namespace"])


def _pod(batch: DataBatch, params: Params) -> int:
    return batch.entities.find_pod(params["namespace"], params["pod"])


def _container(batch: DataBatch, params: Params) -> int:
    return batch.entities.find_child(_pod(batch, params), params["container"])


def _free_container(batch: DataBatch, params: Params) -> int:
    return batch.entities.find_child(_node(batch, params), params["container"])


# Lists: what the latest batch holds.


def node_list(context: Context, _request: Request) -> Answer:
    """Host names, not node names; lookups take either."""
    return _listed(context, lambda batch: batch.rows_of(Kind.NODE), _host_name)


async def namespace_list(context: Context, request: Request) -> Answer:
    """Names of namespaces."""
    batch, sight = await _seen(context, request)
    return _answered(batch, lambda batch: visible_rows(batch, batch.rows_of(Kind.NAMESPACE), sight))


async def all_keys(context: Context, request: Request) -> Answer:
    """Heapster's key of every entity."""
    batch, sight = await _seen(context, request, nodes=True)
    return _answered(
        batch,
        lambda batch: visible_rows(batch, np.flatnonzero(batch.exists[: batch.rows]), sight),
        lambda batch, row: batch.entities.key(row),
    )


async def _seen(context: Context, request: Request, *, nodes: bool = False) -> tuple[DataBatch | None, Sight]:
    """The latest batch, and what of it the caller may see; both of one moment, however long that took to ask."""
    batch = context.store.latest()
    if request.viewer is None:
        return batch, Sight(everything=True)
    found = [batch.entities.name[row] for row in batch.rows_of(Kind.NAMESPACE).tolist()] if batch else []
    return batch, await request.viewer.sight(found, nodes=nodes)


def children(kind: Kind, locate: Locate) -> Handler:
    """The handler that lists the children of this kind of the entity a path names."""

    def handler(context: Context, request: Request) -> Answer:
        def rows(batch: DataBatch) -> NDArray[np.intp]:
            parent = locate(batch, request.params)
            of_kind = batch.rows_of(kind)
            return of_kind[batch.entities.parent[of_kind] == parent] if parent != NULL else of_kind[:0]

        return _listed(context, rows)

    return handler


def _listed(
    context: Context,
    rows: Callable[[DataBatch], NDArray[np.intp]],
    name: Callable[[DataBatch, int], str] = lambda batch, row: batch.entities.name[row],
) -> Answer:
    return _answered(context.store.latest(), rows, name)


def _answered(
    batch: DataBatch | None,
    rows: Callable[[DataBatch], NDArray[np.intp]],
    name: Callable[[DataBatch, int], str] = lambda batch, row: batch.entities.name[row],
) -> Answer:
    return Answer(name_list(batch, rows(batch), name) if batch else b"[]")


def _host_name(batch: DataBatch, row: int) -> str:
    return batch.entities.own_labels(row).get("hostname") or batch.entities.name[row]


# Names and series.


def names(locate: Locate) -> Handler:
    """The handler that lists the plain metrics of the entity a path names."""

    def handler(context: Context, request: Request) -> Document:
        batch = context.store.latest()
        return context.store.metric_names(locate(batch, request.params), context.visibility) if batch else []

    return handler


def series(locate: Locate) -> Handler:
    """The handler that answers one metric's points for the entity a path names."""

    def handler(context: Context, request: Request) -> Document:
        question = _Question(context, request)
        batch = context.store.latest()
        return question.answer(locate(batch, request.params) if batch else NULL)

    return handler


def pod_list(context: Context, request: Request) -> Answer:
    """A series for each pod named, in the given order, an empty one for a pod that is not known.

    The old horizontal autoscaler maps the items by their place. As in the original, a pod named n times has each of
    its points n times, in each of its places.
    """
    question = _Question(context, request)
    pods = request.params["pods"].split(",")
    repeats = Counter(pods)
    for pod, count in repeats.most_common(1):
        if count > MAX_REPEATS:
            raise BadRequestError(f"pod {go_quote(pod)} is named {count} times in the pod-list, at most {MAX_REPEATS}")
    batch = context.store.latest()
    namespace = request.params["namespace"]
    return Answer(_items(question, batch, namespace, pods, repeats))


async def _items(
    question: "_Question", batch: DataBatch | None, namespace: str, pods: Sequence[str], repeats: Mapping[str, int]
) -> AsyncIterator[bytes]:
    opening = '{"items":['
    for start in range(0, len(pods), PODS_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        rows = [
            (batch.entities.find_pod(namespace, pod) if batch else NULL) for pod in pods[start : start + PODS_AT_ONCE]
        ]
        items = [
            jsontext.compact(question.answer(row, repeats[pod]))
            for row, pod in zip(rows, pods[start : start + PODS_AT_ONCE], strict=True)
        ]
        yield (opening + ",".join(items)).encode()
        opening = ","
    yield b"]}\n"


class _Question:
    """What a series route was asked: a metric, a window, labels; the same for every entity it is put to."""

    def __init__(self, context: Context, request: Request) -> None:
        start, end = request.argument("start"), request.argument("end")
        self._start = parse_time(start) if start else BEGINNING
        self._end = parse_time(end) if end else context.now()
        self._labels = parse_labels(request.argument("labels"))
        metric = request.params["metric"]
        self._metric = DEPRECATED.get(metric, metric)
        self._store = context.store
        self._visibility = context.visibility

    def answer(self, row: int, repeats: int = 1) -> Document:
        """The series of the entity in `row`, every point `repeats` times."""
        times, values = self._points(row)
        return {
            "metrics": [
                {"timestamp": format_time(timestamp), "value": unsigned(value)}
                for timestamp, value in zip(times, values, strict=True)
                for _ in range(repeats)
            ],
            "latestTimestamp": format_time(max(times)) if times else ZERO_TIME,
        }

    def _points(self, row: int) -> tuple[list[int], list[int | float]]:
        batch = self._store.latest()
        if batch is None or row == NULL:
            return [], []
        if not self._visibility.shows_name(self._metric, Kind(batch.entities.kind[row])):
            return [], []
        if self._labels:
            return self._store.labeled_series(row, self._metric, self._labels, self._start, self._end)
        m = batch.metrics.find(self._metric)
        return self._store.series(row, m, self._start, self._end) if m is not None else ([], [])


def unsigned(value: float) -> int:
    """`value` as the unsigned 64-bit integer that clients expect: cut toward zero, a negative one wrapped around.

    A float beyond 64 bits, as a sum of application metrics may be, is 2^63, which Heapster's processors made of it.
    """
    if not -_BEYOND <= value < _BEYOND:
        return _BEYOND
    return int(value) & 0xFFFF_FFFF_FFFF_FFFF


def parse_labels(text: str) -> dict[str, str]:
    """`k:v,k:v` as a mapping; nothing but the first colon of a pair divides it."""
    labels: dict[str, str] = {}
    for pair in text.split(",") if text else ():
        key, _, value = pair.partition(":")
        if not key or not value:
            raise BadRequestError(f"invalid label pair {go_quote(pair)}")
        labels[key] = value
    return labels


def _route(path: str, handler: Handler, name: str, right: Right, style: Style = Style.PRETTY) -> Route:
    return Route("GET", ROOT + path, handler, style, name, right=right)


POD = "/namespaces/{namespace}/pods/{pod}"
CONTAINER = f"{POD}/containers/{{container}}"
FREE = "/nodes/{node}/freecontainers/{container}"
PODS = "/namespaces/{namespace}/pod-list/{pods}"

ROUTES: tuple[Route, ...] = (
    _route("/debug/allkeys", all_keys, "debugAllKeys", Right.SOME),
    _route("/metrics", names(_cluster), "availableClusterMetrics", Right.EVERYTHING),
    _route("/metrics/{metric:*}", series(_cluster), "clusterMetrics", Right.EVERYTHING),
    _route("/nodes", node_list, "nodeList", Right.NODES),
    _route("/nodes/{node}/metrics", names(_node), "availableNodeMetrics", Right.NODES),
    _route("/nodes/{node}/metrics/{metric:*}", series(_node), "nodeMetrics", Right.NODES),
    _route("/nodes/{node}/freecontainers", children(Kind.SYS_CONTAINER, _node), "systemContainerList", Right.NODES),
    _route(f"{FREE}/metrics", names(_free_container), "availableMetrics", Right.NODES),
    _route(f"{FREE}/metrics/{{metric:*}}", series(_free_container), "freeContainerMetrics", Right.NODES),
    _route("/namespaces", namespace_list, "namespaceList", Right.SOME),
    _route("/namespaces/{namespace}/metrics", names(_namespace), "availableNamespaceMetrics", Right.NAMESPACE),
    _route("/namespaces/{namespace}/metrics/{metric:*}", series(_namespace), "namespaceMetrics", Right.NAMESPACE),
    _route("/namespaces/{namespace}/pods", children(Kind.POD, _namespace), "namespacePodList", Right.NAMESPACE),
    _route(f"{PODS}/metrics/{{metric:*}}", pod_list, "podListMetric", Right.NAMESPACE, Style.COMPACT),
    _route(f"{POD}/metrics", names(_pod), "availablePodMetrics", Right.NAMESPACE),
    _route(f"{POD}/metrics/{{metric:*}}", series(_pod), "podMetrics", Right.NAMESPACE),
    _route(f"{POD}/containers", children(Kind.POD_CONTAINER, _pod), "podContainerList", Right.NAMESPACE),
    _route(f"{CONTAINER}/metrics", names(_container), "availableContainerMetrics", Right.NAMESPACE),
    _route(f"{CONTAINER}/metrics/{{metric:*}}", series(_container), "podContainerMetrics", Right.NAMESPACE),
)
