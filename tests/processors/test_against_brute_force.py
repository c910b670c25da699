"""The pipeline gives what the brute-force dictionaries give, whatever happens to a small cluster over many ticks."""

import logging
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.core.batch import DataBatch, MetricSet
from collector.core.visibility import HEAPSTERS
from tests.processors.brute_force import BruteForce, differences
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import (
    COUNTERS,
    GAUGES,
    SmallCluster,
    namespace_object,
    node_object,
    pod_object,
    samples_of,
)

NODES = ("node-a", "node-b", "node-c")
NAMESPACES = ("default", "other")
PODS = ("web", "db")
CONTAINERS = ("main", "proxy", "init")
LARGEST = 2**63 - 1

nodes = st.sampled_from(NODES)
pod_keys = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(PODS))
picks = st.integers(0, 50)
"""Which of the entities there are, counted around."""
amounts = st.sampled_from((0, 1, 999, 10**9, 2**53 + 1, LARGEST // 2 + 1, LARGEST)) | st.integers(0, LARGEST)
resources = st.sampled_from(("cpu", "memory", "ephemeral_storage", "nvidia.com/gpu", "hugepages-2Mi"))
node_resources = st.dictionaries(st.sampled_from(("cpu", "memory", "ephemeral_storage")), amounts)
label_sets = st.dictionaries(st.sampled_from(("app", "app-kind", "Tier", "é")), st.sampled_from(("", "1", "web")))
container_specs = st.fixed_dictionaries(
    {
        "image": st.sampled_from(("", "nginx:1")),
        "requests": st.dictionaries(resources, amounts),
        "limits": st.dictionaries(resources, amounts),
    }
)
pod_specs = st.fixed_dictionaries(
    {
        "uid": st.sampled_from(("", "api-1", "api-2")),
        "labels": label_sets,
        "containers": st.dictionaries(st.sampled_from(CONTAINERS), container_specs),
        "restarts": st.dictionaries(st.sampled_from(CONTAINERS), st.integers(0, 9)),
    }
)
node_specs = st.fixed_dictionaries(
    {
        "hostname": st.sampled_from(("a.example", "b.example")),
        "host_id": st.sampled_from(("", "i-1")),
        "labels": label_sets,
        "capacity": node_resources,
        "allocatable": node_resources,
    }
)


class Comparison:
    """The pipeline and the brute force side by side, fed the same cluster."""

    def __init__(self) -> None:
        self.cluster = SmallCluster()
        self.brute_force = BruteForce()
        # Short memories, so that rows get new owners after a few ticks.
        self.rig = Rig(short_retention_ns=90 * SECOND, long_retention_ns=150 * SECOND)
        self.silent: set[str] = set()
        self.timestamp = 0
        self._label_sets: dict[tuple[int, int, int], dict[str, str]] = {}

    def tick(self, gap: int = 60) -> DataBatch:
        """Both make the batch `gap` seconds after the last one, and it must be the same."""
        self.timestamp += gap * SECOND
        cluster, answers = self.cluster, self.cluster.answers(self.silent)
        wanted = self.brute_force.tick(answers, cluster.nodes, cluster.pods, cluster.namespaces, self.timestamp)
        batch = self.rig.tick(samples_of(answers, cluster.now), self.timestamp)
        assert differences(wanted, batch.metric_sets(HEAPSTERS)) == []
        _check_extended_sums(batch.metric_sets())
        assert not (batch.present[:, : batch.rows] & ~batch.exists[: batch.rows]).any()
        self._check_label_versions(batch)
        return batch

    def _check_label_versions(self, batch: DataBatch) -> None:
        """A label set changes only together with its version: sinks keep encoded labels by that."""
        entities = batch.entities
        for row in np.flatnonzero(batch.exists[: batch.rows]).tolist():
            version = row, int(entities.generation[row]), int(entities.label_version[row])
            assert self._label_sets.setdefault(version, entities.label_set(row)) == entities.label_set(row)


EXTENDED_SUMS = (
    "memory/working_set",
    "memory/rss",
    "memory/cache",
    "ephemeral_storage/usage",
    "ephemeral_storage/request",
    "ephemeral_storage/limit",
    "nvidia.com/gpu/request",
    "hugepages-2Mi/request",
)
"""What namespaces and the cluster have of their pods besides Heapster's six."""


def _check_extended_sums(sets: dict[str, MetricSet]) -> None:
    """Every namespace, and the cluster, has the sum over its pods of what any of them has."""
    pods: defaultdict[str, list[MetricSet]] = defaultdict(list)
    for key, each in sets.items():
        if each.labels["type"] == "pod":
            pods["cluster"].append(each)
            pods[key.partition("/")[0]].append(each)
    for key, of_key in pods.items():
        for name in EXTENDED_SUMS:
            given = [each.metrics[name] for each in of_key if name in each.metrics]
            wrapped = (int(sum(given)) + 2**63) % 2**64 - 2**63 if given else None
            assert sets[key].metrics.get(name) == wrapped, (key, name)


class Cluster(RuleBasedStateMachine):
    """Things that happen to clusters."""

    def __init__(self) -> None:
        super().__init__()
        self.comparison = Comparison()
        self.cluster = self.comparison.cluster
        self.rig = self.comparison.rig
        self.pods_started = self.steps = 0

    @initialize()
    def begin(self) -> None:
        self.cluster.start_node("node-a", cpu__usage=0, memory__usage=0)
        self.start_pod("node-a", ("default", "web"), {"main", "proxy"})

    # The kubelets' side.

    @rule(node=nodes, key=pod_keys, containers=st.sets(st.sampled_from(CONTAINERS)))
    def start_pod(self, node: str, key: tuple[str, str], containers: set[str]) -> None:
        """Also on a second node at the same time, or again on the same."""
        namespace, pod = key
        self.cluster.stop_pod(node, f"namespace:{namespace}/pod:{pod}") if node in self.cluster.kubelets else None
        self.pods_started += 1
        self.cluster.start_pod(node, namespace, pod, f"uid-{self.pods_started}", cpu__usage=5, network__rx=7)
        for container in sorted(containers):
            self.cluster.start_container(node, namespace, pod, container, cpu__usage=5, memory__usage=11)

    @rule(node=nodes, key=pod_keys)
    def stop_pod(self, node: str, key: tuple[str, str]) -> None:
        if node in self.cluster.kubelets:
            self.cluster.stop_pod(node, f"namespace:{key[0]}/pod:{key[1]}")

    @rule(node=nodes)
    def start_system_container(self, node: str) -> None:
        self.cluster.start_system(node, "kubelet", cpu__usage=3, memory__page_faults=4)

    @rule(pick=picks)
    def restart(self, pick: int) -> None:
        found = self._picked(pick)
        found["times"] |= dict.fromkeys(found["times"], self.cluster.now)
        found["times"]["start"] = self.cluster.now
        found["metrics"] |= dict.fromkeys(found["metrics"].keys() & set(COUNTERS), 1)

    @rule(pick=picks, name=st.sampled_from((*COUNTERS, *GAUGES)), value=st.none() | amounts)
    def report(self, pick: int, name: str, value: int | None) -> None:
        """Also a counter that goes down under the same start time."""
        metrics = self._picked(pick)["metrics"]
        metrics.pop(name, None)
        if value is not None:
            metrics[name] = value

    @rule(pick=picks, value=st.none() | st.floats(0, 1e18))
    def report_custom(self, pick: int, value: float | None) -> None:
        metrics = self._picked(pick)["metrics"]
        metrics.pop("custom/queue", None)
        if value is not None:
            metrics["custom/queue"] = value

    @rule(pick=picks, device=st.sampled_from(("sda", "sdb")), value=st.none() | amounts)
    def report_disk(self, pick: int, device: str, value: int | None) -> None:
        found = self._picked(pick)
        labels = {"resource_id": device}
        found["labeled"] = [each for each in found["labeled"] if each[1] != labels]
        if value is not None:
            names = ("disk/io_read_bytes", "disk/io_write_bytes", "filesystem/usage")
            found["labeled"] += [(name, labels, value) for name in names]

    @rule(
        pick=picks,
        clock=st.sampled_from(("start", "scrape", "cpu", "memory", "network", "disk")),
        seconds=st.none() | st.integers(-90, 90),
    )
    def read_at_another_time(self, pick: int, clock: str, seconds: int | None) -> None:
        times = self._picked(pick)["times"]
        times.pop(clock, None)
        if seconds is not None:
            times[clock] = max(1, self.cluster.now + seconds * SECOND)

    @rule(seconds=st.sampled_from((60.0, 60.0, 59.5, 0.0, 1e-9)), growth=st.lists(amounts, min_size=1, max_size=4))
    def pass_time(self, seconds: float, growth: list[int]) -> None:
        self.cluster.pass_time(seconds, growth)

    @rule(silent=st.sets(nodes, max_size=2))
    def fall_silent(self, silent: set[str]) -> None:
        self.comparison.silent = silent

    # The API server's side: single changes, and whole lists.

    @rule(key=pod_keys, pod=st.none() | pod_specs)
    def change_pod(self, key: tuple[str, str], pod: dict[str, Any] | None) -> None:
        self.cluster.pods.pop(key, None)
        if pod is not None:
            self.cluster.pods[key] = pod
        self.rig.pods.apply([(key, None if pod is None else pod_object(key, pod))])

    @rule(name=nodes, node=st.none() | node_specs)
    def change_node(self, name: str, node: dict[str, Any] | None) -> None:
        self.cluster.nodes.pop(name, None)
        if node is not None:
            self.cluster.nodes[name] = node
        self.rig.nodes.apply([(name, None if node is None else node_object(name, node))])

    @rule(name=st.sampled_from(NAMESPACES), uid=st.sampled_from((None, "ns-1", "ns-2")))
    def change_namespace(self, name: str, uid: str | None) -> None:
        self.cluster.namespaces.pop(name, None)
        if uid is not None:
            self.cluster.namespaces[name] = uid
        self.rig.namespaces.apply([(name, None if uid is None else namespace_object(name, uid))])

    @rule(pods=st.dictionaries(pod_keys, pod_specs), forgotten=st.sets(pod_keys), lost=st.sets(nodes))
    def list_anew(
        self, pods: dict[tuple[str, str], dict[str, Any]], forgotten: set[tuple[str, str]], lost: set[str]
    ) -> None:
        cluster = self.cluster
        cluster.pods = {key: pod for key, pod in (cluster.pods | pods).items() if key not in forgotten}
        cluster.nodes = {name: node for name, node in cluster.nodes.items() if name not in lost}
        self.rig.pods.replace([pod_object(key, pod) for key, pod in cluster.pods.items()])
        self.rig.nodes.replace([node_object(name, node) for name, node in cluster.nodes.items()])
        self.rig.namespaces.replace([namespace_object(name, uid) for name, uid in cluster.namespaces.items()])

    # The collector's side.

    @rule(gap=st.sampled_from((60, 0, -60)))
    def tick(self, gap: int) -> None:
        """Also while nothing was read anew, and out of order."""
        self.comparison.tick(gap)

    @invariant()
    def go_on(self) -> None:
        """After every other step an ordinary minute passes."""
        self.steps += 1
        if self.steps % 2 == 0:
            self.cluster.pass_time(60, (7_000_000_000, 11))
            self.comparison.tick()

    def teardown(self) -> None:
        self.comparison.tick()

    def _picked(self, pick: int) -> dict[str, Any]:
        found = [each for answer in self.cluster.kubelets.values() for each in answer.values()]
        return found[pick % len(found)]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks out of order are logged, by the hundred."""
    monkeypatch.setattr(logging.getLogger("collector.processors.rate"), "disabled", True)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_rows_are_given_to_others_and_nothing_of_an_old_owner_shows() -> None:
    """Jobs that live for a minute each, as different as can be, in the rows of the ones before."""
    comparison = Comparison()
    cluster, rig = comparison.cluster, comparison.rig
    owners: defaultdict[int, set[str]] = defaultdict(set)
    for minute in range(24):
        cluster.kubelets.clear()
        cluster.nodes.clear()
        cluster.namespaces.clear()
        node, namespace, job = f"node-{minute // 3}", f"space-{minute % 5}", f"job-{minute}"
        requests = {"cpu": minute} if minute % 2 else {"example.com/gpu": minute}
        container = {"image": f"image:{minute}", "requests": requests, "limits": {}}
        cluster.pods = {
            (namespace, job): {
                "uid": f"api-{minute}" if minute % 3 else "",
                "labels": {"minute": f"{minute}"},
                "containers": {"main": container, "waiting": container} if minute % 4 else {"main": container},
                "restarts": {"main": minute} if minute % 5 else {},
            }
        }
        if minute % 7:
            amounts = {"cpu": 1000, "memory": 1 << 30}
            labels = {"rack": f"{minute}"}
            cluster.nodes[node] = {
                "hostname": f"host-{minute}",
                "host_id": "",
                "labels": labels,
                "capacity": amounts,
                "allocatable": amounts,
            }
            cluster.namespaces[namespace] = f"uid-{minute}"
        rig.pods.replace([pod_object(key, pod) for key, pod in cluster.pods.items()])
        rig.nodes.replace([node_object(name, each) for name, each in cluster.nodes.items()])
        rig.namespaces.replace([namespace_object(name, uid) for name, uid in cluster.namespaces.items()])
        cluster.start_node(node, cpu__usage=10**9 * minute)
        cluster.start_pod(node, namespace, job, f"kubelet-{minute}", network__rx=minute)
        cluster.start_container(node, namespace, job, "main", cpu__usage=10**9 * minute, memory__usage=minute)
        cluster.pass_time(60, [5 * SECOND])
        for key, row in ((key, row) for row, key in _rows(comparison.tick())):
            owners[row].add(key)
    pods = [keys for keys in owners.values() if any(key.count("/") == 1 for key in keys)]
    assert max(len(keys) for keys in pods) >= 4  # rows did change hands
    assert len(pods) < 8  # and no more of them were needed than the memories are long
    assert rig.entities.count < 40


def _rows(batch: DataBatch) -> list[tuple[int, str]]:
    return [(row, batch.entities.key(row)) for row in np.flatnonzero(batch.exists[: batch.rows]).tolist()]


def test_rows_change_hands_while_the_api_server_has_no_news() -> None:
    """No change of a Node or Namespace reminds the enrichers to look again; half of the nodes are not known at all."""
    comparison = Comparison()
    cluster, rig = comparison.cluster, comparison.rig
    amounts = {"cpu": 1000}
    known = {"hostname": "known", "host_id": "", "labels": {}, "capacity": amounts, "allocatable": amounts}
    cluster.nodes = {f"node-{i}": known for i in range(0, 12, 2)}
    cluster.namespaces = {f"space-{i}": f"uid-{i}" for i in range(0, 12, 3)}
    rig.nodes.replace([node_object(name, each) for name, each in cluster.nodes.items()])
    rig.namespaces.replace([namespace_object(name, uid) for name, uid in cluster.namespaces.items()])
    for i in range(12):
        cluster.kubelets.clear()
        cluster.start_node(f"node-{i}", cpu__usage=i)
        cluster.start_pod(f"node-{i}", f"space-{i}", "web", "kubelet")
        comparison.tick()
    assert rig.entities.count < 20
