"""The historical API: `/api/v1/historical` (behaviour reference, 8.6), over whatever keeps the past.

Its routes are those of the model API, and more: aggregations over buckets of time, and pods by their uid. Other than
there, an entity or metric without points is a 404, and names that no Kubernetes object can have are a 400. The ends of
a range do not belong to it, and are cut to whole seconds.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from collector.api import model
from collector.api.gotime import parse_time
from collector.api.longjson import Elements, long_items, long_object
from collector.api.pasttext import (
    aggregations_of,
    bucket_documents,
    bucket_size,
    described,
    latest,
    point_documents,
)
from collector.api.rights import Right
from collector.api.route import Answer, BadRequestError, Context, Handler, Request, RequestError, Route, Style
from collector.api.target import go_quote
from collector.core.entities import NULL
from collector.core.metrics import Kind
from collector.errors import HistoryError
from collector.history.contracts import MAX_POINTS, Aggregation, Bucket, EntityKey, History, Series

ROOT = "/api/v1/historical"

MAX_PODS = 1_000
"""Most pods of one list, repeated ones too."""

FOREVER = -(1 << 63) + 2, (1 << 63) - 2
"""The range of questions that have none; no other time is asked about either. ns since the epoch, as all times."""

SECOND = 1_000_000_000
_NO_TIME = parse_time("0001-01-01T00:00:00Z")

_NAME = re.compile(r"[a-zA-Z0-9_.-]+")
_METRIC = re.compile(r"[a-zA-Z0-9_./:-]+")

_CHECKED = {"node": "node name", "namespace": "namespace name", "pod": "pod name", "container": "container name"}
_CHECKED |= {"pod_id": "pod id"}
"""Field of EntityKey -> what a refusal calls it, in the order they are looked at."""

T = TypeVar("T")


# What is asked: keys, a range, labels.


@dataclass(frozen=True, slots=True)
class _Question:
    """What a series route was asked; the same for every entity it is put to."""

    metric: str
    start: int
    end: int
    """Both belong to the range: Heapster's, which did not, are one nanosecond outside."""
    labels: Mapping[str, str]

    @classmethod
    def of(cls, context: Context, request: Request, check: Callable[[], None] = lambda: None) -> "_Question":
        """The question in a request; `check` is made between that of the times and that of the labels."""
        given, until = request.argument("start"), request.argument("end")
        start = parse_time(given) if given else _NO_TIME
        end = parse_time(until) if until else context.now()
        if start == _NO_TIME:
            raise BadRequestError("no start time (or a start time of zero) provided")
        check()
        labels = model.parse_labels(request.argument("labels"))
        metric = request.params["metric"]
        first, last = FOREVER
        return cls(
            model.DEPRECATED.get(metric, metric),
            min(max(start // SECOND * SECOND + 1, first), last),
            min(max(end // SECOND * SECOND - 1, first), last),
            labels,
        )

    def check(self, keys: Sequence[EntityKey]) -> None:
        """Refuse names with characters that no store was ever asked for."""
        _check_names(keys)
        if not _METRIC.fullmatch(self.metric):
            raise BadRequestError(f"Invalid metric name {go_quote(self.metric)}")
        for name, value in self.labels.items():
            if not _METRIC.fullmatch(name):
                raise BadRequestError(f"Invalid label name {go_quote(name)}")
            if not value.isprintable() or '"' in value or "'" in value:
                raise BadRequestError(f"Invalid label value {go_quote(value)}")

    def nothing(self, key: EntityKey, why: str = "") -> RequestError:
        """The refusal when there is no point of an entity."""
        about = f"No results for metric {go_quote(self.metric)} describing {go_quote(described(key))}"
        return RequestError(f"{about} ({why})" if why else about, 404)


def _check_names(keys: Sequence[EntityKey]) -> None:
    for key in keys:
        for name, what in _CHECKED.items():
            value = getattr(key, name)
            if value and not _NAME.fullmatch(value):
                raise BadRequestError(f"Invalid {what} {go_quote(value)}")


def _key(kind: Kind, params: Mapping[str, str]) -> EntityKey:
    """The entity a path names."""
    return EntityKey(kind, **{name: params[name] for name in _CHECKED if name in params})


def _pods(params: Mapping[str, str]) -> list[EntityKey]:
    """The pods of a list."""
    by_uid = "pod_ids" in params
    names = params["pod_ids" if by_uid else "pods"].split(",")
    if len(names) > MAX_PODS:
        raise BadRequestError(f"the list names {len(names)} pods, at most {MAX_PODS} are allowed")
    if by_uid:
        return [EntityKey(Kind.POD, pod_id=name) for name in names]
    return [EntityKey(Kind.POD, namespace=params["namespace"], pod=name) for name in names]


def _known(context: Context, key: EntityKey) -> EntityKey:
    """`key` with the name of its node where it has the node's host name."""
    batch = context.store.latest()
    row = model.find_node(batch, key.node) if batch is not None and key.node else NULL
    return key if batch is None or row == NULL else replace(key, node=batch.entities.name[row])


def _history(context: Context) -> History:
    assert context.history is not None, "the routes are there only when the history is"
    return context.history


async def _answered(answer: Awaitable[T]) -> T:
    """What a store answers; what keeps it from answering is told to the client."""
    try:
        return await answer
    except HistoryError as error:
        raise RequestError(str(error), 500) from error


async def _of_each(
    context: Context,
    question: _Question,
    keys: Sequence[EntityKey],
    ask: Callable[[list[EntityKey]], Awaitable[Sequence[T]]],
    size: Callable[[T], int],
) -> list[T]:
    """What the store answers for each of `keys`; RequestError naming the first of which it has nothing."""
    question.check(keys)
    history = _history(context)
    if history.without_pod_ids and keys[0].pod_id:
        raise question.nothing(keys[0], history.without_pod_ids)
    # A key with an empty name would mean all there are.
    asked = [key for key in dict.fromkeys(keys) if key.pod or key.pod_id or key.kind is not Kind.POD]
    if not context.visibility.shows_name(question.metric, keys[0].kind):
        asked = []
    answers = await _answered(ask([_known(context, key) for key in asked])) if asked else ()
    found = {key: answer for key, answer in zip(asked, answers, strict=True) if size(answer)}
    for key in keys:
        if key not in found:
            raise question.nothing(key)
    if (total := sum(size(found[key]) for key in keys)) > MAX_POINTS:
        raise BadRequestError(
            f"the answer has {total} points, at most {MAX_POINTS} are allowed; ask for a shorter range or fewer pods"
        )
    return [found[key] for key in keys]


# Series.


async def _series(context: Context, request: Request, keys: Sequence[EntityKey]) -> list[Series]:
    question = _Question.of(context, request)

    def ask(some: list[EntityKey]) -> Awaitable[Sequence[Series]]:
        return _history(context).series(some, question.metric, question.start, question.end, question.labels)

    return await _of_each(context, question, keys, ask, len)


def _points(series: Series) -> Elements:
    return Elements("metrics", len(series), point_documents(series), {"latestTimestamp": latest(series)})


def series(kind: Kind) -> Handler:
    """The handler that answers one metric's points for the entity a path names."""

    async def handler(context: Context, request: Request) -> Answer:
        (found,) = await _series(context, request, [_key(kind, request.params)])
        return Answer(long_object(_points(found), Style.PRETTY))

    return handler


async def pod_list(context: Context, request: Request) -> Answer:
    """A series for each pod named, in the given order; 404 when there is none of one of them."""
    found = await _series(context, request, _pods(request.params))
    return Answer(long_items(map(_points, found)))


# Aggregations.


async def _aggregated(context: Context, request: Request, keys: Sequence[EntityKey]) -> Iterator[Elements]:
    size, wanted = 0, list[Aggregation]()

    def check() -> None:
        nonlocal size, wanted
        size = bucket_size(request.argument("bucket"))
        wanted = aggregations_of(request.params["aggregations"])

    question = _Question.of(context, request, check)

    def ask(some: list[EntityKey]) -> Awaitable[Sequence[list[Bucket]]]:
        return _history(context).aggregate(
            some,
            question.metric,
            wanted,
            question.start,
            question.end,
            bucket_ns=size,
            labels=question.labels,
        )

    found = await _of_each(context, question, keys, ask, len)
    return (Elements("buckets", len(one), bucket_documents(one, wanted), {"bucketSize": size}) for one in found)


def aggregation(kind: Kind) -> Handler:
    """The handler that aggregates one metric of the entity a path names."""

    async def handler(context: Context, request: Request) -> Answer:
        (found,) = await _aggregated(context, request, [_key(kind, request.params)])
        return Answer(long_object(found, Style.PRETTY))

    return handler


async def pod_list_aggregation(context: Context, request: Request) -> Answer:
    """An aggregation for each pod named, in the given order; 404 when there is nothing of one of them."""
    return Answer(long_items(await _aggregated(context, request, _pods(request.params))))


# Names and lists: of all that is kept.


def names(kind: Kind) -> Handler:
    """The handler that lists the metrics of the entity a path names."""

    async def handler(context: Context, request: Request) -> list[str]:
        key = _key(kind, request.params)
        _check_names([key])
        stored = await _answered(_history(context).metric_names(_known(context, key), *FOREVER))
        found = [name for name in stored if context.visibility.shows_name(name, kind)]
        if not found:
            raise RequestError("Unable to list available metrics", 404)
        return found

    return handler


def entities(kind: Kind, field: str, refusal: str = "") -> Handler:
    """The handler that lists the entities of a kind, of the one that the path names, by their `field`.

    `refusal` is the text when there are none, the name in question filled in; without one the list is empty.
    """

    async def handler(context: Context, request: Request) -> list[str]:
        parent = _key(kind, request.params)
        _check_names([parent])
        known = _known(context, parent)
        found = await _answered(
            _history(context).entities(kind, *FOREVER, namespace=known.namespace, pod=known.pod, node=known.node)
        )
        if not found and refusal:
            raise RequestError(refusal.format(*map(go_quote, request.params.values())), 404)
        listed = {getattr(key, field) for key in found}
        if kind is Kind.NAMESPACE and request.viewer is not None:
            sight = await request.viewer.sight(listed)
            listed = set(filter(sight.shows, listed))
        return sorted(listed)

    return handler


# The routes.


def _route(path: str, handler: Handler, name: str, style: Style = Style.PRETTY) -> Route:
    return Route("GET", ROOT + path, handler, style, name, right=_right(path))


_RIGHTS = (("/nodes", Right.NODES), ("/namespaces/{namespace}", Right.NAMESPACE), ("/namespaces", Right.SOME))
"""How a path begins -> the right it needs. A pod's uid does not tell its namespace: that takes them all."""


def _right(path: str) -> Right:
    return next((right for start, right in _RIGHTS if path.startswith(start)), Right.EVERYTHING)


_NAMED = (
    (Kind.CLUSTER, "", "availableClusterMetrics", "clusterMetrics"),
    (Kind.NODE, "/nodes/{node}", "availableNodeMetrics", "nodeMetrics"),
    (Kind.NAMESPACE, "/namespaces/{namespace}", "availableNamespaceMetrics", "namespaceMetrics"),
    (Kind.POD, model.POD, "availablePodMetrics", "podMetrics"),
    (Kind.POD_CONTAINER, model.CONTAINER, "availableContainerMetrics", "podContainerMetrics"),
    (Kind.SYS_CONTAINER, model.FREE, "availableMetrics", "freeContainerMetrics"),
)
"""Kind, path, and the names of its routes in the HTTP metrics: of the names, of series and aggregations."""

_BY_UID = (
    (Kind.POD, "/pod-id/{pod_id}", "podMetrics"),
    (Kind.POD_CONTAINER, "/pod-id/{pod_id}/containers/{container}", "podContainerMetrics"),
)

_AGGREGATED = "metrics-aggregated/{aggregations}/{metric:*}"

ROUTES: tuple[Route, ...] = (
    *(_route(f"{path}/metrics", names(kind), name) for kind, path, name, _ in _NAMED),
    *(
        route
        for kind, path, name in (*((kind, path, name) for kind, path, _, name in _NAMED), *_BY_UID)
        for route in (
            _route(f"{path}/metrics/{{metric:*}}", series(kind), name),
            _route(f"{path}/{_AGGREGATED}", aggregation(kind), name),
        )
    ),
    _route("/nodes", entities(Kind.NODE, "node", "Unable to list all nodes"), "nodeList"),
    _route(
        "/nodes/{node}/freecontainers",
        entities(Kind.SYS_CONTAINER, "container", "Unable to list system containers on node {}"),
        "systemContainerList",
    ),
    _route("/namespaces", entities(Kind.NAMESPACE, "namespace", "Unable to list all namespaces"), "namespaceList"),
    _route(
        "/namespaces/{namespace}/pods",
        entities(Kind.POD, "pod", "Unable to list pods in namespace {}"),
        "namespacePodList",
    ),
    _route(f"{model.POD}/containers", entities(Kind.POD_CONTAINER, "container"), "podContainerList"),
    _route(f"{model.PODS}/metrics/{{metric:*}}", pod_list, "podListMetric", Style.COMPACT),
    _route(f"{model.PODS}/{_AGGREGATED}", pod_list_aggregation, "podListAggregations", Style.COMPACT),
    _route("/pod-id-list/{pod_ids}/metrics/{metric:*}", pod_list, "podListAggregations", Style.COMPACT),
    _route(f"/pod-id-list/{{pod_ids}}/{_AGGREGATED}", pod_list_aggregation, "podListAggregations", Style.COMPACT),
)
