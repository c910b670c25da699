"""Recorded summaries served as a cluster."""

import json
import shutil

import pytest

from collector.errors import UsageError
from collector.sim import SimConfig, SimulatedCluster


@pytest.fixture
def some_captures(captures, tmp_path):
    """A directory with the captures whose names begin as told."""

    def copy(*beginnings):
        for beginning in beginnings:
            for path in captures.glob(f"{beginning}*.json"):
                shutil.copy(path, tmp_path)
        return tmp_path

    return copy


async def test_consecutive_scrapes_are_one_node_that_serves_them_in_turn(simulate, captures, some_captures):
    directory = some_captures("k8s-1.26-linux-containerd-aks")
    simulation = await simulate(captures=directory)
    recorded = [path.read_bytes() for path in sorted(directory.glob("*.json"))]

    served = [(await simulation.kubelet(0)).body for _ in range(3)]

    assert len(simulation.cluster.node_names) == 1
    assert served == [recorded[0], recorded[1], recorded[1]]


async def test_asking_for_the_truth_takes_no_step(simulate, some_captures):
    simulation = await simulate(captures=some_captures("live-v1.36.2-summary-1", "live-v1.36.2-summary-2"))
    for _ in range(3):
        truth = simulation.cluster.truth("real-0")
        assert (await simulation.kubelet(0)).decoded() == truth


async def test_three_live_scrapes_follow_one_another(simulate, some_captures):
    directory = some_captures("live-v1.36.2-summary-1", "live-v1.36.2-summary-2", "live-v1.36.2-summary-3")
    simulation = await simulate(captures=directory)

    times = [(await simulation.kubelet(0)).decoded()["node"]["cpu"]["time"] for _ in range(4)]

    assert times == sorted(times)
    assert len(set(times)) == 3


async def test_the_api_server_lists_what_the_recordings_name(simulate, some_captures):
    simulation = await simulate(captures=some_captures("k8s-1.34", "live-v1.36.2-summary-1"))
    cluster = simulation.cluster
    nodes = {node["metadata"]["name"]: node for node in await simulation.items("/api/v1/nodes")}
    pods = {
        (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod
        for pod in await simulation.items("/api/v1/pods", limit="10")
    }
    namespaces = {body["metadata"]["name"] for body in await simulation.items("/api/v1/namespaces")}

    assert tuple(nodes) == cluster.node_names == ("datagen-1-34", "datagen-1-34-2", "real-0")
    assert nodes["datagen-1-34"]["status"]["nodeInfo"]["kubeletVersion"] == "v1.34.0"
    shown = 0
    for row, name in enumerate(cluster.node_names):
        assert nodes[name]["status"]["addresses"][0]["address"] == cluster.addresses[row]
        for reported in cluster.truth(row)["pods"]:
            pod = pods[reported["podRef"]["namespace"], reported["podRef"]["name"]]
            assert pod["spec"]["nodeName"] == name
            assert pod["metadata"]["uid"] == reported["podRef"]["uid"]
            assert pod["metadata"]["namespace"] in namespaces
            assert [part["name"] for part in pod["spec"]["containers"]] == list(
                dict.fromkeys(part["name"] for part in reported["containers"])
            )
            shown += 1
    assert shown == len(pods)


def test_only_names_that_collide_are_changed(captures, some_captures):
    directory = some_captures("k8s-1.34")
    cluster = SimulatedCluster(SimConfig(captures=directory))
    first, second = (path.read_bytes() for path in sorted(directory.glob("*.json")))

    assert bytes(cluster.world.summary_at(0, 0.0)) == first
    changed, recorded = cluster.truth(1), json.loads(second)
    assert changed["node"]["nodeName"] == recorded["node"]["nodeName"] + "-2"
    taken = {(pod["podRef"]["namespace"], pod["podRef"]["name"]) for pod in json.loads(first)["pods"]}
    for pod, original in zip(changed["pods"], recorded["pods"], strict=True):
        key = (original["podRef"]["namespace"], original["podRef"]["name"])
        assert pod["podRef"]["name"] == key[1] + ("-2" if key in taken else "")
        pod["podRef"]["name"] = original["podRef"]["name"]
    changed["node"]["nodeName"] = recorded["node"]["nodeName"]
    assert changed == recorded


def test_every_capture_becomes_a_node_with_names_of_its_own(captures):
    cluster = SimulatedCluster(SimConfig(captures=captures))
    pods = set()
    for row, name in enumerate(cluster.node_names):
        summary = cluster.truth(row)
        assert summary["node"].get("nodeName", name) == name
        here = {(pod["podRef"]["namespace"], pod["podRef"]["name"]) for pod in summary["pods"]}
        assert not here & pods
        pods |= here
    assert len(set(cluster.node_names)) == len(cluster.node_names) > 35


def test_one_pods_stats_are_wrapped_in_a_summary(captures, some_captures):
    cluster = SimulatedCluster(SimConfig(captures=some_captures("podstats")))
    (pod,) = cluster.truth(0)["pods"]

    assert cluster.node_names == ("podstats-gke-swap-google-2025",)
    assert pod == json.loads((captures / "podstats-gke-swap-google-2025.json").read_bytes())


async def test_a_replayed_kubelet_has_no_light_endpoint(simulate, some_captures):
    simulation = await simulate(captures=some_captures("podstats"))

    assert (await simulation.kubelet(0, "/metrics/resource")).status == 404


@pytest.mark.parametrize("content", [b"not JSON", b"[]", b'{"kind": "NodeList"}', b'{"node": {}, "pods": 3}', b"\xff"])
def test_a_file_that_is_no_summary_is_named(tmp_path, content):
    (tmp_path / "odd.json").write_bytes(content)

    with pytest.raises(UsageError, match=r"odd\.json"):
        SimulatedCluster(SimConfig(captures=tmp_path))


def test_a_directory_without_recordings_is_named(tmp_path):
    with pytest.raises(UsageError, match="holds no"):
        SimulatedCluster(SimConfig(captures=tmp_path))


def test_a_later_answer_of_another_cluster_does_not_follow(tmp_path):
    for number, uid in enumerate(("one", "other")):
        pod = {"podRef": {"name": "pod", "namespace": "default", "uid": uid}}
        node = {"nodeName": "node", "cpu": {"time": f"2026-01-01T00:00:0{number}Z"}}
        (tmp_path / f"{number}.json").write_text(json.dumps({"node": node, "pods": [pod]}))

    assert SimulatedCluster(SimConfig(captures=tmp_path)).node_names == ("node", "node-2")
