"""What a run of nodes reports at one tick, as columns indexed [node, slot, container] as far as they go.

Sizes are bytes, times milliseconds since 1970 where the name says so and else seconds since 1970, counters count
from the start of their epoch; an absent cell is -1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.sim.hashing import I64
from collector.sim.life import Lives

Bools = NDArray[np.bool_]

FS_CAPACITY = 214_748_364_800
FS_INODES = 13_107_200
CLAIM_CAPACITY = 10_737_418_240
CLAIM_INODES = 655_360


@dataclass(frozen=True)
class ContainerSamples:
    """Shape (n, P, C): `cpu` is ns since the start, `cpu_rate` nanocores over the last interval."""

    present: Bools
    milliseconds: I64
    started: I64
    cpu: I64
    cpu_rate: I64
    available: I64
    usage: I64
    working_set: I64
    rss: I64
    page_faults: I64
    major_page_faults: I64
    rootfs_used: I64
    rootfs_inodes: I64
    logs_used: I64
    logs_inodes: I64


@dataclass(frozen=True)
class PodSamples:
    """Shape (n, P). A pod is present once it and at least one of its containers have been sampled."""

    present: Bools
    milliseconds: I64
    network_milliseconds: I64
    birth: I64
    cpu: I64
    cpu_rate: I64
    available: I64
    usage: I64
    working_set: I64
    rss: I64
    rx: I64
    tx: I64
    storage_used: I64
    storage_inodes: I64
    claim_used: I64
    processes: I64


@dataclass(frozen=True)
class NodeSamples:
    """Shape (n,), system containers (n, 3) in the order kubelet, runtime, pods."""

    milliseconds: I64
    system_milliseconds: I64
    cpu: I64
    cpu_rate: I64
    available: I64
    usage: I64
    working_set: I64
    rss: I64
    page_faults: I64
    major_page_faults: I64
    rx: I64
    tx: I64
    rx_errors: I64
    fs_used: I64
    image_fs_used: I64
    inodes_used: I64
    processes: I64
    system_cpu: I64
    system_cpu_rate: I64
    system_usage: I64
    system_working_set: I64
    system_rss: I64
    system_page_faults: I64
    pods_available: I64


@dataclass(frozen=True)
class Samples:
    """What `nodes` report between tick `second` (relative to the origin) and the next."""

    second: int
    lives: Lives
    containers: ContainerSamples
    pods: PodSamples
    nodes: NodeSamples


@dataclass(frozen=True)
class LightColumns:
    """What the light endpoint shows of one kind of entity; columns as those of the same name above."""

    present: Bools
    milliseconds: I64
    cpu: I64
    working_set: I64


@dataclass(frozen=True)
class LightSamples:
    """Of Samples, what the light endpoint shows; `started` as in ContainerSamples."""

    second: int
    lives: Lives
    started: I64
    containers: LightColumns
    pods: LightColumns
    nodes: LightColumns
