"""Processors: columns from columns, in Heapster's order (behaviour reference, section 5)."""

import time
from collections.abc import Callable, Iterator, Sequence

from collector.core.batch import DataBatch
from collector.core.contracts import Processor
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.processors.aggregate import ClusterAggregator, NamespaceAggregator, NodeAggregator, PodAggregator
from collector.processors.autoscaling import NodeAutoscalingEnricher
from collector.processors.enrich import NamespaceEnricher, PodEnricher
from collector.processors.labels import LabelCopier
from collector.processors.rate import RateCalculator


def build_pipeline(
    pods: PodLister,
    namespaces: NamespaceLister,
    nodes: NodeLister,
    copier: LabelCopier,
    host_id_annotation: str = "",
    *,
    previous: DataBatch | None = None,
) -> tuple[Processor, ...]:
    """The processors, in the order they run; a processor is a row here. The first rates span from `previous`."""
    return (
        RateCalculator(previous),
        PodEnricher(pods, copier),
        NamespaceEnricher(namespaces),
        PodAggregator(),
        NamespaceAggregator(),
        NodeAggregator(),
        ClusterAggregator(),
        NodeAutoscalingEnricher(nodes, copier, host_id_annotation),
    )


def _unobserved(_name: str, _seconds: float) -> None:
    """Tell nobody."""


def pipeline_steps(
    pipeline: Sequence[Processor], batch: DataBatch, processed: Callable[[str, float], None] = _unobserved
) -> Iterator[None]:
    """Run every processor over `batch`, then freeze it, in steps of some milliseconds.

    Between two of them others may compute; the batch is whole, and anybody's, only when the steps are over. `processed`
    is told each processor's name and seconds, without what passed between its steps.
    """
    for processor in pipeline:
        spent, began = 0.0, time.perf_counter()
        for _ in processor.steps(batch):
            spent += time.perf_counter() - began
            yield
            began = time.perf_counter()
        processed(processor.name, spent + time.perf_counter() - began)
        yield
    yield from batch.freezing()


def run_pipeline(
    pipeline: Sequence[Processor], batch: DataBatch, processed: Callable[[str, float], None] = _unobserved
) -> None:
    """The same at once."""
    for _ in pipeline_steps(pipeline, batch, processed):
        pass
