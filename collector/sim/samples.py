"""The newest samples of a run of nodes at one housekeeping tick.

Every entity is sampled once a housekeeping interval, at its own phase before the tick, to the millisecond: its
sample time and its counters belong together, so a rate computed from two answers is exact. A counter is base rate x
integral of the load since the epoch's start + a random part smaller than the least growth between two samples, so
it never falls. The columns below are indexed [node, slot, container] as far as they go; an absent cell is -1.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.sim.hashing import F64, GOLDEN, I64, U64, Stream, mix, unit
from collector.sim.life import Lives, lives
from collector.sim.plan import Plan, SlotClass
from collector.sim.sample_columns import (
    CLAIM_CAPACITY,
    FS_CAPACITY,
    FS_INODES,
    Bools,
    ContainerSamples,
    LightColumns,
    LightSamples,
    NodeSamples,
    PodSamples,
    Samples,
)
from collector.sim.wave import seconds_of
from collector.sim.workloads import MEBIBYTE

LOG_ROTATION = 10 * MEBIBYTE
PAUSE_MEMORY = 503_808


class Sampler:
    """Computes the samples of a fixed run of nodes; what does not change with time is kept."""

    def __init__(self, plan: Plan, nodes: slice) -> None:
        self._plan = plan
        self._nodes = nodes
        seed, interval = plan.config.seed, plan.config.housekeeping * 1000
        count, pods, containers = plan.containers.cpu.shape
        index = np.arange(count * pods).reshape(count, pods)[nodes]
        place = np.arange(count * pods * containers).reshape(count, pods, containers)[nodes]
        row = np.arange(count)[nodes]
        self._container_phase = Stream(seed, "container phase").below(place, interval)
        self._pod_phase = Stream(seed, "pod phase").below(index, interval)
        self._network_phase = Stream(seed, "network phase").below(index, interval)
        self._node_phase = Stream(seed, "node phase").below(row, interval)
        system_phase = Stream(seed, "system phase").below(row[:, None] * 2 + np.arange(2), interval)
        self._system_phase = np.column_stack([system_phase, self._node_phase])  # pods are sampled with the node
        self._container_noise = Stream(seed, "container noise").bits(place)
        self._pod_noise = Stream(seed, "pod noise").bits(index)
        self._node_noise = Stream(seed, "node noise").bits(row)
        self._load = plan.slots.load.rows(nodes)
        self._container_load = self._load.per_container(containers)
        self._lives: Lives | None = None
        self._lives_hold = 0, 0
        limit = plan.containers.memory_limit[nodes]
        self._pod_limit = np.where((limit > 0).all(axis=2), limit.sum(axis=2), -1)
        self._born = self._started = self._from_birth = self._from_start = np.empty(0)
        self._on_host = np.array([slot_class is SlotClass.HOST for slot_class in plan.classes])
        self._claims = np.flatnonzero([slot_class is SlotClass.CLAIM for slot_class in plan.classes])
        self._claim_rates = plan.slots.rx[nodes][:, self._claims]

    def sample(self, second: int) -> Samples:
        """The samples at the tick `second`."""
        alive = self._alive(second)
        containers = self._containers(second, alive)
        pods = self._pods(second, alive, containers)
        nodes = self._node_rows(second, pods)
        pods = self._with_host_network(pods, nodes)
        return Samples(second, alive, containers, pods, nodes)

    def light(self, second: int) -> LightSamples:
        """Of these samples, what the light endpoint shows: for two fifths of the work, and the same to the digit."""
        plan, rows, interval = self._plan, self._nodes, self._plan.config.housekeeping
        origin = plan.origin * 1000
        alive = self._alive(second)
        at = second * 1000 - self._container_phase
        seconds = seconds_of(at)
        present = seconds >= self._started
        noise = self._noise_at(self._container_noise, second)
        cpu = self._container_work(seconds, noise)
        working_set = self._working_set(seconds, noise, np.maximum(seconds - self._started, 0.0))
        containers = LightColumns(present, at + origin, _whole(cpu, present), working_set)

        at = second * 1000 - self._pod_phase
        sampled = self._sampled(second, _sum(present.astype(np.int64), present))
        cpu = self._pod_work(seconds_of(at), self._noise_at(self._pod_noise, second))
        memory = _sum(working_set, present) + PAUSE_MEMORY
        pods = LightColumns(sampled, at + origin, _whole(cpu, sampled), memory)

        at = second * 1000 - self._node_phase
        noise = self._noise_at(self._node_noise, second)
        uptime = seconds_of(at) - plan.nodes.boot[rows]
        cpu = self._cpu_of_pods(self._integral(seconds_of(at)))
        cpu = cpu + plan.nodes.system_cpu[rows].sum(axis=1) * (uptime + 0.5 * interval * noise)
        total = self._node_working_set(_total(memory, sampled), self._system_memory(noise))
        nodes = LightColumns(np.ones(total.shape, np.bool_), at + origin, cpu.astype(np.int64), total)
        return LightSamples(second, alive, alive.started + plan.origin, containers, pods, nodes)

    def _alive(self, second: int) -> Lives:
        """The lives at `second`; they are the same until the first of them ends."""
        known, (since, until) = self._lives, self._lives_hold
        if known is not None and since <= second < until:
            return known
        alive = self._remember(lives(self._plan, self._nodes, second))
        slot_ends = alive.birth + self._plan.slots.lifetime[self._nodes]
        container_ends = alive.started + self._plan.containers.restart_period[self._nodes]
        self._lives_hold = second, int(min(slot_ends.min(), container_ends.min()))
        return alive

    def _remember(self, alive: Lives) -> Lives:
        """Keep what depends on lives alone: most of them are the same a tick later."""
        known = self._lives
        if known is None or not np.array_equal(known.generation, alive.generation):
            self._born = alive.birth.astype(np.float64)
            self._from_birth = self._load.integral(self._born)
        if known is None or not np.array_equal(known.started, alive.started):
            self._started = alive.started.astype(np.float64)
            self._from_start = self._container_load.integral(self._started)
        self._lives = alive
        return alive

    def _containers(self, second: int, alive: Lives) -> ContainerSamples:
        columns = self._plan.containers
        nodes, interval = self._nodes, self._plan.config.housekeeping
        base, load = columns.cpu[nodes], self._container_load
        at = second * 1000 - self._container_phase
        seconds, started = seconds_of(at), self._started
        present = seconds >= started
        noise, noise_before = self._noise(self._container_noise, second)
        cpu, before = self._container_work(seconds, noise), self._container_work(seconds - interval, noise_before)
        age = np.maximum(seconds - started, 0.0)

        memory, limit = columns.memory[nodes], columns.memory_limit[nodes]
        working_set = self._working_set(seconds, noise, age)
        logs = columns.logs[nodes] * age
        rotations = logs / LOG_ROTATION
        rootfs_used = _pages(columns.rootfs[nodes] * (1.2 + 0.2 * load.swing(seconds)))
        return ContainerSamples(
            present=present,
            milliseconds=at + self._plan.origin * 1000,
            started=alive.started + self._plan.origin,
            cpu=_whole(cpu, present),
            cpu_rate=_whole((cpu - before) / interval, seconds - interval >= started),
            available=np.where(limit > 0, limit - working_set, -1),
            usage=working_set + _pages(memory * 0.125),
            working_set=working_set,
            rss=_pages(working_set * 0.8),
            page_faults=(1_500 + age * (4.0 + base * 1e-7)).astype(np.int64),
            major_page_faults=(age * (base * 1e-12)).astype(np.int64),
            rootfs_used=rootfs_used,
            rootfs_inodes=5 + rootfs_used // 65_536,
            logs_used=_pages(_past_rotation(logs, rotations)),
            logs_inodes=1 + np.minimum(4, rotations.astype(np.int64)),
        )

    def _container_work(self, seconds: F64, noise: F64) -> F64:
        """CPU ns of each container from its start to `seconds`."""
        base, load = self._plan.containers.cpu[self._nodes], self._container_load
        spread = 0.5 * self._plan.config.housekeeping * load.lowest()
        work: F64 = base * (load.integral(seconds) - self._from_start + spread * noise)
        return work

    def _working_set(self, seconds: F64, noise: F64, age: F64) -> I64:
        columns, nodes = self._plan.containers, self._nodes
        memory, limit = columns.memory[nodes], columns.memory_limit[nodes]
        grown = memory * (1.0 + 0.2 * self._container_load.swing(seconds) + 0.05 * noise) + columns.leak[nodes] * age
        return _pages(np.where(limit > 0, np.minimum(grown, limit * 0.995), grown))

    def _pods(self, second: int, alive: Lives, containers: ContainerSamples) -> PodSamples:
        plan, nodes, load = self._plan, self._nodes, self._load
        interval = plan.config.housekeeping
        at, network_at = second * 1000 - self._pod_phase, second * 1000 - self._network_phase
        seconds, network_seconds = seconds_of(at), seconds_of(network_at)
        born = self._born
        noise, noise_before = self._noise(self._pod_noise, second)
        cpu, before = self._pod_work(seconds, noise), self._pod_work(seconds - interval, noise_before)
        traffic = load.integral(network_seconds) - self._from_birth + 0.5 * interval * load.lowest() * noise

        counted = containers.present
        running = _sum(counted.astype(np.int64), counted)
        sampled = self._sampled(second, running)
        working_set = _sum(containers.working_set, counted) + PAUSE_MEMORY
        limit = self._pod_limit
        storage = _sum(containers.rootfs_used, counted) + _sum(containers.logs_used, counted) + 12_288
        inodes = _sum(containers.rootfs_inodes, counted) + _sum(containers.logs_inodes, counted) + 1
        claims = self._claims
        claim_seconds = network_seconds[:, claims] + 40.0 * 86_400
        claim_used = np.full(at.shape, -1)
        claim_used[:, claims] = _pages(np.mod(self._claim_rates * claim_seconds * 0.02, CLAIM_CAPACITY * 0.9))
        return PodSamples(
            present=sampled,
            milliseconds=at + plan.origin * 1000,
            network_milliseconds=network_at + plan.origin * 1000,
            birth=alive.birth + plan.origin,
            cpu=_whole(cpu, sampled),
            cpu_rate=_whole((cpu - before) / interval, sampled & (seconds - interval >= born)),
            available=np.where(limit > 0, np.maximum(limit - working_set, 0), -1),
            usage=_sum(containers.usage, counted) + PAUSE_MEMORY,
            working_set=working_set,
            rss=_sum(containers.rss, counted) + PAUSE_MEMORY // 4,
            rx=_whole(plan.slots.rx[nodes] * traffic + 446, sampled),
            tx=_whole(plan.slots.tx[nodes] * traffic + 726, sampled),
            storage_used=storage,
            storage_inodes=inodes,
            claim_used=claim_used,
            processes=1 + running * 2,
        )

    def _pod_work(self, seconds: F64, noise: F64) -> F64:
        """CPU ns of each pod from its birth to `seconds`."""
        spread = 0.5 * self._plan.config.housekeeping * self._load.lowest()
        work: F64 = self._plan.slots.cpu[self._nodes] * (
            self._load.integral(seconds) - self._from_birth + spread * noise
        )
        return work

    def _sampled(self, second: int, running: I64) -> Bools:
        """The pods that have been sampled, and their network, and at least one container of theirs."""
        born, at = self._born, second * 1000
        seconds, network_seconds = seconds_of(at - self._pod_phase), seconds_of(at - self._network_phase)
        return (running > 0) & (seconds >= born) & (network_seconds >= born)

    def _node_rows(self, second: int, pods: PodSamples) -> NodeSamples:
        plan, columns, rows = self._plan, self._plan.nodes, self._nodes
        interval = plan.config.housekeeping
        at = second * 1000 - self._node_phase
        uptime = seconds_of(at) - columns.boot[rows]
        noise, noise_before = self._noise(self._node_noise, second)
        now, before = self._work(seconds_of(at)), self._work(seconds_of(at) - interval)
        system_total = columns.system_cpu[rows].sum(axis=1)
        cpu = now[0] + system_total * (uptime + 0.5 * interval * noise)
        cpu_before = before[0] + system_total * (uptime - interval + 0.5 * interval * noise_before)

        memory = columns.memory[rows]
        pod_memory = _total(pods.working_set, pods.present)
        own = self._system_memory(noise)
        working_set = self._node_working_set(pod_memory, own)
        fs_used = np.minimum(FS_CAPACITY // 4 + _total(pods.storage_used, pods.present), FS_CAPACITY * 9 // 10)
        inodes_used = np.minimum(310_000 + _total(pods.storage_inodes, pods.present), FS_INODES * 9 // 10)
        system_at = second * 1000 - self._system_phase
        system_cpu, system_cpu_rate = self._system_work(system_at, noise, noise_before)
        return NodeSamples(
            milliseconds=at + plan.origin * 1000,
            system_milliseconds=system_at + plan.origin * 1000,
            cpu=cpu.astype(np.int64),
            cpu_rate=((cpu - cpu_before) / interval).astype(np.int64),
            available=memory - working_set,
            usage=np.minimum(working_set + _pages(memory * 0.2), memory),
            working_set=working_set,
            rss=_pages(working_set * 0.85),
            page_faults=(uptime * 900).astype(np.int64),
            major_page_faults=(uptime * 0.01).astype(np.int64),
            rx=(now[1] + uptime * 2_100).astype(np.int64),
            tx=(now[2] + uptime * 1_300).astype(np.int64),
            rx_errors=(uptime * 1e-4 * (self._node_noise % np.uint64(20) == 0)).astype(np.int64),
            fs_used=fs_used,
            image_fs_used=np.full(fs_used.shape, FS_CAPACITY // 8),
            inodes_used=inodes_used,
            processes=180 + _total(pods.processes, pods.present),
            system_cpu=np.column_stack([system_cpu, now[0]]).astype(np.int64),
            system_cpu_rate=np.column_stack([system_cpu_rate, (now[0] - before[0]) / interval]).astype(np.int64),
            system_usage=np.column_stack([own + 8 * MEBIBYTE, _total(pods.usage, pods.present)]),
            system_working_set=np.column_stack([own, pod_memory]),
            system_rss=np.column_stack([_pages(own * 0.9), _total(pods.rss, pods.present)]),
            system_page_faults=(np.stack([uptime * 70, uptime * 90, uptime * 800], axis=1)).astype(np.int64),
            pods_available=memory - pod_memory,
        )

    def _system_work(self, at: I64, noise: F64, noise_before: F64) -> tuple[F64, F64]:
        """CPU ns of kubelet and runtime since boot, and nanocores over the last interval: (n, 2) each."""
        columns, rows, interval = self._plan.nodes, self._nodes, self._plan.config.housekeeping
        age = seconds_of(at[:, :2]) - columns.boot[rows][:, None]
        base, spread = columns.system_cpu[rows], 0.5 * interval
        cpu = base * (age + spread * noise[:, None])
        before = base * (age - interval + spread * noise_before[:, None])
        return cpu, (cpu - before) / interval

    def _work(self, seconds: F64) -> tuple[F64, F64, F64]:
        """CPU ns and received and sent bytes of all slots of each node, from its boot to `seconds` (n,)."""
        slots, columns, rows = self._plan.slots, self._plan.nodes, self._nodes
        integral = self._integral(seconds)
        return (
            self._cpu_of_pods(integral),
            (slots.rx[rows] * integral).sum(axis=1) - columns.rx_at_boot[rows],
            (slots.tx[rows] * integral).sum(axis=1) - columns.tx_at_boot[rows],
        )

    def _integral(self, seconds: F64) -> F64:
        """The load of each slot from time 0 to the `seconds` of its node, (n, P)."""
        return self._load.integral(np.broadcast_to(seconds[:, None], self._pod_phase.shape))

    def _cpu_of_pods(self, integral: F64) -> F64:
        cpu: F64 = (self._plan.slots.cpu[self._nodes] * integral).sum(axis=1)
        return cpu - self._plan.nodes.cpu_at_boot[self._nodes]

    def _system_memory(self, noise: F64) -> I64:
        """Working sets of kubelet and runtime, (n, 2)."""
        return _pages(self._plan.nodes.system_memory[self._nodes] * (1.0 + 0.05 * noise[:, None]))

    def _node_working_set(self, pod_memory: I64, own: I64) -> I64:
        used = pod_memory + own.sum(axis=1) + 320 * MEBIBYTE
        working_set: I64 = np.minimum(used, self._plan.nodes.memory[self._nodes])
        return working_set

    def _with_host_network(self, pods: PodSamples, nodes: NodeSamples) -> PodSamples:
        """Pods on the host's network report the node's counters, with the node's sample time."""
        host = self._on_host
        return replace(
            pods,
            rx=np.where(host, nodes.rx[:, None], pods.rx),
            tx=np.where(host, nodes.tx[:, None], pods.tx),
            network_milliseconds=np.where(host, nodes.milliseconds[:, None], pods.network_milliseconds),
        )

    def _noise(self, salt: U64, second: int) -> tuple[F64, F64]:
        """Two draws in [0, 1) for each entity: this tick's and the one's before."""
        return self._noise_at(salt, second), self._noise_at(salt, second - self._plan.config.housekeeping)

    def _noise_at(self, salt: U64, second: int) -> F64:
        return unit(mix(salt + (np.array([second]).astype(np.uint64) * GOLDEN)[0]))


def _whole(amount: F64, present: Bools) -> I64:
    """Whole numbers, -1 where absent."""
    return amount.astype(np.int64) if present.all() else np.where(present, amount, -1.0).astype(np.int64)


def _pages(size: NDArray[np.floating[Any]]) -> I64:
    """Bytes rounded down to whole pages of 4096."""
    return size.astype(np.int64) & ~np.int64(4095)


def _past_rotation(written: F64, rotations: F64) -> F64:
    """What `written` bytes leave after the last whole one of so many rotations: np.mod, at a sixth of its cost."""
    past: F64 = written - np.floor(rotations) * LOG_ROTATION
    return np.where(past < 0, past + LOG_ROTATION, past) if (past < 0).any() else past  # the quotient was rounded up


def _sum(cells: I64, present: Bools) -> I64:
    """Sum of the present cells over the last axis; column by column, since that axis is short and the others long."""
    counted = cells if present.all() else cells * present
    total = counted[..., 0]
    for place in range(1, counted.shape[-1]):
        total = total + counted[..., place]
    return total


def _total(cells: I64, present: Bools) -> I64:
    """Sum of the present cells of each node."""
    total: I64 = (cells * present).sum(axis=-1)
    return total
