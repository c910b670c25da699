"""Every source through the whole collector, against simulated kubelets of both ages."""

import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from collector.app import Collector
from collector.core.batch import DataBatch, MetricSet
from collector.core.metrics import Kind
from collector.options import SECOND, Options
from collector.sim import ManualClock, SimConfig, SimulatedCluster


@contextlib.asynccontextmanager
async def simulated(**changed: object) -> AsyncIterator[SimulatedCluster]:
    clock = ManualClock(float(int(time.time())))
    sizes = {"nodes": 3, "pods": 8, "containers": 2, "housekeeping": 1, "churn": 0.0, "clock": clock}
    async with SimulatedCluster(SimConfig(**{**sizes, **changed})) as cluster:  # type: ignore[arg-type]
        yield cluster


async def collected(cluster: SimulatedCluster, source: str) -> tuple[DataBatch, dict[str, MetricSet]]:
    """The second of two batches, a minute of the cluster's time apart."""
    key, _, further = source.partition("?")
    access = f"inClusterConfig=false&auth={cluster.kubeconfig}&kubeletHttps=true&kubeletPort={cluster.kubelet_port}"
    collector = Collector(
        Options(
            source=(f"{key}:?{access}&{further}",),
            listen_ip="127.0.0.1",
            heapster_port=0,
            kube_start_timeout=20 * SECOND,
        )
    )
    await collector.start()
    try:
        end = time.time_ns() // (60 * SECOND) * 60 * SECOND - 180 * SECOND
        await collector.tick(end)
        cluster.advance(60)
        batch = (await collector.tick(end + 60 * SECOND)).batch
    finally:
        await collector.stop()
    return batch, batch.metric_sets()


def totals(sets: dict[str, MetricSet], name: str) -> dict[str, int | float]:
    return {key: each.metrics[name] for key, each in sets.items() if each.labels["type"] in {"pod", "ns", "cluster"}}


async def test_old_kubelets_give_the_totals_their_summaries_give() -> None:
    """F5: a pod is its pause container and its containers."""
    async with simulated(old_kubelets=True) as cluster:
        batch, old = await collected(cluster, "kubernetes")
        _, summary = await collected(cluster, "kubernetes.summary_api")
    assert batch.count(Kind.NODE) == 3
    # A minute lies between the two: memory moves a little, and the pods of one cluster have one name.
    assert totals(old, "memory/usage").keys() == totals(summary, "memory/usage").keys()
    for name, tolerance in (("memory/usage", 0.4), ("cpu/usage_rate", 0.6)):
        here, there = totals(old, name), totals(summary, name)
        for key, value in here.items():
            assert value == pytest.approx(there[key], rel=tolerance), (key, name)
    for key, each in old.items():
        if each.labels["type"] == "pod":
            inside = [one.metrics for name, one in old.items() if name.startswith(f"{key}/container:")]
            assert len(inside) == 2
            pause = each.metrics["memory/usage"] - sum(metrics["memory/usage"] for metrics in inside)
            assert pause == 503_808
    assert {each.labels["schedulable"] for each in old.values() if each.labels["type"] == "node"} == {"true"}
    assert any(each.name == "disk/io_read_bytes_rate" for each in old["node:sim-node-00000"].labeled)


async def test_current_kubelets_are_read_by_their_summaries(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as cluster:
        batch, _ = await collected(cluster, "kubernetes")
    assert batch.count(Kind.NODE) == 3
    assert batch.count(Kind.POD) == 24
    assert caplog.text.count("/stats/summary is read instead") == 3


async def test_with_cadvisor_nodes_and_containers_have_disks_load_cache_and_throttling() -> None:
    async with simulated() as cluster:
        _, sets = await collected(cluster, "kubernetes.summary_api?cadvisor=true")
        plain = (await collected(cluster, "kubernetes.summary_api"))[1]
    assert sets.keys() == plain.keys()
    node = sets["node:sim-node-00001"]
    disks = {each.name: each.value for each in node.labeled if each.labels["resource_id"] == "/dev/vda"}
    assert disks["disk/io_read_bytes_rate"] == pytest.approx(20_480, rel=0.02)
    assert disks["disk/io_write_bytes_rate"] == pytest.approx(102_400, rel=0.02)
    assert node.metrics["memory/cache"] > 0
    containers = [each for each in sets.values() if each.labels["type"] == "pod_container"]
    assert all("memory/cache" in each.metrics for each in containers)
    assert any(each.metrics.get("cpu/throttled_periods", 0) > 0 for each in containers)
    pods = [each for each in sets.values() if each.labels["type"] == "pod"]
    assert all("cpu/load" in each.metrics and "memory/cache" in each.metrics for each in pods)
    assert sets["node:sim-node-00001/container:kubelet"].metrics["memory/cache"] >= 0


@pytest.mark.parametrize("old", [False, True])
async def test_the_text_alone_gives_nodes_pods_and_containers(old: bool) -> None:
    async with simulated(old_kubelets=old) as cluster:
        batch, sets = await collected(cluster, "kubernetes.cadvisor?cgroups=kubepods")
        truth = cluster.truth("sim-node-00000")
    assert (batch.count(Kind.NODE), batch.count(Kind.POD), batch.count(Kind.POD_CONTAINER)) == (3, 24, 48)
    assert batch.count(Kind.SYS_CONTAINER) == 3
    for pod in truth["pods"]:
        reference = pod["podRef"]
        found = sets[f"namespace:{reference['namespace']}/pod:{reference['name']}"]
        assert found.metrics["memory/usage"] == pod["memory"]["usageBytes"]
        assert found.metrics["cpu/usage_rate"] >= 0
        assert found.metrics["cpu/request"] >= 0
