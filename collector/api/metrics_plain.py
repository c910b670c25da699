"""Heapster's resource metrics API on the main port: `/apis/metrics.k8s.io/v1alpha1` (behaviour reference, 8.7).

Heapster 1.5.4 had it at `/apis/metrics/v1alpha1`, where the old horizontal autoscaler asks; both roots answer alike.
Nodes and pods are those that the API server knows, so that deleted ones never show.
"""

from collector.api import jsontext
from collector.api.metrics_objects import HEAPSTER
from collector.api.metrics_select import Wanted
from collector.api.metrics_writer import Sheet, Writer
from collector.api.route import Answer, BadRequestError, Context, Request, RequestError, Route, Style
from collector.gotext import quoted
from collector.kube import selector

ROOTS = ("/apis/metrics.k8s.io/v1alpha1", "/apis/metrics/v1alpha1")


def node_list(context: Context, request: Request) -> Answer:
    """Usage of all nodes, or of those that `labelSelector` selects."""
    nodes = _wanted(request).nodes(context)
    return Answer(_writer(context).nodes(nodes, request.path))


def node(context: Context, request: Request) -> Answer:
    """Usage of one node."""
    name = request.params["node"]
    text = _writer(context).node(name, {})
    if text is None:
        raise RequestError(f"No metrics for node {name}", 404)
    return Answer(text)


def pod_list(context: Context, request: Request) -> Answer:
    """Usage of the containers of all pods, or of those that the path and `labelSelector` select."""
    pods = _wanted(request).pods(context)
    return Answer(_writer(context).pods(pods, request.path))


def pod(context: Context, request: Request) -> Answer:
    """Usage of the containers of one pod."""
    namespace, name = request.params["namespace"], request.params["pod"]
    found = context.listers.pods.get((namespace, name))
    if found is None:
        raise RequestError(f"Error while getting pod {name}: pod {quoted(name)} not found", 404)
    text = _writer(context).pod(found)
    if text is None:
        raise RequestError(f"No metrics availalble for pod {namespace}/{name}", 404)
    return Answer(text)


def _wanted(request: Request) -> Wanted:
    text = request.argument("labelSelector")
    try:
        return Wanted(request.params.get("namespace"), selector.parse(text))
    except selector.SelectorError as error:
        raise BadRequestError(f"Error while parsing selector {text}: {error}") from None


def _writer(context: Context) -> Writer:
    return Writer(context, HEAPSTER, Sheet(jsontext.HEAPSTER))


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
