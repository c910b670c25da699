"""Heapster's resource metrics API on the main port: `/apis/metrics.k8s.io/v1alpha1` (behaviour reference, 8.7).

Heapster 1.5.4 had it at `/apis/metrics/v1alpha1`, where the old horizontal autoscaler asks; both roots answer alike.
Nodes and pods are those that the API server knows, so that deleted ones never show.
"""

from collections.abc import AsyncIterator

from collector.api import jsontext
from collector.api.metrics_items import at_once, items
from collector.api.metrics_objects import HEAPSTER, NODES, PODS, Resource, list_document
from collector.api.metrics_reader import Reader
from collector.api.metrics_scenes import pieces
from collector.api.metrics_select import Wanted
from collector.api.metrics_shown import Shown
from collector.api.metrics_writer import ALONE, Sheet, Writer, in_frame
from collector.api.route import Answer, BadRequestError, Context, Request, RequestError, Route, Style
from collector.gotext import quoted
from collector.kube import selector
from collector.kube.objects import Node

ROOTS = ("/apis/metrics.k8s.io/v1alpha1", "/apis/metrics/v1alpha1")


def node_list(context: Context, request: Request) -> Answer:
    """Usage of all nodes, or of those that `labelSelector` selects."""
    return _list(context, request, NODES)


def node(context: Context, request: Request) -> Answer:
    """Usage of one node."""
    name = request.params["node"]
    shown = Reader(context, HEAPSTER).nodes([Node(name)])
    if not len(shown):
        raise RequestError(f"No metrics for node {name}", 404)
    return _alone(context, NODES, shown)


def pod_list(context: Context, request: Request) -> Answer:
    """Usage of the containers of all pods, or of those that the path and `labelSelector` select."""
    return _list(context, request, PODS)


def pod(context: Context, request: Request) -> Answer:
    """Usage of the containers of one pod."""
    namespace, name = request.params["namespace"], request.params["pod"]
    found = context.listers.pods.get((namespace, name))
    if found is None:
        raise RequestError(f"Error while getting pod {name}: pod {quoted(name)} not found", 404)
    shown = Reader(context, HEAPSTER).pods([found])
    if not len(shown):
        raise RequestError(f"No metrics availalble for pod {namespace}/{name}", 404)
    return _alone(context, PODS, shown)


def _list(context: Context, request: Request, resource: Resource) -> Answer:
    writer = _writer(context, resource)
    shown = pieces(context, HEAPSTER, resource, _wanted(request), at_once(resource))

    async def elements() -> AsyncIterator[bytes]:
        write = items(writer)
        async for some in shown:
            yield write(some)

    # Of nothing Heapster's own API says null (K22).
    return Answer(in_frame(writer.sheet, list_document(HEAPSTER, resource, {}), elements(), "null"))


def _alone(context: Context, resource: Resource, shown: Shown) -> Answer:
    writer = _writer(context, resource)
    (text,) = writer.objects(shown, ALONE)
    return Answer(f"{text}{writer.sheet.end}".encode())


def _wanted(request: Request) -> Wanted:
    text = request.argument("labelSelector")
    try:
        return Wanted(request.params.get("namespace"), selector.parse(text))
    except selector.SelectorError as error:
        raise BadRequestError(f"Error while parsing selector {text}: {error}") from None


def _writer(context: Context, resource: Resource) -> Writer:
    return Writer(HEAPSTER, resource, Sheet(jsontext.HEAPSTER), context.now())


ROUTES: tuple[Route, ...] = tuple(
    Route("GET", root + path, handler, Style.PRETTY, name)
    for root in ROOTS
    for path, handler, name in (
        ("/nodes", node_list, "nodeMetricsList"),
        ("/nodes/{node}", node, "nodeMetrics"),
        ("/pods", pod_list, "allPodMetricsList"),
        ("/namespaces/{namespace}/pods", pod_list, "podMetricsList"),
        ("/namespaces/{namespace}/pods/{pod}", pod, "podMetrics"),
    )
)
