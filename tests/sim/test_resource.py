"""The light endpoint, whose answers are written together, equals what is written line by line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.sim.config import SimConfig
from collector.sim.plan import build_plan
from collector.sim.resource import ResourceWriter
from collector.sim.resource_numbers import write_bytes, write_seconds, write_starts, write_zero
from collector.sim.sampling import GROUP_NODES, Sampling
from collector.sim.summary import SummaryWriter
from tests.sim.resource_reference import seconds, write_resource

ORIGIN = 1_800_000_000
USED = st.integers(0, 10**16 - 1) | st.integers(0, 10**8 - 1).map(lambda tenths: tenths * 10**8)
TIMES = st.integers(10**12, 10**13 - 1)


def said(write, lanes, *columns):
    """What is written for each line, without NULs."""
    out = np.zeros((1, len(columns[0]), lanes), np.uint32)
    write(*(np.array([column], np.int64) for column in columns), out)
    return [cell.tobytes().replace(b"\0", b"").decode() for cell in out[0]]


@given(st.lists(st.tuples(USED, TIMES), min_size=1))
def test_seconds_are_exact_and_as_short_as_they_can_be(drawn):
    amounts, times = zip(*drawn, strict=True)

    assert said(write_seconds, 8, amounts, times) == [f"{seconds(each)} {time}\n" for each, time in drawn]


@pytest.mark.parametrize("amount", [0, 1, 10, 99_999, 100_000, 10**9 - 1, 10**9, 10**12, 10**12 + 10**5, 10**19 // 2])
def test_seconds_at_the_borders_of_groups_are_whole(amount):
    assert said(write_seconds, 10, [amount], [ORIGIN * 1000]) == [f"{seconds(amount)} {ORIGIN}000\n"]


@given(st.lists(st.tuples(st.integers(0, 10**13 - 1), TIMES), min_size=1))
def test_bytes_are_whole_numbers(drawn):
    amounts, times = zip(*drawn, strict=True)

    assert said(write_bytes, 7, amounts, times) == [f"{each} {time}\n" for each, time in drawn]


@pytest.mark.parametrize("amount", [0, 9, 10, 99_999, 100_000, 10**9])
def test_bytes_at_the_borders_of_groups_are_whole(amount):
    assert said(write_bytes, 7, [amount], [10**12]) == [f"{amount} {10**12}\n"]


@given(st.lists(TIMES, min_size=1))
def test_swap_is_zero_and_has_a_time(times):
    assert said(write_zero, 4, times) == [f"0 {time}\n" for time in times]


@given(st.lists(st.integers(10**9, 10**10 - 1), min_size=1))
def test_start_times_are_whole_seconds(starts):
    assert said(write_starts, 3, starts) == [f"{start}\n" for start in starts]


@pytest.mark.parametrize(
    "shape",
    [
        {"nodes": 6, "pods": 30, "churn": 1.0},
        {"nodes": 4, "pods": 9, "churn": 1.0, "containers": 3},
        {"nodes": 3, "pods": 2, "churn": 1.0, "containers": 1, "seed": 7},
        {"nodes": 2, "pods": 20, "churn": 0.0, "housekeeping": 10},
    ],
)
def test_every_answer_equals_the_one_written_line_by_line(shape):
    plan = build_plan(SimConfig(**{"housekeeping": 1, **shape}), ORIGIN)
    writer = ResourceWriter(Sampling(plan))
    sizes = set()
    for second in [*range(1, 70, 3), *range(1_000, 1_010), 5, 700_000]:
        for node in range(plan.config.nodes):
            now = ORIGIN + second + 0.5
            body = bytes(writer.write(node, now))
            assert body == write_resource(plan, node, now), (node, second)
            sizes.add(body.count(b"\n"))
    assert shape["churn"] == 0 or len(sizes) > 1  # some lack a container


def test_nodes_of_every_group_have_their_own_answers():
    plan = build_plan(SimConfig(nodes=GROUP_NODES + 3, pods=4, housekeeping=1), ORIGIN)
    writer = ResourceWriter(Sampling(plan))
    for node in (0, GROUP_NODES - 1, GROUP_NODES, GROUP_NODES + 2):
        assert bytes(writer.write(node, ORIGIN + 60.0)) == write_resource(plan, node, ORIGIN + 60.0)


def test_both_endpoints_share_samples_and_neither_spoils_the_others():
    plan = build_plan(SimConfig(nodes=3, pods=9, churn=1.0, housekeeping=1), ORIGIN)
    both = Sampling(plan)
    summary, resource = SummaryWriter(both), ResourceWriter(both)
    for second in (40, 41, 40, 300, 41):
        now = ORIGIN + second + 0.25
        for node in range(3):
            full, light = bytes(summary.write(node, now)), bytes(resource.write(node, now + 7))
            assert full == bytes(SummaryWriter(Sampling(plan)).write(node, now))
            assert light == write_resource(plan, node, now + 7)
