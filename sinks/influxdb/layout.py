"""Which lines an entity has: metrics into measurements and fields, as one of the schemas puts them.

| schema | measurement, field | tags |
|---|---|---|
| `heapster` | `cpu/usage_rate`, `value` | all labels but four (`tags.DROPPED`) |
| `fields` | `cpu`, `usage_rate` | the same |
| `lean` | `cpu`, `usage_rate` | what names the entity (`tags.LEAN`) |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.core.metrics import GROUPS, METRICS, Kind, LabeledGroup, MetricDescriptor, MetricTable
from collector.core.visibility import HEAPSTERS, Visibility
from sinks.influxdb.lines import Field, Series
from sinks.influxdb.text import escape_key, escape_measurement

SCHEMAS = ("heapster", "fields", "lean")

_LABELED = tuple(metric for group in GROUPS for metric in group.metrics)
_STATIC = frozenset(metric.name for metric in (*METRICS, *_LABELED))


class Place(NamedTuple):
    """Where a metric's values lie."""

    measurement: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The lines of every kind of entity."""

    with_fields: bool = False
    """A metric's name is split at its first slash; otherwise it is the measurement, and the field is `value`."""
    disable_counters: bool = False
    """Whether counters that have a rate are left out."""
    visibility: Visibility = HEAPSTERS
    apart: frozenset[Place] = frozenset()
    """Fields that get lines of their own: the server refuses them, and would refuse their neighbours with them."""

    def place(self, name: str) -> Place:
        """Measurement and field of a metric, not escaped."""
        measurement, _, field = name.partition("/") if self.with_fields else (name, "", "")
        return Place(measurement, field or "value")

    def plain(self, metrics: MetricTable) -> list[tuple[Series, ...]]:
        """For each kind of entity, the lines of its plain metrics."""
        shown = self.visibility.plain(metrics)
        return [self._series(metrics, shown[:, kind]) for kind in range(len(Kind))]

    def labeled(self, group: LabeledGroup) -> tuple[Series, ...]:
        """The lines of a labelled value."""
        return self._series(enumerate(group.metrics), self.visibility.labeled(group))

    def types(self) -> Mapping[Place, str]:
        """What InfluxDB calls the type of every field whose type is known beforehand."""
        every = [metric for metric in METRICS if any(self.visibility.shows(metric, kind) for kind in Kind)]
        every += [metric for metric in _LABELED if self.visibility.extended or not metric.extended]
        return {
            self.place(metric.name): "float" if metric.is_float else "integer"
            for metric in every
            if not self._left_out(metric)
        }

    def _left_out(self, metric: MetricDescriptor) -> bool:
        return self.disable_counters and metric.rate is not None

    def _series(self, metrics: Iterable[tuple[int, MetricDescriptor]], shown: NDArray[np.bool_]) -> tuple[Series, ...]:
        """In the order of their first metrics."""
        fields: dict[tuple[str, int], list[Field]] = {}
        for m, metric in metrics:
            if not shown[m] or self._left_out(metric):
                continue
            place = self.place(metric.name)
            field_name = f"{escape_key(place.field)}=".encode("utf-8", "replace")
            alone = m if metric.name not in _STATIC or place in self.apart else -1
            fields.setdefault((place.measurement, alone), []).append(Field(field_name, m, metric.is_float))
        return tuple(
            Series(escape_measurement(measurement).encode("utf-8", "replace"), tuple(members))
            for (measurement, _), members in fields.items()
        )
