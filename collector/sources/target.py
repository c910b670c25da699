"""Whom to ask, and how: the addresses of kubelets and the options of the client that asks them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from yarl import URL

from collector import __version__
from collector.errors import UsageError
from collector.sources.addresses import is_ip, is_name
from collector.sources.pins import Pins
from collector.sources.tls import Identity

SECURE_PORT: Final = 10250


@dataclass(frozen=True, slots=True, weakref_slot=True)
class KubeletTarget:
    """One kubelet. Raises UsageError for an address that is neither an IP address nor a DNS name."""

    node: str
    """name of the Node object, for messages and for the certificate"""
    address: str
    """IPv4 or IPv6 address as text, without brackets or port, or a DNS name: the preferred one of its addresses"""
    port: int = SECURE_PORT
    uid: str = ""
    """of the Node object: a node made anew under the same name is another one"""
    others: tuple[str, ...] = ()
    """where it may be asked instead, in this order, while it takes no connections at `address`"""

    def __post_init__(self) -> None:
        for address in (self.address, *self.others):
            if "%" in address or not (is_ip(address) or is_name(address)):
                raise UsageError(f"node {self.node}: {address!r} is no IPv4 or IPv6 address, nor a DNS name")

    def __str__(self) -> str:
        return f"node {self.node}"

    @property
    def places(self) -> tuple["KubeletTarget", ...]:
        """This kubelet at each of its addresses, the preferred one first."""
        return self, *(replace(self, address=address, others=()) for address in self.others)

    def url(self, path: str, *, https: bool) -> URL:
        """The address of `path`, which begins with a slash."""
        return _url("https" if https else "http", self.address, self.port, path)


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
    identity: Identity = "verify"
    """what is accepted of a kubelet: see there"""
    ca_files: tuple[str, ...] = ()
    """PEM files, read again when they change; each certificate in them is trusted"""
    verify_name: Literal["any", "address", "node"] = "any"
    """What the certificate must be for: the address that is dialled, the node's name, or any of the two.

    Serving certificates that the cluster signs (`serverTLSBootstrap`) carry both; others often only the host name.
    """
    pins: Pins | None = None
    """with `pin`: the keys seen first; None: they are forgotten when the client is"""
    client_certificate: str | None = None
    """PEM file shown to the kubelets, if any"""
    client_key: str | None = None
    """its key; None: in the same file"""
    token: Callable[[], str | None] | None = None
    """The bearer token of this moment, None for none. Called before each request: must not wait, must be quick."""
    reread_token: Callable[[], Awaitable[None]] | None = None
    """Awaited first when a kubelet refuses a token with 401: looks whether it has been replaced. Must be cheap."""
    renew_token: Callable[[], Awaitable[None]] | None = None
    """Awaited next, where it has not been, to have the credentials read anew at their source before the one retry."""
    routed: Callable[[str, str], None] = lambda _node, _address: None
    """Told of the node and the address at which its kubelet is asked from now on, when that is another one."""
    dated: Callable[[str, str], None] | None = None
    """Told of the node and the Date of each of its answers, of whatever status."""
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
