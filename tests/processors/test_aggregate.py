"""The aggregators where no scenario reaches: absent nodes, numbers of both types, the ends of int64."""

import numpy as np

from collector.core.metrics import INDEX, METRICS, Kind
from collector.processors.aggregate import ClusterAggregator, NamespaceAggregator, NodeAggregator, PodAggregator
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import SmallCluster, pod_object, samples_of

# Behaviour reference, sections 5.4 to 5.6, written down once more.
NAMESPACE_METRICS = {"cpu/usage_rate", "memory/usage", "cpu/request", "cpu/limit", "memory/request", "memory/limit"}
NODE_METRICS = {
    f"{resource}/{what}" for resource in ("cpu", "memory", "ephemeral_storage") for what in ("request", "limit")
}
NOT_INTO_PODS = {
    "uptime",
    "cpu/usage",
    "memory/page_faults",
    "memory/major_page_faults",
    *(f"network/{what}" for what in ("rx", "rx_errors", "tx", "tx_errors")),
}


def summed_into(kind: Kind) -> set[str]:
    return {metric.name for metric in METRICS if kind in metric.sums and not metric.extended}


def test_the_metric_table_sums_what_heapster_sums() -> None:
    ours_of_nodes = {metric.name for metric in METRICS if "/node_" in metric.name}
    assert summed_into(Kind.NAMESPACE) == summed_into(Kind.CLUSTER) == NAMESPACE_METRICS
    assert summed_into(Kind.NODE) == NODE_METRICS
    heapsters = {metric.name for metric in METRICS if not metric.extended}
    assert summed_into(Kind.POD) == heapsters - NOT_INTO_PODS - ours_of_nodes


def test_requests_of_pods_whose_node_is_not_in_the_batch_go_to_no_node() -> None:
    rig, cluster = Rig(), SmallCluster()
    spec = {"image": "", "requests": {"cpu": 5}, "limits": {}}
    for node in ("node-a", "node-b"):
        key = ("default", f"on-{node}")
        pod = {"uid": "", "labels": {}, "containers": {"main": spec}, "restarts": {}}
        rig.pods.apply([(key, pod_object(key, pod))])
        cluster.start_pod(node, *key, "kubelet")
    batch = rig.fill(samples_of(cluster.answers(), cluster.now), SECOND)
    batch.forget(np.array([rig.entities.find_node("node-a")], np.int32))
    for processor in rig.pipeline:
        processor.process(batch)
    batch.freeze()
    sets = batch.metric_sets()
    assert "node:node-a" not in sets
    assert not batch.present[:, rig.entities.find_node("node-a")].any()
    assert sets["node:node-b"].metrics["cpu/request"] == 5
    assert sets["cluster"].metrics["cpu/request"] == 10


def test_integers_are_summed_as_integers_and_floats_as_floats() -> None:
    rig, cluster = Rig(), SmallCluster()
    cluster.start_pod("node-a", "default", "web", "kubelet")
    for i, queue in enumerate((0.1, 0.2)):
        found = cluster.start_container("node-a", "default", "web", f"c{i}", memory__usage=2**60 + 1)
        found["metrics"]["custom/queue"] = queue
    metrics = (
        rig.tick(samples_of(cluster.answers(), cluster.now), SECOND).metric_sets()["namespace:default/pod:web"].metrics
    )
    assert metrics["memory/usage"] == 2**61 + 2
    assert metrics["custom/queue"] == 0.1 + 0.2


def test_what_was_left_in_a_cell_that_holds_nothing_is_never_summed() -> None:
    """A cell without presence may hold anything."""
    rig, cluster = Rig(), SmallCluster()
    for i in range(2):
        cluster.start_pod("node-a", "default", f"web-{i}", "kubelet")
        cluster.start_container("node-a", "default", f"web-{i}", "main")
    cluster.kubelets["node-a"]["namespace:default/pod:web-0/container:main"]["metrics"]["memory/usage"] = 7
    batch = rig.fill(samples_of(cluster.answers(), cluster.now), SECOND)
    m = INDEX["memory/usage"]
    batch.cells[m, : batch.rows][~batch.present[m, : batch.rows]] = 10**6
    for aggregator in (PodAggregator(), NamespaceAggregator(), NodeAggregator(), ClusterAggregator()):
        aggregator.process(batch)
    batch.freeze()
    sets = batch.metric_sets()
    assert {key: each.metrics.get("memory/usage") for key, each in sets.items()} == {
        "cluster": 7,
        "namespace:default": 7,
        "namespace:default/pod:web-0": 7,
        "namespace:default/pod:web-0/container:main": 7,
        "namespace:default/pod:web-1": None,
        "namespace:default/pod:web-1/container:main": None,
        "node:node-a": None,
    }
