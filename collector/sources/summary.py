"""The kubelet's summary (`/stats/summary`), bytes to cells. A pure function: no network, no clock, no entity.

The document's form is Kubernetes' `stats/v1alpha1` (behaviour reference, sections 3.3 to 3.7). Which field feeds
which column is not written here but in METRICS (`summary` paths); this module knows the document's shape and nothing
else.

The fast path is strict: msgspec decodes typed structs, skipping in C what nobody asked for, and `attrgetter` walks
them in C into flat arrays, so that no line of Python runs per value. An answer that breaks a rule (a null, a negative
number, one above 2^63, text that is no Unicode) is decoded again with tolerance: what breaks the rule is left out,
everything else is kept.
"""

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, cycle, starmap
from operator import attrgetter, is_not
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from collector.core.metrics import ACCELERATOR, FILESYSTEM, METRICS, Clock, Kind, attribute_path
from collector.core.sample import ABSENT, Block, CustomValue, LabeledBlock, NodeSample
from collector.sources.limits import check_depth, too_deep
from collector.sources.stats import LATE_PARTS, Container, Filesystem, PodStats, Summary
from collector.sources.times import EPOCH_NS
from collector.sources.tolerant import Tolerant

Getter = Callable[[Any], tuple[Any, ...]]

SYSTEM_NAMES = {"runtime": "docker-daemon", "misc": "system"}
"""Heapster's names for two of the kubelet's system containers; stored series carry them."""

_CLOCK_PATHS = {Clock.CPU: "cpu.time", Clock.MEMORY: "memory.time", Clock.NETWORK: "network.time"}
SCRAPE_CLOCKS = {
    Kind.NODE: (Clock.CPU, Clock.MEMORY, Clock.NETWORK),
    Kind.SYS_CONTAINER: (Clock.CPU, Clock.MEMORY),
    Kind.POD: (Clock.NETWORK,),
    Kind.POD_CONTAINER: (Clock.CPU, Clock.MEMORY),
}
"""Where Heapster takes an entity's one scrape time from: the first of these that is given."""


class _Fields:
    """Columns (METRICS) and, for each, where an object has its value."""

    def __init__(self, paths: Mapping[int, str]) -> None:
        self.metrics = tuple(paths)
        self.values: Getter = attrgetter(*paths.values())


class _Columns:
    """How the objects of one kind become a Block."""

    def __init__(self, kind: Kind) -> None:
        fields = {m: attribute_path(metric.summary[kind]) for m, metric in enumerate(METRICS) if kind in metric.summary}
        clocks = [clock for clock in _CLOCK_PATHS if kind in {Kind.NODE, Kind.POD} or clock is not Clock.NETWORK]
        self.scrape, *self.fallbacks = SCRAPE_CLOCKS[kind]
        if kind in {Kind.SYS_CONTAINER, Kind.POD_CONTAINER}:
            fields[_EPHEMERAL_USAGE] = "rootfs.used_bytes"  # written over: the sum of two fields is no path
        early = {m: path for m, path in fields.items() if not path.startswith(tuple(f"{part}." for part in LATE_PARTS))}
        self.all = _Fields(fields)
        self.early = _Fields(early)
        self.times: Getter = attrgetter("start_time", *(_CLOCK_PATHS[clock] for clock in clocks))
        self.clocks = [Clock.START, *clocks]

    def block(self, found: Sequence[Any]) -> Block:
        """The block of these objects."""
        count = len(found)
        width = len(self.clocks)
        texts = chain.from_iterable(map(self.times, found))
        read = np.fromiter(map(EPOCH_NS.__getitem__, texts), np.int64, count * width)
        times = np.zeros((count, len(Clock)), np.int64)
        times[:, self.clocks] = read.reshape(count, width)
        scrape = times[:, Clock.SCRAPE]
        scrape[:] = times[:, self.scrape]
        for clock in self.fallbacks:
            if scrape.all():
                break
            np.copyto(scrape, times[:, clock], where=scrape == 0)
        # Most kubelets still report none of the late parts: asking for a dozen absent values would cost more than this.
        late = any(map(is_not, chain.from_iterable(map(_LATE_PARTS, found)), cycle(LATE_PARTS.values())))
        fields = self.all if late else self.early
        return Block(fields.metrics, _flat(map(fields.values, found), len(fields.metrics)), times)


_LATE_PARTS: Getter = attrgetter(*LATE_PARTS)
_EPHEMERAL_USAGE = next(m for m, metric in enumerate(METRICS) if metric.name == "ephemeral_storage/usage")
_COLUMNS = {kind: _Columns(kind) for kind in (Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER)}
_FILESYSTEM_FIELDS = [attribute_path(name) for name in FILESYSTEM.summary]
_FILESYSTEM: Getter = attrgetter(*_FILESYSTEM_FIELDS)
_ROOTFS_AND_LOGS: Getter = attrgetter("rootfs", "logs")
assert list(Filesystem.__struct_fields__) == _FILESYSTEM_FIELDS  # `astuple` gives them in METRICS' order
_ACCELERATOR: Getter = attrgetter(*(attribute_path(name) for name in ACCELERATOR.summary))
_PACK = [struct.Struct(f"{width}q").pack for width in range(len(METRICS) + 1)]
_USED = FILESYSTEM.summary.index("usedBytes")
_WIDTH = len(_FILESYSTEM_FIELDS)

_strict = msgspec.json.Decoder(Summary)
_tolerant = Tolerant(Summary)


def decode_summary(body: bytes | memoryview, read_at: int) -> NodeSample:
    """One kubelet's answer as columns; `read_at` is when it was read, ns since the epoch.

    Raises DecodeError when `body` is no summary at all: broken JSON, too deeply nested, no `node.nodeName`.
    """
    faults: Sequence[str] = ()
    check_depth(body)
    try:
        summary = _strict.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        summary, faults = _tolerant.decode(bytes(body))
    except RecursionError as error:
        raise too_deep() from error
    return _sample(summary, read_at, faults)


def _sample(summary: Summary, read_at: int, faults: Sequence[str]) -> NodeSample:
    node, pods = summary.node, summary.pods or ()
    system = node.system_containers or ()
    counts = [len(pod.containers or ()) for pod in pods]
    containers = [container for pod in pods for container in pod.containers or ()]
    references = [pod.pod_ref for pod in pods]
    labeled = [
        LabeledBlock(FILESYSTEM, Kind.NODE, np.zeros(1, np.intp), "/", _flat([_FILESYSTEM(node.fs)], _WIDTH)),
        *_volumes(pods),
    ]
    return NodeSample(
        node=node.node_name,
        read_at=read_at,
        node_block=_COLUMNS[Kind.NODE].block((node,)),
        system_names=[SYSTEM_NAMES.get(container.name, container.name) for container in system],
        system_block=_containers(Kind.SYS_CONTAINER, system, labeled),
        pod_namespaces=[reference.namespace for reference in references],
        pod_names=[reference.name for reference in references],
        pod_uids=[reference.uid for reference in references],
        pod_block=_COLUMNS[Kind.POD].block(pods),
        container_counts=counts,
        container_names=[container.name for container in containers],
        container_block=_containers(Kind.POD_CONTAINER, containers, labeled),
        labeled=labeled,
        custom=[*_custom(Kind.SYS_CONTAINER, system), *_custom(Kind.POD_CONTAINER, containers)],
        faults=faults,
    )


def _flat(rows: Iterable[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    """The (n, `width`) array of n tuples; packing them takes half the time of NumPy's own loop over the numbers."""
    return np.frombuffer(bytearray().join(starmap(_PACK[width], rows)), np.int64).reshape(-1, width)


def _containers(kind: Kind, containers: Sequence[Container], labeled: list[LabeledBlock]) -> Block:
    """The block of containers; their file systems and accelerators are appended to `labeled`."""
    count = len(containers)
    parts = _flat(map(astuple, chain.from_iterable(map(_ROOTFS_AND_LOGS, containers))), _WIDTH)
    rootfs, logs = parts[::2], parts[1::2]
    owners = np.arange(count)
    labeled += _accelerators(kind, containers)
    labeled.append(LabeledBlock(FILESYSTEM, kind, owners, "/", rootfs))
    labeled.append(LabeledBlock(FILESYSTEM, kind, owners, "logs", logs))
    block = _COLUMNS[kind].block(containers)
    one, other = rootfs[:, _USED], logs[:, _USED]
    # A sum above 2^63 wraps below zero and so is absent too.
    block.values[:, block.metrics.index(_EPHEMERAL_USAGE)] = np.where((one | other) < 0, ABSENT, one + other)
    return block


def _volumes(pods: Sequence[PodStats]) -> Iterator[LabeledBlock]:
    counts = [len(pod.volume or ()) for pod in pods]
    volumes = [volume for pod in pods for volume in pod.volume or ()]
    if volumes:
        yield LabeledBlock(
            FILESYSTEM,
            Kind.POD,
            np.repeat(np.arange(len(pods)), counts),
            [f"Volume:{volume.name}" for volume in volumes],
            _flat(map(_FILESYSTEM, volumes), _WIDTH),
        )


def _accelerators(kind: Kind, containers: Sequence[Container]) -> Iterator[LabeledBlock]:
    found = [(i, item) for i, container in enumerate(containers) for item in container.accelerators or ()]
    if found:
        yield LabeledBlock(
            ACCELERATOR,
            kind,
            np.array([i for i, _ in found], np.intp),
            [(("make", item.make), ("model", item.model), ("accelerator_id", item.id)) for _, item in found],
            _flat([_ACCELERATOR(item) for _, item in found], len(ACCELERATOR.summary)),
        )


def _custom(kind: Kind, containers: Sequence[Container]) -> Iterator[CustomValue]:
    for i, container in enumerate(containers):
        for metric in container.user_defined_metrics or ():
            if metric.name and metric.type in {"gauge", "cumulative", "delta"} and not math.isnan(metric.value):
                yield CustomValue(kind, i, metric.name, metric.value)
