"""At which addresses a node's kubelet may be asked, the preferred one first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from collector.errors import UsageError
from collector.kube.objects import Node, parsed_ip

ADDRESS_TYPES: Final = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
"""Kubernetes' own names; their order here is metrics-server's default."""

_LONGEST_NAME: Final = 253
_NAME: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
"""A DNS name. Its last label begins with a letter: `127.1` is an address to some resolvers."""


@dataclass(frozen=True, slots=True)
class Addressing:
    """Which addresses and which port of a Node object count. Raises UsageError for an unknown type."""

    types: tuple[str, ...] = ()
    """types of addresses in the order of preference; empty for Heapster's rule (see `candidates`)"""
    node_status_port: bool = False
    """take the port from `status.daemonEndpoints`, where the node states one"""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.types if kind not in ADDRESS_TYPES]
        if unknown:
            raise UsageError(
                f"--kubelet-preferred-address-types: {', '.join(map(repr, unknown))} is no type of address; "
                f"choose of {', '.join(ADDRESS_TYPES)}"
            )


def candidates(node: Node, types: Sequence[str] = ()) -> tuple[str, ...]:
    """The addresses at which to ask: IP addresses in canonical form and, where `types` has names, DNS names.

    Without `types` Heapster's rule (behaviour reference, 3.1) gives the first, and the node's other internal addresses,
    as dual stack has them, come behind it; external ones count only where there is no internal one. With `types` each
    type's addresses stand in the order of the Node object, which puts the cluster's own IP family first.
    """
    if not types:
        first = node.scrape_address
        internal = _of(node, "InternalIP")
        rest = internal[::-1] or _of(node, "ExternalIP")
        return tuple(dict.fromkeys((first, *rest))) if first is not None else ()
    return tuple(dict.fromkeys(address for kind in types for address in _of(node, kind)))


def is_ip(address: str) -> bool:
    """Whether this is an IP address rather than a name."""
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def is_name(address: str) -> bool:
    """Whether this can be a DNS name: what a Node object says ends up in requests and messages."""
    return len(address) <= _LONGEST_NAME and _NAME.fullmatch(address) is not None


def _of(node: Node, kind: str) -> list[str]:
    """A node's addresses of one type that can be dialled."""
    found = []
    for each, text in node.addresses:
        if each != kind:
            continue
        address = parsed_ip(text)
        if address is None and not kind.endswith("IP") and is_name(text):
            address = text
        if address is not None:
            found.append(address)
    return found
