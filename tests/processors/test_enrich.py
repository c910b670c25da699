"""PodEnricher and NamespaceEnricher where no scenario reaches: stub pods, reused rows, overlapping ticks, limits."""

import json
from typing import Any

import numpy as np
from msgspec import structs

from collector.core.batch import DataBatch
from collector.core.metrics import DYNAMIC_LIMIT, Kind
from collector.sources.cadvisor import decode_cadvisor
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import SmallCluster, namespace_object, node_object, pod_object, samples_of

KEY = ("default", "web")
POD = "namespace:default/pod:web"


def specified(*containers: str, **requests: int) -> dict[str, Any]:
    """A pod whose containers all request the same."""
    each = {"image": "nginx:1", "requests": requests, "limits": {}}
    return {"uid": "api", "labels": {"app": "web"}, "containers": dict.fromkeys(containers, each), "restarts": {}}


def without_pod_set(rig: Rig, cluster: SmallCluster, timestamp: int) -> DataBatch:
    """A batch in which a source told of the containers, but not of their pods, as sources other than kubelets may."""
    batch = rig.fill(samples_of(cluster.answers(), cluster.now), timestamp)
    batch.forget(batch.rows_of(Kind.POD).astype(np.int32))
    for processor in rig.pipeline:
        processor.process(batch)
    batch.freeze()
    return batch


def test_a_pod_no_source_told_of_is_there_through_its_containers() -> None:
    rig, cluster = Rig(), SmallCluster()
    rig.pods.apply([(KEY, pod_object(KEY, specified("main", "waiting", cpu=100)))])
    cluster.start_pod("node-a", "default", "web", "kubelet", memory__usage=1000)
    cluster.start_container("node-a", "default", "web", "main", memory__usage=10)
    sets = without_pod_set(rig, cluster, SECOND).metric_sets()
    assert sets[POD].metrics["memory/usage"] == 10
    assert sets[POD].metrics["cpu/request"] == 200
    assert (sets[POD].scrape_time, sets[POD].start_time) == (0, 0)
    assert sets[POD].labels["labels"] == "app:web"
    assert sets[f"{POD}/container:waiting"].metrics["cpu/request"] == 100
    assert sets["node:node-a"].metrics["cpu/request"] == 200


def test_containers_of_a_pod_nobody_knows_make_a_pod_and_a_namespace_with_its_uid() -> None:
    rig, cluster = Rig(), SmallCluster()
    rig.namespaces.apply([("default", namespace_object("default", "ns-1"))])
    cluster.start_pod("node-a", "default", "web", "kubelet", network__rx=1)
    cluster.start_container("node-a", "default", "web", "main", memory__usage=10)
    sets = without_pod_set(rig, cluster, SECOND).metric_sets()
    assert sets[POD].metrics == {"memory/usage": 10}
    assert sets["namespace:default"].metrics == {"memory/usage": 10}
    assert sets["namespace:default"].labels["namespace_id"] == "ns-1"
    assert sets[f"{POD}/container:main"].labels["namespace_id"] == "ns-1"


def test_a_pod_that_only_its_containers_spoke_of_has_no_node_name() -> None:
    rig, cluster = Rig(), SmallCluster()
    cluster.start_pod("node-a", "default", "web", "kubelet")
    cluster.start_container("node-a", "default", "web", "main", memory__usage=10)
    batch = without_pod_set(rig, cluster, SECOND)
    row = rig.entities.find_pod(*KEY)
    version = rig.entities.label_version[row]
    sets = batch.metric_sets()
    names = {"pod_name": "web", "namespace_name": "default", "pod_id": "kubelet"}
    assert sets[POD].labels == {"type": "pod", "hostname": "node-a", "host_id": "", **names}
    assert sets[f"{POD}/container:main"].labels["nodename"] == "node-a"

    sets = rig.tick(samples_of(cluster.answers(), cluster.now), 61 * SECOND).metric_sets()
    assert sets[POD].labels["nodename"] == "node-a"
    assert rig.entities.label_version[row] != version


def test_a_pod_whose_pause_container_is_missing_is_the_enrichers_or_the_aggregators() -> None:
    def container(pod: str) -> dict[str, Any]:
        labels = {"container.name": "main", "pod.namespace": "default", "pod.name": pod, "pod.uid": "kubelet"}
        spec = {"has_memory": True, "labels": {f"io.kubernetes.{name}": text for name, text in labels.items()}}
        return {"name": f"/docker/{pod}", "spec": spec, "stats": [{"memory": {"usage": 10}}]}

    rig = Rig()
    rig.pods.apply([(KEY, pod_object(KEY, specified("main")))])
    body = json.dumps({pod: container(pod) for pod in ("web", "gone")}).encode()
    sets = rig.tick([decode_cadvisor(body, "node-a", SECOND, schedulable=True)], SECOND).metric_sets()
    assert sets[POD].labels["nodename"] == "node-a"
    assert sets[POD].labels["labels"] == "app:web"
    gone = sets["namespace:default/pod:gone"]
    names = {"pod_name": "gone", "namespace_name": "default", "pod_id": "kubelet"}
    assert gone.labels == {"type": "pod", "hostname": "node-a", "host_id": "", **names}
    assert (gone.metrics["memory/usage"], sets["cluster"].metrics["memory/usage"]) == (10, 20)


def test_requests_beyond_the_room_for_new_metrics_are_left_out_and_nothing_else_is() -> None:
    rig, cluster = Rig(), SmallCluster()
    requests = {f"example.com/device-{i:03}": i for i in range(DYNAMIC_LIMIT + 5)}
    rig.pods.apply([(KEY, pod_object(KEY, specified("main", cpu=100, **requests)))])
    cluster.start_pod("node-a", "default", "web", "kubelet")
    cluster.start_container("node-a", "default", "web", "main")
    for minute in (1, 2):
        sets = rig.tick(samples_of(cluster.answers(), cluster.now), minute * 60 * SECOND).metric_sets()
        for key in (POD, f"{POD}/container:main"):
            found = {name: value for name, value in sets[key].metrics.items() if name.startswith("example.com")}
            assert found == {f"{name}/request": i for name, i in list(requests.items())[:DYNAMIC_LIMIT]}
            assert sets[key].metrics["cpu/request"] == 100
    assert len(rig.metrics.refused) == 5


def test_a_row_with_a_new_owner_has_nothing_of_the_old_ones_specification() -> None:
    rig, cluster = Rig(short_retention_ns=1, long_retention_ns=1), SmallCluster()
    rig.pods.apply([(KEY, pod_object(KEY, specified("main", cpu=100)))])
    cluster.start_pod("node-a", "default", "web", "kubelet")
    cluster.start_container("node-a", "default", "web", "main")
    rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    rows = rig.entities.find_pod(*KEY), rig.entities.find_child(rig.entities.find_pod(*KEY), "main")
    cluster.stop_pod("node-a", POD)
    for minute in (2, 3):
        rig.tick(samples_of(cluster.answers(), cluster.now), minute * 60 * SECOND)
    cluster.start_pod("node-a", "default", "stranger", "kubelet")
    cluster.start_container("node-a", "default", "stranger", "main")
    sets = rig.tick(samples_of(cluster.answers(), cluster.now), 240 * SECOND).metric_sets()
    stranger = rig.entities.find_pod("default", "stranger")
    assert (stranger, rig.entities.find_child(stranger, "main")) == rows
    assert sets["namespace:default/pod:stranger"].metrics == {"uptime": 0}
    assert sets["namespace:default/pod:stranger/container:main"].metrics == {"uptime": 0}
    assert "labels" not in sets["namespace:default/pod:stranger"].labels


def test_a_stub_created_while_the_next_tick_was_under_way_never_joins_another_pod() -> None:
    """Its row is younger than that of its pod, which must not be given to a stranger alone."""
    rig, cluster = Rig(), SmallCluster()
    rig.pods.apply([(KEY, pod_object(KEY, specified("waiting", cpu=5)))])
    cluster.start_pod("node-a", "default", "web", "kubelet")
    first = rig.fill(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    cluster.stop_pod("node-a", POD)
    second = rig.fill(samples_of(cluster.answers(), cluster.now), 120 * SECOND)
    for batch in (first, second):
        for processor in rig.pipeline:
            processor.process(batch)
        batch.freeze()
    assert f"{POD}/container:waiting" in first.metric_sets()
    del first, second, batch
    for minute in (3, 4, 5):
        rig.entities.sweep()
        stranger = f"stranger-{minute}"
        cluster.start_pod("node-a", "default", stranger, "kubelet")
        sets = rig.tick(samples_of(cluster.answers(), cluster.now), minute * 60 * SECOND).metric_sets()
        assert sets.keys() == {"cluster", "node:node-a", "namespace:default", f"namespace:default/pod:{stranger}"}
        cluster.stop_pod("node-a", f"namespace:default/pod:{stranger}")


def test_a_change_of_a_pod_that_only_a_later_tick_has_waits_for_that_tick() -> None:
    """The later tick has made rows that the earlier batch has no room for."""
    rig, cluster = Rig(), SmallCluster()
    early = rig.fill([], 60 * SECOND)
    for i in range(2000):
        cluster.start_pod("node-a", "default", f"web-{i}", "kubelet")
    late = rig.fill(samples_of(cluster.answers(), cluster.now), 120 * SECOND)
    rig.pods.apply([(("default", f"web-{i}"), pod_object(("default", f"web-{i}"), specified())) for i in range(2000)])
    assert early.rows < late.rows
    for batch in (early, late):
        for processor in rig.pipeline:
            processor.process(batch)
        batch.freeze()
    assert early.metric_sets().keys() == {"cluster"}
    assert late.metric_sets()["namespace:default/pod:web-1999"].labels["labels"] == "app:web"


def test_stubs_beyond_the_rows_of_the_batch_make_it_grow() -> None:
    rig, cluster = Rig(), SmallCluster()
    containers = [f"c{i}" for i in range(10_000)]
    rig.pods.apply([(KEY, pod_object(KEY, specified(*containers, cpu=3)))])
    cluster.start_pod("node-a", "default", "web", "kubelet", memory__usage=7)
    batch = rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    assert batch.metric_set(rig.entities.find_pod(*KEY)).metrics["cpu/request"] == 30_000
    assert batch.metric_set(rig.entities.find_pod(*KEY)).metrics["memory/usage"] == 7
    assert batch.count(Kind.POD_CONTAINER) == 10_000


def test_replicas_share_one_mapping_of_an_image() -> None:
    rig, cluster = Rig(), SmallCluster()
    for name in ("one", "two"):
        rig.pods.apply([(("default", name), pod_object(("default", name), specified("main")))])
        cluster.start_pod("node-a", "default", name, "kubelet")
    rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    one, two = (rig.entities.find_child(rig.entities.find_pod("default", name), "main") for name in ("one", "two"))
    assert rig.entities.own_labels(one) == {"container_base_image": "nginx:1"}
    assert rig.entities.own_labels(one) is rig.entities.own_labels(two)


def test_an_image_that_is_not_said_is_an_empty_label_and_of_two_counts_of_restarts_the_first_counts() -> None:
    rig, cluster = Rig(), SmallCluster()
    pod = pod_object(KEY, specified("main", "waiting"))
    bare = tuple(structs.replace(each, image="") for each in pod.containers)
    pod = structs.replace(pod, containers=bare, restart_counts=(("main", 2), ("main", 5)))
    rig.pods.apply([(KEY, pod)])
    cluster.start_pod("node-a", "default", "web", "kubelet")
    cluster.start_container("node-a", "default", "web", "main", memory__usage=10)
    sets = rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND).metric_sets()
    assert sets[f"{POD}/container:main"].labels["container_base_image"] == ""
    assert sets[f"{POD}/container:waiting"].labels["container_base_image"] == ""
    assert sets[f"{POD}/container:main"].metrics["restart_count"] == 2


def test_label_versions_rest_while_nothing_changes() -> None:
    """What is cached by label version stays good from tick to tick."""
    rig, cluster = Rig(), SmallCluster()
    rig.namespaces.apply([("default", namespace_object("default", "ns-1"))])
    rig.pods.apply([(KEY, pod_object(KEY, specified("main", "waiting", cpu=5)))])
    cluster.start_pod("node-a", "default", "web", "kubelet")
    cluster.start_container("node-a", "default", "web", "main")
    rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    versions = rig.entities.label_version.copy()
    rig.pods.replace([pod_object(KEY, specified("main", "waiting", cpu=5))])
    rig.tick(samples_of(cluster.answers(), cluster.now), 120 * SECOND)
    assert np.array_equal(rig.entities.label_version, versions)


def test_label_versions_change_below_what_changed_and_nowhere_else() -> None:
    rig, cluster = Rig(), SmallCluster()
    amounts: dict[str, Any] = {"labels": {}, "capacity": {}, "allocatable": {}}
    nodes = {name: {"hostname": name, "host_id": "", **amounts} for name in ("node-a", "node-b")}
    rig.nodes.replace([node_object(name, node) for name, node in nodes.items()])
    for node, namespace in (("node-a", "default"), ("node-b", "default"), ("node-a", "other")):
        cluster.start_system(node, "kubelet")
        cluster.start_pod(node, namespace, f"on-{node}", "kubelet")
        cluster.start_container(node, namespace, f"on-{node}", "main")

    def changed_by(minute: int) -> set[str]:
        before = rig.entities.label_version.copy()
        batch = rig.tick(samples_of(cluster.answers(), cluster.now), minute * 60 * SECOND)
        changed = rig.entities.label_version[: before.size] != before
        found = np.flatnonzero(batch.exists[: before.size] & changed)
        return {rig.entities.key(row) for row in found.tolist()}

    rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    assert changed_by(2) == set()
    rig.nodes.apply([("node-a", node_object("node-a", nodes["node-a"] | {"host_id": "i-1"}))])
    on_node_a = {f"namespace:{namespace}/pod:on-node-a" for namespace in ("default", "other")}
    on_node_a |= {f"{pod}/container:main" for pod in on_node_a}
    assert changed_by(3) == on_node_a | {"node:node-a", "node:node-a/container:kubelet"}
    rig.namespaces.apply([("other", namespace_object("other", "ns-2"))])
    other = "namespace:other/pod:on-node-a"
    assert changed_by(4) == {"namespace:other", other, f"{other}/container:main"}
    rig.pods.apply([(("other", "on-node-a"), pod_object(("other", "on-node-a"), specified()))])
    assert changed_by(5) == {other, f"{other}/container:main"}
