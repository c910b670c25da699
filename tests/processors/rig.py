"""Rig: everything from decoded samples to the store in one place, with a clock that the test sets."""

from collections.abc import Iterable

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import MetricTable
from collector.core.sample import NodeSample
from collector.core.store import LONG_RETENTION_NS, SHORT_RETENTION_NS, MetricStore
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier

SECOND = 1_000_000_000


class Rig:
    """Listers to fill, and `tick`."""

    def __init__(
        self,
        copier: LabelCopier | None = None,
        host_id_annotation: str = "",
        *,
        short_retention_ns: int = SHORT_RETENTION_NS,
        long_retention_ns: int = LONG_RETENTION_NS,
    ) -> None:
        self.nodes, self.pods, self.namespaces = NodeLister(), PodLister(), NamespaceLister()
        self.entities, self.metrics = EntityTable(), MetricTable()
        self.pipeline = build_pipeline(
            self.pods, self.namespaces, self.nodes, copier or LabelCopier(), host_id_annotation
        )
        self.now = 0
        """ns since the epoch; the store's clock"""
        self.store = MetricStore(
            clock=lambda: self.now / SECOND, short_retention_ns=short_retention_ns, long_retention_ns=long_retention_ns
        )

    def fill(self, samples: Iterable[NodeSample], timestamp: int) -> DataBatch:
        """A batch of these samples, in this order, which no processor has seen."""
        batch = DataBatch(self.entities, self.metrics, timestamp)
        intake = Intake(batch)
        for sample in samples:
            intake.add(sample)
        intake.flush()
        return batch

    def tick(self, samples: Iterable[NodeSample], timestamp: int) -> DataBatch:
        """One whole tick at `timestamp`, ns: fill, process, freeze, store, sweep."""
        batch = self.fill(samples, timestamp)
        run_pipeline(self.pipeline, batch)
        self.now = timestamp
        self.store.add(batch)
        return batch
