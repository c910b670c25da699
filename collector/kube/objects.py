"""What the collector keeps of nodes, pods and namespaces: small immutable values, compared by value.

A cluster of 150,000 pods lives in memory at once, so equal parts (labels, container specs, names of nodes) are one
shared object: treat every mapping here as read-only. `gc=False` is sound because no value here can contain itself.
"""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address

from msgspec import Struct


class ContainerSpec(Struct, frozen=True, gc=False):
    """One entry of `spec.containers`; replicas share it. An amount that is not set is 0, as in Heapster 5.2."""

    name: str
    image: str = ""
    cpu_request: int = 0
    """millicores"""
    cpu_limit: int = 0
    """millicores"""
    memory_request: int = 0
    """bytes"""
    memory_limit: int = 0
    """bytes"""
    ephemeral_request: int = 0
    """bytes of ephemeral storage"""
    ephemeral_limit: int = 0
    """bytes of ephemeral storage"""
    extended: tuple[tuple[str, int], ...] = ()
    """other requested resources in whole units, sorted by name: `("nvidia.com/gpu", 1)`"""


class Pod(Struct, frozen=True, gc=False):
    """One pod as the API server knows it."""

    namespace: str
    name: str
    uid: str = ""
    node_name: str = ""
    """empty until scheduled"""
    phase: str = ""
    start_time_ns: int = 0
    """`status.startTime`, nanoseconds since 1970; 0 when absent"""
    labels: Mapping[str, str] = {}
    containers: tuple[ContainerSpec, ...] = ()
    """`spec.containers`, in their order"""
    sidecars: tuple[ContainerSpec, ...] = ()
    """init containers with `restartPolicy: Always`, which run as long as the pod; Heapster did not know them"""
    restart_counts: tuple[tuple[str, int], ...] = ()
    """(container, restarts) from `status.containerStatuses` and those of the sidecars"""
    not_running: frozenset[str] = frozenset()
    """containers whose status says that they wait or have ended: they use nothing now"""
    config_hash: str = ""
    """annotation `kubernetes.io/config.hash`: the uid under which a kubelet may report a static pod"""
    host_network: bool = False


class Resources(Struct, frozen=True, gc=False):
    """Amounts of one node; None where the node does not state the resource."""

    cpu: int | None = None
    """millicores"""
    memory: int | None = None
    """bytes"""
    ephemeral_storage: int | None = None
    """bytes"""
    other: tuple[tuple[str, int], ...] = ()
    """everything else in whole units, sorted by name: `("pods", 110)`"""


class Node(Struct, frozen=True, gc=False):
    """One node as the API server knows it."""

    name: str
    uid: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    """(type, address) in the order of the Node object, which `scrape_address` depends on"""
    ready: bool | None = None
    """None: the node has no Ready condition at all, which counts as ready (Heapster 3.1)"""
    unschedulable: bool = False
    external_id: str = ""
    """`spec.externalID`; nodes stopped carrying it with Kubernetes 1.11"""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    capacity: Resources = Resources()
    allocatable: Resources = Resources()
    kubelet_port: int = 0
    """`status.daemonEndpoints`; 0 when absent"""
    kubelet_version: str = ""
    virtual: bool = False
    """It says that it is no machine: label `type=virtual-kubelet`, or the taint of virtual kubelets"""

    @property
    def host_name(self) -> str:
        """The last non-empty `Hostname` address, else the node's name (Heapster 3.1)."""
        for kind, address in reversed(self.addresses):
            if kind == "Hostname" and address:
                return address
        return self.name

    @property
    def scrape_address(self) -> str | None:
        """The IP address to scrape: the last `InternalIP` that parses, else the first `ExternalIP` (Heapster 3.1).

        None when no address parses. IPv6 comes without brackets. Only a node that has neither is asked at its first
        `LegacyHostIP`, which Heapster 1.5.4 still took and its last revision did not: nodes before Kubernetes 1.7 have
        it, some nothing else.
        """
        found: str | None = None
        legacy: str | None = None
        for kind, text in self.addresses:
            if kind == "InternalIP" or (found is None and kind == "ExternalIP"):
                found = parsed_ip(text) or found
            elif kind == "LegacyHostIP":
                legacy = legacy or parsed_ip(text)
        return found or legacy


class Namespace(Struct, frozen=True, gc=False):
    """One namespace as the API server knows it."""

    name: str
    uid: str = ""
    labels: Mapping[str, str] = {}


def parsed_ip(text: str) -> str | None:
    """`text` as an address in its canonical form, None when it is none; a zone is not accepted, as in Go."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
