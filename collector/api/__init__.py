"""What the collector answers over HTTP: handlers that read the metric store, and nothing else of the collector.

Read `route` first (what a route is made of), then a group such as `model`, then `dispatch` (from a request to an
answer) and `server` (from an answer to bytes on the wire). A new endpoint is a handler and a row in its group's
ROUTES; a new group is a module, its routes here and, when it answers like Heapster's API, its root.
"""

from collector.api import health, historical, model, own, prometheus
from collector.api.route import Context, Route

ROUTES: tuple[Route, ...] = (
    *model.ROUTES,
    *historical.ROUTES,
    *health.ROUTES,
    *own.ROUTES,
    *prometheus.ROUTES,
)
"""Every route: method, path pattern, handler, style, and the name it has in the HTTP metrics."""

API_ROOTS: tuple[str, ...] = (model.ROOT, historical.ROOT)
"""Below these paths errors are Heapster's API errors, and answers are compressed as its API compressed them."""


def offered(context: Context) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """The routes, and the API roots, of what there is something to answer from."""
    absent = (historical.ROOT,) if context.history is None else ()
    routes = tuple(route for route in ROUTES if not route.path.startswith(absent))
    return routes, tuple(root for root in API_ROOTS if root not in absent)
