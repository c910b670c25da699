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


def test_no_number_outgrows_its_place_within_a_year():
    cluster = SimulatedCluster(SimConfig(nodes=2, pods=40, containers=3, clock=ManualClock(1_800_000_000.0)))
    writer = cluster.world._writer
    for days in (0.5, 30, 365):
        moment = 1_800_000_000.0 + days * 86_400
        summary = cluster.truth(1, moment)
        _, row, samples = writer.samples(1, moment)
        assert summary["node"]["cpu"]["usageCoreNanoSeconds"] == samples.nodes.cpu[row]
        assert summary["node"]["network"]["txBytes"] == samples.nodes.tx[row]
        assert summary["node"]["memory"]["pageFaults"] == samples.nodes.page_faults[row]
        pods = [slot for slot in range(40) if samples.pods.present[row, slot]]
        for slot, pod in zip(pods, summary["pods"], strict=True):
            assert pod["cpu"]["usageCoreNanoSeconds"] == samples.pods.cpu[row, slot]
            assert pod["network"]["rxBytes"] == samples.pods.rx[row, slot]
            assert pod["ephemeral-storage"]["usedBytes"] == samples.pods.storage_used[row, slot]
            places = samples.containers.present[row, slot].nonzero()[0]
            for place, part in zip(places, pod["containers"], strict=True):
                assert part["cpu"]["usageCoreNanoSeconds"] == samples.containers.cpu[row, slot, place]
                assert part["memory"]["usageBytes"] == samples.containers.usage[row, slot, place]
                assert part["memory"]["pageFaults"] == samples.containers.page_faults[row, slot, place]
                assert part["logs"]["usedBytes"] == samples.containers.logs_used[row, slot, place]


def test_a_node_full_of_containers_still_has_room_on_its_disk():
    cluster = SimulatedCluster(SimConfig(nodes=1, pods=400, containers=30, clock=ManualClock()))

    assert cluster.truth(0)["node"]["fs"]["availableBytes"] > 0


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
