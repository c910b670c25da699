"""The collector's own metrics: one table, and the plain methods the app calls.

Every metric of Heapster is here under its own name (behaviour reference, section 2.9). `promtool check metrics` refuses
`..._milliseconds`, so these names are a registry of their own, which a reader may leave out; beside each stands one
in base units, with buckets in place of quantiles.
"""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from collector.windows import QUANTILES, Windows

SOURCE_RETENTION_S = 15 * 60
"""The series of a node that was not scraped for this long are dropped: nodes come and go, memory must not."""


SERIES_AT_ONCE = 200
"""Series of a summary made between two looks at the event loop."""


class OwnType(Enum):
    """The Prometheus type of an own metric."""

    COUNTER = Counter
    GAUGE = Gauge
    HISTOGRAM = Histogram


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """One row of the table."""

    name: str
    type: OwnType
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit of its name."""


NOT_ASKED = ("not_ready", "virtual", "no_address")
"""States of nodes that are known and not asked."""

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
_STALL = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_C, _G, _H = OwnType.COUNTER, OwnType.GAUGE, OwnType.HISTOGRAM

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
    OwnMetric(
        "heapster_nodes",
        _G,
        ("state",),
        "Nodes of the latest batch by state: ok, failed; not asked since not_ready, virtual, no_address",
    ),
    OwnMetric(
        "heapster_kubelet_identity",
        _G,
        ("mode",),
        "1 for how kubelets are identified: verify, pin, insecure; http, where they are not",
    ),
    OwnMetric("heapster_entities", _G, ("type",), "Entities of the latest batch by type"),
    OwnMetric("heapster_processor_duration_seconds", _H, ("processor",), "Time of one processor run", _FAST),
    OwnMetric("heapster_event_loop_blocked_seconds", _H, (), "Times the event loop was not free in time", _STALL),
    # The light cadence.
    OwnMetric("heapster_light_rounds_total", _C, ("outcome",), "Rounds of the light cadence: ok, failed, skipped"),
    OwnMetric("heapster_light_round_duration_seconds", _H, (), "Time of one round, the slowest node included", _SLOW),
    OwnMetric("heapster_light_nodes", _G, ("state",), "Nodes of the latest round by state: ok, failed"),
    OwnMetric("heapster_event_loop_longest_block_seconds", _G, (), "Longest of these times since the start"),
    # Sinks.
    OwnMetric("heapster_exporter_duration_seconds", _H, ("exporter",), "Time of one export", _SLOW),
    OwnMetric("heapster_exporter_last_time_seconds", _G, ("exporter",), "End of the last export, Unix time"),
    OwnMetric("heapster_exports_total", _C, ("exporter", "outcome"), "Exports by outcome"),
    OwnMetric("heapster_exporter_offered_batches_total", _C, ("exporter",), "Batches offered to a sink"),
    OwnMetric("heapster_exporter_delivered_batches_total", _C, ("exporter",), "Batches a sink has taken"),
    OwnMetric("heapster_exporter_dropped_batches_total", _C, ("exporter", "reason"), "Batches a sink will never have"),
    OwnMetric("heapster_exporter_recovered_batches_total", _C, ("exporter",), "Batches left from before"),
    OwnMetric("heapster_exporter_queued_batches", _G, ("exporter",), "Batches waiting for a sink"),
    OwnMetric("heapster_exporter_offered_points_total", _C, ("exporter",), "Values offered to a sink"),
    OwnMetric("heapster_exporter_recovered_points_total", _C, ("exporter",), "Values left from before"),
    OwnMetric("heapster_exporter_delivered_points_total", _C, ("exporter",), "Values a sink has taken"),
    OwnMetric("heapster_exporter_dropped_points_total", _C, ("exporter", "reason"), "Values a sink will never have"),
    OwnMetric("heapster_exporter_queued_points", _G, ("exporter",), "Values waiting for a sink"),
    OwnMetric("heapster_exporter_queued_bytes", _G, ("exporter",), "Size of what is waiting for a sink"),
    OwnMetric("heapster_exporter_spool_limit_bytes", _G, ("exporter",), "What may wait for a sink at the current rate"),
    OwnMetric(
        "heapster_exporter_spool_covers_seconds",
        _G,
        ("exporter",),
        "How long a sink's server may be away, at the current rate, before a batch is lost",
    ),
    OwnMetric("heapster_exporter_refused", _G, ("exporter",), "1 while a sink's server will not hear us, else 0"),
    OwnMetric("heapster_leads", _G, (), "1 while this replica writes to the sinks that all replicas share, else 0"),
    # Memory.
    OwnMetric("heapster_memory_budget_bytes", _G, (), "What --memory-budget allows, 0 for no bound"),
    OwnMetric("heapster_memory_used_bytes", _G, (), "Resident memory before the latest batch was begun"),
    OwnMetric("heapster_memory_needed_bytes", _G, (), "What another batch needs, as the one before did"),
    OwnMetric(
        "heapster_memory_shed", _G, ("step",), "1 while this is given up for the sake of --memory-budget, else 0"
    ),
    # Answering.
    OwnMetric("http_requests_total", _C, ("handler", "method", "code"), "Requests answered"),
    OwnMetric("http_request_duration_seconds", _H, ("handler",), "Time to answer a request", _FAST),
    # Being found and verified.
    OwnMetric(
        "heapster_own_certificate_expiry_seconds",
        _G,
        ("certificate",),
        "End of the second server's own certificate, and of the CA that signed it, Unix time",
    ),
    OwnMetric(
        "heapster_apiservice_ca_bundle",
        _G,
        ("apiservice", "state"),
        "1 for how it stands with the caBundle of an APIService, 0 for what was before",
    ),
    # What runs.
    OwnMetric("heapster_build_info", _G, ("version", "python_version"), "1 for the version that runs"),
)


@dataclass(frozen=True, slots=True)
class OwnSummary:
    """A sum and a count since the start, and quantiles of the last ten minutes (`windows`)."""

    name: str
    label: str
    help: str
    window: str
    """Whose observations it shows."""
    factor: float = 1.0
    """What a second, or a byte, counts in its unit."""
    quantiles: bool = True


SCRAPES, PROCESSORS, EXPORTS = "scrapes", "processors", "exports"
REQUESTS, REQUEST_BYTES, RESPONSE_BYTES = "requests", "request bytes", "response bytes"
KUBELETS = ("kubelet", "kubelet_summary")
"""What stands before the first colon of a source: whose requests Heapster counted, each kind under its own name."""

OWN_SUMMARIES: tuple[OwnSummary, ...] = (
    OwnSummary(
        "heapster_scraper_duration_seconds", "source", "Time of one scrape, by source", SCRAPES, quantiles=False
    ),
    OwnSummary("http_request_size_bytes", "handler", "Size of a request, line and headers", REQUEST_BYTES),
    OwnSummary("http_response_size_bytes", "handler", "Size of an answer's body as sent", RESPONSE_BYTES),
)
LAST_SCRAPE = OwnMetric("heapster_scraper_last_time_seconds", _G, ("source",), "End of the last scrape, Unix time")
"""One series for each node: 5,000 of them as locked objects would be slow to add to."""

HEAPSTER_SUMMARIES: tuple[OwnSummary, ...] = (
    OwnSummary("heapster_scraper_duration_milliseconds", "source", "Time of one scrape, by source", SCRAPES, 1e3),
    OwnSummary(
        "heapster_kubelet_summary_request_duration_milliseconds",
        "node",
        "Time of one request for a kubelet's summary",
        "kubelet_summary",
        1e3,
    ),
    OwnSummary(
        "heapster_kubelet_request_duration_milliseconds",
        "node",
        "Time of one request to a kubelet's cAdvisor",
        "kubelet",
        1e3,
    ),
    OwnSummary("heapster_processor_duration_milliseconds", "processor", "Time of one processor run", PROCESSORS, 1e3),
    OwnSummary("heapster_exporter_duration_milliseconds", "exporter", "Time of one export", EXPORTS, 1e3),
    OwnSummary("http_request_duration_microseconds", "handler", "Time to answer a request", REQUESTS, 1e6),
)
"""Heapster's names that are no base units."""


class Counts(TypedDict):
    """A sink's books since the start: offered + recovered = delivered + queued + the sum of dropped."""

    offered: int
    recovered: int
    """Left in its spool by an earlier process."""
    delivered: int
    dropped: Mapping[str, int]
    """By reason."""
    queued: int


class SelfMetrics:
    """The collector's own metrics: `registry` in base units, `heapster` with Heapster's names that are not.

    The methods are called on the event loop, some of them once per node and tick: they look their child up in one
    dictionary and add a number.
    """

    def __init__(self, version: str = "unknown") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        names = (SCRAPES, PROCESSORS, EXPORTS, REQUESTS, REQUEST_BYTES, RESPONSE_BYTES, *KUBELETS)
        self._windows = {name: Windows() for name in names}
        self.registry.register(_Summaries(OWN_SUMMARIES, self._windows, last=LAST_SCRAPE))
        self.heapster = CollectorRegistry()
        self.heapster.register(_Summaries(HEAPSTER_SUMMARIES, self._windows))
        self._parents = {row.name: _build(row, self.registry) for row in OWN_METRICS}
        self._children: dict[tuple[str, ...], Any] = {}
        self._totals: dict[tuple[str, ...], int] = {}
        self._longest_block = 0.0
        self._entity_types: set[str] = set()
        self._child("heapster_build_info", version, platform.python_version()).set(1)
        for outcome in ("ok", "failed", "skipped"):
            self._child("heapster_ticks_total", outcome)

    def scraped(self, source: str, node: str, seconds: float, reason: str | None) -> None:
        """One scrape ended; `reason` is None when it gave a sample, otherwise one short word of a small set."""
        now = time.time()
        self._windows[SCRAPES].add(source, seconds, now)
        requests = self._windows.get(source.partition(":")[0])
        if requests is not None:
            requests.add(node, seconds, now)
        self._child("heapster_scrape_duration_seconds").observe(seconds)
        if reason is not None:
            self._child("heapster_scrape_failures_total", reason).inc()

    def processed(self, processor: str, seconds: float) -> None:
        """One processor finished one batch."""
        self._child("heapster_processor_duration_seconds", processor).observe(seconds)
        self._windows[PROCESSORS].add(processor, seconds, time.time())

    def exported(self, sink: str, seconds: float, outcome: str) -> None:
        """One export ended; `outcome` is one short word such as `ok`, `failed` or `refused`."""
        self._child("heapster_exporter_duration_seconds", sink).observe(seconds)
        now = time.time()
        self._windows[EXPORTS].add(sink, seconds, now)
        self._child("heapster_exporter_last_time_seconds", sink).set(now)
        self._child("heapster_exports_total", sink, outcome).inc()

    def covering(self, sink: str, limit_bytes: int, seconds: float | None) -> None:
        """So much may wait for a sink, and so long, once that is known."""
        self._child("heapster_exporter_spool_limit_bytes", sink).set(limit_bytes)
        if seconds is not None:
            self._child("heapster_exporter_spool_covers_seconds", sink).set(seconds)

    def waiting(self, sink: str, size_bytes: int, *, refused: bool) -> None:
        """So much is waiting for a sink now, and whether it waits for somebody to put something right."""
        self._child("heapster_exporter_queued_bytes", sink).set(size_bytes)
        self._child("heapster_exporter_refused", sink).set(refused)

    def ledger(self, sink: str, unit: Literal["batches", "points"], **counts: Unpack[Counts]) -> None:
        """A sink's books, in batches or points."""
        self._raise_to(counts["offered"], f"heapster_exporter_offered_{unit}_total", sink)
        self._raise_to(counts["recovered"], f"heapster_exporter_recovered_{unit}_total", sink)
        self._raise_to(counts["delivered"], f"heapster_exporter_delivered_{unit}_total", sink)
        for reason, count in counts["dropped"].items():
            self._raise_to(count, f"heapster_exporter_dropped_{unit}_total", sink, reason)
        self._child(f"heapster_exporter_queued_{unit}", sink).set(counts["queued"])

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
        nodes_left_out: Mapping[str, int] = MappingProxyType({}),
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
        for state in NOT_ASKED:
            self._child("heapster_nodes", state).set(nodes_left_out.get(state, 0))
        self._entity_types.update(entities)
        for entity_type in self._entity_types:
            self._child("heapster_entities", entity_type).set(entities.get(entity_type, 0))
        for name in (SCRAPES, *KUBELETS):
            self._windows[name].forget_before(time.time() - SOURCE_RETENTION_S)

    def kubelet_identity(self, mode: str, modes: Sequence[str]) -> None:
        """How kubelets are identified from now on: one of `modes`."""
        for each in modes:
            self._child("heapster_kubelet_identity", each).set(each == mode)

    def memory(self, budget: int, used: int, needed: int, shed: Mapping[str, bool]) -> None:
        """How it stands with --memory-budget, bytes; `shed` says of each step whether it is taken."""
        self._child("heapster_memory_budget_bytes").set(budget)
        self._child("heapster_memory_used_bytes").set(used)
        self._child("heapster_memory_needed_bytes").set(needed)
        for step, taken in shed.items():
            self._child("heapster_memory_shed", step).set(taken)

    def tick_lost(self, outcome: str, windows: int = 1) -> None:
        """So many windows gave no batch: `failed` or `skipped`."""
        self._child("heapster_ticks_total", outcome).inc(windows)

    def light_round(self, seconds: float, nodes_ok: int, nodes_failed: int) -> None:
        """One round of the light cadence ended."""
        self._child("heapster_light_rounds_total", "ok").inc()
        self._child("heapster_light_round_duration_seconds").observe(seconds)
        self._child("heapster_light_nodes", "ok").set(nodes_ok)
        self._child("heapster_light_nodes", "failed").set(nodes_failed)

    def light_lost(self, outcome: str, rounds: int = 1) -> None:
        """So many windows of the light cadence had no round: `failed` or `skipped`."""
        self._child("heapster_light_rounds_total", outcome).inc(rounds)

    def http_request(
        self, handler: str, method: str, code: int, seconds: float, request_bytes: int, response_bytes: int
    ) -> None:
        """One request was answered; `handler` is a route's name, never a path."""
        self._child("http_requests_total", handler, method.lower(), str(code)).inc()
        self._child("http_request_duration_seconds", handler).observe(seconds)
        now = time.time()
        for name, value in ((REQUESTS, seconds), (REQUEST_BYTES, request_bytes), (RESPONSE_BYTES, response_bytes)):
            self._windows[name].add(handler, value, now)

    def certificate_until(self, certificate: str, timestamp: float) -> None:
        """The certificate of our own that is shown, `serving`, or its `ca`, is good until then, Unix time."""
        self._child("heapster_own_certificate_expiry_seconds", certificate).set(timestamp)

    def apiservice(self, name: str, state: str) -> None:
        """How it stands with the CA bundle of an APIService: one word of a small set."""
        for metric, *labels in [key for key in self._children if key[0] == "heapster_apiservice_ca_bundle"]:
            if labels[0] == name:
                self._child(metric, *labels).set(0)
        self._child("heapster_apiservice_ca_bundle", name, state).set(1)

    def led(self, *, leads: bool) -> None:
        """Whether this replica writes to the shared sinks."""
        self._child("heapster_leads").set(leads)

    def loop_blocked(self, seconds: float) -> None:
        """The event loop came back this much later than it should have."""
        self._child("heapster_event_loop_blocked_seconds").observe(seconds)
        self._longest_block = max(self._longest_block, seconds)
        self._child("heapster_event_loop_longest_block_seconds").set(self._longest_block)

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


class _Summaries(Collector):
    """Summaries over windows."""

    def __init__(
        self, rows: Sequence[OwnSummary], windows: Mapping[str, Windows], last: OwnMetric | None = None
    ) -> None:
        self._rows = rows
        self._windows = windows
        self._last = last

    def collect(self) -> Iterator[Metric]:
        """A family of many series comes in several parts of one name, so that none is long in the making."""
        for row in self._rows:
            yield from self._parts(row)
        if self._last is not None:
            ends = GaugeMetricFamily(self._last.name, self._last.help, labels=self._last.labels)
            for source, end in self._windows[SCRAPES].ends():
                ends.add_metric((source,), end)
            yield ends

    def _parts(self, row: OwnSummary) -> Iterator[Metric]:
        summaries = self._windows[row.window].summaries(time.time(), quantiles=row.quantiles)
        while part := list(islice(summaries, SERIES_AT_ONCE)):  # as in Heapster, a name comes with its first series
            family = SummaryMetricFamily(row.name, row.help, labels=(row.label,))
            for found in part:
                for quantile, value in zip(QUANTILES, found.quantiles, strict=False):
                    labels = {row.label: found.label, "quantile": str(quantile)}
                    family.add_sample(row.name, labels, value * row.factor)
                family.add_metric((found.label,), found.count, found.total * row.factor)
            yield family
