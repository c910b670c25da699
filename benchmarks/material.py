"""Real material for measuring single functions: answers of a simulated cluster, and the batches they make."""

from collections.abc import Sequence

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.core.sample import NodeSample
from collector.core.samplegroup import SampleGroup
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
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
    """The answers of `nodes` kubelets, 30 pods of 2 containers each, at any minute."""

    def __init__(self, nodes: int) -> None:
        config = SimConfig(nodes=nodes, pods=30, containers=2, clock=lambda: float(ORIGIN))
        self.nodes = nodes
        self._world = InventedWorld(config, ORIGIN)
        self.entities, self.metrics = EntityTable(), MetricTable()
        self.pipeline = build_pipeline(PodLister(), NamespaceLister(), NodeLister(), LabelCopier())

    def bodies(self, minute: int) -> list[bytes]:
        """What every kubelet answers at that minute."""
        return [bytes(self._world.summary_at(node, ORIGIN + 60.0 * minute)) for node in range(self.nodes)]

    def samples(self, minute: int) -> list[NodeSample]:
        """The same, decoded."""
        return [decode_summary(body, (ORIGIN + 60 * minute) * 1_000_000_000) for body in self.bodies(minute)]

    def groups(self, minute: int) -> list[SampleGroup]:
        """The same, decoded together as a scrape does it."""
        bodies, read_at = self.bodies(minute), (ORIGIN + 60 * minute) * 1_000_000_000
        return [
            decode_together(bodies[start : start + DECODED_TOGETHER], read_at)[0]
            for start in range(0, len(bodies), DECODED_TOGETHER)
        ]

    def batch_of_groups(self, minute: int, groups: Sequence[SampleGroup]) -> DataBatch:
        """As `batch`."""
        batch = DataBatch(self.entities, self.metrics, ORIGIN * 1_000_000_000 + minute * MINUTE)
        intake = Intake(batch)
        for group in groups:
            intake.add_group(group)
        intake.flush()
        return batch

    def batch(self, minute: int, samples: Sequence[NodeSample]) -> DataBatch:
        """The same, placed; neither processed nor frozen."""
        batch = DataBatch(self.entities, self.metrics, ORIGIN * 1_000_000_000 + minute * MINUTE)
        intake = Intake(batch)
        for sample in samples:
            intake.add(sample)
        intake.flush()
        return batch

    def finished(self, first: int) -> DataBatch:
        """The second of two batches from minute `first` on, processed and frozen: it has rates."""
        for minute in (first, first + 1):
            batch = self.batch(minute, self.samples(minute))
            run_pipeline(self.pipeline, batch)
        return batch
