"""What a sink would write of a batch, and what its series budget would cut: counted, not written."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from collector.core.batch import DataBatch
from collector.core.entities import NULL
from sinks.influxdb.budget import SeriesBudget, measured, spaces
from sinks.influxdb.options import InfluxdbOptions
from sinks.influxdb.tags import TagTable


class Planned(NamedTuple):
    """One measurement of one namespace."""

    namespace: str
    """Empty for what belongs to none: the cluster, nodes, system containers. It has no budget."""
    measurement: str
    """As line protocol has it."""
    series: int
    """How many there would be, were there no budget; rates are among them that a single batch has no values of."""
    points: int
    """Lines of this batch, were there no budget."""
    cut: int
    """How many of `series` the budget leaves out."""


def preview(batch: DataBatch, options: InfluxdbOptions) -> list[Planned]:
    """What a sink with `options`, started now, would make of a frozen batch, by namespace and measurement."""
    return sorted(_planned(batch, options))


def _planned(batch: DataBatch, options: InfluxdbOptions) -> Iterator[Planned]:
    layout, size = options.layout, batch.rows
    tags = TagTable(batch.entities, options.cluster_name, options.tagging)
    admitted = np.ones(size, np.bool_)
    if options.series_budget:
        admitted = SeriesBudget(options.series_budget, tell=False).admit(batch, layout, tags)
    space = spaces(batch.entities, size)
    counts: dict[bytes, np.ndarray[tuple[int, int], np.dtype[np.int64]]] = {}
    for one in measured(batch, layout):
        spaces_of = space[one.rows] - NULL  # NULL comes first
        cut = one.there & ~admitted[one.rows]
        found = [np.bincount(spaces_of, weights, size + 1) for weights in (one.there, one.points, cut)]
        total = np.array(found).astype(np.int64)
        counts[one.measurement] = counts[one.measurement] + total if one.measurement in counts else total
    for measurement, total in counts.items():
        for row in np.flatnonzero(total[0]).tolist():
            name = batch.entities.name[row + NULL] if row else ""
            yield Planned(name, measurement.decode(), *total[:, row].tolist())
