"""What there is to tell, whoever asks: the invented cluster, behind the same few questions as the replayed one."""

from typing import Protocol

from collector.sim.cadvisor_json import answer
from collector.sim.cadvisor_text import write_cadvisor_text
from collector.sim.cgroups import cgroups
from collector.sim.config import SimConfig
from collector.sim.inventory import Collection, Nodes, Pods, StaticCollection
from collector.sim.objects import ClusterObjects
from collector.sim.plan import build_plan
from collector.sim.resource import ResourceWriter
from collector.sim.sampling import Sampling
from collector.sim.summary import SummaryWriter
from collector.sim.summary_light import cpu_and_memory
from collector.sim.timeline import Timeline


class World(Protocol):
    """A cluster's contents, without any network."""

    node_names: tuple[str, ...]

    def summary(self, node: int, *, only_cpu_and_memory: bool) -> bytes | memoryview:
        """The body of /stats/summary, now."""

    def summary_at(self, node: int, now: float) -> bytes | memoryview:
        """The body of /stats/summary at `now`; asking changes nothing."""

    def resource(self, node: int) -> bytes | memoryview | None:
        """The body of /metrics/resource, now; None where the kubelet has no such endpoint."""

    def cadvisor(self, node: int) -> bytes | None:
        """The body of /metrics/cadvisor, now; None where the kubelet has no such endpoint."""

    def containers(self, node: int, question: bytes) -> bytes | None:
        """The answer to a POST to /stats/container/, now; None for a question that cannot be understood."""

    def collections(self, addresses: tuple[str, ...], kubelet_port: int) -> dict[str, Collection]:
        """The API server's collections, by resource name."""


class InventedWorld:
    """Nodes and pods drawn from a seed."""

    def __init__(self, config: SimConfig, origin: int) -> None:
        self._clock = config.clock
        self._plan = build_plan(config, origin)
        self._sampling = Sampling(self._plan)
        self._writer = SummaryWriter(self._sampling)
        self._resource = ResourceWriter(self._sampling)
        self.node_names = self._plan.node_names

    def summary(self, node: int, *, only_cpu_and_memory: bool) -> bytes | memoryview:
        """The body of /stats/summary, now."""
        body = self._writer.write(node, self._clock())
        return cpu_and_memory(body) if only_cpu_and_memory else body

    def summary_at(self, node: int, now: float) -> bytes | memoryview:
        """The body of /stats/summary at `now`."""
        return self._writer.write(node, now)

    def resource(self, node: int) -> bytes | memoryview | None:
        """The body of /metrics/resource, now; kubelets had none before 1.14."""
        if self._plan.config.old_kubelets:
            return None
        return self._resource.write(node, self._clock())

    def cadvisor(self, node: int) -> bytes:
        """The body of /metrics/cadvisor, now."""
        found = cgroups(self._sampling, node, self._clock())
        return write_cadvisor_text(found, old=self._plan.config.old_kubelets)

    def containers(self, node: int, question: bytes) -> bytes | None:
        """The answer to a POST to /stats/container/, now; None for a question that cannot be understood."""
        return answer(question, cgroups(self._sampling, node, self._clock()))

    def collections(self, addresses: tuple[str, ...], kubelet_port: int) -> dict[str, Collection]:
        """Nodes, pods and namespaces."""
        objects = ClusterObjects(self._plan, addresses, kubelet_port)
        timeline = Timeline(self._plan)
        return {
            "nodes": Nodes(self._plan, objects, timeline),
            "pods": Pods(self._plan, objects, timeline),
            "namespaces": StaticCollection("Namespace", objects.namespaces()),
        }
