"""What the second server answers: `metrics.k8s.io` in Kubernetes' manner, and Heapster's API by its caller's rights.

The gate in front of it lets a caller of Heapster's API pass as a viewer (`gate.ReviewGate`); each route then asks for
the right that its row names (`rights`).
"""

from collections.abc import Mapping

from collector.api import aggregated, health, offered, own
from collector.api.dispatch import Dispatcher, Outcome
from collector.api.gate import is_viewed
from collector.api.route import Context, Route, Viewing
from collector.api.target import split_target
from collector.api.viewer import ViewersManner

AGGREGATED_ROUTES = (*aggregated.ROUTES, *health.PROBE_ROUTES, *own.ROUTES)
"""The resource metrics API, the probes, and `/metrics` for whoever may `get` that path, as metrics-server has it."""


class SecondApi:
    """The dispatcher of the second server; `routes` and `roots` are the aggregated API's."""

    def __init__(
        self,
        context: Context,
        routes: tuple[Route, ...] = AGGREGATED_ROUTES,
        roots: tuple[str, ...] = aggregated.API_ROOTS,
    ) -> None:
        self._aggregated = Dispatcher(context, routes, roots, aggregated.MANNER)
        self._viewed = Dispatcher(context, *viewed(context), ViewersManner(), guarded=True)

    async def answer(
        self, method: str, target: str, headers: Mapping[str, str], viewer: Viewing | None = None
    ) -> Outcome:
        """See `Dispatcher.answer`."""
        path = split_target(target)[0]
        chosen = self._viewed if path is not None and is_viewed(path) else self._aggregated
        return await chosen.answer(method, target, headers, viewer)


def viewed(context: Context) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """The routes, and the roots, of Heapster's API among those that there is something to answer from."""
    routes, roots = offered(context)
    return tuple(route for route in routes if is_viewed(route.path)), tuple(filter(is_viewed, roots))
