"""The tree of a /stats/summary answer, as kubelets 1.3x with containerd give it.

Key order, nesting and units are those of a recorded 1.36.2 answer; `psi` and `io` are left out when the
configuration says so (before 1.34). Field names before the dot name the table the values come from: node, system,
pod, container.
"""

from collector.sim.layout import Number, OptionalNumber, Records, Text, Time, Tree
from collector.sim.plan import SlotClass
from collector.sim.sample_columns import CLAIM_CAPACITY, CLAIM_INODES, FS_CAPACITY, FS_INODES

SYSTEM_CONTAINERS = ("kubelet", "runtime", "pods")
_SMALL_TABLES = frozenset({"pod", "container"})
"""Tables whose sizes stay below 1 TB and whose counters below 115 core-days; they may lack a rate or a limit."""
TOKEN_CAPACITY = 524_288_000
TOKEN_USED = 12_288
TOKEN_INODES = 3_013_680
MEMORY_INODES_USED = 9

_PRESSURE: Tree = {kind: {"total": 0, "avg10": 0, "avg60": 0, "avg300": 0} for kind in ("full", "some")}


class SummaryTree:
    """Builds the tree for nodes of the slot classes given, each pod with `containers` containers."""

    def __init__(self, classes: tuple[SlotClass, ...], containers: int, *, psi: bool) -> None:
        self._classes = classes
        self._containers = containers
        self._psi = psi

    def tree(self) -> Tree:
        """The whole answer."""
        pods: tuple[Tree, ...] = tuple(self._pod(slot) for slot in range(len(self._classes)))
        return {"node": self._node(), "pods": Records("pods", pods)}

    def _node(self) -> Tree:
        return {
            "nodeName": Text("node.name", 0, 4),
            "systemContainers": [self._system(place, name) for place, name in enumerate(SYSTEM_CONTAINERS)],
            "startTime": Time("node.boot", 0),
            "cpu": self._cpu("node", 0),
            "memory": {
                "time": Time("node.memory_time", 0),
                "availableBytes": Number("node.available", 0, 4),
                **self._memory_counts("node", 0),
                **self._pressure(),
            },
            **self._io("node", 0),
            "network": _network("node.network_time", 0, "node", on_host=True),
            "fs": _filesystem("node.fs_time", "node.fs", 0),
            "runtime": {
                "imageFs": _filesystem("node.image_time", "node.image", 0),
                "containerFs": _filesystem("node.container_fs_time", "node.container_fs", 0),
            },
            "rlimit": {
                "time": Time("node.rlimit_time", 0),
                "maxpid": 4_194_304,
                "curproc": Number("node.processes", 0, 2),
            },
            "swap": {"time": Time("node.swap_time", 0), "swapAvailableBytes": 0, "swapUsageBytes": 0},
        }

    def _system(self, place: int, name: str) -> Tree:
        available: dict[str, Tree] = {}
        if name == "pods":
            available = {"availableBytes": Number("node.pods_available", 0, 4)}
        return {
            "name": name,
            "startTime": Time("system.boot", place),
            "cpu": self._cpu("system", place),
            "memory": {
                "time": Time("system.memory_time", place),
                **available,
                **self._memory_counts("system", place),
                **self._pressure(),
            },
            **self._io("system", place),
            "swap": {"time": Time("system.swap_time", place), "swapUsageBytes": 0},
        }

    def _pod(self, slot: int) -> Tree:
        slot_class = self._classes[slot]
        containers: tuple[Tree, ...] = tuple(
            self._container(slot * self._containers + place) for place in range(self._containers)
        )
        volumes: dict[str, Tree] = {"volume": _volumes(slot, slot_class)} if slot_class is not SlotClass.HOST else {}
        return {
            "podRef": {
                "name": Text("pod.name", slot, 12),
                "namespace": Text("pod.namespace", slot, 5),
                "uid": Text("pod.uid", slot, 10, last=True),
            },
            "startTime": Time("pod.birth", slot),
            "containers": Records(f"containers {slot}", containers),
            "cpu": self._cpu("pod", slot),
            "memory": self._memory("pod", slot),
            **self._io("pod", slot),
            "network": _network("pod.network_time", slot, "pod", on_host=slot_class is SlotClass.HOST),
            **volumes,
            "ephemeral-storage": _filesystem("pod.storage_time", "pod.storage", slot),
            "process_stats": {"process_count": Number("pod.processes", slot, 1)},
            "swap": {"time": Time("pod.swap_time", slot), "swapUsageBytes": 0},
        }

    def _container(self, place: int) -> Tree:
        return {
            "name": Text("container.name", place, 4),
            "startTime": Time("container.started", place),
            "cpu": self._cpu("container", place),
            "memory": self._memory("container", place),
            **self._io("container", place),
            "rootfs": _filesystem("container.rootfs_time", "container.rootfs", place),
            "logs": _filesystem("container.logs_time", "container.logs", place),
            "swap": {"time": Time("container.swap_time", place), "swapUsageBytes": 0},
        }

    def _cpu(self, table: str, index: int) -> Tree:
        small = table in _SMALL_TABLES
        leaf = OptionalNumber if small else Number
        return {
            "time": Time(f"{table}.cpu_time", index),
            "usageNanoCores": leaf(f"{table}.cpu_rate", index, 3),
            "usageCoreNanoSeconds": Number(f"{table}.cpu", index, 4 if small else 5),
            **self._pressure(),
        }

    def _memory(self, table: str, index: int) -> Tree:
        return {
            "time": Time(f"{table}.memory_time", index),
            "availableBytes": OptionalNumber(f"{table}.available", index, 3),
            **self._memory_counts(table, index),
            **self._pressure(),
        }

    def _memory_counts(self, table: str, index: int) -> dict[str, Tree]:
        faults: dict[str, Tree] = {"pageFaults": 0, "majorPageFaults": 0}  # as pods of cgroup v1 report them
        if table != "pod":
            faults = {
                "pageFaults": Number(f"{table}.page_faults", index, 3),
                "majorPageFaults": Number(f"{table}.major_page_faults", index, 2) if table != "system" else 0,
            }
        lanes = 3 if table in _SMALL_TABLES else 4
        return {
            "usageBytes": Number(f"{table}.usage", index, lanes),
            "workingSetBytes": Number(f"{table}.working_set", index, lanes),
            "rssBytes": Number(f"{table}.rss", index, lanes),
            **faults,
        }

    def _pressure(self) -> dict[str, Tree]:
        return {"psi": _PRESSURE} if self._psi else {}

    def _io(self, table: str, index: int) -> dict[str, Tree]:
        return {"io": {"time": Time(f"{table}.io_time", index), "psi": _PRESSURE}} if self._psi else {}


def _network(time: str, index: int, table: str, *, on_host: bool) -> Tree:
    errors: Tree = Number(f"{table}.rx_errors", index, 2) if table == "node" else 0
    counts: dict[str, Tree] = {
        "rxBytes": Number(f"{table}.interface_rx", index, 4),
        "rxErrors": Number("node.interface_rx_errors", index, 2) if table == "node" else 0,
        "txBytes": Number(f"{table}.interface_tx", index, 4),
        "txErrors": 0,
    }
    idle: Tree = {"name": "tunl0", "rxBytes": 0, "rxErrors": 0, "txBytes": 0, "txErrors": 0}
    interfaces: list[Tree] = [idle] if on_host else []
    return {
        "time": Time(time, index),
        "name": "eth0",
        "rxBytes": Number(f"{table}.rx", index, 4),
        "rxErrors": errors,
        "txBytes": Number(f"{table}.tx", index, 4),
        "txErrors": 0,
        "interfaces": [*interfaces, {"name": "eth0", **counts}],
    }


def _filesystem(time: str, field: str, index: int) -> Tree:
    return {
        "time": Time(time, index),
        "availableBytes": Number(f"{field}_available", index, 3),
        "capacityBytes": FS_CAPACITY,
        "usedBytes": Number(f"{field}_used", index, 3),
        "inodesFree": Number(f"{field}_inodes_free", index, 2),
        "inodes": FS_INODES,
        "inodesUsed": Number(f"{field}_inodes", index, 2),
    }


def _volumes(slot: int, slot_class: SlotClass) -> Tree:
    configuration: Tree = {
        "time": Time("pod.config_time", slot),
        "availableBytes": Number("pod.config_available", slot, 3),
        "capacityBytes": FS_CAPACITY,
        "usedBytes": 4_096,
        "inodesFree": Number("pod.config_inodes_free", slot, 2),
        "inodes": FS_INODES,
        "inodesUsed": 5,
        "name": "config",
    }
    token: Tree = {
        "time": Time("pod.token_time", slot),
        "availableBytes": TOKEN_CAPACITY - TOKEN_USED,
        "capacityBytes": TOKEN_CAPACITY,
        "usedBytes": TOKEN_USED,
        "inodesFree": TOKEN_INODES - MEMORY_INODES_USED,
        "inodes": TOKEN_INODES,
        "inodesUsed": MEMORY_INODES_USED,
        "name": Text("pod.token_name", slot, 6, last=True),
    }
    claim: Tree = {
        "time": Time("pod.claim_time", slot),
        "availableBytes": Number("pod.claim_available", slot, 3),
        "capacityBytes": CLAIM_CAPACITY,
        "usedBytes": Number("pod.claim_used", slot, 3),
        "inodesFree": CLAIM_INODES - 40,
        "inodes": CLAIM_INODES,
        "inodesUsed": 40,
        "name": "data",
        "pvcRef": {
            "name": Text("pod.claim_name", slot, 14),
            "namespace": Text("pod.claim_namespace", slot, 5, last=True),
        },
    }
    return [configuration, token, claim] if slot_class is SlotClass.CLAIM else [configuration, token]
