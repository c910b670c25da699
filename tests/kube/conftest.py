import pytest
import trustme
from kube.fake_api import server_context, serving

from collector.kube.config import connect


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
def plain_surroundings(monkeypatch):
    """No proxy of this machine, and none of its hundreds of CAs, which take longer to load than most of these tests."""
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    monkeypatch.setenv("SSL_CERT_DIR", "/dev/null")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def secure(authority):
    """A server with a certificate of `authority` that accepts the token `t0`."""
    async with serving(tls=server_context(authority)) as api:
        api.tokens = {"t0"}
        yield api
