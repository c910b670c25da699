"""Real material for measuring single functions: answers of a simulated cluster, and the batches they make."""

from collections.abc import Sequence
from functools import cached_property

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import Kind, MetricTable
from collector.core.sample import NodeSample
from collector.core.samplegroup import SampleGroup
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.kube.objects import ContainerSpec, Pod
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier
from collector.sim.config import SimConfig
from collector.sim.world import InventedWorld
from collector.sources.projection import decode_together
from collector.sources.scrape import DECODED_TOGETHER
from collector.sources.summary import decode_summary

ORIGIN = 1_800_000_000
MINUTE = 60_000_000_000


class Material:
    """The answers of `nodes` kubelets, 30 pods of 2 containers each, at any minute, and what is made of them."""

    def __init__(self, nodes: int) -> None:
        config = SimConfig(nodes=nodes, pods=30, containers=2, clock=lambda: float(ORIGIN))
        self.nodes = nodes
        self._world = InventedWorld(config, ORIGIN)
        self._minute = 1
        self.entities, self.metrics = EntityTable(), MetricTable()
        self.pods = PodLister()
        self.pipeline = build_pipeline(self.pods, NamespaceLister(), NodeLister(), LabelCopier())

    def bodies(self, minute: int) -> list[bytes]:
        """What every kubelet answers at that minute."""
        return [bytes(self._world.summary_at(node, ORIGIN + 60.0 * minute)) for node in range(self.nodes)]

    def samples(self, minute: int) -> list[NodeSample]:
        """The same, decoded."""
        return [decode_summary(body, (ORIGIN + 60 * minute) * 1_000_000_000) for body in self.bodies(minute)]

    def groups(self, minute: int) -> list[SampleGroup]:
        """The same, decoded together as a scrape does it."""
        return self.groups_of(self.bodies(minute), (ORIGIN + 60 * minute) * 1_000_000_000)

    @staticmethod
    def groups_of(bodies: Sequence[bytes], read_at: int) -> list[SampleGroup]:
        """Answers read at `read_at` (ns since the epoch), decoded together as many at a time as in a scrape."""
        return [
            decode_together(bodies[start : start + DECODED_TOGETHER], read_at)[0]
            for start in range(0, len(bodies), DECODED_TOGETHER)
        ]

    def placed_groups(self, groups: Sequence[SampleGroup]) -> DataBatch:
        """As `placed`, the way a scrape does it."""
        batch = self._next()
        intake = Intake(batch)
        for group in groups:
            intake.add_group(group)
        intake.flush()
        return batch

    @cached_property
    def two_minutes(self) -> tuple[list[NodeSample], list[NodeSample]]:
        """Samples of minutes 0 and 1."""
        return self.samples(0), self.samples(1)

    def placed(self, samples: Sequence[NodeSample]) -> DataBatch:
        """A batch of them, one minute after the one before; neither processed nor frozen."""
        batch = self._next()
        intake = Intake(batch)
        for sample in samples:
            intake.add(sample)
        intake.flush()
        return batch

    def _next(self) -> DataBatch:
        self._minute += 1
        return DataBatch(self.entities, self.metrics, ORIGIN * 1_000_000_000 + self._minute * MINUTE)

    @cached_property
    def finished(self) -> tuple[DataBatch, DataBatch]:
        """Two batches in a row, processed and frozen: the second has rates. The pod lister knows their pods."""
        first = self.placed(self.two_minutes[0])
        self.pods.replace(_pods(first))
        second = None
        for batch in (first, second := self.placed(self.two_minutes[1])):
            run_pipeline(self.pipeline, batch)
        return first, second


def _pods(batch: DataBatch) -> list[Pod]:
    entities = batch.entities
    specs = {name: ContainerSpec(name, f"example.com/{name}:1") for name in ("app", "sidecar")}
    labels = {"app": "web", "tier": "front"}
    return [
        Pod(
            entities.name[entities.parent[row]],
            entities.name[row],
            entities.uid[row],
            labels=labels,
            containers=tuple(specs.setdefault(name, ContainerSpec(name, name)) for name in entities.children(row)),
        )
        for row in batch.rows_of(Kind.POD).tolist()
    ]
