"""What cAdvisor sees of a node: every cgroup, from the samples the summary shows.

A pod of a current kubelet has a cgroup that holds the whole pod, and a sandbox with the network in it. An old kubelet
(docker) names the sandbox `POD` and the pod's cgroup not at all. The pod's memory is that of its containers and of its
sandbox, to the byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from collector.sim.identity import PodIdentity, make_uid, pod_identity
from collector.sim.plan import POD_OVERHEAD_NANOCORES, Plan
from collector.sim.sample_columns import FS_INODES, Samples
from collector.sim.samples import PAUSE_MEMORY
from collector.sim.sampling import Sampling

DEVICE, MAJOR, MINOR = "/dev/vda", 254, 0
PAUSE_IMAGE = "registry.k8s.io/pause:3.10.1"
_PERIODS_A_SECOND = 10


@dataclass(frozen=True)
class Interface:
    """Counters of one network interface."""

    name: str
    rx: int
    rx_errors: int
    tx: int


@dataclass(frozen=True)
class Cgroup:
    """One cgroup at one moment. Sizes in bytes, counters since the start; -1 where there is none."""

    path: str
    milliseconds: int
    """When it was sampled, since 1970."""
    started: int
    """Seconds since 1970."""
    cpu: int
    """ns"""
    load: int
    """Thousandths of runnable threads."""
    usage: int
    working_set: int
    rss: int
    page_faults: int
    major_page_faults: int
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    image: str = ""
    name: str = ""
    """How the runtime calls it; empty for what it did not make."""
    read: int = -1
    written: int = -1
    fs_used: int = -1
    inodes_free: int = -1
    periods: int = -1
    """of the CPU limit, 0.1 s each"""
    interfaces: tuple[Interface, ...] = ()

    @property
    def cache(self) -> int:
        """Page cache."""
        return max(0, self.usage - self.rss)

    @property
    def throttled_periods(self) -> int:
        """Periods in which the CPU limit held it back: one in sixteen."""
        return self.periods // 16

    @property
    def throttled(self) -> int:
        """Ns it was held back: 5 ms in each of them."""
        return self.throttled_periods * 5_000_000


def cgroups(sampling: Sampling, node: int, now: float) -> list[Cgroup]:
    """The cgroups of `node` at `now` (seconds since 1970), the root first."""
    plan = sampling.plan
    row, samples = sampling.samples(node, now)
    root, *system = _of_node(plan, node, row, samples)
    ended = samples.lives.birth[row] + plan.slots.lifetime[node] <= int(now - plan.origin)
    found = [root, *system]
    for slot in (samples.pods.present[row] & ~ended).nonzero()[0].tolist():
        pod = pod_identity(plan, node, slot, int(samples.lives.generation[row, slot]))
        found += _of_pod(plan, (node, row, slot), samples, pod)
        found += _of_containers(plan, (node, row, slot), samples, pod)
    return found


def _of_node(plan: Plan, node: int, row: int, samples: Samples) -> Iterator[Cgroup]:
    values = samples.nodes
    boot = plan.origin + int(plan.nodes.boot[node])
    age = int(values.milliseconds[row]) // 1000 - boot
    yield Cgroup(
        path="/",
        milliseconds=int(values.milliseconds[row]),
        started=boot,
        cpu=int(values.cpu[row]),
        load=int(values.cpu_rate[row]) // 1_000_000,
        usage=int(values.usage[row]),
        working_set=int(values.working_set[row]),
        rss=int(values.rss[row]),
        page_faults=int(values.page_faults[row]),
        major_page_faults=int(values.major_page_faults[row]),
        read=age * 20_480,
        written=age * 102_400,
        fs_used=int(values.fs_used[row]),
        inodes_free=FS_INODES - int(values.inodes_used[row]),
        interfaces=(Interface("eth0", int(values.rx[row]), int(values.rx_errors[row]), int(values.tx[row])),),
    )
    paths = ("/system.slice/kubelet.service", "/system.slice/containerd.service", "/kubepods")
    for place, path in enumerate(("/kubelet", "/docker-daemon", "/kubepods") if plan.config.old_kubelets else paths):
        yield Cgroup(
            path=path,
            milliseconds=int(values.system_milliseconds[row, place]),
            started=boot,
            cpu=int(values.system_cpu[row, place]),
            load=int(values.system_cpu_rate[row, place]) // 1_000_000,
            usage=int(values.system_usage[row, place]),
            working_set=int(values.system_working_set[row, place]),
            rss=int(values.system_rss[row, place]),
            page_faults=int(values.system_page_faults[row, place]),
            major_page_faults=0,
        )


def _of_pod(plan: Plan, at: tuple[int, int, int], samples: Samples, pod: PodIdentity) -> Iterator[Cgroup]:
    """The pod's own cgroup (not of an old kubelet), and its sandbox."""
    node, row, slot = at
    values = samples.pods
    old = plan.config.old_kubelets
    started = int(values.birth[row, slot])
    network_at = int(values.network_milliseconds[row, slot])
    age = network_at // 1000 - started
    if not old:
        yield Cgroup(
            path=_path(pod),
            milliseconds=int(values.milliseconds[row, slot]),
            started=started,
            cpu=int(values.cpu[row, slot]),
            load=int(values.cpu_rate[row, slot]) // 1_000_000,
            usage=int(values.usage[row, slot]),
            working_set=int(values.working_set[row, slot]),
            rss=int(values.rss[row, slot]),
            page_faults=600 + 8 * (int(values.milliseconds[row, slot]) // 1000 - started),
            major_page_faults=0,
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.kubelet_uid,
        )
    on_host = plan.workloads[plan.slots.workload[node, slot]].host_network
    interface = Interface("eth0", int(values.rx[row, slot]), 0, int(values.tx[row, slot]))
    identifier = make_uid(pod.uid, "sandbox").replace("-", "") * 2
    yield Cgroup(
        path=f"{_path(pod)}/{identifier}",
        milliseconds=network_at,
        started=started,
        cpu=age * POD_OVERHEAD_NANOCORES,
        load=0,
        usage=PAUSE_MEMORY,
        working_set=PAUSE_MEMORY,
        rss=PAUSE_MEMORY // 4,
        page_faults=600,
        major_page_faults=0,
        namespace=pod.namespace,
        pod=pod.name,
        uid=pod.kubelet_uid,
        container="POD" if old else "",
        image=PAUSE_IMAGE,
        name=_runtime_name("POD", pod, identifier, old=old),
        interfaces=() if on_host else (interface,),
    )


def _of_containers(plan: Plan, at: tuple[int, int, int], samples: Samples, pod: PodIdentity) -> Iterator[Cgroup]:
    node, row, slot = at
    values = samples.containers
    specs = plan.workloads[plan.slots.workload[node, slot]].containers
    for place in np.flatnonzero(values.present[row, slot]).tolist():
        cell, spec = (row, slot, place), specs[place]
        started = int(values.started[cell])
        age = int(values.milliseconds[cell]) // 1000 - started
        identifier = make_uid(pod.uid, spec.name, started).replace("-", "") * 2
        yield Cgroup(
            path=f"{_path(pod)}/{identifier}",
            milliseconds=int(values.milliseconds[cell]),
            started=started,
            cpu=int(values.cpu[cell]),
            load=max(0, int(values.cpu_rate[cell])) // 1_000_000,
            usage=int(values.usage[cell]),
            working_set=int(values.working_set[cell]),
            rss=int(values.rss[cell]),
            page_faults=int(values.page_faults[cell]),
            major_page_faults=int(values.major_page_faults[cell]),
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.kubelet_uid,
            container=spec.name,
            image=spec.image,
            name=_runtime_name(spec.name, pod, identifier, old=plan.config.old_kubelets),
            read=int(plan.containers.rootfs[node, slot, place]) + age * 256,
            written=int(plan.containers.logs[node, slot, place]) * age,
            fs_used=int(values.rootfs_used[cell]),
            inodes_free=FS_INODES - int(samples.nodes.inodes_used[row]),
            periods=age * _PERIODS_A_SECOND if "cpu" in spec.limits else -1,
        )


def _path(pod: PodIdentity) -> str:
    return f"/kubepods/burstable/pod{pod.kubelet_uid}"


def _runtime_name(container: str, pod: PodIdentity, identifier: str, *, old: bool) -> str:
    return f"k8s_{container}_{pod.name}_{pod.namespace}_{pod.kubelet_uid}_0" if old else identifier
