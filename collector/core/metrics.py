"""METRICS: the one list of metric descriptors. A metric is an entry here and so a column of every batch.

Names, types, units and levels are Heapster's (behaviour reference, section 4).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from collector.core.descriptors import (
    FLOAT64,
    INT64,
    Clock,
    Kind,
    LabeledGroup,
    MetricDescriptor,
    MetricType,
    attribute_path,
)

__all__ = [
    "ACCELERATOR",
    "COUNTERS_NOT_SUMMED",
    "DISK",
    "DYNAMIC_LIMIT",
    "FILESYSTEM",
    "FLOAT64",
    "GROUPS",
    "INDEX",
    "INT64",
    "METRICS",
    "Clock",
    "Kind",
    "LabeledGroup",
    "MetricDescriptor",
    "MetricTable",
    "MetricType",
    "attribute_path",
    "dynamic_descriptor",
]

_N, _Y, _P, _C = Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER
_REPORTED = (_N, _Y, _P, _C)
_TO_POD = frozenset({Kind.POD})
_UPWARD = frozenset({Kind.POD, Kind.NAMESPACE, Kind.CLUSTER})
_EVERYWHERE = frozenset({Kind.POD, Kind.NAMESPACE, Kind.NODE, Kind.CLUSTER})
_TO_POD_AND_NODE = frozenset({Kind.POD, Kind.NODE})
_ABOVE = frozenset({Kind.NAMESPACE, Kind.CLUSTER})
_ABOVE_AND_NODE = frozenset({Kind.NAMESPACE, Kind.CLUSTER, Kind.NODE})


def _everywhere(path: str, *kinds: Kind) -> dict[Kind, str]:
    return dict.fromkeys(kinds or _REPORTED, path)


def _counter(
    name: str,
    unit: str,
    description: str,
    *,
    summary: Mapping[Kind, str] | None = None,
    clock: Clock | None = None,
    rate: str | None = None,
    sums: frozenset[Kind] = frozenset(),
    extended: bool = False,
) -> MetricDescriptor:
    return MetricDescriptor(
        name, MetricType.CUMULATIVE, INT64, unit, description, summary or {}, clock, rate, sums, extended
    )


def _gauge(
    name: str,
    unit: str,
    description: str,
    *,
    summary: Mapping[Kind, str] | None = None,
    dtype: np.dtype[np.int64] | np.dtype[np.float64] = INT64,
    sums: frozenset[Kind] = frozenset(),
    extended: bool = False,
    extended_sums: frozenset[Kind] = frozenset(),
) -> MetricDescriptor:
    return MetricDescriptor(
        name, MetricType.GAUGE, dtype, unit, description, summary or {}, None, None, sums, extended, extended_sums
    )


def _rate(name: str, unit: str, description: str, *, extended_sums: frozenset[Kind] = frozenset()) -> MetricDescriptor:
    return _gauge(name, unit, description, dtype=FLOAT64, sums=_TO_POD, extended_sums=extended_sums)


def _network(field_name: str, name: str, what: str, unit: str) -> MetricDescriptor:
    path = f"network.{field_name}"
    return _counter(
        f"network/{name}",
        unit,
        what,
        summary=_everywhere(path, _N, _P),
        clock=Clock.NETWORK,
        rate=f"network/{name}_rate",
    )


METRICS: tuple[MetricDescriptor, ...] = (
    # The standard metrics, in the order Heapster's schema lists them.
    _counter("uptime", "ms", "Time since the entity started"),
    _counter(
        "cpu/usage",
        "ns",
        "CPU time used on all cores",
        summary=_everywhere("cpu.usageCoreNanoSeconds"),
        clock=Clock.CPU,
        rate="cpu/usage_rate",
    ),
    _gauge("cpu/load", "", "Load average in thousandths of runnable threads", sums=_TO_POD),
    _gauge(
        "ephemeral_storage/usage",
        "bytes",
        "Ephemeral storage used",
        summary={_N: "fs.usedBytes", _P: "ephemeral-storage.usedBytes"},
        sums=_TO_POD,
        extended_sums=_ABOVE,
    ),
    _gauge(
        "memory/usage",
        "bytes",
        "Memory used, caches included",
        summary=_everywhere("memory.usageBytes"),
        sums=_UPWARD,
    ),
    _gauge(
        "memory/rss",
        "bytes",
        "Anonymous memory",
        summary=_everywhere("memory.rssBytes"),
        sums=_TO_POD,
        extended_sums=_ABOVE,
    ),
    _gauge("memory/cache", "bytes", "Page cache", sums=_TO_POD, extended_sums=_ABOVE),
    _gauge(
        "memory/working_set",
        "bytes",
        "Memory that cannot be reclaimed at once",
        summary=_everywhere("memory.workingSetBytes"),
        sums=_TO_POD,
        extended_sums=_ABOVE,
    ),
    _counter(
        "memory/page_faults",
        "",
        "Page faults",
        summary=_everywhere("memory.pageFaults"),
        clock=Clock.MEMORY,
        rate="memory/page_faults_rate",
    ),
    _counter(
        "memory/major_page_faults",
        "",
        "Page faults that read from disk",
        summary=_everywhere("memory.majorPageFaults"),
        clock=Clock.MEMORY,
        rate="memory/major_page_faults_rate",
    ),
    _network("rxBytes", "rx", "Bytes received", "bytes"),
    _network("rxErrors", "rx_errors", "Receive errors", ""),
    _network("txBytes", "tx", "Bytes sent", "bytes"),
    _network("txErrors", "tx_errors", "Send errors", ""),
    # Requests and limits, from the pod's specification.
    _gauge("cpu/request", "millicores", "CPU requested", sums=_EVERYWHERE),
    _gauge("cpu/limit", "millicores", "CPU limit, 0 for none", sums=_EVERYWHERE),
    _gauge("memory/request", "bytes", "Memory requested", sums=_EVERYWHERE),
    _gauge("memory/limit", "bytes", "Memory limit, 0 for none", sums=_EVERYWHERE),
    _gauge(
        "ephemeral_storage/request",
        "bytes",
        "Ephemeral storage requested",
        sums=_TO_POD_AND_NODE,
        extended_sums=_ABOVE,
    ),
    _gauge(
        "ephemeral_storage/limit",
        "bytes",
        "Ephemeral storage limit, 0 for none",
        sums=_TO_POD_AND_NODE,
        extended_sums=_ABOVE,
    ),
    _counter("restart_count", "", "Restarts counted by the kubelet", sums=_TO_POD),
    # Rates of the counters above.
    _gauge("cpu/usage_rate", "millicores", "CPU used", sums=_UPWARD),
    _rate("memory/page_faults_rate", "", "Page faults a second"),
    _rate("memory/major_page_faults_rate", "", "Major page faults a second"),
    _rate("network/rx_rate", "bytes", "Bytes received a second", extended_sums=_ABOVE),
    _rate("network/rx_errors_rate", "", "Receive errors a second", extended_sums=_ABOVE),
    _rate("network/tx_rate", "bytes", "Bytes sent a second", extended_sums=_ABOVE),
    _rate("network/tx_errors_rate", "", "Send errors a second", extended_sums=_ABOVE),
    # Nodes against their capacity; every ratio is of the allocatable amount.
    *(
        _gauge(
            f"{resource}/node_{what}",
            unit if what in {"capacity", "allocatable"} else "",
            text,
            dtype=FLOAT64,
        )
        for resource, unit in (("cpu", "millicores"), ("memory", "bytes"), ("ephemeral_storage", "bytes"))
        for what, text in (
            ("capacity", f"{resource} capacity of the node"),
            ("allocatable", f"{resource} that pods may use"),
            ("utilization", f"{resource} used, as a share of the allocatable amount"),
            ("reservation", f"{resource} requested, as a share of the allocatable amount"),
        )
    ),
    # What Heapster did not have: see --extended-metrics.
    _gauge(
        "memory/available",
        "bytes",
        "Memory left below the limit",
        summary=_everywhere("memory.availableBytes"),
        extended=True,
    ),
    _gauge("swap/usage", "bytes", "Swap used", summary=_everywhere("swap.swapUsageBytes"), sums=_UPWARD, extended=True),
    _gauge("swap/available", "bytes", "Swap left", summary=_everywhere("swap.swapAvailableBytes"), extended=True),
    *(
        _counter(
            f"{resource}/pressure_{share}",
            "us",
            f"Time in which {who} waited for {resource}",
            summary=_everywhere(f"{resource}.psi.{share}.total"),
            extended=True,
        )
        for resource in ("cpu", "memory", "io")
        for share, who in (("some", "some task"), ("full", "every task that could have run"))
    ),
    _gauge(
        "process/count",
        "",
        "Processes",
        summary={_P: "process_stats.process_count"},
        sums=_ABOVE,
        extended=True,
    ),
    _gauge("pid/used", "", "Processes and threads of the node", summary={_N: "rlimit.curproc"}, extended=True),
    _gauge("pid/max", "", "Processes and threads that the node can have", summary={_N: "rlimit.maxpid"}, extended=True),
    _gauge(
        "ephemeral_storage/inodes_used",
        "",
        "Inodes used in ephemeral storage",
        summary={_N: "fs.inodesUsed", _P: "ephemeral-storage.inodesUsed"},
        sums=_ABOVE,
        extended=True,
    ),
    *(
        _gauge(f"{place}/{what}", unit, text.format(holds), summary={_N: f"runtime.{path}"}, extended=True)
        for place, member, holds in (("imagefs", "imageFs", "images"), ("containerfs", "containerFs", "containers"))
        for what, path, unit, text in (
            ("usage", f"{member}.usedBytes", "bytes", "Bytes that {} use"),
            ("capacity", f"{member}.capacityBytes", "bytes", "Size of the file system of {}"),
            ("available", f"{member}.availableBytes", "bytes", "Bytes free on the file system of {}"),
            ("inodes", f"{member}.inodes", "", "Inodes of the file system of {}"),
            ("inodes_free", f"{member}.inodesFree", "", "Free inodes of the file system of {}"),
            ("inodes_used", f"{member}.inodesUsed", "", "Inodes that {} use"),
        )
    ),
    # From cAdvisor's text only: how the CPU quota of a cgroup held it back.
    _counter("cpu/throttled_time", "ns", "Time held back by the CPU limit", clock=Clock.CPU, extended=True),
    _counter("cpu/cfs_periods", "", "Periods of the CPU limit", clock=Clock.CPU, extended=True),
    _counter(
        "cpu/throttled_periods", "", "Periods in which the CPU limit held it back", clock=Clock.CPU, extended=True
    ),
    # The end: a metric that is new comes behind the others, so that stored columns keep their order.
)

COUNTERS_NOT_SUMMED = frozenset(m.name for m in METRICS if m.rate and not m.extended) | {"uptime"}
"""The eight standard counters that the pod aggregator leaves alone (sections 4.3 and 5.4)."""


FILESYSTEM = LabeledGroup(
    "filesystem",
    (
        _gauge("filesystem/usage", "bytes", "Bytes used on a file system"),
        _gauge("filesystem/limit", "bytes", "Size of a file system"),
        _gauge("filesystem/available", "bytes", "Bytes free for use on a file system"),
        _gauge("filesystem/inodes", "", "Inodes of a file system"),
        _gauge("filesystem/inodes_free", "", "Free inodes of a file system"),
        _gauge("filesystem/inodes_used", "", "Inodes used on a file system", extended=True),
    ),
    ("usedBytes", "capacityBytes", "availableBytes", "inodes", "inodesFree", "inodesUsed"),
)
ACCELERATOR = LabeledGroup(
    "accelerator",
    (
        _gauge("accelerator/memory_total", "bytes", "Memory of an accelerator"),
        _gauge("accelerator/memory_used", "bytes", "Memory used on an accelerator"),
        _gauge("accelerator/duty_cycle", "", "Percent of the last 10 s an accelerator was busy"),
    ),
    ("memoryTotal", "memoryUsed", "dutyCycle"),
)
DISK = LabeledGroup(
    "disk",
    (
        _counter("disk/io_read_bytes", "bytes", "Bytes read from a disk", rate="disk/io_read_bytes_rate"),
        _counter("disk/io_write_bytes", "bytes", "Bytes written to a disk", rate="disk/io_write_bytes_rate"),
        _gauge("disk/io_read_bytes_rate", "bytes", "Bytes read from a disk a second", dtype=FLOAT64),
        _gauge("disk/io_write_bytes_rate", "bytes", "Bytes written to a disk a second", dtype=FLOAT64),
    ),
)
GROUPS: tuple[LabeledGroup, ...] = (ACCELERATOR, FILESYSTEM, DISK)
"""In the order a label set's values are listed: accelerators first (section 3.6)."""

INDEX: Mapping[str, int] = {metric.name: m for m, metric in enumerate(METRICS)}
"""Name -> column of the metrics known at start."""

DYNAMIC_LIMIT = 64
"""How many further plain metrics (`custom/...`, `.../request` of other resources) may appear while running."""


DYNAMIC_OF_A_NODE = 32
"""How many of them one node may bring: a kubelet that invents names must leave room for the others'."""


def dynamic_descriptor(name: str) -> MetricDescriptor:
    """What a metric is whose name only the cluster knows: `custom/<name>`, or `<resource>/request`."""
    if name.startswith("custom/"):
        return _gauge(name, "", "Reported by an application", dtype=FLOAT64, sums=_TO_POD)
    return _gauge(name, "", "Whole units requested", sums=_TO_POD, extended_sums=_ABOVE_AND_NODE)


class MetricTable:
    """The columns: METRICS, and behind them the metrics whose names only the cluster knows.

    A dynamic metric keeps its column for the life of the process, at most `DYNAMIC_LIMIT` of them: a cluster that
    invents names must not be able to eat the memory.
    """

    def __init__(self) -> None:
        self.descriptors: list[MetricDescriptor] = list(METRICS)
        self.refused: set[str] = set()
        """Dynamic names that found no free column (at most 1,000 are remembered)."""
        self._index = dict(INDEX)
        self._brought: Counter[str] = Counter()
        """How many names of application metrics each node was the first to report."""

    def __len__(self) -> int:
        return len(self.descriptors)

    def __iter__(self) -> Iterator[tuple[int, MetricDescriptor]]:
        return iter(enumerate(self.descriptors))

    @property
    def capacity(self) -> int:
        """The most columns a batch can ever need."""
        return len(METRICS) + DYNAMIC_LIMIT

    def find(self, name: str) -> int | None:
        """The column of metric `name`, None when there is none."""
        return self._index.get(name)

    def custom(
        self, name: str, dtype: np.dtype[np.int64] | np.dtype[np.float64] = FLOAT64, node: str = ""
    ) -> int | None:
        """The column of the application metric `name`, of `dtype` if it is new; None when no column is left.

        `node` is whose kubelet reports it; it may be the first to do so for DYNAMIC_OF_A_NODE names.
        """
        descriptor = replace(dynamic_descriptor(f"custom/{name}"), dtype=dtype)
        known = self._index.get(descriptor.name)
        if known is not None or not node:
            return self._dynamic(descriptor) if known is None else known
        if self._brought[node] >= DYNAMIC_OF_A_NODE:
            self._refuse(descriptor.name)
            return None
        found = self._dynamic(descriptor)
        self._brought[node] += found is not None
        return found

    def resource_request(self, resource: str) -> int | None:
        """The column of requests for `resource` (`nvidia.com/gpu`, `hugepages-2Mi`); None when no column is left."""
        return self._dynamic(dynamic_descriptor(f"{resource}/request"))

    def named(self, name: str, *, is_float: bool) -> int | None:
        """The column of a metric of this name and type that an earlier process knew; None where it can have none."""
        if name not in self._index and (name.startswith("custom/") or name.endswith("/request")):
            self._dynamic(replace(dynamic_descriptor(name), dtype=FLOAT64 if is_float else INT64))
        m = self._index.get(name)
        return m if m is not None and self.descriptors[m].is_float == is_float else None

    def _dynamic(self, descriptor: MetricDescriptor) -> int | None:
        m = self._index.get(descriptor.name)
        if m is None:
            if len(self.descriptors) >= self.capacity:
                self._refuse(descriptor.name)
                return None
            m = self._index[descriptor.name] = len(self.descriptors)
            self.descriptors.append(descriptor)
        return m

    def _refuse(self, name: str) -> None:
        if len(self.refused) < 1_000:
            self.refused.add(name)
