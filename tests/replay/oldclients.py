"""The clients of Heapster's time, as far as they spoke to it: the requests they made, and how they read the answers.

    Dashboard     kubernetes/dashboard, src/app/backend/integration/metric/heapster (to v1.10)
    Autoscaler    kubernetes/kubernetes, pkg/controller/podautoscaler/metrics/legacy_metrics_client.go (to 1.20)
    Top           kubernetes/kubernetes, pkg/kubectl/metricsutil/metrics_client.go: `kubectl top` (1.6 to 1.12)

All go through the service proxy of an API server, with the headers that client-go sends.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tests.replay.recording import rfc3339

HEADERS = {"Accept": "application/json, */*", "Accept-Encoding": "gzip"}
OLD_PROXY = "/api/v1/proxy/namespaces/kube-system/services/heapster"
PROXY = "/api/v1/namespaces/kube-system/services/http:heapster:/proxy"
NAMED_PROXY = "/api/v1/namespaces/kube-system/services/heapster/proxy"

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}


class RefusedError(Exception):
    """The client reports an error: status and text."""


class Client:
    def __init__(self, session: aiohttp.ClientSession, api_server: str, prefix: str) -> None:
        self._session = session
        self._base = api_server + prefix

    async def get(self, path: str, **query: str) -> Any:
        """JSON of a 200 as client-go reads it; anything else is an error."""
        target = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        async with self._session.get(URL(target, encoded=True), headers=HEADERS) as answer:
            if answer.status != 200:
                raise RefusedError(answer.status, await answer.text())
            return await answer.json()


@dataclass(frozen=True)
class DataPoint:
    """x in Unix seconds."""

    x: int
    y: int


class Dashboard(Client):
    """Asks for `cpu/usage_rate` and `memory/usage`: of nodes one by one, of pods in one request."""

    async def node(self, name: str, metric: str) -> list[DataPoint]:
        return _data_points(await self.get(f"/api/v1/model/nodes/{name}/metrics/{metric}"))

    async def pods(self, namespace: str, names: Sequence[str], metric: str) -> list[list[DataPoint]]:
        path = f"/api/v1/model/namespaces/{namespace}/pod-list/{','.join(names)}/metrics/{metric}"
        items = (await self.get(path))["items"]
        if len(items) != len(names):
            raise RefusedError(f"Received invalid number of resources. Expected {len(names)} received {len(items)}")
        return [_data_points(item) for item in items]

    async def healthy(self) -> bool:
        async with self._session.get(f"{self._base}/healthz", headers=HEADERS) as answer:
            return answer.status == 200


def _data_points(result: Mapping[str, Any]) -> list[DataPoint]:
    """Go reads `value` as uint64 and casts to int64; the chart has nothing below zero."""
    return [
        DataPoint(int(_moment(each["timestamp"])), max(0, _signed(each["value"]))) for each in result["metrics"] or ()
    ]


class Autoscaler(Client):
    """The horizontal autoscaler without metrics.k8s.io."""

    async def resource(self, namespace: str, resource: str, selector: str) -> dict[str, int]:
        """Pod -> thousandths of the resource; pods that lack it are left out."""
        path = f"/apis/metrics/v1alpha1/namespaces/{namespace}/pods"
        items = (await self.get(path, labelSelector=selector))["items"]
        if not items:
            raise RefusedError("no metrics returned from heapster")
        found = {}
        for item in items:
            usages = [container["usage"] for container in item["containers"]]
            if usages and all(resource in usage for usage in usages):
                found[item["metadata"]["name"]] = sum(int(1000 * quantity(usage[resource])) for usage in usages)
        return found

    async def custom(self, namespace: str, pods: Sequence[str], metric: str, now: float) -> dict[str, int]:
        """Pod -> thousandths of the mean of the last minute's samples."""
        path = f"/api/v1/model/namespaces/{namespace}/pod-list/{','.join(pods)}/metrics/{metric}"
        items = (await self.get(path, start=rfc3339(now - 300)))["items"]
        if len(items) != len(pods):
            raise RefusedError(f"requested metrics for {len(pods)} pods, got metrics for {len(items)}")
        samples = {pod: _collapsed(item) for pod, item in zip(pods, items, strict=True)}
        return {pod: value for pod, value in samples.items() if value is not None}


def _collapsed(item: Mapping[str, Any]) -> int | None:
    """Changes its arithmetic where it finds `floatValue`."""
    points = [(_moment(each["timestamp"]), each) for each in item["metrics"] or ()]
    if not points:
        return None
    newest = max(moment for moment, _ in points)
    recent = [each for moment, each in points if moment + 60 > newest]
    assert not any("floatValue" in each for each in recent)
    return int(sum(_signed(each["value"]) for each in recent) * 1000 / len(recent))


@dataclass(frozen=True)
class Usage:
    """As printed: `NAME  CPU(cores)  MEMORY(bytes)`."""

    name: str
    cpu: str
    memory: str


class Top(Client):
    """`kubectl top`."""

    async def nodes(self, name: str = "", selector: str = "") -> list[Usage]:
        path = f"/apis/metrics/v1alpha1/nodes{'/' + quote(name) if name else ''}"
        found = await self.get(path, labelSelector=selector)
        items = [found] if name else found["items"] or []
        return [_printed(item["metadata"]["name"], [item["usage"]]) for item in items]

    async def pods(self, namespace: str, name: str = "", selector: str = "") -> list[Usage]:
        root = "/apis/metrics/v1alpha1"
        path = f"{root}/namespaces/{namespace}/pods{'/' + name if name else ''}" if namespace else f"{root}/pods"
        found = await self.get(path, labelSelector=selector)
        items = [found] if name else found["items"] or []
        return [
            _printed(item["metadata"]["name"], [container["usage"] for container in item["containers"]])
            for item in items
        ]


def _printed(name: str, usages: Sequence[Mapping[str, str]]) -> Usage:
    cpu = sum(int(1000 * quantity(usage["cpu"])) for usage in usages)
    memory = sum(int(quantity(usage["memory"])) for usage in usages)
    return Usage(name, f"{cpu}m", f"{memory // (1024 * 1024)}Mi")


def quantity(text: str) -> Decimal:
    found = re.fullmatch(r"([+-]?[0-9.]+)([a-zA-Z]*)", text)
    assert found is not None, text
    return Decimal(found[1]) * _SUFFIXES[found[2]]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _signed(value: int) -> int:
    assert 0 <= value < 2**64
    return value - 2**64 if value >= 2**63 else value
