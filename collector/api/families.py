"""The metric families of `/metrics/cluster`: which column becomes which Prometheus name, unit and labels.

A family belongs to one kind of entity, so that `sum(heapster_pod_memory_usage_bytes)` counts nothing twice:

    heapster_<kind>_<what>[_<unit>][_per_second][_total]

    column of METRICS       of a pod                                       of a node
    cpu/usage               heapster_pod_cpu_usage_seconds_total           heapster_node_cpu_usage_seconds_total
    cpu/usage_rate          heapster_pod_cpu_usage_cores                   heapster_node_cpu_usage_cores
    network/rx_rate         heapster_pod_network_receive_bytes_per_second  ...
    cpu/node_utilization                                                   heapster_node_cpu_utilization_ratio

Units are Prometheus' base units; a value is divided by a power of ten on its way out. A metric that METRICS gains gets
its families by the same rule; SPELLED holds the exceptions.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from collector.core.metrics import (
    GROUPS,
    METRICS,
    Kind,
    LabeledGroup,
    MetricDescriptor,
    MetricType,
    dynamic_descriptor,
)

KIND_NAMES: Mapping[Kind, str] = {
    Kind.CLUSTER: "cluster",
    Kind.NODE: "node",
    Kind.NAMESPACE: "namespace",
    Kind.POD: "pod",
    Kind.POD_CONTAINER: "container",
    Kind.SYS_CONTAINER: "system_container",
}
"""How a kind is called in a family's name and in `?kind=`."""

KIND_LABELS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CLUSTER: (),
    Kind.NODE: ("node",),
    Kind.NAMESPACE: ("namespace",),
    Kind.POD: ("namespace", "pod", "node"),
    Kind.POD_CONTAINER: ("namespace", "pod", "container", "node"),
    Kind.SYS_CONTAINER: ("container", "node"),
}
"""The labels that name an entity, in the order they are written."""

SPELLED: Mapping[str, str] = {
    "cpu/load": "cpu_load_average",
    "cpu/throttled_time": "cpu_throttled",
    "cpu/usage_rate": "cpu_usage",
    "network/rx": "network_receive",
    "network/rx_errors": "network_receive_errors",
    "network/tx": "network_transmit",
    "network/tx_errors": "network_transmit_errors",
    "restart_count": "restarts",
    "disk/io_read_bytes": "disk_read",
    "disk/io_write_bytes": "disk_written",
    "accelerator/memory_total": "accelerator_memory",
    "process/count": "processes",
    **{
        f"{resource}/pressure_{share}": f"{resource}_pressure_{word}"
        for resource in ("cpu", "memory", "io")
        for share, word in (("some", "waiting"), ("full", "stalled"))
    },
}
"""Names that Prometheus users know under another word."""

GROUP_LABELS: Mapping[str, Mapping[str, str]] = {
    "filesystem": {"resource_id": "resource"},
    "disk": {"resource_id": "device"},
}
"""Labels of a labelled group that are called otherwise here."""

CUSTOM = "custom/"
REQUEST = "/request"
_UNITS: Mapping[str, tuple[str, int]] = {
    "ns": ("seconds", 9),
    "us": ("seconds", 6),
    "ms": ("seconds", 3),
    "millicores": ("cores", 3),
}
_OWN_UNITS: Mapping[str, tuple[str, int]] = {"cpu/load": ("", 3), "accelerator/duty_cycle": ("ratio", 2)}
_COUNTERS = {metric.rate: metric for metric in METRICS if metric.rate}
_COUNTERS |= {metric.rate: metric for group in GROUPS for metric in group.metrics if metric.rate}
_STANDARD = frozenset(metric.name for metric in METRICS)
_COMPUTED = {"ephemeral_storage/usage": frozenset({Kind.POD_CONTAINER, Kind.SYS_CONTAINER})}
"""Kinds that have a metric though no single field of the summary says so."""
_NO_NAME = re.compile("[^a-zA-Z0-9_]")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: its name without `_total`, and how a column's values become its samples'."""

    name: str
    counter: bool
    unit: str
    """The base unit the name ends in, empty for none."""
    help: str
    labels: tuple[str, ...]
    places: int
    """A value is divided by 10 to this power."""
    kind: Kind
    source: str
    """The column of METRICS, `*` standing for what only the cluster knows."""

    @property
    def sample_name(self) -> str:
        """The name every sample carries."""
        return f"{self.name}_total" if self.counter else self.name

    def header(self, *, openmetrics: bool) -> str:
        """The lines before the samples."""
        name = self.name if openmetrics else self.sample_name
        lines = [f"# HELP {name} {self.help}", f"# TYPE {name} {'counter' if self.counter else 'gauge'}"]
        if openmetrics and self.unit:
            lines.append(f"# UNIT {name} {self.unit}")
        return "\n".join(lines) + "\n"


def family_of(metric: MetricDescriptor, kind: Kind, labels: tuple[str, ...] = ()) -> Family:
    """The family of one column for one kind; `labels` are those of a labelled group."""
    counter = metric.type is MetricType.CUMULATIVE and metric.name != "uptime"
    unit, places = _unit(metric)
    what = _what(metric.name)
    accumulated = _COUNTERS.get(metric.name)
    if accumulated is not None and metric.unit != "millicores":
        what = "_".join(filter(None, (_what(accumulated.name), unit, "per_second")))
        unit = ""
    name = "_".join(filter(None, ("heapster", KIND_NAMES[kind], what, unit)))
    help_text = metric.description.replace("\\", r"\\").replace("\n", r"\n")
    return Family(name, counter, unit, help_text, KIND_LABELS[kind] + labels, places, kind, metric.name)


def gathered_family(metric: MetricDescriptor, kind: Kind) -> Family | None:
    """The one family that all columns of names only the cluster knows share; None for the standard metrics."""
    prefix = f"heapster_{KIND_NAMES[kind]}"
    if metric.name.startswith(CUSTOM):
        text = "Reported by an application under the name in the metric label"
        return Family(f"{prefix}_custom_value", False, "", text, (*KIND_LABELS[kind], "metric"), 0, kind, CUSTOM + "*")
    if metric.name.endswith(REQUEST) and metric.name not in _STANDARD:
        text = "Whole units of a resource requested"
        labels = (*KIND_LABELS[kind], "resource")
        return Family(f"{prefix}_resource_request", False, "", text, labels, 0, kind, "*" + REQUEST)
    return None


def gathered_label(metric: MetricDescriptor) -> tuple[str, str]:
    """The label that tells the columns of a gathered family apart."""
    if metric.name.startswith(CUSTOM):
        return "metric", metric.name.removeprefix(CUSTOM)
    return "resource", metric.name.removesuffix(REQUEST)


def group_label(group: LabeledGroup, label: str) -> str:
    """What a labelled group's label is called here."""
    return _NO_NAME.sub("_", GROUP_LABELS.get(group.name, {}).get(label, label))


BATCH_TIMESTAMP = Family(
    "heapster_cluster_batch_timestamp_seconds",
    False,
    "seconds",
    "Timestamp of the batch these samples come from, Unix time",
    (),
    9,
    Kind.CLUSTER,
    "",
)
NODE_TIMESTAMP = Family(
    "heapster_node_sample_timestamp_seconds",
    False,
    "seconds",
    "When the kubelet measured the node, Unix time",
    KIND_LABELS[Kind.NODE],
    9,
    Kind.NODE,
    "",
)


def families() -> Iterator[Family]:
    """Every family a cluster can have, in the order of the columns: for documentation and its tests."""
    yield BATCH_TIMESTAMP
    yield NODE_TIMESTAMP
    for metric in METRICS:
        for kind in Kind:
            if kind in _kinds(metric):
                yield family_of(metric, kind)
    for sample, reporting in (
        ("custom/x", {Kind.POD_CONTAINER, Kind.SYS_CONTAINER}),
        ("x/request", {Kind.POD_CONTAINER}),
    ):
        metric = dynamic_descriptor(sample)
        for kind in Kind:
            if kind in reporting or metric.summed_into(kind):
                gathered = gathered_family(metric, kind)
                assert gathered is not None
                yield gathered
    for group in GROUPS:
        kinds = [Kind.NODE, Kind.POD, Kind.POD_CONTAINER, Kind.SYS_CONTAINER]
        labels = ("make", "model", "accelerator_id") if group.name == "accelerator" else ("resource_id",)
        for metric in group.metrics:
            for kind in kinds:
                yield family_of(metric, kind, tuple(group_label(group, label) for label in labels))


def _kinds(metric: MetricDescriptor) -> frozenset[Kind]:
    """The kinds that can have a metric: what reports it, and what it is summed into."""
    if "/node_" in metric.name:
        return frozenset({Kind.NODE})
    counter = _COUNTERS.get(metric.name)
    reported = counter.summary if counter else metric.summary
    if metric.name.endswith(("/request", "/limit")) or metric.name == "restart_count":
        reported = {Kind.POD_CONTAINER: ""}
    if not reported:
        reported = dict.fromkeys((Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER), "")
    return frozenset(reported) | metric.sums | metric.extended_sums | _COMPUTED.get(metric.name, frozenset())


def _unit(metric: MetricDescriptor) -> tuple[str, int]:
    if metric.name in _OWN_UNITS:
        return _OWN_UNITS[metric.name]
    if metric.name.endswith(("_utilization", "_reservation")):
        return "ratio", 0
    return _UNITS.get(metric.unit, (metric.unit, 0))


def _what(name: str) -> str:
    return _NO_NAME.sub("_", SPELLED.get(name, name.replace("/node_", "/")))
