"""Another cluster than the recorded one, made up from a seed: what its API server and its kubelets say, step by step.

More nodes, other names, host names that are no node names, sample times of each counter of their own, restarts, pods
that come and go (in the API, in the kubelet or in both), relabelling, changed requests, nodes not ready, that refuse
or answer rubbish, and fields that are missing here and there.
"""

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.replay.recording import SECOND, Inputs, Kubelet

Json = dict[str, Any]
BORN = 1_770_000_000
RESOURCES = ("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu", "hugepages-2Mi", "example.com/thing")
AMOUNTS = {
    "cpu": ("0", "1", "0.1", "250m", "1500m", "2", "0.0005"),
    "memory": ("0", "64Mi", "1Gi", "128974848", "129e6", "100M", "1.5Gi"),
    "ephemeral-storage": ("1Gi", "500Mi", "10G"),
    "nvidia.com/gpu": ("1", "2"),
    "hugepages-2Mi": ("64Mi",),
    "example.com/thing": ("3", "1500m"),
}
WORDS = ("alpha", "beta", "gamma", "delta", "omega", "kappa")


@dataclass
class Process:
    """A container, or a pod or node as far as its counters go."""

    start: int
    """Unix time in s."""
    absent: frozenset[str]
    """Fields its kubelet does not give, such as `cpu.usageCoreNanoSeconds`."""
    counters: dict[str, int] = field(default_factory=dict)


@dataclass
class Pod:
    namespace: str
    name: str
    uid: str
    node: str
    labels: dict[str, str]
    specs: dict[str, Json]
    processes: dict[str, Process]
    restarts: dict[str, int]
    own: Process | None
    """The pod-level cpu and memory of newer kubelets."""
    network: Process | None
    volumes: tuple[str, ...]
    in_api: bool = True
    in_kubelet: bool = True


@dataclass
class Node:
    name: str
    address: str
    labels: dict[str, str]
    hostname: str
    host_id: str
    process: Process
    network: Process
    system: dict[str, Process]
    ready: str | None = "True"
    """None: no such condition."""
    state: str = "ok"
    """`refused`, `rubbish` and `error` are the kubelet's troubles."""


class Madeup:
    """`steps(n)` gives the inputs of n steps, 60 s apart by the cluster's own clock."""

    def __init__(self, seed: int, nodes: int = 5, pods: int = 18) -> None:
        self._random = random.Random(seed)
        self._now = BORN + 86_400
        self._number = 0
        self.namespaces = {name: f"uid-{name}" for name in ("default", "kube-system", "shop-eu", "empty")}
        self.nodes = [self._node(place, seed) for place in range(nodes)]
        self.pods = [self._pod() for _ in range(pods)]

    def steps(self, count: int) -> list[Inputs]:
        made = []
        for step in range(count):
            if step:
                self._now += 60
                self._happen()
            made.append(self._inputs())
        return made

    # What happens.

    def _happen(self) -> None:
        pick = self._random
        for node in self.nodes:
            node.state = pick.choices(("ok", "refused", "rubbish", "error"), (20, 1, 1, 1))[0]
            if node.ready is not None:
                node.ready = pick.choices(("True", "False", "Unknown"), (16, 1, 1))[0]
            if pick.random() < 0.1:
                node.labels = self._labels()
            self._grow(node.process, 4)
            self._grow(node.network, 4)
            for process in node.system.values():
                self._grow(process, 1)
        for pod in list(self.pods):
            self._pod_happens(pod)
        for _ in range(pick.choice((0, 1, 2))):
            self.pods.append(self._pod())

    def _pod_happens(self, pod: Pod) -> None:
        pick = self._random
        for name, process in pod.processes.items():
            self._grow(process, 1)
            if pick.random() < 0.05:  # restarted: a new start, counters from zero
                process.start, process.counters = self._now - pick.randint(1, 50), {}
                pod.restarts[name] = pod.restarts.get(name, 0) + 1
                self._grow(process, 1)
            elif pick.random() < 0.03:  # counters from zero under the old start
                process.counters = {}
                self._grow(process, 1)
        for process in filter(None, (pod.own, pod.network)):
            self._grow(process, 1)
        change = pick.random()
        if change < 0.05:
            pod.labels = self._labels()
        elif change < 0.10:
            pod.specs = {name: self._spec() for name in pod.specs}
        elif change < 0.14:
            pod.in_api = not pod.in_api
        elif change < 0.18:
            pod.in_kubelet = not pod.in_kubelet
        elif change < 0.22:
            self.pods.remove(pod)

    def _grow(self, process: Process, size: int) -> None:
        for name, most in (("cpu", 60 * SECOND), ("faults", 90_000), ("major", 50), ("rx", 10**9), ("tx", 10**8)):
            process.counters[name] = process.counters.get(name, 0) + self._random.randint(0, most * size)

    # What there is.

    def _node(self, place: int, seed: int) -> Node:
        pick = self._random
        name = f"{pick.choice(WORDS)}-{place}.example"
        system = {one: self._process(BORN, 0.1) for one in ("kubelet", "runtime", "misc", "pods", "odd")}
        return Node(
            name,
            f"127.77.{100 + seed % 100}.{place + 2}",
            self._labels(),
            f"host-{place}" if pick.random() < 0.5 else "",
            pick.choice(("", f"i-{place:08x}")),
            self._process(BORN, 0.05),
            self._process(BORN, 0.2),
            {one: system[one] for one in system if pick.random() < 0.7},
            pick.choice(("True", "True", None)),
        )

    def _pod(self) -> Pod:
        pick = self._random
        self._number += 1
        names = pick.sample(("main", "proxy", "log", "init-like"), pick.randint(1, 3))
        start = self._now - pick.randint(0, 80_000)
        modern = pick.random() < 0.5
        return Pod(
            pick.choice(("default", "kube-system", "shop-eu")),
            f"{pick.choice(WORDS)}-{self._number}",
            f"uid-{self._number}",
            pick.choice(self.nodes).name,
            self._labels(),
            {name: self._spec() for name in names},
            {name: self._process(start, 0.08) for name in names},
            dict.fromkeys(names, 0),
            self._process(start, 0.1) if modern else None,
            self._process(start, 0.1) if pick.random() < 0.8 else None,
            tuple(pick.sample(("data", "token", "cache"), pick.randint(0, 2))),
        )

    def _process(self, start: int, missing: float) -> Process:
        fields = (
            *("startTime", "cpu.time", "cpu.usageCoreNanoSeconds", "memory.time", "memory.usageBytes"),
            *("memory.workingSetBytes", "memory.rssBytes", "memory.pageFaults", "memory.majorPageFaults"),
            *("network.rxBytes", "network.txErrors", "rootfs.usedBytes", "logs.usedBytes", "rootfs.inodes"),
        )
        made = Process(start, frozenset(name for name in fields if self._random.random() < missing))
        self._grow(made, 1000)
        return made

    def _labels(self) -> dict[str, str]:
        names = ("app", "team", "tier", "pod-template-hash", "kubernetes.io/odd")
        return {name: self._random.choice(("", *WORDS)) for name in names if self._random.random() < 0.5}

    def _spec(self) -> Json:
        pick = self._random

        def amounts() -> Json:
            return {name: pick.choice(AMOUNTS[name]) for name in RESOURCES if pick.random() < 0.35}

        return {"image": pick.choice(("nginx:1", "repo.example/team/app@sha256:abc")), "r": amounts(), "l": amounts()}

    # As the API server says it.

    def _inputs(self) -> Inputs:
        objects = {
            "nodes": [self._node_object(node) for node in self.nodes],
            "pods": [self._pod_object(pod) for pod in self.pods if pod.in_api],
            "namespaces": [{"metadata": {"name": name, "uid": uid}} for name, uid in self.namespaces.items()],
        }
        kubelets = {}
        for node in self.nodes:
            answer = {
                "ok": (200, "application/json", json.dumps(self._summary(node)).encode()),
                "refused": None,
                "rubbish": (200, "application/json", b'{"node": {"nodeName": '),
                "error": (500, "text/plain", b"Internal Error: no stats"),
            }[node.state]
            kubelets[node.name] = Kubelet(node.address, {"summary": answer, "cadvisor": None})
        return Inputs(objects, kubelets)

    def _node_object(self, node: Node) -> Json:
        addresses = [{"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": node.address}]
        if node.hostname:
            addresses.append({"type": "Hostname", "address": node.hostname})
        conditions = [{"type": "DiskPressure", "status": "False"}]
        if node.ready is not None:
            conditions.append({"type": "Ready", "status": node.ready})
        amounts = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi"}
        allocatable = amounts | {"cpu": "7800m", "memory": "31Gi"}
        if node.name.startswith("beta"):
            del allocatable["ephemeral-storage"]
        return {
            "metadata": {"name": node.name, "uid": f"uid-{node.name}", "labels": node.labels},
            "spec": {"externalID": node.host_id} if node.host_id else {},
            "status": {
                "addresses": addresses,
                "conditions": conditions,
                "capacity": amounts,
                "allocatable": allocatable,
            },
        }

    def _pod_object(self, pod: Pod) -> Json:
        containers = [
            {"name": name, "image": spec["image"], "resources": {"requests": spec["r"], "limits": spec["l"]}}
            for name, spec in pod.specs.items()
        ]
        statuses = [{"name": name, "restartCount": count} for name, count in pod.restarts.items()]
        return {
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "labels": pod.labels},
            "spec": {"nodeName": pod.node, "containers": containers},
            "status": {"phase": "Running", "containerStatuses": statuses},
        }

    # As the kubelet says it.

    def _summary(self, node: Node) -> Json:
        made = self._stats(node.process, {"nodeName": node.name})
        made["network"] = self._network(node.network)
        made["fs"] = self._filesystem(node.process, "fs")
        made["systemContainers"] = [
            self._container(name, process) | {"logs": None} for name, process in node.system.items()
        ]
        pods = [self._pod_stats(pod) for pod in self.pods if pod.in_kubelet and pod.node == node.name]
        return {"node": made, "pods": pods}

    def _pod_stats(self, pod: Pod) -> Json:
        made: Json = {"podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}}
        made["startTime"] = self._time(next(iter(pod.processes.values())).start)
        made["containers"] = [self._container(name, process) for name, process in pod.processes.items()]
        if pod.own:
            made |= {name: part for name, part in self._stats(pod.own, {}).items() if name != "startTime"}
            made["ephemeral-storage"] = self._filesystem(pod.own, "rootfs")
        if pod.network:
            made["network"] = self._network(pod.network)
        made["volume"] = [self._filesystem(next(iter(pod.processes.values())), "v") | {"name": v} for v in pod.volumes]
        return made

    def _container(self, name: str, process: Process) -> Json:
        made = self._stats(process, {"name": name})
        made["rootfs"], made["logs"] = self._filesystem(process, "rootfs"), self._filesystem(process, "logs")
        if process.start % 5 == 0:
            made["accelerators"] = [{"make": "nvidia", "model": "k80", "id": f"gpu-{process.start}", "memoryTotal": 12}]
        if process.start % 7 == 0:
            made["userDefinedMetrics"] = [
                {"name": "qps", "type": "gauge", "value": process.counters["cpu"] / 7, "time": self._time(self._now)}
            ]
        return made

    def _stats(self, process: Process, made: Json) -> Json:
        counters, lag = process.counters, self._random
        made["startTime"] = self._time(process.start)
        made["cpu"] = {"time": self._time(self._now - lag.randint(1, 12)), "usageCoreNanoSeconds": counters["cpu"]}
        made["memory"] = {
            "time": self._time(self._now - lag.randint(1, 12)),
            "usageBytes": counters["cpu"] % 10**9,
            "workingSetBytes": counters["cpu"] % 10**8,
            "rssBytes": counters["cpu"] % 10**7,
            "pageFaults": counters["faults"],
            "majorPageFaults": counters["major"],
        }
        return self._without(process, made)

    def _network(self, process: Process) -> Json:
        counters = process.counters
        inner = {
            "time": self._time(self._now - self._random.randint(1, 12)),
            "rxBytes": counters["rx"],
            "rxErrors": counters["major"],
            "txBytes": counters["tx"],
            "txErrors": counters["major"] // 2,
            "interfaces": [{"name": "eth0", "rxBytes": 1}],
        }
        part: Json = self._without(process, {"network": inner})["network"]
        return part

    def _filesystem(self, process: Process, name: str) -> Json:
        used = process.counters["cpu"] % 10**9
        inner = {"usedBytes": used, "capacityBytes": 10**11, "availableBytes": 10**11 - used, "inodes": 1_000_000}
        part: Json = self._without(process, {name: inner | {"inodesFree": 999_000}})[name]
        return part

    def _without(self, process: Process, made: Json) -> Json:
        """Fields that are absent here, half of them as null."""
        for name in process.absent:
            outer, _, inner = name.partition(".")
            if outer in made and not inner:
                del made[outer]
            elif outer in made and inner in made[outer]:
                if len(name) % 2:
                    del made[outer][inner]
                else:
                    made[outer][inner] = None
        return made

    @staticmethod
    def _time(moment: int) -> str:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
