"""The second server's API: `metrics.k8s.io` as an API server behind the aggregation layer serves it.

Versions are rows of `AGGREGATED`: `v1alpha1` as Heapster had it (behaviour reference, 8.9), and what `kubectl top` and
the autoscalers of today ask for. Discovery answers from the first moment, before there is any batch: while it does not,
every kubectl of the cluster prints errors. Serve it with these `ROUTES`, `API_ROOTS` and `MANNER`.
"""

from typing import Final

from collector.api import health, jsontext, kubeopenapi
from collector.api.discovery import group, group_list, resource_list
from collector.api.metrics_forms import negotiated
from collector.api.metrics_objects import AGGREGATED, GROUP, NODES, PODS, Resource, Version
from collector.api.metrics_options import list_options
from collector.api.metrics_pages import listed
from collector.api.metrics_reader import Reader
from collector.api.metrics_shown import Shown
from collector.api.metrics_watch import watched
from collector.api.metrics_writer import Writer
from collector.api.route import ANY, Answer, Context, Document, Handler, Request, Route, Style
from collector.api.status import KubernetesManner, not_found, not_supported, sheet
from collector.api.target import location
from collector.kube.objects import Node

ROOT: Final = "/apis"
GROUP_ROOT: Final = f"{ROOT}/{GROUP}"
API_ROOTS: Final = (GROUP_ROOT,)

CHECKS: Final = {"ping": lambda _context: None, **health.CHECKS}
"""Name -> check of `/healthz` on this server."""

PATHS: Final = tuple(
    sorted(
        [
            *(ROOT, GROUP_ROOT, "/healthz", "/swaggerapi", *kubeopenapi.PATHS),
            *(version.root for version in AGGREGATED),
            *(f"/healthz/{name}" for name in CHECKS),
        ]
    )
)
"""What the server lists at `/`."""

MANNER: Final = KubernetesManner(PATHS)


def index(_context: Context, _request: Request) -> Answer:
    """The paths that there are."""
    return MANNER.index()


def swagger(_context: Context, _request: Request) -> Answer:
    """The roots of the API in the form of Swagger 1.2."""
    described = {ROOT: "get available API versions", GROUP_ROOT: "get information of a group"}
    described |= {version.root: f"API at {version.root}" for version in AGGREGATED}
    listed = [{"path": path, "description": description} for path, description in sorted(described.items())]
    document: Document = {
        "swaggerVersion": "1.2",
        "apis": listed,
        "apiVersion": "",
        "info": {"title": "", "description": ""},
    }
    return Answer(jsontext.pretty(document, jsontext.HEAPSTER).encode())


# Objects.


def listing(version: Version, resource: Resource) -> Handler:
    """The handler that lists objects, or tells how they change."""

    async def objects(context: Context, request: Request) -> Answer:
        """Usage of what the path and the selectors select, in pages with `limit`; with `watch`, how it changes."""
        options = list_options(context, request)
        if not options.watch:
            link = location(request.path, "")
            form = negotiated(request, packed=resource is PODS and version.sampled)
            return await listed(context, version, resource, options, form, sheet(request), link)
        if not version.sampled:
            raise not_supported(GROUP, resource.plural, "watch")
        return watched(context, version, resource, options, negotiated(request, streamed=True))

    return objects


def node(version: Version) -> Handler:
    """The handler that answers one node."""

    def one_node(context: Context, request: Request) -> Answer:
        """Usage of one node."""
        name = request.params["node"]
        known = context.listers.nodes.get(name)
        if known is None and not version.sampled:
            known = Node(name)  # Heapster did not ask whether there is such a node
        shown = Reader(context, version).nodes([known] if known is not None else [])
        return _alone(context, request, version, NODES, shown, name)

    return one_node


def pod(version: Version) -> Handler:
    """The handler that answers one pod."""

    def one_pod(context: Context, request: Request) -> Answer:
        """Usage of the containers of one pod."""
        namespace, name = request.params["namespace"], request.params["pod"]
        known = context.listers.pods.get((namespace, name))
        shown = Reader(context, version).pods([known] if known is not None else [])
        return _alone(context, request, version, PODS, shown, f"{namespace}/{name}")

    return one_pod


def _alone(context: Context, request: Request, version: Version, resource: Resource, shown: Shown, name: str) -> Answer:
    form = negotiated(request)
    if not len(shown):
        raise not_found(GROUP, resource.refused, name)
    now, page = context.now(), sheet(request)
    object_version = f"{context.revisions.current(now).object_version}" if version.sampled else ""
    (text,) = form.alone(Writer(version, resource, page, now, object_version), shown)
    return Answer(f"{text}{page.end}".encode())


def _routes(version: Version) -> tuple[Route, ...]:
    # Of objects there are tables, too: whether a client takes what there is, these handlers see for themselves.
    def route(path: str, handler: Handler, name: str) -> Route:
        return Route("GET", version.root + path, handler, Style.PLAIN, name)

    return (
        Route("GET", version.root, resource_list(version), Style.PRETTY, "getAPIResources"),
        route("/nodes", listing(version, NODES), "listNodeMetrics"),
        route("/nodes/{node}", node(version), "readNodeMetrics"),
        route("/pods", listing(version, PODS), "listPodMetricsForAllNamespaces"),
        route("/namespaces/{namespace}/pods", listing(version, PODS), "listNamespacedPodMetrics"),
        route("/namespaces/{namespace}/pods/{pod}", pod(version), "readNamespacedPodMetrics"),
    )


ROUTES: tuple[Route, ...] = (
    *(Route("GET", path, group_list, Style.PLAIN, "getAPIVersions") for path in (ROOT, f"{ROOT}/")),
    Route("GET", GROUP_ROOT, group, Style.PRETTY, "getAPIGroup"),
    *(route for version in AGGREGATED for route in _routes(version)),
    *health.routes(CHECKS),
    *kubeopenapi.ROUTES,
    *(Route(ANY, path, index, Style.PLAIN, "index") for path in ("/", "/index.html")),
    *(Route("GET", path, swagger, Style.PLAIN, "swagger") for path in ("/swaggerapi", "/swaggerapi/")),
)
"""What the second server answers."""
