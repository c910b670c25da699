"""The slow, obvious reading of cAdvisor's text: Prometheus' own parser, one dictionary per entity, one line per rule.

Written from cAdvisor's metric names and Kubernetes' label names, not from the code under test.
"""

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.sources.observed import Entity, Key

LARGEST = 2**63 - 1


class Sample(NamedTuple):
    family: str
    labels: tuple[tuple[str, str], ...]
    value: float
    time_ms: int


def samples(body: bytes, families: Iterable[str]) -> list[Sample]:
    """Every sample of `families` that has labels, in the order of the text."""
    wanted = set(families)
    return [
        Sample(each.name, tuple(sorted(each.labels.items())), float(each.value), round((each.timestamp or 0) * 1000))
        for family in text_string_to_metric_families(body.decode())
        for each in family.samples
        if each.name in wanted and each.labels
    ]


PLAIN = {
    "container_memory_usage_bytes": "memory/usage",
    "container_memory_rss": "memory/rss",
    "container_memory_cache": "memory/cache",
    "container_memory_working_set_bytes": "memory/working_set",
    "container_cpu_load_average_10s": "cpu/load",
    "container_cpu_cfs_periods_total": "cpu/cfs_periods",
    "container_cpu_cfs_throttled_periods_total": "cpu/throttled_periods",
}
SECONDS = {"container_cpu_cfs_throttled_seconds_total": "cpu/throttled_time"}
INTERFACES = {
    "container_network_receive_bytes_total": "network/rx",
    "container_network_receive_errors_total": "network/rx_errors",
    "container_network_transmit_bytes_total": "network/tx",
    "container_network_transmit_errors_total": "network/tx_errors",
}
FAULTS = {"pgfault": "memory/page_faults", "pgmajfault": "memory/major_page_faults"}
DEVICES = {
    "container_fs_usage_bytes": "filesystem/usage",
    "container_fs_limit_bytes": "filesystem/limit",
    "container_fs_inodes_total": "filesystem/inodes",
    "container_fs_inodes_free": "filesystem/inodes_free",
    "container_fs_reads_bytes_total": "disk/io_read_bytes",
    "container_fs_writes_bytes_total": "disk/io_write_bytes",
}
CPU, START = "container_cpu_usage_seconds_total", "container_start_time_seconds"
ALL = (*PLAIN, *SECONDS, *INTERFACES, *DEVICES, CPU, START, "container_memory_failures_total")


class Cgroup:
    """What the text says of one path."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.path = labels["id"]
        self.pod = (labels.get("namespace", ""), labels.get("pod") or labels.get("pod_name", ""))
        self.container = labels.get("container") or labels.get("container_name", "")
        self.runtime_name = labels.get("name", "")
        self.metrics: dict[str, Fraction] = defaultdict(Fraction)
        self.labeled: dict[tuple[str, str], Fraction] = {}
        self.start = 0

    @property
    def is_sandbox(self) -> bool:
        return self.container == "POD" or (not self.container and bool(self.runtime_name))


def reference(body: bytes, node: str) -> dict[Key, Entity]:
    """Metrics and labelled values by entity, without clocks and labels."""
    cgroups: dict[str, Cgroup] = {}
    for family, pairs, number, _ in samples(body, ALL):
        labels = dict(pairs)
        cgroup = cgroups.setdefault(labels["id"], Cgroup(labels))
        value = Fraction(number)
        if family in PLAIN:
            cgroup.metrics[PLAIN[family]] = value
        elif family in SECONDS:
            cgroup.metrics[SECONDS[family]] = value * 10**9
        elif family in INTERFACES:
            cgroup.metrics[INTERFACES[family]] += value
        elif family in DEVICES:
            if labels["device"]:
                cgroup.labeled[DEVICES[family], labels["device"]] = value
        elif family == CPU:
            cgroup.metrics["cpu/usage"] += value * 10**9  # recordings have `total` or each processor, never both
        elif family == START:
            cgroup.start = round(value * 10**9)
        elif labels["scope"] == "container":
            cgroup.metrics[FAULTS[labels.get("failure_type") or labels["type"]]] = value
    return _entities(cgroups.values(), node)


def _entities(cgroups: Iterable[Cgroup], node: str) -> dict[Key, Entity]:
    found: dict[Key, Cgroup] = {}
    sandboxes: dict[Key, Cgroup] = {}
    for cgroup in cgroups:
        key: Key
        if cgroup.path == "/":
            key = ("node", node)
        elif not all(cgroup.pod):
            key = ("sys_container", node, cgroup.path[1:])
        elif cgroup.is_sandbox:
            sandboxes[("pod", *cgroup.pod)] = cgroup
            continue
        elif cgroup.container:
            key = ("pod_container", *cgroup.pod, cgroup.container)
        else:
            key = ("pod", *cgroup.pod)
        if key not in found or cgroup.start >= found[key].start:
            found[key] = cgroup
    for key, sandbox in sandboxes.items():
        pod = found.setdefault(key, sandbox)
        pod.metrics |= {name: value for name, value in sandbox.metrics.items() if name.startswith("network/")}
    return {key: _entity(cgroup) for key, cgroup in found.items()}


def _entity(cgroup: Cgroup) -> Entity:
    metrics = {name: round(value) for name, value in cgroup.metrics.items() if 0 <= value <= LARGEST}
    labeled = [(name, (("resource_id", device),), round(value)) for (name, device), value in cgroup.labeled.items()]
    return Entity({}, {}, dict(metrics), sorted(labeled))
