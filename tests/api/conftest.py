import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from api.golden import Replay

from collector.api.server import ApiServer

DEADLINE_S = 30.0


@dataclass
class Served:
    """A listening server over a replayed store."""

    replay: Replay
    server: ApiServer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def url(self, target: str) -> str:
        return f"http://{self.address}{target}"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The recorded cluster after its last step, listening on a free port."""
    replay = Replay()
    replay.until(10)
    server = ApiServer(replay.context, host="127.0.0.1", port=0)
    await server.start()
    yield Served(replay, server)
    await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


class Prometheus:
    """A real Prometheus server that scrapes one address every second."""

    def __init__(self, folder: Path, target: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        jobs = "".join(
            f"  - job_name: {job}\n    metrics_path: {path}\n    static_configs: [{{targets: ['{target}']}}]\n"
            for job, path in (("own", "/metrics"), ("cluster", "/metrics/cluster"))
        )
        config = folder / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1h}}\nscrape_configs:\n{jobs}"
        )
        self._output = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    async def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Label set -> value of an instant query; empty while there is no answer."""
        async with aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{self.port}/api/v1/query"
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with client.get(url, params={"query": expression}) as response:
                    if response.status == 200:
                        found = (await response.json())["data"]["result"]
                        return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in found}
        return {}

    async def wait_for(self, expression: str, *, empty: bool = False) -> None:
        """Until the expression has a result, or has none any more."""
        give_up = time.monotonic() + DEADLINE_S
        while bool(await self.query(expression)) == empty:
            assert time.monotonic() < give_up, f"{expression} did not come true"
            assert self._process.poll() is None, "prometheus ended"
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)
        self._output.close()


@pytest.fixture
def prometheus(served: Served, tmp_path: Path) -> Iterator[Prometheus]:
    """Prometheus, scraping both endpoints of `served`."""
    running = Prometheus(tmp_path, served.address)
    yield running
    running.stop()
