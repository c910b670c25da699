"""Processors: columns from columns, in Heapster's order (behaviour reference, section 5)."""

import time
from collections.abc import Callable, Sequence

from collector.core.batch import DataBatch
from collector.core.contracts import Processor
from collector.kube.listers import NamespaceLister, NodeLister, PodLister
from collector.processors.aggregate import ClusterAggregator, NamespaceAggregator, NodeAggregator, PodAggregator
from collector.processors.autoscaling import NodeAutoscalingEnricher
from collector.processors.enrich import NamespaceEnricher, PodEnricher
from collector.processors.labels import LabelCopier
from collector.processors.rate import RateCalculator


def build_pipeline(
    pods: PodLister, namespaces: NamespaceLister, nodes: NodeLister, copier: LabelCopier, host_id_annotation: str = ""
) -> tuple[Processor, ...]:
    """The processors, in the order they run; a processor is a row here."""
    return (
        RateCalculator(),
        PodEnricher(pods, copier),
        NamespaceEnricher(namespaces),
        PodAggregator(),
        NamespaceAggregator(),
        NodeAggregator(),
        ClusterAggregator(),
        NodeAutoscalingEnricher(nodes, copier, host_id_annotation),
    )


def run_pipeline(
    pipeline: Sequence[Processor],
    batch: DataBatch,
    processed: Callable[[str, float], None] = lambda _name, _seconds: None,
) -> None:
    """Run every processor over `batch`, then freeze it; `processed` is told each one's name and seconds."""
    for processor in pipeline:
        began = time.perf_counter()
        processor.process(batch)
        processed(processor.name, time.perf_counter() - began)
    batch.freeze()
