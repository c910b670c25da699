"""The resource metrics API over the light store: which containers count, what `usage` holds, exact rates."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.metrics_usage import _per_second
from collector.api.route import Context
from collector.core.entities import EntityTable
from collector.core.light import CPU, MEMORY, SAMPLED, START, SWAP, TIME, LightSample, LightStore
from collector.core.store import MetricStore
from collector.kube.objects import ContainerSpec, Node, Pod
from collector.selfmetrics import SelfMetrics

S = 10**9
NOW = 1_790_000_100 * S
ROOT = "/apis/metrics.k8s.io/v1beta1"
MAIN, PROXY, AGENT = (ContainerSpec(name) for name in ("main", "proxy", "agent"))


class Cluster:
    """One node whose kubelet answers twice, 15 s apart; containers that are named used 1 s of CPU and no memory."""

    def __init__(self, *pods: Pod, measured: tuple[str, ...], swap: tuple[str, ...] = ()) -> None:
        self.light = LightStore(EntityTable(), resolution_ns=15 * S, keep_ns=60 * S)
        self.now = NOW
        light = self.light
        self.context = Context(MetricStore(), SelfMetrics("test"), clock=lambda: self.now / S, light=lambda: light)
        self.context.listers.nodes.replace([Node("node-a")])
        self.context.listers.pods.replace(list(pods))
        names: list[Any] = [("team", *each.split("/")) for each in measured]
        for at, cpu in ((NOW - 15 * S, S), (NOW, 2 * S)):
            values = np.zeros((SAMPLED, 1 + len(names)), np.int64)
            values[CPU], values[MEMORY], values[TIME], values[START] = cpu, 0, at - S, NOW - 3600 * S
            values[SWAP] = [-1, *(4096 if each in swap else -1 for each in measured)]
            light.take([LightSample("node-a", object(), names, values)], light.begin(at), at)

    async def ask(self, path: str) -> tuple[int, Any]:
        served = Dispatcher(self.context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
        answer = (await served.answer("GET", ROOT + path, {})).answer
        body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
        return answer.status, json.loads(body)

    async def shown(self) -> dict[str, list[str]]:
        """Pod -> its containers, of the list, which must be what asking for one pod gives."""
        _, listed = await self.ask("/namespaces/team/pods")
        found = {item["metadata"]["name"]: [each["name"] for each in item["containers"]] for item in listed["items"]}
        for namespace, name in self.context.listers.pods.items:
            status, alone = await self.ask(f"/namespaces/{namespace}/pods/{name}")
            assert (status == 200) == (name in found)
            if status == 200:
                assert [each["name"] for each in alone["containers"]] == found[name]
        return found


@pytest.mark.parametrize(
    ("measured", "not_running", "shown"),
    [
        (("p/main", "p/proxy"), (), ["main", "proxy"]),
        (("p/main",), (), None),
        (("p/main",), ("proxy",), ["main"]),
        (("p/main",), ("main",), None),
        (("p/main", "p/proxy"), ("main", "proxy"), ["main", "proxy"]),
        ((), ("main", "proxy"), None),
        ((), (), None),
    ],
)
async def test_a_pod_is_left_out_only_when_a_container_that_runs_has_no_sample(measured, not_running, shown):
    pod = Pod("team", "p", containers=(MAIN, PROXY), not_running=frozenset(not_running))
    cluster = Cluster(pod, measured=measured)
    assert await cluster.shown() == ({} if shown is None else {"p": shown})


async def test_sidecars_count_and_containers_that_nobody_specified_do_not():
    cluster = Cluster(
        Pod("team", "p", containers=(MAIN,), sidecars=(AGENT,)),
        Pod("team", "q", containers=(MAIN,), sidecars=(AGENT,)),
        measured=("p/main", "p/agent", "p/setup", "q/main"),
    )
    assert await cluster.shown() == {"p": ["main", "agent"]}


async def test_usage_holds_what_is_known_and_a_zero_counts():
    cluster = Cluster(Pod("team", "p", containers=(MAIN, PROXY)), measured=("p/main", "p/proxy"), swap=("p/proxy",))
    _, pod = await cluster.ask("/namespaces/team/pods/p")
    assert [each["usage"] for each in pod["containers"]] == [
        {"cpu": "66666666n", "memory": "0"},
        {"cpu": "66666666n", "memory": "0", "swap": "4Ki"},
    ]
    assert (pod["timestamp"], pod["window"]) == ("2026-09-21T14:14:59Z", "15s")


async def test_samples_are_shown_for_a_minute():
    cluster = Cluster(Pod("team", "p", containers=(MAIN,)), measured=("p/main",))
    cluster.now = NOW + 60 * S
    assert await cluster.shown() == {"p": ["main"]}
    assert (await cluster.ask("/nodes/node-a"))[0] == 200
    cluster.now += S
    assert await cluster.shown() == {}
    assert (await cluster.ask("/nodes/node-a"))[0] == 404


@given(st.integers(0, 2**53), st.integers(1, 3600 * S))
def test_a_rate_is_exact_to_the_nanocore(grown, elapsed):
    found = _per_second(np.array([grown], np.int64), np.array([elapsed], np.int64))[0]
    exact = 10**9 * grown // elapsed
    assert exact >= 2**63 or found == exact
