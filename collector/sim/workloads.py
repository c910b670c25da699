"""The workloads of the simulated cluster: who runs, in which namespace, asking for what.

A workload is a Deployment, a StatefulSet, a DaemonSet or one static pod a node. Quantities are spelled in the many ways
the API accepts (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from collector.sim.hashing import Stream

MEBIBYTE = 1024 * 1024
LEAK_NAMESPACE = "leaky"
LEAK_LIMIT = 512 * MEBIBYTE
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own: no vowels, nothing to misread
_LETTER_PAIRS = tuple(first + second for first in SUFFIX_LETTERS for second in SUFFIX_LETTERS)

_APPLICATIONS = (
    "api", "web", "cart", "search", "index", "mail", "auth", "queue", "media", "report", "feed", "ads", "geo",
    "price", "stock", "image", "login", "audit", "chat", "order",
)  # fmt: skip
_ROLES = ("server", "worker", "gateway", "cache", "sync", "proxy", "front", "jobs")
_STORES = ("postgres", "redis", "kafka", "etcd", "mongo", "elastic", "minio", "consul")
_NAMESPACES = ("default", "shop", "payments", "search", "media", "identity")
_CONTAINER_NAMES = ("app", "sidecar", "exporter", "proxy", "tracer", "cache")


class Kind(StrEnum):
    """The controller of a pod."""

    STATIC = "Static"
    DAEMON = "DaemonSet"
    STATEFUL = "StatefulSet"
    DEPLOYMENT = "Deployment"


@dataclass(frozen=True)
class ContainerSpec:
    """One container of a workload: its name and image, what it uses at base load, what it asks for.

    `cpu_nanocores` and `memory_bytes` are the base load; `memory_limit_bytes` is -1 without a limit; `requests` and
    `limits` are quantities as spelled in the API.
    """

    name: str
    image: str
    cpu_nanocores: int
    memory_bytes: int
    memory_limit_bytes: int
    requests: dict[str, str]
    limits: dict[str, str]


@dataclass(frozen=True)
class Workload:
    """A controller and the pods it makes; `template_hash` tells its ReplicaSet in the pods' names."""

    name: str
    namespace: str
    kind: Kind
    host_network: bool
    template_hash: str
    labels: dict[str, str]
    containers: tuple[ContainerSpec, ...]

    @property
    def leaks(self) -> bool:
        """Whether its containers grow until they are killed."""
        return self.namespace == LEAK_NAMESPACE


def letters(number: int, length: int) -> str:
    """`number` written in Kubernetes' 27 letters, `length` of them, lowest digit last."""
    written = ""
    for _ in range(length // 2):
        number, pair = divmod(number, len(_LETTER_PAIRS))
        written = _LETTER_PAIRS[pair] + written
    return SUFFIX_LETTERS[number % len(SUFFIX_LETTERS)] + written if length % 2 else written


def namespaces_of(deployments: int) -> tuple[str, ...]:
    """The namespaces services live in: six, and one a team for every twenty deployments, at most two hundred."""
    teams = min(200, deployments // 20)
    return (*_NAMESPACES, *(f"team-{number:03d}" for number in range(teams)))


class WorkloadFactory:
    """Invents workloads from a seed; the same number asked twice gives the same workload."""

    def __init__(self, seed: int, containers: int) -> None:
        self._stream = Stream(seed, "workloads")
        self._seed = seed
        self._containers = containers

    def static(self) -> Workload:
        """The kube-proxy of every node, from a file on that node."""
        return self._make("kube-proxy", "kube-system", Kind.STATIC, host_network=True, number=1)

    def daemons(self) -> tuple[Workload, Workload]:
        """A host-network DaemonSet and one on the pod network."""
        return (
            self._make("node-exporter", "monitoring", Kind.DAEMON, host_network=True, number=2),
            self._make("fluent-bit", "logging", Kind.DAEMON, host_network=False, number=3),
        )

    def deployment(self, number: int, namespaces: tuple[str, ...]) -> Workload:
        """The `number`-th Deployment, in one of `namespaces`."""
        first, rest = number % len(_APPLICATIONS), number // len(_APPLICATIONS)
        role = _ROLES[(rest + first) % len(_ROLES)]
        serial = rest // len(_ROLES)
        name = f"{_APPLICATIONS[first]}-{role}" + (f"-{serial}" if serial else "")
        namespace = namespaces[number % len(namespaces)]
        return self._make(name, namespace, Kind.DEPLOYMENT, host_network=False, number=10 + number)

    def leaking(self, number: int) -> Workload:
        """A Deployment whose containers leak memory until they are killed."""
        return self._make(
            f"leak-{letters(number, 2)}", LEAK_NAMESPACE, Kind.DEPLOYMENT, host_network=False, number=1_000_000 + number
        )

    def stateful(self, number: int, namespaces: tuple[str, ...]) -> Workload:
        """The `number`-th StatefulSet."""
        serial = number // len(_STORES)
        name = _STORES[number % len(_STORES)] + (f"-{serial}" if serial else "")
        namespace = namespaces[number % len(namespaces)]
        return self._make(name, namespace, Kind.STATEFUL, host_network=False, number=2_000_000 + number)

    def _make(self, name: str, namespace: str, kind: Kind, *, host_network: bool, number: int) -> Workload:
        hashed = int(self._stream.bits(np.array([number]))[0])
        labels = {"app": name} if hashed % 3 == 0 else {"app.kubernetes.io/name": name, "tier": _ROLES[hashed % 8]}
        if kind is Kind.DEPLOYMENT:
            labels["pod-template-hash"] = letters(hashed >> 8, 10)
        leaks = namespace == LEAK_NAMESPACE
        specs = tuple(
            self._container(number * 64 + place, name, place, leaks=leaks) for place in range(self._containers)
        )
        return Workload(name, namespace, kind, host_network, letters(hashed >> 8, 10), labels, specs)

    def _container(self, number: int, workload: str, place: int, *, leaks: bool) -> ContainerSpec:
        hashed = int(self._stream.bits(np.array([number + 2**40]))[0])
        rounds, name_place = divmod(place, len(_CONTAINER_NAMES))
        name = _CONTAINER_NAMES[name_place] + (f"-{rounds}" if rounds else "")
        first = place == 0
        millicores = (20 + hashed % 180) if first else (2 + hashed % 20)
        memory = ((48 + (hashed >> 8) % 464) if first else (12 + (hashed >> 8) % 52)) * MEBIBYTE
        limit = memory * 2 if (hashed >> 20) % 4 else -1
        if leaks:
            memory, limit = 64 * MEBIBYTE, LEAK_LIMIT
        requests: dict[str, str] = {}
        limits: dict[str, str] = {}
        if (hashed >> 24) % 8 or leaks:
            requests = {"cpu": spell_cpu(millicores * 2, hashed >> 28), "memory": spell_memory(memory, hashed >> 32)}
        if limit > 0:
            limits["memory"] = spell_memory(limit, hashed >> 36)
        if (hashed >> 40) % 3 == 0:
            limits["cpu"] = spell_cpu(millicores * 4, hashed >> 44)
        image = f"example.com/{workload}/{name}:{1 + hashed % 4}.{(hashed >> 4) % 20}.{(hashed >> 12) % 10}"
        return ContainerSpec(name, image, millicores * 1_000_000, memory, limit, requests, limits)


def spell_cpu(millicores: int, choice: int) -> str:
    """`millicores` in one of the forms the API accepts."""
    forms = (
        f"{millicores}m",
        f"{millicores / 1000:.3f}",
        f"{millicores}e-3",
        f"{millicores * 1000}u",
        f"{millicores}m",
        f"{millicores * 1_000_000}n",
    )
    return forms[choice % len(forms)]


def spell_memory(size: int, choice: int) -> str:
    """`size` bytes (whole MiB) in one of the forms the API accepts; every form means the same number."""
    forms = (
        f"{size // MEBIBYTE}Mi",
        f"{size // 1024}Ki",
        f"{size}",
        f"{size // MEBIBYTE}Mi",
        f"{size}000m",
        f"{size / MEBIBYTE / 1024:.12g}Gi" if size % (MEBIBYTE * 16) == 0 else f"{size // 1024}Ki",
        f"{size}e0",
    )
    return forms[choice % len(forms)]
