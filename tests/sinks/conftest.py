"""Servers and sinks for the tests of this folder."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from collector.core.contracts import Sink
from sinks.base import build
from tests.servers import Influxd, VictoriaMetrics, influxd, victoria_metrics


@pytest.fixture(scope="session")
def shared_influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """An InfluxDB that stays up: each test takes a database of its own."""
    with influxd(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def own_influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """An InfluxDB to be stopped, frozen and broken."""
    with influxd(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """An empty VictoriaMetrics."""
    with victoria_metrics(tmp_path_factory.mktemp("victoria")) as server:
        yield server


@pytest.fixture
async def made() -> AsyncIterator[Callable[[str], Sink]]:
    """Builds sinks from URIs and stops them afterwards."""
    async with AsyncExitStack() as stack:

        def make(uri: str) -> Sink:
            sink = build(uri)
            stop: Callable[[], Awaitable[None]] = sink.stop
            stack.push_async_callback(stop)
            return sink

        yield make
