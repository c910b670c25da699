"""Certificates of every kind a client or a server may come with, in files; and a server that is asked with them."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import trustme

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def write_pair(folder: Path, issued: trustme.LeafCert, name: str = "tls") -> tuple[str, str]:
    """Certificate chain and key, as a Kubernetes TLS secret names them."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return str(certificate), str(key)


def client(ca: trustme.CA, common_name: str, organization: str | None = None, **dates: dt.datetime) -> trustme.LeafCert:
    return ca.issue_cert("client.test", common_name=common_name, organization_name=organization, **dates)


def expired(ca: trustme.CA, common_name: str) -> trustme.LeafCert:
    return client(ca, common_name, not_before=PAST, not_after=PAST + dt.timedelta(days=1))


@dataclass
class Reply:
    status: int
    text: str
    headers: dict[str, str]


async def ask(
    url: str,
    trust: trustme.CA,
    identity: trustme.LeafCert | None = None,
    *,
    headers: object = None,
    server_hostname: str | None = None,
    method: str = "GET",
) -> Reply:
    """One request over a connection of its own that verifies the server."""
    context = ssl.create_default_context()
    trust.configure_trust(context)
    if identity is not None:
        identity.configure_cert(context)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.request(method, url, headers=headers, server_hostname=server_hostname) as response,
    ):
        return Reply(response.status, await response.text(), dict(response.headers))
