"""Aggregations against plain Python, and the rules of InfluxDB where they are its own."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.history.aggregate import aggregate
from collector.history.contracts import Aggregation, Series

POINTS = st.dictionaries(st.integers(-(10**12), 10**12), st.integers(-(2**40), 2**40), max_size=40)


def series(points: dict[int, int]) -> Series:
    times = sorted(points)
    return Series(np.array(times, np.int64), np.array([points[time] for time in times], np.int64))


def brute_force(values: list[int], aggregation: Aggregation) -> float | None:
    match aggregation:
        case Aggregation.AVERAGE:
            return pytest.approx(statistics.fmean(values))
        case Aggregation.MEDIAN:
            return statistics.median(values)
        case Aggregation.MAXIMUM:
            return max(values)
        case Aggregation.MINIMUM:
            return min(values)
        case Aggregation.COUNT:
            return len(values)
        case _:
            rank = math.floor(len(values) * int(aggregation.partition("-")[0]) / 100 + 0.5)
            return sorted(values)[rank - 1] if rank else None


@given(POINTS, st.integers(1, 10**11))
def test_every_aggregation_over_buckets(points: dict[int, int], size: int) -> None:
    found = aggregate(series(points), list(Aggregation), 0, size)
    expected: dict[int, list[int]] = {}
    for time in sorted(points):
        expected.setdefault(time // size * size, []).append(points[time])
    assert [bucket.timestamp for bucket in found] == list(expected)
    for bucket in found:
        for aggregation in Aggregation:
            assert bucket.values.get(aggregation) == brute_force(expected[bucket.timestamp], aggregation)


@given(POINTS)
def test_without_buckets_there_is_one_that_starts_where_the_range_does(points: dict[int, int]) -> None:
    found = aggregate(series(points), list(Aggregation), 42, 0)
    assert [bucket.timestamp for bucket in found] == [42] * bool(points)


@pytest.mark.parametrize(
    ("aggregation", "timestamp"),
    [
        (Aggregation.MAXIMUM, 20),
        (Aggregation.MINIMUM, 10),
        (Aggregation.PERCENTILE_50, 40),
        (Aggregation.PERCENTILE_99, 30),
        (Aggregation.AVERAGE, 5),
        (Aggregation.MEDIAN, 5),
        (Aggregation.COUNT, 5),
    ],
)
def test_a_single_selector_without_buckets_has_the_time_of_its_point(aggregation: Aggregation, timestamp: int) -> None:
    (found,) = aggregate(series({10: 1, 20: 9, 30: 9, 40: 2}), [aggregation], 5, 0)
    assert found.timestamp == timestamp


def test_integers_stay_integers_and_exact() -> None:
    (found,) = aggregate(series({1: 2**62 + 1, 2: 2**62 + 3}), list(Aggregation), 0, 0)
    assert found.values[Aggregation.MAXIMUM] == 2**62 + 3
    assert found.values[Aggregation.PERCENTILE_50] == 2**62 + 1
    assert type(found.values[Aggregation.MINIMUM]) is int
    assert type(found.values[Aggregation.AVERAGE]) is float
