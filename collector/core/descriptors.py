"""What a metric is: kinds of entities, types, times, and the descriptor of one column."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np

INT64 = np.dtype(np.int64)
FLOAT64 = np.dtype(np.float64)


class Kind(IntEnum):
    """What an entity is. The label text (`type` in every label set) is Heapster's."""

    CLUSTER = 0
    NODE = 1
    NAMESPACE = 2
    POD = 3
    POD_CONTAINER = 4
    SYS_CONTAINER = 5

    @property
    def label(self) -> str:
        """The value of the `type` label."""
        return _KIND_LABELS[self]


_KIND_LABELS = ("cluster", "node", "ns", "pod", "pod_container", "sys_container")


class MetricType(Enum):
    """Whether the value only grows (until its entity restarts) or moves freely."""

    CUMULATIVE = "cumulative"
    GAUGE = "gauge"


class Clock(IntEnum):
    """The times an entity carries in one batch, int64 ns since the epoch, 0 when absent.

    A rate divides by its own clock.
    """

    START = 0
    """Start of the entity's life: a rate never spans two of them."""
    SCRAPE = 1
    """Heapster's one time per entity; the clock of counters that have none of their own."""
    CPU = 2
    MEMORY = 3
    NETWORK = 4
    DISK = 5
    """Of the labelled counters of disks."""


@dataclass(frozen=True, slots=True, eq=False)
class MetricDescriptor:
    """One column."""

    name: str
    type: MetricType
    dtype: np.dtype[np.int64] | np.dtype[np.float64]
    unit: str
    """`ns`, `us`, `ms`, `bytes`, `millicores`, or empty for a plain count or ratio."""
    description: str
    summary: Mapping[Kind, str] = field(default_factory=dict)
    """Where the kubelet's summary has it: kind -> JSON path below that kind's object."""
    clock: Clock | None = None
    """The time a cumulative metric was read at."""
    rate: str | None = None
    """The metric that two samples of this one make."""
    sums: frozenset[Kind] = frozenset()
    """The kinds it is summed into from the kind below."""
    extended: bool = False
    """Heapster did not have it: see --extended-metrics."""
    extended_sums: frozenset[Kind] = frozenset()
    """Further kinds it is summed into, where Heapster did not have it: see --extended-metrics."""

    def summed_into(self, kind: Kind) -> bool:
        """Whether entities of `kind` get the sum over the kind below, Heapster's or ours."""
        return kind in self.sums or kind in self.extended_sums

    @property
    def is_float(self) -> bool:
        """Whether the column holds float64."""
        return self.dtype == FLOAT64


@dataclass(frozen=True, slots=True, eq=False)
class LabeledGroup:
    """Metrics that always come together, once per label set of an entity: one table per group in a batch."""

    name: str
    metrics: tuple[MetricDescriptor, ...]
    summary: tuple[str, ...] = ()
    """The JSON field of each metric in the kubelet's object."""

    def column(self, name: str) -> int | None:
        """Position of metric `name` in this group's values, None when it is no member."""
        return next((j for j, metric in enumerate(self.metrics) if metric.name == name), None)


def attribute_path(json_path: str) -> str:
    """The attribute path of a JSON path: `ephemeral-storage.usedBytes` -> `ephemeral_storage.used_bytes`."""
    return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", json_path).replace("-", "_")
