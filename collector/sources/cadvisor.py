"""cAdvisor's JSON (`POST /stats/container/`), bytes to cells. A pure function: no network, no clock, no entity.

Behaviour reference, sections 3.10 and 3.11. Every cgroup of the node is in the answer: the root is the node, the pause
container of a pod stands for the pod, what carries no Kubernetes names becomes a system container.

As for the summary, a strict decoder in C comes first; an answer that breaks a rule is decoded again with tolerance.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import ACCELERATOR, DISK, FILESYSTEM, INDEX, Clock, Kind
from collector.core.sample import ABSENT, Block, CustomValue, LabeledBlock, NodeSample
from collector.sources.containerinfo import Answer, ContainerInfo, Spec, Stats
from collector.sources.limits import check_depth, too_deep
from collector.sources.times import EPOCH_NS, epoch_ns
from collector.sources.tolerant import Tolerant

PAUSE = "POD"
"""The name Kubernetes gives a pod's pause container."""

_LARGEST = 2**63 - 1
_DOCKER_NAME = re.compile(r"k8s_([^.]*)\.")
"""Kubernetes 1.0 put its names into docker's: `k8s_nginx.7f9b83f6_web-1_default_...`."""

_CPU = {"cpu/usage": "cpu.usage.total", "cpu/load": "cpu.load_average"}
_MEMORY = {
    "memory/usage": "memory.usage",
    "memory/cache": "memory.cache",
    "memory/rss": "memory.rss",
    "memory/working_set": "memory.working_set",
    "memory/page_faults": "memory.container_data.pgfault",
    "memory/major_page_faults": "memory.container_data.pgmajfault",
}
_NETWORK = {
    "network/rx": "rx_bytes",
    "network/rx_errors": "rx_errors",
    "network/tx": "tx_bytes",
    "network/tx_errors": "tx_errors",
}
_METRICS = tuple(INDEX[name] for name in (*_CPU, *_MEMORY, *_NETWORK))
_PLAIN: Callable[[Any], tuple[int, ...]] = attrgetter(*_CPU.values(), *_MEMORY.values())
_TRAFFIC: Callable[[Any], tuple[int, ...]] = attrgetter(*_NETWORK.values())
_HAS: Callable[[Any], tuple[bool, ...]] = attrgetter("has_cpu", "has_memory", "has_network")
_SWITCHES = [len(_CPU), len(_MEMORY), len(_NETWORK)]
"""How many columns each of these switches stands for, in their order."""
_FILESYSTEM: Callable[[Any], tuple[int, ...]] = attrgetter("usage", "capacity", "available", "inodes", "inodes_free")
_ACCELERATOR: Callable[[Any], tuple[int, ...]] = attrgetter("memory_total", "memory_used", "duty_cycle")

_strict = msgspec.json.Decoder(Answer)
_tolerant: Tolerant[Answer] = Tolerant(Answer)


@dataclass(frozen=True, slots=True)
class _Cgroup:
    """A cgroup that has a sample."""

    spec: Spec
    stats: Stats

    @property
    def start(self) -> int:
        return EPOCH_NS[self.spec.creation_time]


@dataclass(slots=True)
class _Pod:
    """What belongs to one pod; `pause` is None where the answer has containers only."""

    uid: str = ""
    pause: _Cgroup | None = None
    names: list[str] = field(default_factory=list)
    containers: list[_Cgroup] = field(default_factory=list)


@dataclass(slots=True)
class _Node:
    """The cgroups of an answer, by what they are."""

    root: _Cgroup | None = None
    system: dict[str, _Cgroup] = field(default_factory=dict)
    pods: dict[tuple[str, str], _Pod] = field(default_factory=dict)


def request_body(start: int, end: int) -> bytes:
    """What the kubelet is asked for: the newest sample of every cgroup between `start` and `end`, ns (section 3.9)."""
    return b'{"containerName":"/","num_stats":1,"start":"%b","end":"%b","subcontainers":true}' % (
        _rfc3339(start),
        _rfc3339(end),
    )


def decode_cadvisor(
    body: bytes, node: str, read_at: int, *, schedulable: bool, keep: Callable[[str], bool] = lambda _name: True
) -> NodeSample:
    """The answer of the kubelet of `node` as columns; `read_at` is when it was read, ns since the epoch.

    `keep` says of a cgroup by its name, such as `system.slice/docker.service`, whether it becomes a system container.
    Raises DecodeError when `body` is no JSON object, or too deeply nested.
    """
    faults: Sequence[str] = ()
    check_depth(body)
    try:
        answer = _strict.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer, faults = _tolerant.decode(body)
    except RecursionError as error:
        raise too_deep() from error
    return _sample(_sorted_out(answer.values(), keep), node, read_at, faults, schedulable=schedulable)


def _sorted_out(infos: Iterable[ContainerInfo], keep: Callable[[str], bool]) -> _Node:
    """Every cgroup where it belongs (section 3.10)."""
    found = _Node()
    for info in infos:
        if not info.stats:
            continue
        cgroup = _Cgroup(info.spec, info.stats[-1])
        name = info.aliases[0] if info.aliases else info.name
        labels = info.spec.labels
        namespace, pod, container = labels.namespace, labels.pod, labels.container
        if name == "/":
            found.root = cgroup
            continue
        if not namespace and "/" in pod:  # Kubernetes 1.0
            namespace, _, pod = pod.partition("/")
        if not container and (parts := _DOCKER_NAME.match(name)):
            container = parts[1]
        if namespace and pod and container:
            _add(found.pods.setdefault((namespace, pod), _Pod()), container, labels.uid, cgroup)
        elif (path := name.removeprefix("/")) and keep(path):
            found.system[path] = cgroup
    return found


def _add(pod: _Pod, container: str, uid: str, cgroup: _Cgroup) -> None:
    if container != PAUSE:
        pod.uid = pod.uid or uid
        pod.names.append(container)
        pod.containers.append(cgroup)
    elif pod.pause is None or cgroup.start >= pod.pause.start:  # a dead one may still be listed beside the live one
        pod.uid, pod.pause = uid, cgroup


def _sample(found: _Node, node: str, read_at: int, faults: Sequence[str], *, schedulable: bool) -> NodeSample:
    roots = [found.root] if found.root is not None else []
    system, pods = list(found.system.values()), list(found.pods.values())
    pauses = [pod.pause for pod in pods]
    containers = [container for pod in pods for container in pod.containers]
    kinds: list[tuple[Kind, Sequence[_Cgroup | None]]] = [
        (Kind.NODE, roots),
        (Kind.SYS_CONTAINER, system),
        (Kind.POD, pauses),
        (Kind.POD_CONTAINER, containers),
    ]
    return NodeSample(
        node=node,
        read_at=read_at,
        node_block=_block(roots),
        system_names=list(found.system),
        system_block=_block(system),
        pod_namespaces=[namespace for namespace, _ in found.pods],
        pod_names=[name for _, name in found.pods],
        pod_uids=[pod.uid for pod in pods],
        pod_block=_block(pauses),
        container_counts=[len(pod.containers) for pod in pods],
        container_names=[name for pod in pods for name in pod.names],
        container_block=_block(containers),
        labeled=[block for kind, cgroups in kinds for block in _labeled(kind, cgroups)],
        custom=[value for kind, cgroups in kinds for value in _custom(kind, cgroups)],
        pod_shares=np.ones(len(pods), np.bool_),
        node_labels={"schedulable": "true" if schedulable else "false"},
        container_images=[container.spec.image for container in containers],
        faults=faults,
    )


def _block(cgroups: Sequence[_Cgroup | None]) -> Block:
    """The block of these cgroups; one that is not there has no values."""
    count = len(cgroups)
    values = np.full((count, len(_METRICS)), ABSENT, np.int64)
    times = np.zeros((count, len(Clock)), np.int64)
    here = [(i, cgroup) for i, cgroup in enumerate(cgroups) if cgroup is not None]
    if here:
        at = np.array([i for i, _ in here], np.intp)
        given = np.repeat(np.array([_HAS(cgroup.spec) for _, cgroup in here]), _SWITCHES, axis=1)
        read = np.array([(*_PLAIN(cgroup.stats), *_traffic(cgroup.stats)) for _, cgroup in here], np.int64)
        values[at] = np.where(given, read, ABSENT)
        times[at] = np.array([epoch_ns(cgroup.stats.timestamp or "") for _, cgroup in here], np.int64)[:, None]
        times[at, Clock.START] = [cgroup.start for _, cgroup in here]
    return Block(_METRICS, values, times)


def _traffic(stats: Stats) -> Iterator[int]:
    """The sums over the interfaces; one of which a part is not known is not known either."""
    interfaces = stats.network.interfaces
    if not interfaces:
        return iter((0,) * len(_NETWORK))
    return (
        ABSENT if min(column) < 0 or (total := sum(column)) > _LARGEST else total
        for column in zip(*map(_TRAFFIC, interfaces), strict=True)
    )


def _labeled(kind: Kind, cgroups: Sequence[_Cgroup | None]) -> Iterator[LabeledBlock]:
    here = [(i, cgroup) for i, cgroup in enumerate(cgroups) if cgroup is not None]
    gpus = [(i, gpu) for i, cgroup in here for gpu in cgroup.stats.accelerators or ()]
    if gpus:
        names = [(("make", gpu.make), ("model", gpu.model), ("accelerator_id", gpu.id)) for _, gpu in gpus]
        yield LabeledBlock(ACCELERATOR, kind, _owners(gpus), names, _rows(_ACCELERATOR(gpu) for _, gpu in gpus))
    disks = [
        (i, disk) for i, cgroup in here if cgroup.spec.has_diskio for disk in cgroup.stats.diskio.io_service_bytes or ()
    ]
    if disks:
        devices = [disk.device or f"{disk.major}:{disk.minor}" for _, disk in disks]
        moved = _rows((disk.stats.read, disk.stats.write) for _, disk in disks)
        yield LabeledBlock(DISK, kind, _owners(disks), devices, moved)
    mounts = [(i, mount) for i, cgroup in here if cgroup.spec.has_filesystem for mount in cgroup.stats.filesystem or ()]
    if mounts:
        room = _rows(_FILESYSTEM(mount) for _, mount in mounts)
        room[[not mount.has_inodes for _, mount in mounts], 3:] = ABSENT
        yield LabeledBlock(FILESYSTEM, kind, _owners(mounts), [mount.device for _, mount in mounts], room)


def _owners(found: Sequence[tuple[int, Any]]) -> NDArray[np.intp]:
    return np.array([i for i, _ in found], np.intp)


def _rows(rows: Iterable[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.array(list(rows), np.int64)


def _custom(kind: Kind, cgroups: Sequence[_Cgroup | None]) -> Iterator[CustomValue]:
    """The newest value of every metric an application promises."""
    for i, cgroup in enumerate(cgroups):
        if cgroup is None or not cgroup.spec.has_custom_metrics:
            continue
        reported = cgroup.stats.custom_metrics or {}
        for metric in cgroup.spec.custom_metrics or ():
            values = reported.get(metric.name)
            if not metric.name or not values or metric.type not in {"gauge", "cumulative"}:
                continue
            newest = max(values, key=lambda value: epoch_ns(value.timestamp or ""))
            match metric.format:
                case "int" if -_LARGEST <= newest.int_value <= _LARGEST:
                    yield CustomValue(kind, i, metric.name, newest.int_value)
                case "float" if not math.isnan(newest.float_value):
                    yield CustomValue(kind, i, metric.name, newest.float_value)


def _rfc3339(ns: int) -> bytes:
    """A time as Go writes it: UTC, the fraction without its last zeros."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = str(np.datetime64(seconds, "s"))
    return (f"{text}.{fraction:09d}".rstrip("0") if fraction else text).encode() + b"Z"
