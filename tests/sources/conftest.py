"""Certificates of a small cluster, and the promise that nothing is left running."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fails a test that leaves a task behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # closed transports say goodbye in the next turns of the loop
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left


class Authority:
    """A cluster's CA, and what it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._ca = trustme.CA(organization_name=name)
        self.file = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str, **validity: Any) -> ssl.SSLContext:
        """The server side of a kubelet whose certificate is for these names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **validity).configure_cert(context)
        return context

    def trust_clients(self, context: ssl.SSLContext) -> None:
        self._ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    def client_files(self, name: str) -> tuple[str, str]:
        issued = self._ca.issue_cert(name)
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return str(certificate), str(key)


@pytest.fixture(scope="session")
def authority_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path_factory.mktemp("ca"), name)


@pytest.fixture(scope="session")
def authority(authority_named: Callable[[str], Authority]) -> Authority:
    return authority_named("cluster")


@pytest.fixture(scope="session")
def kubelet_tls(authority: Authority) -> ssl.SSLContext:
    """A serving certificate as a cluster issues it: the node's name and its addresses."""
    return authority.server("node-1", "127.0.0.1", "::1")


@pytest.fixture(scope="session")
def days() -> Callable[[int], datetime]:
    """The moment so many days from now."""
    return lambda count: datetime.now(UTC) + timedelta(days=count)
