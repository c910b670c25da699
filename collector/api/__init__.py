"""What the collector answers over HTTP: handlers that read the metric store, and nothing else of the collector.

Read `route` first (what a route is made of), then a group such as `model`, then `dispatch` (from a request to an
answer) and `server` (from an answer to bytes on the wire). A new endpoint is a handler and a row in its group's
ROUTES; a new group is a module, its routes here and, when it answers like Heapster's API, its root.
"""

from collector.api import (
    debug,
    explain,
    export,
    health,
    historical,
    kubelets,
    ledger,
    metrics_plain,
    model,
    openapi,
    own,
    prometheus,
)
from collector.api.route import Context, Route

_OF_STORE = (*model.ROUTES, export.ROUTE, *metrics_plain.ROUTES, *prometheus.ROUTES)
"""These answer from batches kept in memory: with --disable-metric-sink they are not found."""

_ALWAYS = (
    export.SCHEMA_ROUTE,
    *ledger.ROUTES,
    *kubelets.ROUTES,
    *explain.ROUTES,
    *health.ROUTES,
    *own.ROUTES,
    *debug.ROUTES,
)

ROUTES: tuple[Route, ...] = openapi.with_document((*_OF_STORE, *historical.ROUTES, *_ALWAYS))
"""Every route: method, path pattern, handler, style, and the name it has in the HTTP metrics."""

API_ROOTS: tuple[str, ...] = (
    model.ROOT,
    export.ROOT,
    export.SCHEMA_ROOT,
    historical.ROOT,
    *metrics_plain.ROOTS,
    ledger.ROOT,
    kubelets.ROOT,
    explain.ROOT,
    debug.ROOT,
)
"""Below these paths errors are Heapster's API errors, and answers are compressed as its API compressed them.

A root that ends with a slash is no path without it: a client is sent to the one with it.
"""


def offered(context: Context) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """The routes, and the API roots, of what there is something to answer from."""
    stored = _OF_STORE if context.last_batch is None else ()
    past = historical.ROUTES if context.history is not None else ()
    roots = tuple(root for root in API_ROOTS if past or root != historical.ROOT)
    return openapi.with_document((*stored, *past, *_ALWAYS)), roots
