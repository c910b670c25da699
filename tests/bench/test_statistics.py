"""Order statistics and pairs: the numbers that the tables show."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.asking import Answered
from benchmarks.latency import beside, during
from benchmarks.repeat import summed_up
from benchmarks.statistics import compared, median, percentile, spread
from benchmarks.timing import Function, measured, with_ratios
from benchmarks.watchdog import _said

VALUES = st.lists(st.floats(0, 1e6), min_size=1)


@given(VALUES, st.floats(0, 1))
def test_a_percentile_is_a_value_with_enough_values_at_or_below_it(values: list[float], fraction: float):
    ordered = sorted(values)
    found = percentile(ordered, fraction)
    assert found in values
    assert sum(value <= found for value in values) >= fraction * len(values)
    below = [value for value in ordered if value < found]
    assert not below or len(below) < max(1, math.ceil(fraction * len(values)))


@given(VALUES)
def test_a_spread_is_in_order(values: list[float]):
    found = spread(values)
    assert found["count"] == len(values)
    assert [found["least"], found["most"]] == [min(values), max(values)]
    assert found["least"] <= found["p50"] <= found["p90"] <= found["p99"] <= found["most"]


def test_of_nothing_there_is_no_statistic():
    for statistic in (lambda: percentile([], 0.5), lambda: median([]), lambda: compared([])):
        with pytest.raises(ValueError, match=r"no (values|pairs)"):
            statistic()


def test_the_median_lies_between_the_two_in_the_middle():
    assert median([4, 1, 3, 2]) == 2.5
    assert median([9, 1, 2]) == 2


def test_ratios_are_taken_within_pairs():
    # The machine was three times as busy during the second pair: across pairs new would look three times slower.
    found = compared([(1.0, 0.5), (3.0, 1.5), (1.0, 0.6)])
    assert found == {"pairs": 3, "old": 1.0, "new": 0.5, "ratio": 0.5, "ratio_least": 0.5, "ratio_most": 0.6}


def test_cycles_of_all_runs_are_counted_together():
    cycle = {
        "wall_s": 1.0,
        "processors_s": 0.1,
        "sim_cpu_s": 0.2,
        "bytes_read": 10,
        "bytes_written": 0,
        "cpu_s": 0.5,
    }
    one = {
        "nodes": 10,
        "entities": 910,
        "start_cpu_s": 0.1,
        "first": {"cpu_s": 2.0},
        "machine": {},
        "answered": 10,
        "cycles": [cycle, {**cycle, "cpu_s": 0.7}],
        "peak_mib": 100.0,
    }
    found = summed_up([one, {**one, "answered": 9, "cycles": [{**cycle, "cpu_s": 0.1}], "peak_mib": 120.0}])
    assert found["cpu_s"]["count"] == 3
    assert [found["cpu_s"]["least"], found["cpu_s"]["p50"], found["cpu_s"]["most"]] == [0.1, 0.5, 0.7]
    assert found["cpu_ms_a_node"]["least"] == pytest.approx(10)
    assert [found["answered"], found["peak_mib"]["most"], found["runs"]] == [9, 120.0, 2]


def test_preparation_is_not_measured_and_every_run_gets_its_own():
    given_to: list[object] = []
    made = iter(range(10))
    result = measured(Function("f", "x", 4, "things", given_to.append, lambda: next(made)), runs=3)
    assert given_to == [0, 1, 2]
    assert len(result["runs_s"]) == 3
    assert result["rate"] == 4 / result["cpu_s"]


def test_a_librarys_way_tells_how_much_faster_ours_is():
    rows = [measured(Function(name, "", 1, "", lambda _: None, beside=of), 1) for name, of in (("a", ""), ("b", "a"))]
    rows[0]["rate"], rows[1]["rate"] = 60.0, 2.0
    assert [row["ratio"] for row in with_ratios(rows)] == [0, 30]


def test_only_answers_during_a_cycle_count():
    asked = [Answered(1.0, 0.5, 10), Answered(5.0, 0.25, 10), Answered(9.0, 1.0, 10)]
    assert during(asked, [(0.0, 2.0), (4.0, 6.0)]) == [500, 250]


def test_what_takes_longer_than_a_cycle_counts_where_any_of_it_was_during_one():
    spans = [(4.0, 6.0), (8.0, 9.0)]
    at_and_seconds = [(1.0, 2.0), (3.0, 1.5), (5.0, 0.5), (6.5, 1.0), (7.0, 4.0), (9.5, 1.0)]
    assert [beside(Answered(*one, 10), spans) for one in at_and_seconds] == [False, True, True, False, True, False]


def test_a_block_is_told_by_its_innermost_frames_first():
    import sys

    told = _said(sys._getframe())
    assert told.startswith("test_statistics.py:")
    assert "test_a_block_is_told_by_its_innermost_frames_first" in told.split(" < ")[0]
