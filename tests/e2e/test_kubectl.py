"""A real kubectl in front of the collector's metrics API, as the aggregation layer would route it, on plain HTTP."""

import asyncio
import contextlib
import json
import math
import os
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

from collector.api import aggregated
from collector.api.dispatch import Dispatcher
from collector.api.route import Context
from collector.api.server import ApiServer
from collector.app import Collector
from collector.sim import SimConfig, SimulatedCluster
from collector.sim.clock import ManualClock
from tests.e2e.openapiv2 import OPENAPI_PROTOBUF, as_protobuf
from tests.e2e.test_collector import options, running, window


class Front:
    """What of a kube-apiserver kubectl needs: the core API from the simulated one, our group from the collector."""

    def __init__(self, cluster: SimulatedCluster, collector_port: int) -> None:
        self._core, self._token = cluster.api_url, cluster.token_file.read_text()
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._metrics = f"http://127.0.0.1:{collector_port}"
        self.asked: list[tuple[str, int]] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        # As an aggregator: a client that goes ends what was asked for it. The rest is not waited for.
        passing = web.Server(self._pass_on, handler_cancellation=True)
        self._runner = web.ServerRunner(passing, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        ours = request.path.startswith(("/apis", "/openapi"))
        url = (self._metrics if ours else self._core) + request.raw_path
        headers = {name: request.headers[name] for name in ("Accept", "User-Agent") if name in request.headers}
        wanted_protobuf = request.path == "/openapi/v2"
        if wanted_protobuf:  # an aggregator reads JSON, and makes of it what its clients take
            headers["Accept"] = "application/json"
        if not ours:
            headers["Authorization"] = f"Bearer {self._token}"
        async with self._session.request(request.method, url, headers=headers, ssl=self._tls) as answer:
            if ours:
                self.asked.append((request.path, answer.status))
            if "watch" in request.rel_url.query and answer.status == 200:
                return await self._stream(request, answer)
            body = await answer.read()
            if wanted_protobuf:
                return web.Response(body=as_protobuf(json.loads(body)), content_type=OPENAPI_PROTOBUF)
            return web.Response(body=body, status=answer.status, headers=_content_type(answer))

    @staticmethod
    async def _stream(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers=_content_type(answer))
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response


def _content_type(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """With its parameters: they tell kubectl what form of discovery it has got."""
    return {"Content-Type": answer.headers["Content-Type"]} if "Content-Type" in answer.headers else {}


@dataclass
class Stage:
    """A cluster after two cycles, and kubectl in front of the collector."""

    cluster: SimulatedCluster
    front: Front
    home: Path
    samples: tuple[dict[str, Any], dict[str, Any]]
    """Node -> what its kubelet said, in each cycle."""

    async def kubectl(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *("kubectl", f"--server=http://127.0.0.1:{self.front.port}", *arguments),
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.home / "none")},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def table(self, *arguments: str) -> list[list[str]]:
        """The columns of kubectl's table, without its head."""
        status, out, err = await self.kubectl(*arguments)
        assert status == 0, err
        return [line.split() for line in out.splitlines()[1:]]

    def usage(self, node: str, *where: str) -> tuple[float, int]:
        """Nanocores and bytes of the node, or of (namespace, pod, container), from the kubelets' own numbers."""
        first, second = (_found(sample[node], where) for sample in self.samples)
        used = second["cpu"]["usageCoreNanoSeconds"] - first["cpu"]["usageCoreNanoSeconds"]
        return used / _seconds(first, second), second["memory"]["workingSetBytes"]

    def containers(self) -> list[tuple[str, str, str, str]]:
        """(node, namespace, pod, container) of every container that both cycles saw."""
        return [
            (node, pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"])
            for node, summary in self.samples[1].items()
            for pod in summary["pods"]
            for container in pod["containers"]
        ]


def _found(summary: dict[str, Any], where: tuple[str, ...]) -> Any:
    if not where:
        return summary["node"]
    namespace, name, container = where
    pod = next(
        pod for pod in summary["pods"] if pod["podRef"]["namespace"] == namespace and pod["podRef"]["name"] == name
    )
    return next(each for each in pod["containers"] if each["name"] == container)


def _seconds(first: dict[str, Any], second: dict[str, Any]) -> float:
    moments = [datetime.fromisoformat(sample["cpu"]["time"]).timestamp() for sample in (first, second)]
    return moments[1] - moments[0]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    config = SimConfig(nodes=3, pods=4, containers=2, clock=ManualClock(1_790_000_000.0), housekeeping=1, churn=0.0)
    async with SimulatedCluster(config) as cluster, running(Collector(options(cluster))) as collector:
        samples = []
        for cycle in range(2):
            if cycle:
                cluster.advance(60)
            samples.append({name: cluster.truth(name) for name in cluster.node_names})
            await collector.tick(window(cycle))
        await asyncio.sleep(0)
        context = Context(collector.store, collector.metrics, listers=collector._listers)
        answering = Dispatcher(context, aggregated.ROUTES, aggregated.API_ROOTS, aggregated.MANNER)
        second = ApiServer(context, host="127.0.0.1", port=0, flag="--secure-port", dispatcher=answering)
        await second.start()
        try:
            async with Front(cluster, second.port) as front:
                yield Stage(cluster, front, tmp_path, (samples[0], samples[1]))
        finally:
            await second.stop()


def shown(nanocores: float) -> str:
    """As `kubectl top` prints cores: millicores, rounded up."""
    return f"{math.ceil(math.floor(nanocores) / 1e6)}m"


async def test_kubectl_top_nodes_prints_what_the_kubelets_measured(stage):
    rows = await stage.table("top", "nodes")
    expected = {name: stage.usage(name) for name in stage.cluster.node_names}
    assert [(row[0], row[1], row[3]) for row in rows] == [
        (name, shown(nanocores), f"{memory >> 20}Mi") for name, (nanocores, memory) in sorted(expected.items())
    ]
    assert all(row[2].endswith("%") and row[4].endswith("%") for row in rows)
    assert ("/apis/metrics.k8s.io/v1beta1/nodes", 200) in stage.front.asked


async def test_kubectl_top_pods_prints_every_container(stage):
    rows = await stage.table("top", "pods", "--all-namespaces", "--containers")
    expected = {}
    for node, *where in stage.containers():
        nanocores, memory = stage.usage(node, *where)
        expected[tuple(where)] = (shown(nanocores), f"{memory >> 20}Mi")
    assert {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows} == expected
    assert len(expected) >= 3 * 4 * 2


async def test_kubectl_top_takes_a_namespace_a_name_and_a_selector(stage):
    _, namespace, pod, _ = stage.containers()[0]
    assert [row[0] for row in await stage.table("top", "pod", pod, "-n", namespace)] == [pod]
    everything = await stage.table("top", "pods", "-A")
    labelled = await stage.table("top", "pods", "-A", "-l", "app")
    without = await stage.table("top", "pods", "-A", "-l", "!app")
    assert sorted(labelled + without) == sorted(everything)
    status, _, err = await stage.kubectl("top", "pod", "nosuch", "-n", namespace)
    assert status == 1
    assert err == f'Error from server (NotFound): podmetrics.metrics.k8s.io "{namespace}/nosuch" not found\n'
    status, _, err = await stage.kubectl("top", "nodes", "-l", "a b")
    assert status == 1
    assert "unable to parse requirement" in err


async def test_kubectl_get_raw_gives_the_objects(stage):
    for version in ("v1beta1", "v1"):
        status, out, err = await stage.kubectl("get", "--raw", f"/apis/metrics.k8s.io/{version}/nodes")
        assert status == 0, err
        listed = json.loads(out)
        assert (listed["kind"], listed["apiVersion"]) == ("NodeMetricsList", f"metrics.k8s.io/{version}")
        for item in listed["items"]:
            nanocores, _ = stage.usage(item["metadata"]["name"])
            given = re.fullmatch(r"(\d+)n", item["usage"]["cpu"])
            assert given is not None
            assert int(given[1]) == pytest.approx(nanocores, rel=1e-6)
            assert item["window"] == "1m0s"
            assert item["timestamp"] == stage.samples[1][item["metadata"]["name"]]["node"]["cpu"]["time"]
    _, out, _ = await stage.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1alpha1/nodes")
    assert all(item["usage"]["cpu"].endswith("m") for item in json.loads(out)["items"])


async def test_kubectl_knows_the_resources_and_cannot_delete_them(stage):
    status, out, err = await stage.kubectl("api-resources", "--api-group=metrics.k8s.io", "-o", "wide")
    assert status == 0, err
    rows = [line.split() for line in out.splitlines()[1:]]
    assert rows == [
        ["nodes", "metrics.k8s.io/v1", "false", "NodeMetrics", "get,list,watch"],
        ["pods", "metrics.k8s.io/v1", "true", "PodMetrics", "get,list,watch"],
    ]
    status, _, err = await stage.kubectl("delete", "nodes.metrics.k8s.io", stage.cluster.node_names[0])
    assert status == 1
    assert "the server does not allow this method on the requested resource" in err
    status, _, err = await stage.kubectl("get", "nodes.v1alpha1.metrics.k8s.io", "--watch-only")
    assert status == 1
    assert "watch is not supported" in err
