"""Whom to ask, and how: the addresses of kubelets and the options of the client that asks them."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from yarl import URL

from collector import __version__
from collector.errors import UsageError
from collector.sources.tls import Verify

SECURE_PORT: Final = 10250


@dataclass(frozen=True, slots=True)
class KubeletTarget:
    """One kubelet. Raises UsageError for an address that is no IP address: names are not resolved."""

    node: str
    """name of the Node object, for messages and, with `verify_name="node"`, for the certificate"""
    address: str
    """IPv4 or IPv6 address as text, without brackets or port"""
    port: int = SECURE_PORT

    def __post_init__(self) -> None:
        if not _is_address(self.address):
            raise UsageError(f"node {self.node}: {self.address!r} is no IPv4 or IPv6 address")

    def __str__(self) -> str:
        return f"node {self.node}"

    def url(self, path: str, *, https: bool) -> URL:
        """The address of `path`, which begins with a slash."""
        return _url("https" if https else "http", self.address, self.port, path)


@lru_cache(maxsize=32_768)
def _is_address(text: str) -> bool:
    """Whether `text` is an IP address, without a zone; kept, since every round asks it of every node in one go."""
    try:
        return getattr(ipaddress.ip_address(text), "scope_id", None) is None
    except ValueError:
        return False


@lru_cache(maxsize=32_768)
def _url(scheme: str, address: str, port: int, path: str) -> URL:
    """Kept from scrape to scrape: parsing costs as much as a quarter of a small request."""
    host = f"[{address}]" if ":" in address else address
    return URL(f"{scheme}://{host}:{port}{path}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletOptions:
    """How kubelets are asked. Raises UsageError naming every value that is out of its bounds."""

    port: int = SECURE_PORT
    """port of a kubelet whose target does not name another; 10255 is the read-only port, without https"""
    https: bool = True
    """https, or plain http; credentials are never sent over plain http"""
    verify: Verify = "verify"
    """`verify`: the certificate must be signed by one of `ca_files`; `insecure`: any certificate will do"""
    ca_files: tuple[str, ...] = ()
    """PEM files; each certificate in them is trusted"""
    verify_name: Literal["address", "node"] = "address"
    """What the certificate must be for: the address that is dialled, or the node's name.

    Serving certificates that the cluster signs (`serverTLSBootstrap`) carry both; others often only the host name.
    """
    client_certificate: str | None = None
    """PEM file shown to the kubelets, if any"""
    client_key: str | None = None
    """its key; None: in the same file"""
    token: Callable[[], str | None] | None = None
    """The bearer token of this moment, None for none. Called before each request: must not wait, must be quick."""
    renew_token: Callable[[], Awaitable[None]] | None = None
    """Awaited once when a kubelet refuses a token with 401, to have it read again before the one retry."""
    time_limit_s: float = 10.0
    """seconds one node may take, from connecting to the last byte"""
    max_body_bytes: int = 64 << 20
    """largest answer, unpacked"""
    connections: int = 0
    """most connections in use at the same time; 0: as many as are asked for"""
    user_agent: str = f"heapster/{__version__}"
    """the request header of that name"""

    def __post_init__(self) -> None:
        found = []
        if not 1 <= self.port <= 65_535:
            found.append(f"kubeletPort is {self.port}: choose a TCP port, 1 to 65535")
        if self.time_limit_s <= 0:
            found.append(f"--node-timeout is {self.time_limit_s:g} s: it must be above 0")
        if self.max_body_bytes < 1:
            found.append(f"--max-answer-bytes is {self.max_body_bytes}: it must be above 0")
        if self.connections < 0:
            found.append(f"the limit of kubelet connections is {self.connections}: it must be 0 (none) or more")
        if self.client_key is not None and self.client_certificate is None:
            found.append(f"client key {self.client_key} for the kubelets comes without its certificate: name both")
        if found:
            raise UsageError(*found)
