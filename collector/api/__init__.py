"""What the collector answers over HTTP: handlers that read the metric store, and nothing else of the collector.

Read `route` first (what a route is made of), then a group such as `model`, then `dispatch` (from a request to an
answer) and `server` (from an answer to bytes on the wire). A new endpoint is a handler and a row in its group's
ROUTES; a new group is a module, its routes here and, when it answers like Heapster's API, its root.
"""

from collector.api import debug, export, health, metrics_plain, model, openapi, own, prometheus
from collector.api.route import Route

ROUTES: tuple[Route, ...] = openapi.with_document(
    (
        *model.ROUTES,
        *export.ROUTES,
        *metrics_plain.ROUTES,
        *health.ROUTES,
        *own.ROUTES,
        *prometheus.ROUTES,
        *debug.ROUTES,
    )
)
"""Every route: method, path pattern, handler, style, and the name it has in the HTTP metrics."""

STORELESS_ROUTES: tuple[Route, ...] = openapi.with_document(
    (export.SCHEMA_ROUTE, *health.ROUTES, *own.ROUTES, *debug.ROUTES)
)
"""Those that need no batch kept in memory: all there is with --disable-metric-sink; the others are not found then."""

API_ROOTS: tuple[str, ...] = (
    model.ROOT,
    export.ROOT,
    export.SCHEMA_ROOT,
    *metrics_plain.ROOTS,
    debug.ROOT,
)
"""Below these paths errors are Heapster's API errors, and answers are compressed as its API compressed them.

A root that ends with a slash is no path without it: a client is sent to the one with it.
"""
