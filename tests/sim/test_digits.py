"""Numbers and times written a matrix at a time equal those written one by one."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sim import digits
from collector.sim.config import SimConfig
from collector.sim.digits import (
    RecentTimes,
    rfc3339,
    scatter_by_numpy,
    text_lanes,
    time_lanes,
    write_numbers,
    write_numbers_by_numpy,
)
from collector.sim.plan import build_plan
from collector.sim.sampling import Sampling
from collector.sim.summary import SummaryWriter

if not digits.AVAILABLE:
    pytest.fail(
        "collector/sim/_lanes was not built: install gcc, libc6-dev and Python's headers (make system), "
        "remove .venv/.ready, run make setup",
        pytrace=False,
    )
extension = digits.extension


def written(numbers, lanes):
    """Written by both ways, which agree."""
    out, expected = (np.zeros((1, len(numbers), lanes), dtype=np.uint32) for _ in range(2))
    write_numbers(np.array([numbers]), lanes, out)
    write_numbers_by_numpy(np.array([numbers]), lanes, expected)
    assert out.tobytes() == expected.tobytes()
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


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5])
def test_the_extension_writes_between_other_lanes_and_nowhere_else(lanes):
    numbers = np.arange(-1, 23).reshape(4, 6) * 97
    whole, expected = (np.full((4, 3 + 3 * lanes), 7, dtype=np.uint32) for _ in range(2))
    for out, write in ((whole, write_numbers), (expected, write_numbers_by_numpy)):
        write(numbers[:, ::2], lanes, out[:, 2:-1].reshape(4, 3, lanes))

    assert digits.AVAILABLE
    assert np.array_equal(whole, expected)
    assert (whole[:, [0, 1, -1]] == 7).all()


def test_the_extension_refuses_numbers_without_a_place():
    with pytest.raises(ValueError, match="not a place for each number"):
        extension.write_numbers(np.zeros((2, 3), np.int64), np.zeros((2, 2, 1), np.uint32))
    with pytest.raises(ValueError, match="do not lie side by side"):
        extension.write_numbers(np.zeros((2, 3), np.int64), np.zeros((2, 3, 4), np.uint32)[..., ::2])
    with pytest.raises(ValueError, match="numbers: wanted 2 dimensions of 8 bytes"):
        extension.write_numbers(np.zeros(3, np.int64), np.zeros((1, 3, 4), np.uint32))


@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.permutations(range(count)), st.integers(1, count))))
def test_lanes_are_scattered_alike(drawn):
    order, count = drawn
    positions = np.array(order[:count], np.int32)
    lanes = np.arange(100, 100 + count, dtype=np.uint32)
    sources = positions[::-1] % np.int32(count)
    text, expected = np.zeros((2, len(order)), np.uint32)
    extension.scatter(text, positions, lanes, sources)
    scatter_by_numpy(expected, positions, lanes, sources)

    assert np.array_equal(text, expected)


@pytest.mark.parametrize(("position", "source"), [(4, 0), (-1, 0), (0, 3), (0, -1)])
def test_no_lane_is_written_or_read_outside(position, source):
    places = np.array([position], np.int32), np.array([source], np.int32)
    with pytest.raises(IndexError, match=f"lane {source} of 3 to {position} of 4"):
        extension.scatter(np.zeros(4, np.uint32), places[0], np.zeros(3, np.uint32), places[1])


def test_without_the_extension_an_answer_is_the_same(monkeypatch):
    config = SimConfig(nodes=3, pods=4, churn=0.5)
    answers = []
    for available in (True, False):
        monkeypatch.setattr(digits, "AVAILABLE", available)
        writer = SummaryWriter(Sampling(build_plan(config, 1_800_000_000)))
        answers.append([bytes(writer.write(node, 1_800_000_000.0 + 61 * node)) for node in range(3)])

    assert answers[0] == answers[1]


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
