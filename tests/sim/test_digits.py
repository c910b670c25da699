"""Numbers and times written a matrix at a time equal those written one by one."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sim.digits import RecentTimes, rfc3339, text_lanes, time_lanes, write_numbers


def written(numbers, lanes):
    out = np.zeros((1, len(numbers), lanes), dtype=np.uint32)
    write_numbers(np.array([numbers]), lanes, out)
    return [cell.tobytes() for cell in out[0]]


@given(
    st.integers(1, 4).flatmap(
        lambda lanes: st.tuples(st.just(lanes), st.lists(st.integers(-1, 10 ** (4 * lanes) - 1), min_size=1))
    )
)
def test_numbers_are_right_aligned_and_negative_ones_blank(drawn):
    lanes, numbers = drawn
    expected = [(b"%d" % number if number >= 0 else b"").rjust(4 * lanes) for number in numbers]

    assert written(numbers, lanes) == expected


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_five_lanes_hold_every_counter(numbers):
    assert written(numbers, 5) == [b"%20d" % number for number in numbers]


@pytest.mark.parametrize("number", [0, 9, 10, 9_999, 10_000, 99_999_999, 10**8, 10**12, 10**16 - 1])
def test_numbers_at_the_borders_of_groups_are_whole(number):
    assert written([number], 4) == [b"%16d" % number]


def test_many_rows_are_written_alike():
    numbers = np.arange(40_000).reshape(40, 1_000) * 7_919
    out = np.zeros((40, 1_000, 3), dtype=np.uint32)
    write_numbers(numbers, 3, out)

    assert out[39, 999].tobytes() == b"%12d" % numbers[39, 999]
    assert out.tobytes() == b"".join(b"%12d" % number for number in numbers.ravel())


@given(st.integers(0, 4_000_000_000))
def test_times_are_rfc_3339(second):
    expected = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    assert rfc3339(second) == expected
    assert time_lanes(np.array([second]))[0].tobytes() == expected.encode()


def test_recent_times_are_looked_up():
    recent = RecentTimes(1_800_000_000, 1_800_000_030)

    assert recent.lanes(np.array([[1_800_000_007]]))[0, 0].tobytes() == b"2027-01-15T08:00:07Z"


def test_a_text_that_does_not_fit_is_refused():
    assert text_lanes(["pod", "ab"], 2).tobytes() == b"pod     ab      "
    with pytest.raises(ValueError, match="longer than its slot of 8 bytes"):
        text_lanes(["pod", "a-long-name"], 2)
