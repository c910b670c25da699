"""The simulated cluster as drawn from its seed: constant columns from which any moment can be computed.

A node has `pods` places, called slots; the class of a slot is the same on every node, and so is the layout of every
answer. A slot belongs to one workload for ever and is filled by one pod after another (see life.py). Times are
whole seconds relative to the origin, the second at which the cluster was built; what was there before has negative
times.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from collector.sim.config import SimConfig
from collector.sim.hashing import F64, I64, Stream
from collector.sim.wave import Load
from collector.sim.workloads import (
    MEBIBYTE,
    Kind,
    Workload,
    WorkloadFactory,
    letters,
    namespaces_of,
)

NEVER = 2**40
"""Seconds that do not pass: the lifetime of a pod that stays, the restart period of a container that runs on."""
DAY = 86_400
POD_OVERHEAD_NANOCORES = 1_000_000
LEAK_SECONDS = (300, 1_200)
"""Shortest and longest time a leaking container takes from its start to its kill."""


class SlotClass(IntEnum):
    """What a slot's record in the summary holds."""

    HOST = 0
    """On the node's network: reports the node's interfaces."""
    POD = 1
    """On the pod network, with a configuration and a token volume."""
    CLAIM = 2
    """As POD, and with a persistent volume claim."""


@dataclass(frozen=True)
class NodeColumns:
    """One row a node. `address_offset` aside, times are seconds relative to the origin.

    | column       | shape | unit      | meaning                                  |
    |--------------|-------|-----------|------------------------------------------|
    | boot         | (N,)  | seconds   | when the node started                    |
    | cores        | (N,)  | cores     | capacity                                 |
    | memory       | (N,)  | bytes     | capacity                                 |
    | system_cpu   | (N,S) | nanocores | kubelet and runtime at base load         |
    | system_memory| (N,S) | bytes     | the same for working sets                |
    | cpu_at_boot  | (N,)  | ns        | what the slots' integral was at boot     |
    | rx_at_boot, tx_at_boot | (N,) | bytes | the same for the network            |
    """

    boot: I64
    cores: I64
    memory: I64
    system_cpu: F64
    system_memory: F64
    cpu_at_boot: F64
    rx_at_boot: F64
    tx_at_boot: F64


@dataclass(frozen=True)
class SlotColumns:
    """One row a slot: shape (N, P).

    | column      | unit    | meaning                                              |
    |-------------|---------|------------------------------------------------------|
    | workload    | row     | into Plan.workloads                                  |
    | ordinal     | 1       | which of its workload's slots this is                |
    | lifetime    | seconds | how long a pod lives here, NEVER for ever            |
    | first_birth | seconds | when the pod that is there at the origin was created |
    | delay       | seconds | from a pod's creation to its containers' start       |
    | cpu         | nanocores | the pod's base rate, its containers' and overhead  |
    | rx, tx      | bytes/s | base network rates                                   |
    """

    workload: I64
    ordinal: I64
    lifetime: I64
    first_birth: I64
    delay: I64
    cpu: F64
    rx: F64
    tx: F64
    load: Load


@dataclass(frozen=True)
class ContainerColumns:
    """One row a container: shape (N, P, C).

    | column         | unit      | meaning                                             |
    |----------------|-----------|-----------------------------------------------------|
    | cpu            | nanocores | base rate                                           |
    | memory         | bytes     | base working set                                    |
    | memory_limit   | bytes     | -1 without a limit                                  |
    | leak           | bytes/s   | growth of the working set since the start           |
    | restart_period | seconds   | a container lives this long, NEVER until its pod dies |
    | rootfs, logs   | bytes     | what it wrote, at base                              |
    """

    cpu: F64
    memory: F64
    memory_limit: I64
    leak: F64
    restart_period: I64
    rootfs: F64
    logs: F64


@dataclass(frozen=True)
class Plan:
    """Everything constant about a cluster."""

    config: SimConfig
    origin: int
    """Seconds since 1970 that all times are relative to."""
    classes: tuple[SlotClass, ...]
    workloads: tuple[Workload, ...]
    node_names: tuple[str, ...]
    nodes: NodeColumns
    slots: SlotColumns
    containers: ContainerColumns


def slot_classes(pods: int) -> tuple[SlotClass, ...]:
    """The class of each slot of a node; the first three of a node with eight or more are system pods."""
    system = system_slots(pods)
    services = [SlotClass.CLAIM if place % 6 == 5 else SlotClass.POD for place in range(pods - system)]
    hosts = min(system, 2)
    return (*[SlotClass.HOST] * hosts, *[SlotClass.POD] * (system - hosts), *services)


def system_slots(pods: int) -> int:
    """How many slots of each node hold a static pod or a DaemonSet's."""
    return 3 if pods >= 8 else 1 if pods >= 3 else 0


def build_plan(config: SimConfig, origin: int) -> Plan:
    """Draw the whole cluster; vectorised over its slots, about a second for 150,000 pods."""
    classes = slot_classes(config.pods)
    shape = (config.nodes, config.pods)
    index = np.arange(config.nodes * config.pods).reshape(shape)
    workloads, slot_workload = _assign_workloads(config, classes, index)
    slots, containers = _draw(config, classes, workloads, slot_workload, index)
    return Plan(
        config=config,
        origin=origin,
        classes=classes,
        workloads=workloads,
        node_names=tuple(f"sim-node-{number:05d}" for number in range(config.nodes)),
        nodes=_draw_nodes(config, slots, containers),
        slots=slots,
        containers=containers,
    )


def _assign_workloads(
    config: SimConfig, classes: tuple[SlotClass, ...], index: I64
) -> tuple[tuple[Workload, ...], I64]:
    """The workloads, and for each slot its row among them."""
    factory = WorkloadFactory(config.seed, config.containers)
    stream = Stream(config.seed, "placement")
    nodes, pods = index.shape
    system = system_slots(pods)
    claims = sum(slot_class is SlotClass.CLAIM for slot_class in classes)
    deployments = config.deployments or min(4_000, max(4, nodes * (pods - system - claims) // 10))
    stateful = min(1_000, max(1, nodes * claims // 4)) if claims else 0
    leaking = max(1, nodes // 64)
    namespaces = namespaces_of(deployments)[: config.namespaces or None]

    workloads: list[Workload] = [factory.static(), *factory.daemons()][:system]
    slot_workload = np.zeros(index.shape, dtype=np.int64)
    slot_workload[:, :system] = np.arange(system)
    claim_slots = np.array([slot_class is SlotClass.CLAIM for slot_class in classes])
    service_slots = ~claim_slots
    service_slots[:system] = False

    slot_workload[:, service_slots] = len(workloads) + stream.below(index[:, service_slots], deployments)
    workloads += [factory.deployment(number, namespaces) for number in range(deployments)]
    slot_workload[:, claim_slots] = len(workloads) + stream.below(index[:, claim_slots], max(1, stateful))
    workloads += [factory.stateful(number, namespaces) for number in range(stateful)]
    leaking_nodes = np.arange(0, nodes, 4)
    slot_workload[leaking_nodes, system] = len(workloads) + leaking_nodes // 4 % leaking
    workloads += [factory.leaking(number) for number in range(leaking)]
    return tuple(workloads), slot_workload


def _ordinals(slot_workload: I64) -> I64:
    """For each slot, how many slots before it belong to the same workload."""
    flat = slot_workload.ravel()
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    starts = np.maximum.accumulate(np.where(first, np.arange(flat.size), 0))
    ordinal = np.empty_like(flat)
    ordinal[order] = np.arange(flat.size) - starts
    return ordinal.reshape(slot_workload.shape)


def _draw(
    config: SimConfig,
    classes: tuple[SlotClass, ...],
    workloads: tuple[Workload, ...],
    slot_workload: I64,
    index: I64,
) -> tuple[SlotColumns, ContainerColumns]:
    seed = config.seed
    by_name = {
        name: np.array([[getattr(spec, name) for spec in workload.containers] for workload in workloads])
        for name in ("cpu_nanocores", "memory_bytes", "memory_limit_bytes")
    }
    place = np.arange(index.size * config.containers).reshape(*index.shape, config.containers)
    size = Stream(seed, "size").between(place, 0.7, 1.3)
    leaks = np.array([workload.leaks for workload in workloads])[slot_workload]
    cpu = by_name["cpu_nanocores"][slot_workload] * size
    memory = by_name["memory_bytes"][slot_workload] * np.where(leaks[..., None], 1.0, size)
    limit = by_name["memory_limit_bytes"][slot_workload]

    period = np.where(
        Stream(seed, "flaky").unit(place) < 0.01, Stream(seed, "flaky period").below(place, 7_200) + 1_800, NEVER
    )
    low, high = LEAK_SECONDS
    period = np.where(leaks[..., None], Stream(seed, "leak period").below(place, high - low) + low, period)
    leak = np.where(leaks[..., None], (limit - memory) * 0.97 / period, 0.0)
    containers = ContainerColumns(
        cpu=cpu,
        memory=memory,
        memory_limit=limit.astype(np.int64),
        leak=leak,
        restart_period=period.astype(np.int64),
        rootfs=np.floor(Stream(seed, "rootfs").between(place, 2.0, 4_000.0)) * 4096,
        logs=np.floor(Stream(seed, "logs").between(place, 16.0, 2_000.0)),
    )
    lifetime = _lifetimes(config, workloads, slot_workload)
    mortal = lifetime < NEVER
    births = Stream(seed, "birth")
    age = births.unit(index) * np.where(mortal, lifetime, 14 * DAY)
    load = Load(
        daily_phase=_per_workload(seed, "daily phase", slot_workload, 0.0, 0.3),
        daily_depth=_per_workload(seed, "daily depth", slot_workload, 0.2, 0.5),
        swing_period=_per_workload(seed, "swing period", slot_workload, 180.0, 1_500.0),
        swing_phase=Stream(seed, "swing phase").unit(index),
        swing_depth=_per_workload(seed, "swing depth", slot_workload, 0.1, 0.35),
    )
    on_host = np.array([slot_class is SlotClass.HOST for slot_class in classes])
    traffic = np.where(on_host, 0.0, Stream(seed, "traffic").between(index, 500.0, 60_000.0))
    slots = SlotColumns(
        workload=slot_workload,
        ordinal=_ordinals(slot_workload),
        lifetime=lifetime,
        first_birth=-1 - age.astype(np.int64),
        delay=2 + Stream(seed, "delay").below(index, 3),
        cpu=cpu.sum(axis=2) + POD_OVERHEAD_NANOCORES,
        rx=traffic,
        tx=traffic * Stream(seed, "answers").between(index, 0.3, 3.0),
        load=load,
    )
    return slots, containers


def _per_workload(seed: int, name: str, slot_workload: I64, low: float, high: float) -> F64:
    """A draw that all slots of one workload share."""
    return Stream(seed, name).between(slot_workload, low, high)


def _lifetimes(config: SimConfig, workloads: tuple[Workload, ...], slot_workload: I64) -> I64:
    """Whole seconds a pod lives in each slot, such that the wanted fraction of all pods is replaced each minute."""
    mortal = np.array([workload.kind is Kind.DEPLOYMENT for workload in workloads])[slot_workload]
    if not config.churn or not mortal.any():
        return np.full(slot_workload.shape, NEVER)
    lifetime = max(20, round(60 * float(mortal.mean()) / config.churn))
    return np.where(mortal, lifetime, NEVER)


def _draw_nodes(config: SimConfig, slots: SlotColumns, containers: ContainerColumns) -> NodeColumns:
    seed, index = config.seed, np.arange(config.nodes)
    boot = -20 * DAY - Stream(seed, "boot").below(index, 20 * DAY)
    system_cpu = Stream(seed, "system cpu").between(np.arange(config.nodes * 2).reshape(-1, 2), 15e6, 80e6)
    memory_draw = Stream(seed, "system memory").between(np.arange(config.nodes * 2).reshape(-1, 2), 40, 160)
    needed_cores = (slots.cpu.sum(axis=1) + system_cpu.sum(axis=1)) / 1e9 * 1.6
    largest = np.where(containers.leak > 0, containers.memory_limit, containers.memory * 1.4)
    needed_memory = largest.sum(axis=(1, 2)) * 1.3 + 2_048 * MEBIBYTE
    at_boot = slots.load.integral(np.broadcast_to(boot[:, None], slots.cpu.shape).astype(np.float64))
    return NodeColumns(
        boot=boot,
        cores=_size_up(needed_cores, 2),
        memory=_size_up(needed_memory / (1024 * MEBIBYTE), 4) * 1024 * MEBIBYTE - 4_096 * 4_000,
        system_cpu=system_cpu,
        system_memory=np.floor(memory_draw) * MEBIBYTE,
        cpu_at_boot=(slots.cpu * at_boot).sum(axis=1),
        rx_at_boot=(slots.rx * at_boot).sum(axis=1),
        tx_at_boot=(slots.tx * at_boot).sum(axis=1),
    )


def _size_up(needed: F64, smallest: int) -> I64:
    """The least power of two that is `smallest` or more and not below `needed`."""
    exponent = np.ceil(np.log2(np.maximum(needed, smallest)))
    return (2.0**exponent).astype(np.int64)


def pod_suffix(plan: Plan, slot: int, generation: int) -> str:
    """The five letters that end a pod's name: unlike those of any pod that lives at the same time.

    `slot` counts over all nodes. Multiplying by a number coprime to 27^5 permutes the codes.
    """
    number = slot + generation * plan.slots.workload.size + plan.config.seed
    return letters(number * 8_191_117 % 27**5, 5)
