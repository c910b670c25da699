"""A batch as plain dictionaries, by entity: what the tests compare with."""

from dataclasses import dataclass, field

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.intake import Intake
from collector.core.metrics import Clock, Kind, MetricTable
from collector.core.sample import NodeSample
from collector.core.visibility import EVERYTHING, Visibility

Key = tuple[str, ...]
"""Label of the kind, then the names that lead there: `("pod_container", "default", "web-1", "nginx")`."""

Labeled = tuple[str, tuple[tuple[str, str], ...], int | float]
"""Metric, label set, value."""


@dataclass
class Entity:
    """All that is known of one entity in one batch; absent values and times are not in the dictionaries."""

    labels: dict[str, str]
    times: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, int | float] = field(default_factory=dict)
    labeled: list[Labeled] = field(default_factory=list)


def batch_of(
    *samples: NodeSample, entities: EntityTable | None = None, metrics: MetricTable | None = None
) -> DataBatch:
    """A frozen batch of these samples, in this order."""
    batch = DataBatch(entities or EntityTable(), metrics or MetricTable(), 0)
    intake = Intake(batch)
    for sample in samples:
        intake.add(sample)
    intake.flush()
    batch.freeze()
    return batch


def observed(batch: DataBatch, visibility: Visibility = EVERYTHING) -> dict[Key, Entity]:
    """Every entity of the batch but the cluster, through the ways that readers of a batch use."""
    found: dict[Key, Entity] = {}
    for row in np.flatnonzero(batch.exists[: batch.rows]).tolist():
        if row == batch.entities.cluster:
            assert not batch.present[:, row].any()
            continue
        metric_set = batch.metric_set(row, visibility)
        assert key_of(batch.entities, row) not in found
        found[key_of(batch.entities, row)] = Entity(
            labels=metric_set.labels,
            times={clock.name.lower(): time for clock in Clock if (time := int(batch.times[clock, row]))},
            metrics=metric_set.metrics,
            labeled=[(value.name, tuple(value.labels.items()), value.value) for value in metric_set.labeled],
        )
    assert not (batch.present[:, : batch.rows].any(axis=0) & ~batch.exists[: batch.rows]).any()
    return found


def key_of(entities: EntityTable, row: int) -> Key:
    """The names that lead to the entity in `row`."""
    names: list[str] = []
    kind = Kind(entities.kind[row])
    while row not in {NULL, entities.cluster}:
        names.insert(0, entities.name[row])
        row = int(entities.parent[row])
    return (kind.label, *names)
