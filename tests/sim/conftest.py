"""A running simulated cluster with a client that verifies its CA and sends its token."""

import json
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from collector.sim import ManualClock, SimConfig, SimulatedCluster

CAPTURES = Path(__file__).parents[1] / "captures" / "summary"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def decoded(self):
        return json.loads(self.body)


@dataclass
class Simulation:
    cluster: SimulatedCluster
    session: aiohttp.ClientSession

    def url(self, node, path="/stats/summary"):
        scheme = "https" if self.cluster.config.tls else "http"
        return f"{scheme}://{self.cluster.addresses[node]}:{self.cluster.kubelet_port}{path}"

    async def kubelet(self, node, path="/stats/summary", **options):
        return await self._get(self.url(node, path), **options)

    async def api(self, path, **options):
        return await self._get(self.cluster.api_url + path, **options)

    async def items(self, path, **params):
        """All objects of a list, page after page."""
        found, token = [], ""
        while True:
            answer = await self.api(path, params={**params, "continue": token} if token else params)
            assert answer.status == 200, answer.body
            page = answer.decoded()
            found += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return found

    async def watch(self, path, version, seconds=0.3, **params):
        """The events of a watch that ends after `seconds`."""
        params = {"watch": "true", "timeoutSeconds": str(seconds), "resourceVersion": str(version), **params}
        answer = await self.api(path, params=params)
        assert answer.status == 200, answer.body
        return [json.loads(line) for line in answer.body.splitlines()]

    async def _get(self, url, **options):
        async with self.session.get(url, **options) as response:
            return Answer(response.status, dict(response.headers), await response.read())


@pytest.fixture
async def simulate():
    """Start a cluster on a manual clock: `simulation = await simulate(nodes=3)`; stopped when the test ends."""
    async with AsyncExitStack() as stack:

        async def start(**chosen):
            config = SimConfig(**{"nodes": 2, "clock": ManualClock(), **chosen})
            cluster = await stack.enter_async_context(SimulatedCluster(config))
            context = ssl.create_default_context(cafile=cluster.ca_file) if config.tls else True
            connector = aiohttp.TCPConnector(ssl=context, force_close=False)
            headers = {"Authorization": f"Bearer {config.token}"}
            session = await stack.enter_async_context(
                aiohttp.ClientSession(headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(10))
            )
            return Simulation(cluster, session)

        yield start


@pytest.fixture
def captures():
    """Recorded answers of real kubelets."""
    return CAPTURES
