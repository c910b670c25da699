"""The second server's API: `metrics.k8s.io` as an API server behind the aggregation layer serves it.

Versions are rows of `AGGREGATED`: `v1alpha1` as Heapster had it (behaviour reference, 8.9), and what `kubectl top` and
the autoscalers of today ask for. Discovery answers from the first moment, before there is any batch: while it does not,
every kubectl of the cluster prints errors. Serve it with these `ROUTES`, `API_ROOTS` and `MANNER`.
"""

from typing import Final

from collector.api import health, jsontext
from collector.api.metrics_objects import AGGREGATED, GROUP, Version
from collector.api.metrics_select import Wanted
from collector.api.metrics_writer import Writer
from collector.api.route import ANY, Answer, Context, Document, Handler, Request, Route, Style
from collector.api.status import (
    KubernetesManner,
    bad_request,
    check_accept,
    not_found,
    not_supported,
    object_answer,
    sheet,
)
from collector.api.target import location
from collector.gotext import quoted
from collector.kube import fieldselector, selector

ROOT: Final = "/apis"
GROUP_ROOT: Final = f"{ROOT}/{GROUP}"
API_ROOTS: Final = (GROUP_ROOT,)

CHECKS: Final = {"ping": lambda _context: None, **health.CHECKS}
"""Name -> check of `/healthz` on this server."""

PATHS: Final = tuple(
    sorted(
        [
            *(ROOT, GROUP_ROOT, "/healthz", "/swaggerapi"),
            *(version.root for version in AGGREGATED),
            *(f"/healthz/{name}" for name in CHECKS),
        ]
    )
)
"""What the server lists at `/`."""

MANNER: Final = KubernetesManner(PATHS)

_FALSE: Final = frozenset({"false", "0"})

# Discovery.


def group_list(_context: Context, request: Request) -> Answer:
    """The one API group there is, with the address it was asked at."""
    check_accept(request)
    address = {"clientCIDR": "0.0.0.0/0", "serverAddress": request.headers.get("Host", "")}
    group = {**_group(), "serverAddressByClientCIDRs": [address]}
    # Without apiVersion, as it was with Kubernetes 1.1 and stayed.
    return object_answer(request, {"kind": "APIGroupList", "groups": [group]})


def group(_context: Context, request: Request) -> Answer:
    """The versions of the group, and which one to prefer."""
    document = {"kind": "APIGroup", "apiVersion": "v1", **_group(), "serverAddressByClientCIDRs": None}
    return object_answer(request, document)


def resource_list(version: Version) -> Handler:
    """The handler that lists the resources of a version."""

    def resources(_context: Context, request: Request) -> Answer:
        """The resources of this version: nodes and pods."""
        kinds = (("nodes", "NodeMetrics", False), ("pods", "PodMetrics", True))
        listed: list[Document] = [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
            for name, kind, namespaced in kinds
        ]
        head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version.api_version}
        return object_answer(request, {**head, "resources": listed})

    return resources


def _group() -> dict[str, Document]:
    versions: list[Document] = [_version(version) for version in AGGREGATED]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


def _version(version: Version) -> Document:
    return {"groupVersion": version.api_version, "version": version.name}


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


def node_list(version: Version) -> Handler:
    """The handler that lists nodes."""

    def nodes(context: Context, request: Request) -> Answer:
        """Usage of the nodes that `labelSelector` and `fieldSelector` select."""
        chosen = _wanted(request, "nodes").nodes(context)
        return Answer(Writer(context, version, sheet(request)).nodes(chosen, location(request.path, "")))

    return nodes


def node(version: Version) -> Handler:
    """The handler that answers one node."""

    def one_node(context: Context, request: Request) -> Answer:
        """Usage of one node."""
        name = request.params["node"]
        known = context.listers.nodes.get(name)
        text = Writer(context, version, sheet(request)).node(name, known.labels if known else {})
        if text is None or (known is None and version.sampled):  # Heapster did not ask whether there is such a node
            raise not_found(GROUP, "nodemetrics", name)
        return Answer(text)

    return one_node


def pod_list(version: Version) -> Handler:
    """The handler that lists pods."""

    def pods(context: Context, request: Request) -> Answer:
        """Usage of the containers of the pods that the path and the selectors select."""
        chosen = _wanted(request, "pods").pods(context)
        return Answer(Writer(context, version, sheet(request)).pods(chosen, location(request.path, "")))

    return pods


def pod(version: Version) -> Handler:
    """The handler that answers one pod."""

    def one_pod(context: Context, request: Request) -> Answer:
        """Usage of the containers of one pod."""
        namespace, name = request.params["namespace"], request.params["pod"]
        known = context.listers.pods.get((namespace, name))
        text = Writer(context, version, sheet(request)).pod(known) if known else None
        if text is None:
            raise not_found(GROUP, "podmetrics", f"{namespace}/{name}")
        return Answer(text)

    return one_pod


def _wanted(request: Request, resource: str) -> Wanted:
    """What the list options ask for; as in Kubernetes, `limit` must be a number and has no effect."""
    for name in ("timeoutSeconds", "limit"):
        number = request.argument(name)
        if number and not selector.is_int64(number):
            raise bad_request(f"strconv.ParseInt: parsing {quoted(number)}: invalid syntax")
    try:
        labels = selector.parse(request.argument("labelSelector"))
        fields = fieldselector.parse(request.argument("fieldSelector"))
    except selector.SelectorError as error:
        raise bad_request(str(error)) from None
    if "watch" in request.query and request.argument("watch").lower() not in _FALSE:
        raise not_supported(GROUP, resource, "watch")
    return Wanted(request.params.get("namespace"), labels, fields)


def _routes(version: Version) -> tuple[Route, ...]:
    def route(path: str, handler: Handler, name: str) -> Route:
        return Route("GET", version.root + path, handler, Style.PRETTY, name)

    return (
        route("", resource_list(version), "getAPIResources"),
        route("/nodes", node_list(version), "listNodeMetrics"),
        route("/nodes/{node}", node(version), "readNodeMetrics"),
        route("/pods", pod_list(version), "listPodMetricsForAllNamespaces"),
        route("/namespaces/{namespace}/pods", pod_list(version), "listNamespacedPodMetrics"),
        route("/namespaces/{namespace}/pods/{pod}", pod(version), "readNamespacedPodMetrics"),
    )


ROUTES: tuple[Route, ...] = (
    *(Route("GET", path, group_list, Style.PLAIN, "getAPIVersions") for path in (ROOT, f"{ROOT}/")),
    Route("GET", GROUP_ROOT, group, Style.PRETTY, "getAPIGroup"),
    *(route for version in AGGREGATED for route in _routes(version)),
    *health.routes(CHECKS),
    *(Route(ANY, path, index, Style.PLAIN, "index") for path in ("/", "/index.html")),
    *(Route("GET", path, swagger, Style.PLAIN, "swagger") for path in ("/swaggerapi", "/swaggerapi/")),
)
"""What the second server answers."""
