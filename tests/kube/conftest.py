import asyncio

import pytest
import trustme
from kube.fake_api import serving

from collector.kube.config import connect

# looptime asks for the current loop around plain tests too, and Python 3.11 would make one that nobody closes.
asyncio.set_event_loop(None)


@pytest.fixture
async def api():
    async with serving() as server:
        yield server


@pytest.fixture
async def connection(api):
    connection = await connect(server=api.url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def authority():
    return trustme.CA(organization_name="the cluster")


@pytest.fixture(scope="session")
def stranger():
    return trustme.CA(organization_name="somebody else")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
