"""`/metrics/cluster`: every entity of the latest batch for Prometheus.

`?kind=node&kind=pod` leaves out the other kinds (`families.KIND_NAMES`). Once collecting has stopped, the samples are
withheld after a while: with none, Prometheus marks the series stale, where old values would look alive for ever.
"""

from collector.api.families import KIND_NAMES
from collector.api.negotiation import openmetrics_wanted
from collector.api.own import OPENMETRICS, TEXT, TEXTS
from collector.api.route import ANY, Answer, BadRequestError, Context, Request, Route, Style
from collector.api.spec import Parameter, Spec
from collector.core.metrics import Kind

MAX_AGE_NS = 180 * 1_000_000_000
"""A batch is shown for this long, and for at least three times the time between the last two batches."""

_KINDS = {name: kind for kind, name in KIND_NAMES.items()}


def cluster_metrics(context: Context, request: Request) -> Answer:
    """The latest batch as Prometheus text, or as OpenMetrics where the client prefers it."""
    openmetrics = openmetrics_wanted(request.headers.get("Accept", ""))
    content_type = OPENMETRICS if openmetrics else TEXT
    kinds = _wanted(request)
    batch = context.store.latest()
    if batch is None or context.now() - batch.timestamp > _shown_for(context):
        return Answer(b"# EOF\n" if openmetrics else b"", content_type)
    return Answer(context.cluster_text.write(batch, kinds, openmetrics=openmetrics), content_type)


def _wanted(request: Request) -> frozenset[Kind]:
    names = [name for value in request.query.get("kind", ()) for name in value.split(",")]
    for name in names:
        if name not in _KINDS:
            raise BadRequestError(f"kind {name!r} is not known; there are {', '.join(_KINDS)}")
    return frozenset(_KINDS[name] for name in names) or frozenset(Kind)


def _shown_for(context: Context) -> int:
    timestamps = [batch.timestamp for batch in context.store.batches[-2:]]
    return max(MAX_AGE_NS, 3 * (timestamps[-1] - timestamps[0]))


_KIND = Parameter("kind", "Only entities of these kinds.", {"type": "array", "items": {"enum": list(_KINDS)}})
_SPEC = Spec(query=(_KIND,), errors=(400,), content=TEXTS)

ROUTES: tuple[Route, ...] = (Route(ANY, "/metrics/cluster", cluster_metrics, Style.PLAIN, "prometheusCluster", _SPEC),)
