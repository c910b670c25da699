"""Clusters of odd and of large sizes."""

import json

import pytest

from collector.sim import ManualClock, SimConfig, SimulatedCluster


@pytest.mark.parametrize(("pods", "containers"), [(1, 1), (2, 3), (3, 1), (7, 2), (8, 1), (110, 1), (5, 9)])
def test_any_number_of_pods_and_containers_is_served(pods, containers):
    clock = ManualClock()
    cluster = SimulatedCluster(SimConfig(nodes=3, pods=pods, containers=containers, churn=1.0, clock=clock))
    for _ in range(8):
        clock.advance(13)
        summary = cluster.truth(2)
        assert len(summary["pods"]) <= pods
        for pod in summary["pods"]:
            names = [part["name"] for part in pod["containers"]]
            assert 1 <= len(names) == len(set(names)) <= containers
    cluster.advance(0)


def test_five_thousand_nodes_are_drawn_and_answer():
    cluster = SimulatedCluster(SimConfig(nodes=5_000, pods=30, clock=ManualClock()))

    assert len(cluster.addresses) == len(set(cluster.addresses)) == 5_000
    for node in (0, 2_500, 4_999):
        summary = json.loads(bytes(cluster.world.summary_at(node, 1_800_000_060.0)))
        assert summary["node"]["nodeName"] == f"sim-node-{node:05d}"
        assert 25 <= len(summary["pods"]) <= 30


async def test_five_hundred_kubelets_listen_on_one_port(simulate):
    simulation = await simulate(nodes=500, pods=2)

    for node in (0, 250, 499):
        assert (await simulation.kubelet(node)).decoded()["node"]["nodeName"] == f"sim-node-{node:05d}"
    assert len(await simulation.items("/api/v1/nodes", limit="200")) == 500


def test_a_cluster_without_churn_keeps_its_pods():
    cluster = SimulatedCluster(SimConfig(nodes=1, churn=0.0, clock=ManualClock(1_800_000_000.0)))

    def uids(at):
        return {pod["podRef"]["uid"] for pod in cluster.truth(0, at)["pods"]}

    assert uids(1_800_000_060.0) == uids(1_800_086_400.0)
