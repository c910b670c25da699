"""A cluster in which nothing is wrong for a collector with all its parts, and what one can break in it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from collector.doctor.checks import Result, examine
from collector.doctor.finding import Finding, State
from collector.options import parse
from collector.sim import SimulatedCluster
from collector.sim.reviews import Account, Right

USER = "system:serviceaccount:kube-system:heapster"
TOP = "v1beta1.metrics.k8s.io"

RIGHTS = frozenset(
    Right(USER, verb, what, namespace)
    for verbs, what, namespace in (
        ("list watch", "nodes", ""),
        ("list watch", "pods", ""),
        ("list watch", "namespaces", ""),
        ("get", "nodes/stats", ""),
        ("get", "nodes/metrics", ""),
        ("get create patch", "leases.coordination.k8s.io", "kube-system"),
        ("create", "tokenreviews.authentication.k8s.io", ""),
        ("create", "subjectaccessreviews.authorization.k8s.io", ""),
        ("get", "configmaps", "kube-system"),
        ("get patch", "apiservices.apiregistration.k8s.io", ""),
    )
    for verb in verbs.split()
)
"""All that a collector with every flag needs, and no more."""


@dataclass
class Ward:
    """One cluster, and the flags of a collector for it."""

    cluster: SimulatedCluster
    directory: Path
    source: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)
    server: str = ""

    def __post_init__(self) -> None:
        self.source = {
            "inClusterConfig": "false",
            "auth": str(self.cluster.kubeconfig),
            "kubeletHttps": "true",
            "kubeletPort": str(self.cluster.kubelet_port),
        }
        self.flags = {
            "api-server": "true",
            "leader-elect": "true",
            "leader-elect-resource-namespace": "kube-system",
            "service-namespace": "kube-system",
            "node-timeout": "8s",
            "sink": f"history:{self.directory}/history",
            "spool-dir": f"{self.directory}/spool",
            "warm-dir": f"{self.directory}/warm",
        }
        reviews = self.cluster.api.reviews
        reviews.accounts[self.cluster.config.token] = Account(USER, ("system:serviceaccounts",))
        reviews.rights = set(RIGHTS)
        self.cluster.api.apiservices.apply(TOP, "heapster", "kube-system")
        self.cluster.api.apiservices.judge(TOP, available=True)

    @property
    def arguments(self) -> list[str]:
        options = "&".join(f"{name}={value}" for name, value in self.source.items())
        return [
            f"--source=kubernetes.summary_api:{self.server}?{options}",
            *(f"--{name}={value}" for name, value in self.flags.items()),
        ]

    def revoke(self, verb: str, what: str) -> None:
        rights = self.cluster.api.reviews.rights
        gone = {right for right in rights if (right.verb, right.what) == (verb, what)}
        assert gone, f"{verb} {what} is no right of RIGHTS"
        rights -= gone

    async def examined(self) -> list[Result]:
        return await examine(parse(self.arguments).validated())

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self.cluster.node_names)


def of_state(results: list[Result], state: State) -> list[tuple[str, Finding]]:
    return [(result.check.name, each) for result in results for each in result.findings if each.state is state]


def states(results: list[Result]) -> Mapping[str, State]:
    return {result.check.name: result.state for result in results}


@contextmanager
def untouched(directory: Path) -> Iterator[None]:
    """Nothing below it is made, changed or removed."""

    def seen() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for root, names, files in os.walk(directory)
            for path in (Path(root) / name for name in (*names, *files))
        }

    before = seen()
    yield
    assert seen() == before
