"""What a historical store answers. The historical API knows this contract and no store.

It fits Heapster's historical API (behaviour reference, section 8.6): lists of names, names of metrics, series and
aggregations, for one entity or several of a kind. All times are ns since the epoch and both ends of a range belong to
it (a caller who means them exclusively asks from `start + 1` to `end - 1`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from collector.core.contracts import Sink
from collector.core.metrics import Kind

MAX_POINTS = 500_000
"""Most points, or buckets, of one answer, all its entities together; beyond it a store raises HistoryError."""

MAX_NAMES = 100_000
"""Most names of one list."""


@dataclass(frozen=True, slots=True, order=True)
class EntityKey:
    """Names an entity of the past. What is empty is not asked about.

        cluster          -                         ns               namespace
        node             node                      pod              namespace, pod; or pod_id
        sys_container    node, container           pod_container    namespace, pod, container; or pod_id, container

    Keys given out by a store have the names, never the `pod_id`.
    """

    kind: Kind
    namespace: str = ""
    pod: str = ""
    container: str = ""
    node: str = ""
    pod_id: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one entity over time, oldest first, then by value: two parallel arrays.

    Several values at one time are those of a labelled metric, asked for without its labels.
    """

    times: NDArray[np.int64]
    """Batch timestamps, ns since the epoch."""
    values: NDArray[np.int64] | NDArray[np.float64]
    """int64 for integer metrics: they stay exact. A store that cannot tell has int64 where every value is whole."""

    def __len__(self) -> int:
        return self.times.size

    @classmethod
    def empty(cls) -> "Series":
        """No points."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def ordered(cls, times: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64]) -> "Series":
        """The series of points in any order."""
        if (times[1:] > times[:-1]).all():
            return cls(times, values)
        order = np.lexsort((values, times))
        return cls(times[order], values[order])


class Aggregation(StrEnum):
    """What can be computed over a bucket, under the names the API uses."""

    AVERAGE = "average"
    MAXIMUM = "max"
    MINIMUM = "min"
    MEDIAN = "median"
    COUNT = "count"
    PERCENTILE_50 = "50-perc"
    PERCENTILE_95 = "95-perc"
    PERCENTILE_99 = "99-perc"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The aggregations of the points of one bucket."""

    timestamp: int
    """Start of the bucket, a multiple of its size. Without buckets the start of the range, or, as in InfluxDB, the
    time of the point when a single aggregation that picks a point (maximum, minimum, percentile) was asked for."""
    values: Mapping[Aggregation, int | float]
    """Integer metrics have integers for count, maximum, minimum and percentiles; average and median are floats."""


class History(Protocol):
    """A store of past batches. Every method may raise HistoryError; none waits for ever, none answers without bound.

    An entity, metric or range without points has an empty answer: what is unknown and what is not there are one.
    """

    without_pod_ids: str
    """Why nothing can be found by `pod_id`, and what to turn; empty when it can."""

    async def entities(
        self, kind: Kind, start: int, end: int, *, namespace: str = "", pod: str = "", node: str = ""
    ) -> list[EntityKey]:
        """The entities of `kind` that existed in the range, sorted; of one namespace, pod or node when it is given.

        A store may know existence only roughly: then some that were there shortly before or after are among them.
        """
        ...

    async def metric_names(self, key: EntityKey, start: int, end: int) -> list[str]:
        """The metrics, plain and labelled, that the entity has a value of in the range, sorted; as roughly."""
        ...

    async def series(
        self, keys: Sequence[EntityKey], metric: str, start: int, end: int, labels: Mapping[str, str] | None = None
    ) -> list[Series]:
        """The points of `metric` for each of `keys`, which are of one kind.

        Of a labelled metric those whose label set has the given labels: all of them when none are given.
        """
        ...

    async def aggregate(
        self,
        keys: Sequence[EntityKey],
        metric: str,
        aggregations: Collection[Aggregation],
        start: int,
        end: int,
        *,
        bucket_ns: int = 0,
        labels: Mapping[str, str] | None = None,
    ) -> list[list[Bucket]]:
        """The aggregations over buckets of `bucket_ns`, for each of `keys`: only buckets that hold points.

        0 makes one bucket of the whole range.
        """
        ...

    async def stop(self) -> None:
        """End what is under way and release connections. Called once."""
        ...


@runtime_checkable
class HistoricalSink(Sink, Protocol):
    """A sink that keeps a past: what it has written can be asked back."""

    def history(self) -> History | None:
        """The past as this sink keeps it, with connections of its own; None when, as configured, it keeps none."""
        ...
