"""`/metrics`: the collector's own metrics, from prometheus-client's registry.

The registry is written some thousand samples at a time: with a few series for each of 5,000 nodes, one call to
prometheus-client's own writer would hold up the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain, islice

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from collector.api.negotiation import openmetrics_wanted
from collector.api.route import ANY, Answer, BadRequestError, Context, Request, Route, Style
from collector.api.spec import Parameter, Spec

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST

TEXTS = ("text/plain", "application/openmetrics-text")
"""The two formats, without their versions."""

NAMES = ("", "all", "base")
"""`?names=`: everything, or only what `promtool check metrics` has no complaint about."""

SAMPLES_AT_ONCE = 1000
_CREATED = "_created"
"""Samples that say when a series began: they double the text and nothing here reads them."""


def own_metrics(context: Context, request: Request) -> Answer:
    """The collector's own metrics, in the format the client prefers; `?names=base` leaves out names in no base unit."""
    metrics = context.metrics
    names = request.argument("names")
    if names not in NAMES:
        raise BadRequestError(f"names is {names!r}; it must be one of {', '.join(NAMES)}")
    registries = (metrics.registry,) if names == "base" else (metrics.registry, metrics.heapster)
    if openmetrics_wanted(request.headers.get("Accept", "")):
        return Answer(registry_text(registries, openmetrics.generate_latest), OPENMETRICS)
    return Answer(registry_text(registries, generate_latest), TEXT)


async def registry_text(
    registries: Sequence[CollectorRegistry], encoder: Callable[[Collector], bytes]
) -> AsyncIterator[bytes]:
    """All that `encoder` would write of `registries`, in pieces; parts of one family stand below one head."""
    ending = encoder(_One(None))  # what stands behind the last family
    before = ""
    for metric in chain.from_iterable(registry.collect() for registry in registries):
        for piece in _pieces(metric):
            text = encoder(_One(piece)).removesuffix(ending)
            if piece is not metric or metric.name == before:
                text = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"# "))
            yield text
            await asyncio.sleep(0)
        before = metric.name
    yield ending


def _pieces(metric: Metric) -> Iterator[Metric]:
    """`metric` with its first samples, then, family by family like it, the others."""
    samples = iter([sample for sample in metric.samples if not sample.name.endswith(_CREATED)])
    metric.samples = list(islice(samples, SAMPLES_AT_ONCE))
    yield metric
    while more := list(islice(samples, SAMPLES_AT_ONCE)):
        piece = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        piece.samples = more
        yield piece


class _One(Collector):
    """A registry of one family."""

    def __init__(self, metric: Metric | None) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        return iter(()) if self._metric is None else iter((self._metric,))


_NAMES = Parameter("names", "base: leave out Heapster's names that are in no base unit.", {"enum": list(NAMES)})
_SPEC = Spec(query=(_NAMES,), errors=(400,), content=TEXTS)

ROUTES: tuple[Route, ...] = (Route(ANY, "/metrics", own_metrics, Style.PLAIN, "prometheus", _SPEC),)
