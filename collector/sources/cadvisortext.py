"""cAdvisor's Prometheus text (`/metrics/cadvisor`), bytes to cells. A pure function: no network, no clock, no entity.

Which family feeds which column is data: PLAIN, FILESYSTEMS and DISKS. An entity is made of the cgroups whose labels
name it. A pod has up to two: its own cgroup (no container's name, no runtime's name), which holds the whole pod, and
its sandbox (container `POD` with docker, none with containerd), which holds the network. Kubelets that do not name the
pods' cgroups leave the sandbox alone to stand for the pod, as in cAdvisor's JSON.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import DISK, FILESYSTEM, INDEX, Clock, Kind, LabeledGroup
from collector.core.sample import ABSENT, Block, LabeledBlock, NodeSample
from collector.errors import DecodeError
from collector.sources.cadvisor import PAUSE
from collector.sources.promtext import Exposition, Series, read_text
from collector.sources.stats import MAX_NAME

Labels = Mapping[str, str]
Floats = NDArray[np.float64]

_NANO = 1_000_000_000
_MILLI = 1_000_000
_LARGEST = float(2**63)
_LATEST = 2**63 / _MILLI


@dataclass(frozen=True, slots=True)
class Plain:
    """One column: a family, and which of its series."""

    metric: str
    family: str
    clock: Clock
    scale: int = 1
    where: Callable[[Labels], bool] | None = None
    summed: bool = False
    """Whether a cgroup's series are added (interfaces, processors); otherwise the last one counts."""


def _faults(kind: str) -> Callable[[Labels], bool]:
    # `type` until 1.16, `failure_type` since.
    return lambda labels: (
        labels.get("scope") == "container" and kind in {labels.get("failure_type"), labels.get("type")}
    )


def _traffic(metric: str, what: str) -> Plain:
    return Plain(f"network/{metric}", f"container_network_{what}_total", Clock.NETWORK, summed=True)


_ALL_CPUS = Plain(
    "cpu/usage", "container_cpu_usage_seconds_total", Clock.CPU, _NANO, lambda labels: labels.get("cpu") == "total"
)
_EACH_CPU = Plain(
    "cpu/usage",
    "container_cpu_usage_seconds_total",
    Clock.CPU,
    _NANO,
    lambda labels: labels.get("cpu") != "total",
    summed=True,
)
"""Older kubelets list the processors one by one."""
LACKING_IN_SUMMARY = (
    Plain("cpu/load", "container_cpu_load_average_10s", Clock.CPU),
    Plain("memory/cache", "container_memory_cache", Clock.MEMORY),
    Plain("cpu/throttled_time", "container_cpu_cfs_throttled_seconds_total", Clock.CPU, _NANO),
    Plain("cpu/cfs_periods", "container_cpu_cfs_periods_total", Clock.CPU),
    Plain("cpu/throttled_periods", "container_cpu_cfs_throttled_periods_total", Clock.CPU),
)
PLAIN = (
    _EACH_CPU,
    _ALL_CPUS,
    Plain("memory/usage", "container_memory_usage_bytes", Clock.MEMORY),
    Plain("memory/rss", "container_memory_rss", Clock.MEMORY),
    Plain("memory/working_set", "container_memory_working_set_bytes", Clock.MEMORY),
    Plain("memory/page_faults", "container_memory_failures_total", Clock.MEMORY, where=_faults("pgfault")),
    Plain("memory/major_page_faults", "container_memory_failures_total", Clock.MEMORY, where=_faults("pgmajfault")),
    _traffic("rx", "receive_bytes"),
    _traffic("rx_errors", "receive_errors"),
    _traffic("tx", "transmit_bytes"),
    _traffic("tx_errors", "transmit_errors"),
    *LACKING_IN_SUMMARY,
)
FILESYSTEMS = {
    "container_fs_usage_bytes": "filesystem/usage",
    "container_fs_limit_bytes": "filesystem/limit",
    "container_fs_inodes_total": "filesystem/inodes",
    "container_fs_inodes_free": "filesystem/inodes_free",
}
DISKS = {
    "container_fs_reads_bytes_total": "disk/io_read_bytes",
    "container_fs_writes_bytes_total": "disk/io_write_bytes",
}
TABLES = {DISK.name: DISKS, FILESYSTEM.name: FILESYSTEMS}
"""Labelled group -> family -> its metric."""
_START = "container_start_time_seconds"
_UID = re.compile(
    r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"
)
"""A pod's uid in the path of its cgroup, with underscores where systemd made it; a static pod's has 32 digits."""


@dataclass(slots=True)
class _Cgroups:
    """The cgroups of a text, c of them, in parallel; NaN and 0 stand for what is not there."""

    names: list[str]
    """Path of each, or the pod and container it belongs to where a series has no path."""
    labels: list[Labels]
    of_label_set: NDArray[np.intp]
    """The cgroup of each label set."""
    values: Floats
    """(c, metrics of the table)"""
    times: NDArray[np.int64]
    """(c, len(Clock)) ns"""


@dataclass(slots=True)
class _Pod:
    """The cgroups of one pod, by position; -1 where there is none."""

    own: int = -1
    sandbox: int = -1
    containers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Node:
    """The cgroups of a text, by what they are."""

    root: int = -1
    system: dict[str, int] = field(default_factory=dict)
    pods: dict[tuple[str, str], _Pod] = field(default_factory=dict)


def decode_text(
    body: bytes,
    node: str,
    read_at: int,
    *,
    plain: Sequence[Plain] = PLAIN,
    groups: Sequence[LabeledGroup] = (DISK, FILESYSTEM),
    keep: Callable[[str], bool] = lambda _name: True,
) -> NodeSample:
    """The text of the kubelet of `node` as columns: those of `plain` and `groups`.

    `read_at` is when it was read, ns since the epoch: the time of samples whose line has none. `keep` says of a cgroup,
    by its path without the first slash, whether it becomes a system container. Raises DecodeError for a text without
    any cgroup.
    """
    tables = [(group, TABLES[group.name]) for group in groups]
    text = read_text(body, {row.family for row in plain} | {name for _, table in tables for name in table} | {_START})
    cgroups = _cgroups(text)
    if not cgroups.names:
        raise DecodeError("the answer holds no cgroup: it is no text of cAdvisor, or cAdvisor has not started yet")
    metrics = list(dict.fromkeys(row.metric for row in plain))
    _fill(cgroups, text, plain, metrics, read_at)
    found = _sorted_out(cgroups, keep)
    resources = [_resources(text, cgroups, group, table, read_at) for group, table in tables]
    sample = _sample(found, cgroups, metrics, resources, NodeSample(node, read_at, Block.empty()))
    sample.faults = text.faults
    return sample


def _cgroups(text: Exposition) -> _Cgroups:
    numbers: dict[str, int] = {}
    labels: list[Labels] = []
    of_label_set = []
    for each in text.label_sets:
        name = each.get("id") or "/".join(_kubernetes_names(each))
        number = numbers.get(name)
        if number is None:
            number = numbers[name] = len(labels)
            labels.append(each)
        of_label_set.append(number)
    count = len(labels)
    return _Cgroups(
        list(numbers),
        labels,
        np.array(of_label_set, np.intp),
        np.empty((count, 0)),
        np.zeros((count, len(Clock)), np.int64),
    )


def _fill(cgroups: _Cgroups, text: Exposition, plain: Sequence[Plain], metrics: Sequence[str], read_at: int) -> None:
    """Read the columns of `plain`, and the times they are of."""
    count = len(cgroups.names)
    values = np.full((count, len(metrics)), np.nan)
    for row in plain:
        series = text.families[row.family]
        chosen = None if row.where is None else np.array([row.where(each) for each in text.label_sets], np.bool_)
        labels, read, times = _arrays(series, chosen, read_at)
        owners = cgroups.of_label_set[labels]
        column = np.full(count, np.nan)
        if row.summed:
            column[owners] = 0.0
            np.add.at(column, owners, read)
        else:
            column[owners] = read
        at = metrics.index(row.metric)
        scaled = _scaled(column, row.scale)
        values[:, at] = np.where(np.isnan(scaled), values[:, at], scaled)
        np.maximum.at(cgroups.times[:, row.clock], owners, times)
    starts, read, _ = _arrays(text.families[_START], None, read_at)
    begun = _scaled(read, _NANO)
    cgroups.times[cgroups.of_label_set[starts], Clock.START] = np.where(np.isnan(begun), 0, begun).astype(np.int64)
    cgroups.values = values


def _arrays(
    series: Series, chosen: NDArray[np.bool_] | None, read_at: int
) -> tuple[NDArray[np.intp], Floats, NDArray[np.int64]]:
    """Label sets, values and times (ns) of a family's samples, of those in `chosen` label sets only."""
    labels = np.array(series.labels, np.intp)
    values = np.array(series.values, np.float64)
    stamps = np.array(series.times, np.float64)
    given = (stamps > 0) & (stamps < _LATEST)
    times = np.where(given, np.where(given, stamps, 0).astype(np.int64) * _MILLI, read_at)
    if chosen is None:
        return labels, values, times
    here = chosen[labels]
    return labels[here], values[here], times[here]


def _scaled(read: Floats, scale: int) -> Floats:
    """Whole multiples; NaN for what is no count from 0 to 2^63-1."""
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.rint(read * scale)
        return np.where((whole >= 0) & (whole < _LARGEST), whole, np.nan)


def _counts(values: Floats) -> NDArray[np.int64]:
    """Values that `_scaled` gave as integers, ABSENT for NaN."""
    return np.where(np.isnan(values), ABSENT, values).astype(np.int64)


def _kubernetes_names(labels: Labels) -> tuple[str, str, str]:
    """Namespace, pod and container; the last two had other names until 1.16."""
    return (
        labels.get("namespace", ""),
        labels.get("pod") or labels.get("pod_name", ""),
        labels.get("container") or labels.get("container_name", ""),
    )


def _sorted_out(cgroups: _Cgroups, keep: Callable[[str], bool]) -> _Node:
    """Every cgroup where it belongs, but those with names too long for Kubernetes.

    Of two of one name it is the one that started later, on a tie the later in the text.
    """
    found = _Node()
    starts = cgroups.times[:, Clock.START].tolist()
    for number, (path, labels) in enumerate(zip(cgroups.names, cgroups.labels, strict=True)):
        namespace, pod_name, container = _kubernetes_names(labels)
        if path == "/":
            found.root = number
        elif max(len(namespace), len(pod_name), len(container)) > MAX_NAME:
            continue
        elif namespace and pod_name:
            pod = found.pods.setdefault((namespace, pod_name), _Pod())
            if container and container != PAUSE:
                pod.containers.append(number)
            elif container or labels.get("name"):
                pod.sandbox = _later(pod.sandbox, number, starts)
            else:
                pod.own = _later(pod.own, number, starts)
        elif "id" in labels and (name := path.removeprefix("/")) and keep(name):
            found.system[name] = number
    return found


def _later(known: int, number: int, starts: Sequence[int]) -> int:
    return number if known < 0 or starts[number] >= starts[known] else known


@dataclass(frozen=True, slots=True)
class _Resources:
    """The labelled values of one group in parallel arrays, k of them."""

    group: LabeledGroup
    cgroups: NDArray[np.intp]
    names: list[str]
    values: NDArray[np.int64]
    """(k, metrics of the group a source gives)"""


def _resources(
    text: Exposition, cgroups: _Cgroups, group: LabeledGroup, table: Mapping[str, str], read_at: int
) -> _Resources:
    """The series of `table`'s families by cgroup and device; one without a device has no name and is left out."""
    devices = [each.get("device", "") for each in text.label_sets]
    places: dict[tuple[int, str], int] = {}
    read: list[tuple[int, int, float]] = []
    columns = {metric: group.column(metric) for metric in table.values()}
    for family, metric in table.items():
        labels, values, times = _arrays(text.families[family], None, read_at)
        owners = cgroups.of_label_set[labels]
        if group is DISK:
            np.maximum.at(cgroups.times[:, Clock.DISK], owners, times)
        for owner, label, value in zip(owners.tolist(), labels.tolist(), values.tolist(), strict=True):
            if devices[label]:
                place = places.setdefault((owner, devices[label]), len(places))
                column = columns[metric]
                assert column is not None, "the tables name metrics of their group"
                read.append((place, column, value))
    width = 1 + max(column for column in columns.values() if column is not None)
    found = np.full((len(places), width), np.nan)
    for place, column, value in read:
        found[place, column] = value
    return _Resources(
        group,
        np.array([owner for owner, _ in places], np.intp),
        [device for _, device in places],
        _counts(_scaled(found, 1)),
    )


def _sample(
    found: _Node, cgroups: _Cgroups, metrics: Sequence[str], resources: Sequence[_Resources], sample: NodeSample
) -> NodeSample:
    """Fill `sample` with what was found."""
    counts, times = _counts(cgroups.values), cgroups.times
    for clock in (Clock.NETWORK, Clock.MEMORY, Clock.CPU):  # the last one that is given counts
        np.copyto(times[:, Clock.SCRAPE], times[:, clock], where=times[:, clock] > 0)
    columns = tuple(INDEX[name] for name in metrics)

    def block(positions: Sequence[int]) -> Block:
        at = np.array(positions, np.intp)
        here = (at >= 0)[:, None]
        return Block(columns, np.where(here, counts[at], ABSENT), np.where(here, times[at], 0))

    pods = list(found.pods.values())
    own = [pod.own if pod.own >= 0 else pod.sandbox for pod in pods]
    containers = [container for pod in pods for container in pod.containers]
    roots = [found.root] if found.root >= 0 else []
    sample.node_block = block(roots)
    sample.system_names, sample.system_block = list(found.system), block(list(found.system.values()))
    sample.pod_namespaces = [namespace for namespace, _ in found.pods]
    sample.pod_names = [name for _, name in found.pods]
    sample.pod_uids = [_uid(cgroups, pod) for pod in pods]
    sample.pod_block = _with_network(block(own), block([pod.sandbox for pod in pods]))
    sample.pod_shares = np.array([pod.own < 0 <= pod.sandbox for pod in pods], np.bool_)
    sample.container_counts = [len(pod.containers) for pod in pods]
    sample.container_names = [_kubernetes_names(cgroups.labels[container])[2] for container in containers]
    sample.container_block = block(containers)
    sample.labeled = [
        labeled
        for each in resources
        for kind, owners in (
            (Kind.NODE, roots),
            (Kind.SYS_CONTAINER, list(found.system.values())),
            (Kind.POD, own),
            (Kind.POD_CONTAINER, containers),
        )
        for labeled in _labeled(each, kind, owners, len(cgroups.names))
    ]
    return sample


def _with_network(own: Block, sandboxes: Block) -> Block:
    """The pods' own values, but the network of their sandboxes where these have one."""
    columns = [
        own.metrics.index(INDEX[row.metric])
        for row in PLAIN
        if row.clock is Clock.NETWORK and INDEX[row.metric] in own.metrics
    ]
    seen = sandboxes.values[:, columns] >= 0
    own.values[:, columns] = np.where(seen, sandboxes.values[:, columns], own.values[:, columns])
    network = own.times[:, Clock.NETWORK]
    np.copyto(network, sandboxes.times[:, Clock.NETWORK], where=seen.any(axis=1))
    return own


def _labeled(found: _Resources, kind: Kind, owners: Sequence[int], cgroups: int) -> Iterable[LabeledBlock]:
    """The labelled values of the entities that `owners` (positions of cgroups, -1 for none) stand for."""
    position = np.full(cgroups + 1, -1)
    position[owners] = np.arange(len(owners))
    position[-1] = -1  # where -1 led to
    here = np.flatnonzero(position[found.cgroups] >= 0)
    if here.size:
        names = [found.names[k] for k in here.tolist()]
        yield LabeledBlock(found.group, kind, position[found.cgroups[here]], names, found.values[here])


def _uid(cgroups: _Cgroups, pod: _Pod) -> str:
    """The uid in the path of one of the pod's cgroups; empty when there is none."""
    for number in (pod.own, pod.sandbox, *pod.containers):
        if number >= 0 and (match := _UID.search(cgroups.names[number])):
            return match[1].replace("_", "-")
    return ""
