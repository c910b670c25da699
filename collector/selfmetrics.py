"""The collector's own metrics: one table, and the plain methods the app calls.

Names are Heapster's where it had them (behaviour reference, section 2.9), but in base units: `promtool check metrics`
refuses `..._milliseconds` and a type in a name. What Heapster gave as quantiles over ten minutes are histograms here,
or, where there is one series for each node, a sum and a count.
"""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
)
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

SOURCE_RETENTION_S = 15 * 60
"""The series of a node that was not scraped for this long are dropped: nodes come and go, memory must not."""


class OwnType(Enum):
    """The Prometheus type of an own metric."""

    COUNTER = Counter
    GAUGE = Gauge
    HISTOGRAM = Histogram
    SUMMARY = Summary


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """One row of the table."""

    name: str
    type: OwnType
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit of its name."""


_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
_STALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_C, _G, _H, _S = OwnType.COUNTER, OwnType.GAUGE, OwnType.HISTOGRAM, OwnType.SUMMARY

PER_NODE: tuple[OwnMetric, ...] = (
    OwnMetric("heapster_scraper_duration_seconds", _S, ("source",), "Time of one scrape, decoding included"),
    OwnMetric("heapster_kubelet_request_duration_seconds", _S, ("node",), "Time of one kubelet request, by node"),
    OwnMetric("heapster_scraper_last_time_seconds", _G, ("source",), "End of the last scrape, Unix time"),
)
"""One series for each node: kept in plain lists, since 5,000 nodes would be 15,000 locked objects."""

OWN_METRICS: tuple[OwnMetric, ...] = (
    # Scraping.
    OwnMetric("heapster_scrape_duration_seconds", _H, (), "Time of one scrape, over all nodes", _FAST),
    OwnMetric("heapster_scrape_failures_total", _C, ("reason",), "Scrapes that gave no sample"),
    OwnMetric("heapster_late_answers_total", _C, (), "Answers that came after the deadline and were dropped"),
    # The tick.
    OwnMetric("heapster_ticks_total", _C, ("outcome",), "Collection cycles by outcome: ok, failed, skipped"),
    OwnMetric("heapster_tick_duration_seconds", _H, (), "Time of one collection cycle", _SLOW),
    OwnMetric("heapster_tick_cpu_seconds_total", _C, (), "CPU time spent in collection cycles"),
    OwnMetric("heapster_batch_timestamp_seconds", _G, (), "Timestamp of the latest batch, Unix time"),
    OwnMetric("heapster_batch_age_seconds", _G, (), "Age of the latest batch"),
    OwnMetric("heapster_nodes", _G, ("state",), "Nodes of the latest batch by state: ok, failed"),
    OwnMetric("heapster_entities", _G, ("type",), "Entities of the latest batch by type"),
    OwnMetric("heapster_processor_duration_seconds", _H, ("processor",), "Time of one processor run", _FAST),
    OwnMetric("heapster_event_loop_blocked_seconds", _H, (), "Times the event loop was not free in time", _STALL),
    # Sinks.
    OwnMetric("heapster_exporter_duration_seconds", _H, ("exporter",), "Time of one export", _SLOW),
    OwnMetric("heapster_exporter_last_time_seconds", _G, ("exporter",), "End of the last export, Unix time"),
    OwnMetric("heapster_exports_total", _C, ("exporter", "outcome"), "Exports by outcome"),
    OwnMetric("heapster_exporter_offered_batches_total", _C, ("exporter",), "Batches offered to a sink"),
    OwnMetric("heapster_exporter_delivered_batches_total", _C, ("exporter",), "Batches a sink has taken"),
    OwnMetric("heapster_exporter_dropped_batches_total", _C, ("exporter", "reason"), "Batches a sink will never have"),
    OwnMetric("heapster_exporter_queued_batches", _G, ("exporter",), "Batches waiting for a sink"),
    OwnMetric("heapster_exporter_queued_bytes", _G, ("exporter",), "Size of what is waiting for a sink"),
    # Answering.
    OwnMetric("http_requests_total", _C, ("handler", "method", "code"), "Requests answered"),
    OwnMetric("http_request_duration_seconds", _H, ("handler",), "Time to answer a request", _FAST),
    OwnMetric("http_request_size_bytes", _S, ("handler",), "Size of a request, line and headers"),
    OwnMetric("http_response_size_bytes", _S, ("handler",), "Size of an answer's body as sent"),
    # What runs.
    OwnMetric("heapster_build_info", _G, ("version", "python_version"), "1 for the version that runs"),
)


class SelfMetrics:
    """The collector's own metrics in a registry of their own.

    The methods are called on the event loop, some of them once per node and tick: they look their child up in one
    dictionary and add a number.
    """

    def __init__(self, version: str = "unknown") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._sources = _PerSource()
        self.registry.register(self._sources)
        self._parents = {row.name: _build(row, self.registry) for row in OWN_METRICS}
        self._children: dict[tuple[str, ...], Any] = {}
        self._totals: dict[tuple[str, ...], int] = {}
        self._entity_types: set[str] = set()
        self._child("heapster_build_info", version, platform.python_version()).set(1)
        for outcome in ("ok", "failed", "skipped"):
            self._child("heapster_ticks_total", outcome)

    def scraped(self, source: str, node: str, seconds: float, reason: str | None) -> None:
        """One scrape ended; `reason` is None when it gave a sample, otherwise one short word of a small set."""
        self._sources.add(source, node, seconds)
        self._child("heapster_scrape_duration_seconds").observe(seconds)
        if reason is not None:
            self._child("heapster_scrape_failures_total", reason).inc()

    def processed(self, processor: str, seconds: float) -> None:
        """One processor finished one batch."""
        self._child("heapster_processor_duration_seconds", processor).observe(seconds)

    def exported(self, sink: str, seconds: float, outcome: str) -> None:
        """One export ended; `outcome` is one short word such as `ok`, `failed` or `refused`."""
        self._child("heapster_exporter_duration_seconds", sink).observe(seconds)
        self._child("heapster_exporter_last_time_seconds", sink).set(time.time())
        self._child("heapster_exports_total", sink, outcome).inc()

    def queued(self, sink: str, batches: int, size_bytes: int) -> None:
        """So much is waiting for a sink now."""
        self._child("heapster_exporter_queued_batches", sink).set(batches)
        self._child("heapster_exporter_queued_bytes", sink).set(size_bytes)

    def ledger(
        self, sink: str, *, offered: int, delivered: int, dropped: Mapping[str, int], queued: int, queued_bytes: int = 0
    ) -> None:
        """A sink's books, in batches since the start: offered = delivered + queued + the sum of dropped{reason}."""
        self._raise_to(offered, "heapster_exporter_offered_batches_total", sink)
        self._raise_to(delivered, "heapster_exporter_delivered_batches_total", sink)
        for reason, batches in dropped.items():
            self._raise_to(batches, "heapster_exporter_dropped_batches_total", sink, reason)
        self.queued(sink, queued, queued_bytes)

    def ticked(
        self,
        *,
        seconds: float,
        cpu_seconds: float,
        batch_timestamp: float,
        nodes_ok: int,
        nodes_failed: int,
        entities: Mapping[str, int],
        late_answers: int = 0,
    ) -> None:
        """One cycle gave a batch.

        `batch_timestamp` is Unix time in seconds, `entities` counts by `type` label (`node`, `pod_container`, ...),
        `late_answers` came in since the last call.
        """
        self._child("heapster_ticks_total", "ok").inc()
        self._child("heapster_tick_duration_seconds").observe(seconds)
        self._child("heapster_tick_cpu_seconds_total").inc(max(0.0, cpu_seconds))
        self._child("heapster_late_answers_total").inc(late_answers)
        self._child("heapster_batch_timestamp_seconds").set(batch_timestamp)
        self._child("heapster_batch_age_seconds").set_function(lambda: time.time() - batch_timestamp)
        self._child("heapster_nodes", "ok").set(nodes_ok)
        self._child("heapster_nodes", "failed").set(nodes_failed)
        self._entity_types.update(entities)
        for entity_type in self._entity_types:
            self._child("heapster_entities", entity_type).set(entities.get(entity_type, 0))
        self._sources.forget_before(time.time() - SOURCE_RETENTION_S)

    def tick_lost(self, outcome: str, windows: int = 1) -> None:
        """So many windows gave no batch: `failed` or `skipped`."""
        self._child("heapster_ticks_total", outcome).inc(windows)

    def http_request(
        self, handler: str, method: str, code: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """One request was answered; `handler` is a route's name, never a path."""
        self._child("http_requests_total", handler, method.lower(), str(code)).inc()
        self._child("http_request_duration_seconds", handler).observe(seconds)
        self._child("http_request_size_bytes", handler).observe(request_bytes)
        self._child("http_response_size_bytes", handler).observe(response_bytes)

    def loop_blocked(self, seconds: float) -> None:
        """The event loop came back this much later than it should have."""
        self._child("heapster_event_loop_blocked_seconds").observe(seconds)

    def _raise_to(self, total: int, name: str, *labels: str) -> None:
        """Bring a counter up to a total that somebody else keeps."""
        known = self._totals.get((name, *labels), 0)
        self._child(name, *labels).inc(max(0, total - known))
        self._totals[name, *labels] = total

    def _child(self, name: str, *labels: str) -> Any:
        child = self._children.get((name, *labels))
        if child is None:
            parent = self._parents[name]
            child = self._children[name, *labels] = parent.labels(*labels) if labels else parent
        return child


def _build(row: OwnMetric, registry: CollectorRegistry) -> Any:
    options: dict[str, Any] = {"buckets": row.buckets} if row.type is OwnType.HISTOGRAM else {}
    return row.type.value(row.name, row.help, row.labels, registry=registry, **options)


class _PerSource(Collector):
    """The PER_NODE metrics: (source, node) -> [scrapes, seconds, end of the last one]."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], list[float]] = {}

    def add(self, source: str, node: str, seconds: float) -> None:
        series = self._series.get((source, node))
        if series is None:
            series = self._series[source, node] = [0.0, 0.0, 0.0]
        series[0] += 1
        series[1] += seconds
        series[2] = time.time()

    def forget_before(self, oldest: float) -> None:
        for key in [key for key, series in self._series.items() if series[2] < oldest]:
            del self._series[key]

    def collect(self) -> Iterator[Metric]:
        """One family after the other, so that a reader may pause between them."""
        by_source, by_node, last = PER_NODE
        family = SummaryMetricFamily(by_source.name, by_source.help, labels=by_source.labels)
        for (source, _), (count, total, _) in self._series.items():
            family.add_metric((source,), int(count), total)
        yield family
        family = SummaryMetricFamily(by_node.name, by_node.help, labels=by_node.labels)
        for (_, node), (count, total, _) in self._series.items():
            family.add_metric((node,), int(count), total)
        yield family
        ends = GaugeMetricFamily(last.name, last.help, labels=last.labels)
        for (source, _), (_, _, end) in self._series.items():
            ends.add_metric((source,), end)
        yield ends
