"""The old Dashboard, the old autoscaler and the old `kubectl top` get what Heapster's batches hold.

A collector is fed the recorded steps; the clients ask through an API server's service proxy; what they make of the
answers is computed from the recorded batches, with the explained differences applied.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.replay.cluster import replay_cluster
from tests.replay.explained import final_world
from tests.replay.oldclients import (
    NAMED_PROXY,
    OLD_PROXY,
    PROXY,
    Autoscaler,
    Dashboard,
    DataPoint,
    RefusedError,
    Top,
    Usage,
)
from tests.replay.oracle import LONG
from tests.replay.recording import SECOND, inputs, recording
from tests.replay.running import PATIENCE, Running, running
from tests.replay.serviceproxy import ServiceProxy
from tests.replay.world import Entity

LAST = 8
"""The step in which counters go backwards, and a pod is gone from the API but not from its kubelet."""

WORLD = final_world("summary")


@dataclass
class Stage:
    run: Running
    proxy: ServiceProxy
    session: aiohttp.ClientSession


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A collector that has seen the steps up to LAST, behind a service proxy."""
    found = recording("summary")
    async with AsyncExitStack() as closing:
        cluster = await closing.enter_async_context(replay_cluster(inputs(0), tls=False))
        host, options = cluster.source_options(tmp_path)
        arguments = [f"--source=kubernetes.summary_api:{host}?{options}", "--metric_resolution=30s"]
        arguments += ["--listen_ip=127.0.0.1", "--heapster-port=0", *PATIENCE]
        run = await closing.enter_async_context(running(arguments, cluster))
        for step in range(LAST + 1):
            end, decoded, arrival = found.timestamps[step], found.decoded(step), found.arrival(step)
            await run.step(inputs(step), end, decoded=decoded, arrival=arrival)
        run.clock.now = found.taken(LAST)
        proxy = await closing.enter_async_context(ServiceProxy(run.port).listening())
        session = await closing.enter_async_context(aiohttp.ClientSession())
        yield Stage(run, proxy, session)


def points(key: str, metric: str, steps: Sequence[int]) -> list[DataPoint]:
    cells = [(WORLD.timestamps[step] // SECOND, WORLD.cell((step, key, metric, ()))) for step in steps]
    return [DataPoint(time, max(0, int(value))) for time, value in cells if value is not None]


def pods_of(namespace: str, step: int = LAST) -> list[str]:
    objects = inputs(step).objects["pods"]
    return [each["metadata"]["name"] for each in objects if each["metadata"]["namespace"] == namespace]


@pytest.mark.parametrize("prefix", [OLD_PROXY, NAMED_PROXY])
async def test_the_dashboard_draws_nodes_and_pods(stage: Stage, prefix: str) -> None:
    dashboard = Dashboard(stage.session, stage.proxy.url, prefix)
    assert await dashboard.healthy()
    drawn = 0
    for metric in ("cpu/usage_rate", "memory/usage"):
        for node in ("node-0000", "node-0001", "node-0002"):
            expected = points(f"node:{node}", metric, range(LAST + 1))
            assert await dashboard.node(node, metric) == expected
            drawn += len(expected)
        for namespace in ("default", "kube-system", "team-a", "team-b"):
            names = pods_of(namespace)
            keys = [f"namespace:{namespace}/pod:{name}" for name in names]
            expected_pods = [points(key, metric, range(LAST + 1)) for key in keys]
            assert await dashboard.pods(namespace, names, metric) == expected_pods
            drawn += sum(map(len, expected_pods))
    assert drawn > 200
    assert all(target.startswith(("/api/v1/model/", "/healthz")) for target in stage.proxy.forwarded)


async def test_the_dashboard_keeps_the_places_of_pods_nobody_knows(stage: Stage) -> None:
    dashboard = Dashboard(stage.session, stage.proxy.url, OLD_PROXY)
    names = ["nosuch", "router-nf9rp", "other", "db-143ebc0a7b-p4f8x"]
    drawn = await dashboard.pods("default", names, "cpu/usage_rate")
    assert [bool(each) for each in drawn] == [False, True, False, True]
    # A pod's rate is its own counter's: that its containers' counters went backwards leaves it alone.
    assert drawn[3] == points("namespace:default/pod:db-143ebc0a7b-p4f8x", "cpu/usage_rate", range(LAST + 1))


def containers(pod: str, step: int, names: Sequence[str]) -> list[Entity]:
    return [WORLD.sets[step][f"{pod}/container:{name}"] for name in names]


def resource_truth(namespace: str, metric: str, scale: int) -> dict[str, int]:
    """Pod -> sum over its spec's containers, of pods all of whose containers have CPU and memory."""
    found = {}
    for each in inputs(LAST).objects["pods"]:
        meta, names = each["metadata"], [container["name"] for container in each["spec"]["containers"]]
        key = f"namespace:{meta['namespace']}/pod:{meta['name']}"
        if meta["namespace"] != namespace or not all(f"{key}/container:{name}" in WORLD.sets[LAST] for name in names):
            continue
        sets = containers(key, LAST, names)
        if all("cpu/usage_rate" in one.metrics and "memory/working_set" in one.metrics for one in sets):
            found[meta["name"]] = sum(int(one.metrics[metric]) * scale for one in sets)
    return found


@pytest.mark.parametrize("namespace", ["default", "kube-system", "team-a", "team-b"])
async def test_the_autoscaler_reads_cpu_and_memory(stage: Stage, namespace: str) -> None:
    autoscaler = Autoscaler(stage.session, stage.proxy.url, PROXY)
    cpu, memory = resource_truth(namespace, "cpu/usage_rate", 1), resource_truth(namespace, "memory/working_set", 1000)
    assert cpu
    assert await autoscaler.resource(namespace, "cpu", "") == cpu
    assert await autoscaler.resource(namespace, "memory", "") == memory
    # Counters of its containers went backwards: no rate, and so no pod. Heapster told it of -5,891,663 millicores.
    assert "db-143ebc0a7b-p4f8x" not in cpu


async def test_the_autoscaler_selects_by_labels(stage: Stage) -> None:
    autoscaler = Autoscaler(stage.session, stage.proxy.url, PROXY)
    tiers = {
        each["metadata"]["name"]: (each["metadata"].get("labels") or {}).get("tier")
        for each in inputs(LAST).objects["pods"]
    }
    truth = resource_truth("kube-system", "cpu/usage_rate", 1)
    for tier in set(tiers.values()) - {None}:
        wanted = {name: value for name, value in truth.items() if tiers[name] == tier}
        if wanted:
            assert await autoscaler.resource("kube-system", "cpu", f"tier={tier}") == wanted
        else:
            with pytest.raises(RefusedError, match="no metrics returned"):
                await autoscaler.resource("kube-system", "cpu", f"tier={tier}")


@pytest.mark.parametrize("metric", ["cpu/usage_rate", "memory/usage", "restart_count", "network/rx_rate", "cpu-usage"])
async def test_the_autoscaler_reads_custom_metrics(stage: Stage, metric: str) -> None:
    autoscaler = Autoscaler(stage.session, stage.proxy.url, PROXY)
    name = {"cpu-usage": "cpu/usage_rate"}.get(metric, metric)
    asked = 0
    for namespace in ("default", "kube-system", "team-a", "team-b"):
        pods, expected = pods_of(namespace), {}
        for pod in pods:
            found = points(
                f"namespace:{namespace}/pod:{pod}", name, range(LAST + 1) if name in LONG else WORLD.held(LAST)
            )
            recent = [point.y for point in found if point.x + 60 > found[-1].x]
            if recent:
                expected[pod] = sum(recent) * 1000 // len(recent)
        assert await autoscaler.custom(namespace, pods, metric, stage.run.clock.now) == expected
        asked += len(expected)
    assert asked >= (7 if metric == "network/rx_rate" else 10)
    assert "start=2026-11-23T01%3A27%3A06Z" in stage.proxy.forwarded[-1]


async def test_top_prints_nodes(stage: Stage) -> None:
    top = Top(stage.session, stage.proxy.url, PROXY)
    expected = {}
    for name in ("node-0000", "node-0001", "node-0002"):
        node = WORLD.sets[LAST][f"node:{name}"].metrics
        if "cpu/usage_rate" in node:
            mebibytes = int(node["memory/working_set"]) >> 20
            expected[name] = Usage(name, f"{node['cpu/usage_rate']}m", f"{mebibytes}Mi")
    assert expected
    assert {one.name: one for one in await top.nodes()} == expected
    assert [await top.nodes(name) for name in expected] == [[usage] for usage in expected.values()]
    with pytest.raises(RefusedError, match="No metrics for node nosuch"):
        await top.nodes("nosuch")
    assert "/apis/metrics/v1alpha1/nodes?labelSelector=" in stage.proxy.forwarded


async def test_top_prints_pods(stage: Stage) -> None:
    top = Top(stage.session, stage.proxy.url, PROXY)
    everything = []
    for namespace in ("default", "kube-system", "team-a", "team-b"):
        cpu, memory = resource_truth(namespace, "cpu/usage_rate", 1), resource_truth(namespace, "memory/working_set", 1)
        expected = {name: Usage(name, f"{cpu[name]}m", f"{memory[name] >> 20}Mi") for name in cpu}
        assert {one.name: one for one in await top.pods(namespace)} == expected
        for name, usage in expected.items():
            assert await top.pods(namespace, name) == [usage]
        everything += list(expected.values())
    assert sorted(map(repr, await top.pods(""))) == sorted(map(repr, everything))
    assert await top.pods("nosuch") == []
    with pytest.raises(RefusedError, match="No metrics availalble for pod default/db-143ebc0a7b-p4f8x"):
        await top.pods("default", "db-143ebc0a7b-p4f8x")


async def test_redirects_keep_the_prefix(stage: Stage) -> None:
    url = f"{stage.proxy.url}{PROXY}/api/v1/model//metrics/"
    async with stage.session.get(url, allow_redirects=True) as answer:
        assert (answer.status, answer.url.path) == (200, f"{PROXY}/api/v1/model/metrics/")
