"""What the collector answers over HTTP: handlers that read the metric store, and nothing else of the collector.

Read `route` first (what a route is made of), then a group such as `model`, then `dispatch` (from a request to an
answer) and `server` (from an answer to bytes on the wire). A new endpoint is a handler and a row in its group's
ROUTES; a new group is a module, its routes here and, when it answers like Heapster's API, its root.
"""

from collector.api import health, metrics_plain, model, own, prometheus
from collector.api.route import Route

ROUTES: tuple[Route, ...] = (*model.ROUTES, *metrics_plain.ROUTES, *health.ROUTES, *own.ROUTES, *prometheus.ROUTES)
"""Every route: method, path pattern, handler, style, and the name it has in the HTTP metrics."""

STORELESS_ROUTES: tuple[Route, ...] = (*health.ROUTES, *own.ROUTES)
"""Those that need no batch kept in memory: all there is with --disable-metric-sink; the others are not found then."""

API_ROOTS: tuple[str, ...] = (model.ROOT, *metrics_plain.ROOTS)
"""Below these paths errors are Heapster's API errors, and answers are compressed as its API compressed them."""
