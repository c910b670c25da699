"""A cluster as plain dictionaries (the forms of `brute_force`), and the same as the pipeline's inputs."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from collector.core.metrics import DISK, FILESYSTEM, INDEX, METRICS, Clock, Kind, LabeledGroup
from collector.core.sample import ABSENT, Block, CustomValue, LabeledBlock, NodeSample
from collector.kube.objects import ContainerSpec, Namespace, Node, Pod, Resources
from tests.processors.brute_force import Batch, Number, Set, reported

CLOCKS = {clock.name.lower(): clock for clock in Clock}
COUNTERS = tuple(metric.name for metric in METRICS if metric.rate)
GAUGES = ("cpu/load", "ephemeral_storage/usage", "memory/usage", "memory/rss", "memory/cache", "memory/working_set")
REPORTED = tuple(INDEX[name] for name in (*COUNTERS, *GAUGES))
"""Everything that any source reports as a plain number, for every kind: more than any one kubelet does."""


class SmallCluster:
    """What the kubelets would answer now, and what the API server knows now. Change it as you like."""

    def __init__(self) -> None:
        self.now = 1_000_000_000
        """ns since the epoch"""
        self.kubelets: dict[str, Batch] = {}
        """Node -> what its kubelet reports, by key."""
        self.nodes: dict[str, dict[str, Any]] = {}
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.namespaces: dict[str, str] = {}

    def start_node(self, node: str, **metrics: Number) -> Set:
        """A kubelet begins to answer."""
        return self._start(node, f"node:{node}", "node", metrics)

    def start_system(self, node: str, container: str, **metrics: Number) -> Set:
        """A system container of it."""
        return self._start(node, f"node:{node}/container:{container}", "sys_container", metrics, container=container)

    def start_pod(self, node: str, namespace: str, pod: str, uid: str, **metrics: Number) -> Set:
        """A pod begins to run on `node`."""
        names = {"namespace": namespace, "pod": pod, "uid": uid}
        return self._start(node, f"namespace:{namespace}/pod:{pod}", "pod", metrics, **names)

    def start_container(self, node: str, namespace: str, pod: str, container: str, **metrics: Number) -> Set:
        """A container of a pod that runs there."""
        pod_key = f"namespace:{namespace}/pod:{pod}"
        names = {"namespace": namespace, "pod": pod, "container": container, "uid": self.kubelets[node][pod_key]["uid"]}
        return self._start(node, f"{pod_key}/container:{container}", "pod_container", metrics, **names)

    def stop_pod(self, node: str, key: str) -> None:
        """The pod `key` and its containers leave `node`."""
        for each in [each for each in self.kubelets[node] if each == key or each.startswith(f"{key}/")]:
            del self.kubelets[node][each]

    def pass_time(self, seconds: float, growth: Sequence[int]) -> None:
        """Everything is read anew `seconds` later; counters grow by the numbers of `growth`, over and over."""
        self.now += int(seconds * 1e9)
        turn = 0
        for answer in self.kubelets.values():
            for found in answer.values():
                for clock in found["times"].keys() - {"start"}:
                    found["times"][clock] += int(seconds * 1e9)
                for name in sorted(found["metrics"].keys() & set(COUNTERS)):
                    found["metrics"][name] = min(found["metrics"][name] + growth[turn % len(growth)], 2**63 - 1)
                    turn += 1

    def answers(self, silent: Iterable[str] = ()) -> list[Batch]:
        """What the kubelets answer now, with `uptime`; in the order of their names."""
        return [
            {key: self._with_uptime(found) for key, found in self.kubelets[node].items()}
            for node in sorted(self.kubelets.keys() - set(silent))
        ]

    def _start(self, node: str, key: str, kind: str, metrics: dict[str, Number], **names: str) -> Set:
        times = dict.fromkeys(CLOCKS, self.now)
        answer = self.kubelets.setdefault(node, {})
        if kind != "node":
            answer.setdefault(f"node:{node}", reported("node", node=node, metrics={}, times={}, labeled=[]))
        given = {name.replace("__", "/"): value for name, value in metrics.items()}
        answer[key] = reported(kind, node=node, metrics=given, times=times, labeled=[], **names)
        return answer[key]

    def _with_uptime(self, found: Set) -> Set:
        start = found["times"].get("start")
        uptime = {} if start is None or start > self.now else {"uptime": (self.now - start) // 1_000_000}
        return {**found, "metrics": found["metrics"] | uptime, "times": dict(found["times"])}


def samples_of(answers: Iterable[Batch], read_at: int) -> list[NodeSample]:
    """Kubelet answers as the decoder would hand them over."""
    return [_sample(answer, read_at) for answer in answers]


def _sample(answer: Batch, read_at: int) -> NodeSample:
    by_kind: dict[str, list[Set]] = {kind: [] for kind in ("node", "sys_container", "pod", "pod_container")}
    containers: dict[tuple[str, str], list[Set]] = {}
    for found in answer.values():
        if found["kind"] == "pod_container":
            containers.setdefault((found["namespace"], found["pod"]), []).append(found)
        else:
            by_kind[found["kind"]].append(found)
    pods = by_kind["pod"]
    grouped = [containers.get((pod["namespace"], pod["pod"]), []) for pod in pods]
    by_kind["pod_container"] = [each for group in grouped for each in group]
    kinds = {
        "node": Kind.NODE,
        "sys_container": Kind.SYS_CONTAINER,
        "pod": Kind.POD,
        "pod_container": Kind.POD_CONTAINER,
    }
    return NodeSample(
        node=by_kind["node"][0]["node"],
        read_at=read_at,
        node_block=_block(by_kind["node"]),
        system_names=[each["container"] for each in by_kind["sys_container"]],
        system_block=_block(by_kind["sys_container"]),
        pod_namespaces=[pod["namespace"] for pod in pods],
        pod_names=[pod["pod"] for pod in pods],
        pod_uids=[pod["uid"] for pod in pods],
        pod_block=_block(pods),
        container_counts=[len(group) for group in grouped],
        container_names=[each["container"] for each in by_kind["pod_container"]],
        container_block=_block(by_kind["pod_container"]),
        labeled=[
            _labeled(group, kinds[kind], found) for group in (FILESYSTEM, DISK) for kind, found in by_kind.items()
        ],
        custom=[
            CustomValue(kinds[kind], owner, name.removeprefix("custom/"), value)
            for kind, found in by_kind.items()
            for owner, each in enumerate(found)
            for name, value in each["metrics"].items()
            if name.startswith("custom/")
        ],
    )


def _block(found: list[Set]) -> Block:
    values = [[each["metrics"].get(METRICS[m].name, ABSENT) for m in REPORTED] for each in found]
    times = [[each["times"].get(name, 0) for name in CLOCKS] for each in found]
    return Block(
        REPORTED,
        np.array(values, np.int64).reshape(-1, len(REPORTED)),
        np.array(times, np.int64).reshape(-1, len(CLOCKS)),
    )


def _labeled(group: LabeledGroup, kind: Kind, found: list[Set]) -> LabeledBlock:
    """The labelled values of `group`, in rows of one (owner, resource)."""
    rows: dict[tuple[int, str], list[int]] = {}
    for owner, each in enumerate(found):
        for name, labels, value in each["labeled"]:
            j = group.column(name)
            if j is not None:
                rows.setdefault((owner, labels["resource_id"]), [ABSENT] * len(group.metrics))[j] = value
    return LabeledBlock(
        group,
        kind,
        np.array([owner for owner, _ in rows], np.intp),
        [resource for _, resource in rows],
        np.array(list(rows.values()), np.int64).reshape(-1, len(group.metrics)),
    )


# What the API server knows, as the listers keep it.


def pod_object(key: tuple[str, str], pod: dict[str, Any]) -> Pod:
    """The lister's Pod."""
    namespace, name = key
    return Pod(
        namespace,
        name,
        uid=pod["uid"],
        labels=dict(pod["labels"]),
        containers=tuple(_container(name, each) for name, each in pod["containers"].items()),
        restart_counts=tuple(pod["restarts"].items()),
    )


def _container(name: str, container: dict[str, Any]) -> ContainerSpec:
    requests, limits = container["requests"], container["limits"]
    own = {"cpu", "memory", "ephemeral_storage"}
    return ContainerSpec(
        name,
        image=container["image"],
        cpu_request=requests.get("cpu", 0),
        cpu_limit=limits.get("cpu", 0),
        memory_request=requests.get("memory", 0),
        memory_limit=limits.get("memory", 0),
        ephemeral_request=requests.get("ephemeral_storage", 0),
        ephemeral_limit=limits.get("ephemeral_storage", 0),
        extended=tuple(sorted((name, amount) for name, amount in requests.items() if name not in own)),
    )


def node_object(name: str, node: dict[str, Any]) -> Node:
    """The lister's Node."""
    return Node(
        name,
        addresses=(("Hostname", node["hostname"]),),
        external_id=node["host_id"],
        labels=dict(node["labels"]),
        capacity=Resources(**node["capacity"]),
        allocatable=Resources(**node["allocatable"]),
    )


def namespace_object(name: str, uid: str) -> Namespace:
    """The lister's Namespace."""
    return Namespace(name, uid)
