"""What can be chosen about a simulated cluster."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector.errors import UsageError
from collector.sim.faults import FaultKind

MOST_PODS = 499_999  # resource versions give two numbers a second to each pod, within one million


@dataclass(frozen=True)
class SimConfig:
    """A simulated cluster. `__post_init__` refuses what cannot be, naming every flag at fault (UsageError)."""

    nodes: int = 5
    """Nodes, each with a kubelet on an address of its own."""
    pods: int = 10
    """Pods on each node."""
    containers: int = 2
    """Containers in each pod."""
    namespaces: int = 0
    """Most namespaces that services live in; 0 for as many as the Deployments fill."""
    deployments: int = 0
    """Deployments; 0 for one per ten pods. With one namespace and one Deployment a cluster has its lists of the
    greatest length."""
    seed: int = 1
    """The same seed and clock give the same bytes."""
    tls: bool = True
    """HTTPS with a generated CA; False serves plain HTTP."""
    captures: Path | None = None
    """A directory of recorded summaries to replay instead of inventing nodes."""
    churn: float = 0.01
    """Fraction of all pods replaced each minute."""
    housekeeping: int = 10
    """Seconds between two samples of one entity, as cAdvisor's housekeeping interval."""
    psi: bool = True
    """Report pressure stall sections, as kubelets from 1.34 do."""
    old_kubelets: bool = False
    """Kubelets before 1.12, on docker: cAdvisor's JSON at /stats/container/, old labels in its text."""
    down: float = 0.0
    """Fraction of nodes that refuse connections."""
    slow: float = 0.0
    """Fraction of nodes that answer late."""
    drip: float = 0.0
    """Fraction of nodes whose body arrives in small pieces."""
    error: float = 0.0
    """Fraction of nodes that answer HTTP 500."""
    garbage: float = 0.0
    """Fraction of nodes that answer HTML or bytes."""
    truncated: float = 0.0
    """Fraction of nodes whose answer is cut."""
    hang: float = 0.0
    """Fraction of nodes that never answer."""
    fault_seconds: float = 5.0
    """How late a slow answer is, and how long a dripping one takes."""
    watch_history: float = 300.0
    """Seconds for which old resource versions are kept; older ones are answered 410 Gone."""
    bookmarks: float = 30.0
    """Seconds between two bookmarks of a watch that allows them."""
    clock: Callable[[], float] = time.time
    """Seconds since 1970; a ManualClock stands still until advanced."""
    kubelet_port: int = 0
    """Port of every kubelet; 0 takes a free one."""
    api_port: int = 0
    """Port of the API server; 0 takes a free one."""
    network: str = "127.77.0.0/16"
    """Loopback network: node i is its address i + 1, the API server its last but one."""
    token: str = "sim-token"  # noqa: S105 - the simulated cluster guards nothing
    """Bearer token both servers require."""

    def __post_init__(self) -> None:
        faults = [*self._faults_of_size(), *self._faults_of_rates(), *self._faults_of_network()]
        if faults:
            raise UsageError(*faults)

    def fractions(self) -> dict[FaultKind, float]:
        """The fraction of nodes that has each kind of fault."""
        return {kind: getattr(self, kind.value) for kind in FaultKind}

    def _faults_of_size(self) -> list[str]:
        faults = []
        for name, most in (("nodes", 65_000), ("pods", 1_000), ("containers", 50)):
            count = getattr(self, name)
            if not 1 <= count <= most:
                faults.append(f"--{name} {count}: must lie between 1 and {most}")
        for name, most in (("namespaces", 10_000), ("deployments", 100_000)):
            count = getattr(self, name)
            if not 0 <= count <= most:
                faults.append(f"--{name} {count}: must lie between 0 and {most}")
        if not faults and self.nodes * self.pods > MOST_PODS:
            faults.append(
                f"--nodes {self.nodes} x --pods {self.pods} = {self.nodes * self.pods} pods: "
                f"at most {MOST_PODS}, lower one of them"
            )
        if self.captures is not None and not self.captures.is_dir():
            faults.append(f"--captures {self.captures}: not a directory")
        return faults

    def _faults_of_rates(self) -> list[str]:
        faults = []
        for kind, fraction in self.fractions().items():
            if not 0 <= fraction <= 1:
                faults.append(f"--{kind.value} {fraction}: a fraction of the nodes lies between 0 and 1")
        if not faults and sum(self.fractions().values()) > 1:
            faults.append(f"--{' --'.join(FaultKind)}: the fractions add up to more than 1")
        if not 0 <= self.churn <= 1:
            faults.append(f"--churn {self.churn}: a fraction of the pods per minute lies between 0 and 1")
        for name in ("housekeeping", "fault_seconds", "watch_history", "bookmarks"):
            if not 1 <= getattr(self, name) <= 86_400:
                flag = name.replace("_", "-")
                faults.append(f"--{flag} {getattr(self, name)}: must lie between 1 and 86400 seconds")
        return faults

    def _faults_of_network(self) -> list[str]:
        faults = []
        for name in ("kubelet_port", "api_port"):
            port = getattr(self, name)
            if not 0 <= port <= 65_535:
                faults.append(f"--{name.replace('_', '-')} {port}: a port lies between 0 and 65535")
        try:
            network = ipaddress.IPv4Network(self.network)
        except ValueError as error:
            return [*faults, f"--network {self.network}: {error}"]
        if not network.is_loopback:
            faults.append(f"--network {self.network}: must lie within 127.0.0.0/8")
        elif network.num_addresses < self.nodes + 4:
            faults.append(
                f"--network {self.network}: {network.num_addresses} addresses are too few for {self.nodes} nodes"
            )
        if not self.token:
            faults.append("--token: must not be empty")
        return faults
