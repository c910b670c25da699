"""Aggregations over buckets of a series, with the formulas of InfluxDB 1.x: pure NumPy."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.history.contracts import Aggregation, Bucket, Series

Values = NDArray[Any]


def _median(values: Values) -> float:
    """The middle one, or the lower of two and half the way to the other: exact also where their sum is not."""
    lower, upper = (values.size - 1) // 2, values.size // 2
    middle = np.partition(values, (lower, upper))
    low, high = middle[lower].item(), middle[upper].item()
    return float(low) + float(high - low) / 2


def _average(values: Values) -> float:
    """Integers are summed as such, floats from the first to the last, as any other order has other last digits."""
    if values.dtype == np.int64:
        largest = max(int(values.max()), -int(values.min()))
        total = float(int(values.sum()) if largest * values.size < 2**63 else sum(values.tolist()))
    else:
        total = float(np.add.accumulate(values)[-1])
    return total / values.size


def _count(values: Values) -> int:
    return values.size


_FORMULAS: Mapping[Aggregation, Callable[[Values], int | float]] = {
    Aggregation.AVERAGE: _average,
    Aggregation.MEDIAN: _median,
    Aggregation.COUNT: _count,
}

_PERCENTS = {
    Aggregation.MINIMUM: None,
    Aggregation.MAXIMUM: None,
    Aggregation.PERCENTILE_50: 50.0,
    Aggregation.PERCENTILE_95: 95.0,
    Aggregation.PERCENTILE_99: 99.0,
}
"""The aggregations that pick one of the points, and the percent of those that have one."""


def aggregate(series: Series, aggregations: Collection[Aggregation], start: int, bucket_ns: int) -> list[Bucket]:
    """The buckets of `series` that hold points, oldest first; `start` is the range's, for the one without buckets."""
    if not len(series):
        return []
    if bucket_ns == 0:
        return [_bucket(series, aggregations, _time_of_whole(series, aggregations, start))]
    numbers, firsts = np.unique(series.times // bucket_ns, return_index=True)
    ends = np.append(firsts[1:], len(series))
    return [
        _bucket(Series(series.times[a:b], series.values[a:b]), aggregations, number * bucket_ns)
        for number, a, b in zip(numbers.tolist(), firsts.tolist(), ends.tolist(), strict=True)
    ]


def _bucket(series: Series, aggregations: Collection[Aggregation], timestamp: int) -> Bucket:
    values: dict[Aggregation, int | float] = {}
    for aggregation in aggregations:
        if aggregation in _FORMULAS:
            values[aggregation] = _FORMULAS[aggregation](series.values)
        elif (picked := _pick(series.values, aggregation)) is not None:
            values[aggregation] = series.values[picked].item()
    return Bucket(timestamp, values)


def _pick(values: Values, aggregation: Aggregation) -> int | None:
    """The position of the point an aggregation picks; the earliest of equal ones.

    A percentile is the point of rank floor(count * percent / 100 + 0.5), from 1 on; there is none of rank 0.
    """
    if aggregation is Aggregation.MINIMUM:
        return int(np.argmin(values))
    if aggregation is Aggregation.MAXIMUM:
        return int(np.argmax(values))
    percent = _PERCENTS[aggregation]
    assert percent is not None
    rank = int(np.floor(values.size * percent / 100 + 0.5))
    return int(np.argsort(values, kind="stable")[rank - 1]) if rank > 0 else None


def _time_of_whole(series: Series, aggregations: Collection[Aggregation], start: int) -> int:
    if len(set(aggregations)) == 1:
        only = next(iter(aggregations))
        picked = _pick(series.values, only) if only in _PERCENTS else None
        if picked is not None:
            return int(series.times[picked])
    return start
