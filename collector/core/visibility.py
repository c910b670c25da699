"""What an answer of Heapster's may hold: the one place that tells Heapster's metrics from further ones.

Batches hold every metric. Prometheus text and the embedded history, which Heapster did not have, show all of them; the
model API, exports and Heapster's sinks ask a Visibility, so that a metric Heapster did not have, or had not at that
kind of entity, changes nothing for their readers unless `--extended-metrics` is given.

    visibility.shows(descriptor, kind)      one metric of one kind of entity
    visibility.shows_name(name, kind)       the same by name, labelled and dynamic metrics included
    visibility.plain(batch.metrics)         bool (metrics, kinds), to index with `entities.kind[rows]`
    visibility.labeled(group)               bool (metrics of a labelled group,)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import (
    GROUPS,
    METRICS,
    Kind,
    LabeledGroup,
    MetricDescriptor,
    MetricTable,
    dynamic_descriptor,
)

_KNOWN: Mapping[str, MetricDescriptor] = {
    metric.name: metric for metric in (*METRICS, *(metric for group in GROUPS for metric in group.metrics))
}


@dataclass(frozen=True, slots=True)
class Visibility:
    """Heapster's metrics only, or, `extended`, all there are."""

    extended: bool = False

    def shows(self, metric: MetricDescriptor, kind: Kind) -> bool:
        """Whether `metric` of an entity of `kind` may be shown."""
        return self.extended or not (metric.extended or kind in metric.extended_sums)

    def shows_name(self, name: str, kind: Kind) -> bool:
        """The same for a metric, plain or labelled, that is known by its name."""
        return self.shows(_KNOWN.get(name) or dynamic_descriptor(name), kind)

    def plain(self, metrics: MetricTable) -> NDArray[np.bool_]:
        """Which columns may be shown for which kinds: (metrics, kinds)."""
        if self.extended:
            return np.ones((len(metrics), len(Kind)), np.bool_)
        return np.concatenate([_STANDARD, _mask(metrics.descriptors[len(METRICS) :])])

    def labeled(self, group: LabeledGroup) -> NDArray[np.bool_]:
        """Which metrics of a labelled group may be shown: (metrics of the group,)."""
        return np.array([self.extended or not metric.extended for metric in group.metrics], np.bool_)


HEAPSTERS = Visibility()
"""As Heapster had it."""


def _mask(metrics: Sequence[MetricDescriptor]) -> NDArray[np.bool_]:
    shown = [HEAPSTERS.shows(metric, kind) for metric in metrics for kind in Kind]
    return np.array(shown, np.bool_).reshape(-1, len(Kind))


_STANDARD = _mask(METRICS)

EVERYTHING = Visibility(extended=True)
"""Whatever there is."""
