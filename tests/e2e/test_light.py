"""The light cadence over real sockets: kubectl and the API show what the simulated kubelets said, to the digit."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.server import ApiServer
from collector.app import Collector
from collector.options import SECOND
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.clock import ManualClock
from collector.sim.faults import Fault, FaultKind
from tests.e2e.test_collector import options, running, window
from tests.e2e.test_kubectl import Front, Stage, shown

NOW = 1_790_000_000.0
ROUND = 15 * SECOND
SECOND_MS = 1000
_CPU, _MEMORY = "cpu_usage_seconds_total", "memory_working_set_bytes"
Key = tuple[str, ...]
"""(node,) or (namespace, pod, container)."""


def said(cluster: SimulatedCluster) -> dict[Key, tuple[int, int, int]]:
    """What every kubelet's light endpoint says now: ns of CPU, ms of the sample, bytes."""
    found: dict[Key, dict[str, tuple[float, float]]] = {}
    for number, name in enumerate(cluster.node_names):
        body = cluster.world.resource(number)
        assert body is not None
        for family in text_string_to_metric_families(bytes(body).decode()):
            for sample in family.samples:
                kind, _, metric = sample.name.partition("_")
                if kind in {"node", "container"} and metric in {_CPU, _MEMORY}:
                    labels = sample.labels
                    key = (name,) if kind == "node" else (labels["namespace"], labels["pod"], labels["container"])
                    found.setdefault(key, {})[metric] = (sample.value, sample.timestamp)
    # What a float64 holds of so few seconds, and of such times, is exact to the nanosecond and the millisecond.
    return {
        key: (
            round(values[_CPU][0] * 1e9),
            round(values[_CPU][1] * SECOND_MS),
            int(values[_MEMORY][0]),
        )
        for key, values in found.items()
    }


def expected(first: dict[Key, tuple[int, int, int]], second: dict[Key, tuple[int, int, int]]) -> dict[Key, tuple]:
    """Nanocores and bytes between two answers."""
    return {
        key: ((used - first[key][0]) * 1000 // (at - first[key][1]), memory)
        for key, (used, at, memory) in second.items()
        if key in first
    }


@asynccontextmanager
async def collecting(folder: Path, *, sim: dict[str, Any] | None = None, **changed: object) -> AsyncIterator[Any]:
    config = {"nodes": 3, "pods": 4, "containers": 2, "housekeeping": 1, "churn": 0.0, "clock": ManualClock(NOW)}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    asked = {"api_server": True, "secure_port": port, "bind_address": "127.0.0.1", "cert_dir": str(folder / "pair")}
    async with SimulatedCluster(SimConfig(**{**config, **(sim or {})})) as cluster:  # type: ignore[arg-type]
        collector = Collector(options(cluster, **{**asked, **changed}), clock=cluster.config.clock)
        async with running(collector):
            yield cluster, collector


async def test_the_second_server_may_be_the_only_one(tmp_path: Path) -> None:
    async with collecting(tmp_path, main_port=False) as (cluster, collector):
        await light_round(cluster, collector)
        await light_round(cluster, collector, later=15)
        assert not collector.api.listening
        assert collector.secure is not None
        assert len(await usage(collector)) > len(cluster.node_names)


async def light_round(cluster: SimulatedCluster, collector: Collector, *, later: float = 0.0):
    """What the kubelets say after so many seconds, and the report of the round that reads it."""
    if later:
        cluster.advance(later)
    truth = said(cluster) if not cluster.config.old_kubelets else {}
    assert collector.light is not None
    return truth, await collector.light.scrape(int(cluster.config.clock() * SECOND))


async def ask(collector: Collector, path: str) -> Any:
    """The document at a path of the second server's API."""
    served = Dispatcher(collector._context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
    answer = (await served.answer("GET", path, {})).answer
    body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
    return json.loads(body)


async def usage(collector: Collector) -> dict[Key, tuple[int, int]]:
    """Nanocores and bytes of everything the API shows."""
    found: dict[Key, tuple[int, int]] = {}
    for node in (await ask(collector, "/apis/metrics.k8s.io/v1beta1/nodes"))["items"]:
        found[node["metadata"]["name"],] = _amounts(node["usage"])
    for pod in (await ask(collector, "/apis/metrics.k8s.io/v1/pods"))["items"]:
        for container in pod["containers"]:
            key = (pod["metadata"]["namespace"], pod["metadata"]["name"], container["name"])
            found[key] = _amounts(container["usage"])
    return found


def _amounts(usage: dict[str, str]) -> tuple[int, int]:
    powers = {"n": 1, "u": 10**3, "m": 10**6}
    cpu, memory = usage["cpu"], usage["memory"]
    nano = int(cpu[:-1]) * powers[cpu[-1]] if cpu[-1] in powers else int(cpu) * 10**9
    binary = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
    return nano, int(memory[:-2]) * binary[memory[-2:]] if memory[-2:] in binary else int(memory)


async def test_after_two_rounds_every_rate_is_exact_and_no_batch_is_needed(tmp_path):
    async with collecting(tmp_path) as (cluster, collector):
        first, _ = await light_round(cluster, collector)
        assert await usage(collector) == {}, "one sample is no rate"
        second, report = await light_round(cluster, collector, later=15)
        assert (report.answered, dict(report.failed)) == (3, {})
        assert collector.store.latest() is None
        found = await usage(collector)
        assert found == expected(first, second)
        assert len(found) >= 3 + 3 * 4 * 2
        node = cluster.node_names[0]
        document = await ask(collector, f"/apis/metrics.k8s.io/v1beta1/nodes/{node}")
        elapsed = second[node,][1] - first[node,][1]
        assert document["window"] == f"{elapsed / 1000:g}s"
        assert document["usage"].keys() == {"cpu", "memory", "swap"}
        # Heapster's own version answers from the batches, and there is none.
        assert (await ask(collector, "/apis/metrics.k8s.io/v1alpha1/nodes"))["items"] == []
        text = collector.metrics.registry.get_sample_value("heapster_light_rounds_total", {"outcome": "ok"})
        assert text == 2


async def test_ephemeral_storage_is_the_batches_where_they_know_it(tmp_path):
    async with collecting(tmp_path) as (cluster, collector):
        await light_round(cluster, collector)
        await light_round(cluster, collector, later=15)
        await collector.tick(window(0))
        await asyncio.sleep(0)
        truth = cluster.truth(cluster.node_names[0])
        stored = {
            (pod["podRef"]["namespace"], pod["podRef"]["name"], each["name"]): each["rootfs"]["usedBytes"]
            + each["logs"]["usedBytes"]
            for pod in truth["pods"]
            for each in pod["containers"]
        }
        pods = (await ask(collector, "/apis/metrics.k8s.io/v1beta1/pods"))["items"]
        shown_here = {
            (pod["metadata"]["namespace"], pod["metadata"]["name"], each["name"]): each["usage"]
            for pod in pods
            for each in pod["containers"]
        }
        assert stored.keys() <= shown_here.keys()
        for key, size in stored.items():
            assert list(shown_here[key]) == ["cpu", "ephemeral-storage", "memory", "swap"]
            ephemeral = {"cpu": "0", "memory": shown_here[key]["ephemeral-storage"]}
            assert _amounts(ephemeral)[1] == size


async def test_kubectl_top_prints_what_the_kubelets_measured(tmp_path):
    async with collecting(tmp_path) as (cluster, collector):
        first, _ = await light_round(cluster, collector)
        second, _ = await light_round(cluster, collector, later=15)
        answering = Dispatcher(collector._context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
        server = ApiServer(collector._context, host="127.0.0.1", port=0, flag="--secure-port", dispatcher=answering)
        await server.start()
        try:
            async with Front(cluster, server.port) as front:
                stage = Stage(cluster, front, tmp_path, ({}, {}))
                nodes = await stage.table("top", "nodes")
                pods = await stage.table("top", "pods", "--all-namespaces", "--containers")
        finally:
            await server.stop()
    truth = {key: (shown(nano), f"{memory >> 20}Mi") for key, (nano, memory) in expected(first, second).items()}
    printed = {(row[0],): (row[1], row[3]) for row in nodes} | {tuple(row[:3]): (row[3], row[4]) for row in pods}
    assert printed == truth


async def test_a_slow_kubelet_ages_only_its_own_rows(tmp_path):
    limits = {"node_timeout": 10 * SECOND, "scrape_timeout": 20 * SECOND}
    async with collecting(tmp_path, **limits) as (cluster, collector):
        first, _ = await light_round(cluster, collector)
        second, _ = await light_round(cluster, collector, later=15)
        slow = cluster.node_names[1]
        await cluster.set_fault(slow, Fault(FaultKind.SLOW, 3.0))
        asking = asyncio.create_task(light_round(cluster, collector, later=15))
        await asyncio.sleep(1.5)
        assert not asking.done()
        found = await usage(collector)
        own = {key for key in second if key == (slow,)} | _of_node(cluster, slow)
        third = said(cluster)
        before, after = expected(first, second), expected(second, third)
        assert found == {key: before[key] if key in own else value for key, value in after.items()}
        await asking
        assert await usage(collector) == after
        # A kubelet that is gone is shown for a minute, with the times of its samples, and then no more.
        await cluster.set_fault(slow, FaultKind.DOWN)
        for _ in range(4):
            await light_round(cluster, collector, later=15)
        assert own <= (await usage(collector)).keys()
        await light_round(cluster, collector, later=15)
        left = (await usage(collector)).keys()
        assert not own & left
        assert left == third.keys() - own


def _of_node(cluster: SimulatedCluster, name: str) -> set[Key]:
    return {
        (pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"])
        for pod in cluster.truth(name)["pods"]
        for container in pod["containers"]
    }


async def test_a_kubelet_without_the_light_endpoint_is_read_from_its_summary(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    async with collecting(tmp_path, sim={"old_kubelets": True}) as (cluster, collector):
        names = cluster.node_names
        first = {name: cluster.truth(name) for name in names}
        await light_round(cluster, collector)
        _, report = await light_round(cluster, collector, later=15)
        assert report.answered == 3
        second = {name: cluster.truth(name) for name in names}
        assert caplog.text.count("does not serve /metrics/resource, /stats/summary is read instead") == 3
        stage = Stage(cluster, None, tmp_path, (first, second))  # type: ignore[arg-type]  # nobody asks through it
        found = await usage(collector)
        assert {key[0] for key in found if len(key) == 1} == set(names)
        for node, *where in stage.containers():
            nanocores, memory = stage.usage(node, *where)
            assert found[tuple(where)] == (int(nanocores), memory)
        labels = {labels["source"] for labels in _scraped(collector)}
        assert {label.partition(":")[0] for label in labels} == {"kubelet_summary"}


def _scraped(collector: Collector) -> list[dict[str, str]]:
    return [
        sample.labels
        for family in collector.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "heapster_scraper_last_time_seconds"
    ]


async def test_it_runs_where_somebody_asks_for_what_it_learns_from_the_start_on(tmp_path):
    async with collecting(tmp_path, api_server=False) as (_, collector):
        assert collector.light is None
    async with collecting(tmp_path, light_resolution=0) as (_, collector):
        assert collector.secure is not None
        assert collector.light is None
    async with collecting(tmp_path) as (cluster, collector):
        serving = asyncio.create_task(collector.run())
        try:
            for _ in range(100):
                await asyncio.sleep(0.1)
                if collector.light.store.nodes == 3:
                    break
            assert collector.light.store.nodes == 3, "the first round comes at once"
            sources = {labels["source"] for labels in _scraped(collector)}
            assert {source.partition(":")[0] for source in sources} == {"kubelet_resource"}
            assert {source.rpartition(":")[2] for source in sources} == {str(cluster.kubelet_port)}
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_without_it_every_batch_is_told_to_watches(tmp_path):
    async with collecting(tmp_path, light_resolution=0) as (cluster, collector):
        context = collector.context
        versions = [context.revisions.current(context.now()).number]
        for cycle in range(2):
            cluster.advance(60)
            await collector.tick(window(cycle))
            async with asyncio.timeout(10):
                while context.revisions.current(context.now()).number == versions[-1]:
                    await asyncio.sleep(0.01)
            versions.append(context.revisions.current(context.now()).number)
            assert context.store.latest().timestamp == window(cycle), "not before the batch can be asked"
        listed = await ask(collector, "/apis/metrics.k8s.io/v1/nodes")
        assert listed["metadata"]["resourceVersion"] == f"{versions[-1]}"
        assert len(listed["items"]) == 3
