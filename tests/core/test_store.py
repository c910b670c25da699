"""MetricStore: what it keeps for how long, and what it answers (behaviour reference, section 7)."""

import numpy as np
import pytest

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.intake import Intake
from collector.core.metrics import INDEX, MetricTable
from collector.core.store import MetricStore
from tests.core.samples import CPU, RSS, sample

SECOND = 1_000_000_000
USAGE = INDEX["memory/usage"]
RATE = INDEX["cpu/usage_rate"]
RX = INDEX["network/rx_rate"]
WEB = ("default", "web-1")


class Cluster:
    """A store, its clock, and one way to put a batch into it."""

    def __init__(self) -> None:
        self.now = 10_000.0
        self.entities = EntityTable()
        self.metrics = MetricTable()
        self.store = MetricStore(clock=lambda: self.now)

    def tick(self, value: int = 1, *, at: float | None = None, node: str = "node-a", **options: object) -> DataBatch:
        """A batch stamped `at` (the present by default) whose node and pod have `value` everywhere."""
        batch = DataBatch(self.entities, self.metrics, int((self.now if at is None else at) * SECOND))
        intake = Intake(batch)
        intake.add(sample(node, {WEB: []}, value=value, metrics=(CPU, USAGE), **options))  # type: ignore[arg-type]
        intake.flush()
        row = np.array([self.entities.find_node(node)])
        batch.put(RATE, row, np.array([value]))
        batch.put(RX, row, np.array([value / 2]))
        batch.freeze()
        self.store.add(batch)
        return batch

    def series(self, name: str, start: float = 0, end: float = 1e9, node: str = "node-a") -> list[tuple[float, float]]:
        row = self.entities.find_node(node)
        times, values = self.store.series(row, INDEX[name], int(start * SECOND), int(end * SECOND))
        return [(time / SECOND, value) for time, value in zip(times, values, strict=True)]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_it_is_a_sink(cluster: Cluster) -> None:
    assert cluster.store.latest() is None
    batch = DataBatch(cluster.entities, cluster.metrics, 0)
    batch.freeze()
    await cluster.store.export(batch)
    assert cluster.store.latest() is batch
    await cluster.store.stop()
    assert cluster.store.latest() is batch


def test_whole_batches_are_kept_for_140_s_and_go_only_when_a_new_one_comes(cluster: Cluster) -> None:
    first = cluster.tick()
    cluster.now += 139.5
    second = cluster.tick()
    assert list(cluster.store.batches) == [first, second]
    cluster.now += 0.5  # the first is now exactly 140 s old: no longer "later than now minus 140 s"
    assert list(cluster.store.batches) == [first, second]
    third = cluster.tick()
    assert list(cluster.store.batches) == [second, third]
    cluster.now += 100_000
    assert cluster.store.latest() is third
    fourth = cluster.tick()
    assert list(cluster.store.batches) == [fourth]


def test_a_minute_cycle_keeps_three_batches_and_fifteen_long_entries(cluster: Cluster) -> None:
    for _ in range(40):
        cluster.now += 60
        cluster.tick(at=cluster.now - 5)  # as Heapster: asked some seconds after the window's end
    assert len(cluster.store.batches) == 3
    assert len(cluster.series("memory/usage")) == 15


def test_two_metrics_are_kept_for_fifteen_minutes_and_the_others_for_140_s(cluster: Cluster) -> None:
    for i in range(20):
        cluster.now += 60
        cluster.tick(i)
    expected = [(10_060.0 + 60 * i, i) for i in range(20)]
    for name in ("cpu/usage_rate", "memory/usage"):
        assert cluster.series(name) == expected[-15:]
    assert cluster.series("cpu/usage") == expected[-3:]
    assert cluster.series("network/rx_rate") == [(time, value / 2) for time, value in expected[-3:]]


@pytest.mark.parametrize("name", ["memory/usage", "cpu/usage"])
def test_both_ends_of_a_window_belong_to_it(cluster: Cluster, name: str) -> None:
    for i in range(3):
        cluster.tick(i, at=10_000 + i)
    assert cluster.series(name, 10_000, 10_002) == [(10_000, 0), (10_001, 1), (10_002, 2)]
    assert cluster.series(name, 10_001, 10_001) == [(10_001, 1)]
    assert cluster.series(name, 10_000.5, 10_001.5) == [(10_001, 1)]
    assert cluster.series(name, 10_002, 10_001) == []


def test_batches_stay_in_order_of_arrival_and_the_latest_is_the_last_to_arrive(cluster: Cluster) -> None:
    late, early = cluster.tick(1, at=10_060), cluster.tick(2, at=10_000)
    assert list(cluster.store.batches) == [late, early]
    assert cluster.store.latest() is early
    assert cluster.series("memory/usage") == cluster.series("cpu/usage") == [(10_060, 1), (10_000, 2)]


def test_an_old_batch_goes_though_a_younger_one_arrived_before_it(cluster: Cluster) -> None:
    young = cluster.tick(1, at=10_060)
    cluster.tick(2, at=9_900)
    cluster.now = 10_100
    last = cluster.tick(3)
    assert list(cluster.store.batches) == [young, last]


def test_a_newcomer_is_kept_whatever_its_time_until_the_next_one_comes(cluster: Cluster) -> None:
    ancient = cluster.tick(at=1)
    assert list(cluster.store.batches) == [ancient]
    assert cluster.series("memory/usage") == [(1, 1)]
    now = cluster.tick()
    assert list(cluster.store.batches) == [now]


def test_extreme_integers_come_back_as_they_are(cluster: Cluster) -> None:
    for value in (0, 2**53 + 1, 2**63 - 1):
        cluster.tick(value)
        for name in ("memory/usage", "cpu/usage"):
            assert cluster.series(name)[-1][1] == value


def test_what_is_absent_or_unknown_has_no_points(cluster: Cluster) -> None:
    cluster.tick()
    pod = cluster.entities.find_pod(*WEB)
    for row in (NULL, pod, cluster.entities.size, 10**9):
        assert cluster.store.series(row, RATE, 0, 2**62) == ([], [])
        assert cluster.store.series(row, RX, 0, 2**62) == ([], [])
        assert cluster.store.series(row, RSS, 0, 2**62) == ([], [])
    assert cluster.store.metric_names(NULL) == cluster.store.metric_names(10**9) == []


def test_a_row_younger_than_a_batch_has_no_points_in_it(cluster: Cluster) -> None:
    cluster.tick()
    for i in range(5000):
        cluster.entities.node_row(f"other-{i}")
    cluster.tick(2, node="node-new")
    assert (
        cluster.series("memory/usage", node="node-new") == cluster.series("cpu/usage", node="node-new") == [(10_000, 2)]
    )


def test_metric_names_are_the_union_over_whole_batches_without_labelled_ones(cluster: Cluster) -> None:
    cluster.tick(volumes={WEB: ["v"]})
    pod = cluster.entities.find_pod(*WEB)
    assert cluster.store.metric_names(pod) == ["cpu/usage", "memory/usage"]
    extra = DataBatch(cluster.entities, cluster.metrics, int(cluster.now * SECOND))
    m = cluster.metrics.custom("queue")
    assert m is not None
    extra.put(m, np.array([pod]), np.array([1.0]))
    extra.exists[pod] = True
    extra.freeze()
    cluster.store.add(extra)
    assert cluster.store.metric_names(pod) == ["cpu/usage", "custom/queue", "memory/usage"]
    cluster.now += 140
    cluster.tick()
    assert cluster.store.metric_names(pod) == ["cpu/usage", "memory/usage"]


def test_a_labelled_series_needs_the_whole_label_set(cluster: Cluster) -> None:
    cluster.tick(3, at=10_000, volumes={WEB: ["v", "w"]})
    cluster.tick(4, at=10_001, volumes={WEB: ["w"]})
    pod = cluster.entities.find_pod(*WEB)

    def series(metric: str, labels: dict[str, str], start: int = 0, end: int = 2**62) -> tuple[list[int], list[float]]:
        return cluster.store.labeled_series(pod, metric, labels, start, end)

    w = {"resource_id": "Volume:w"}
    assert series("filesystem/usage", w) == ([10_000 * SECOND, 10_001 * SECOND], [3, 4])
    assert series("filesystem/usage", w, 10_001 * SECOND, 10_001 * SECOND) == ([10_001 * SECOND], [4])
    assert series("filesystem/usage", {"resource_id": "Volume:v"}) == ([10_000 * SECOND], [3])
    assert series("filesystem/usage", {}) == series("filesystem/usage", w | {"more": ""}) == ([], [])
    assert series("filesystem/limit", w) == ([], [])


def test_label_sets_that_a_source_gave_twice_are_points_of_their_own(cluster: Cluster) -> None:
    cluster.tick(3, at=10_000, volumes={WEB: ["v", "v"]})
    found = cluster.store.labeled_series(
        cluster.entities.find_pod(*WEB), "filesystem/usage", {"resource_id": "Volume:v"}, 0, 2**62
    )
    assert found == ([10_000 * SECOND] * 2, [3, 3])


def test_a_row_in_a_long_entry_is_not_given_to_another_before_the_entry_goes(cluster: Cluster) -> None:
    cluster.tick(7, node="gone")
    row = cluster.entities.find_node("gone")
    for minute in range(1, 15):
        cluster.now += 60
        cluster.tick(minute, node=f"node-{minute}")
        assert cluster.entities.find_node("gone") == row
    assert len(cluster.store.batches) == 3
    assert cluster.series("memory/usage", node="gone") == [(10_000, 7)]

    cluster.now += 60
    cluster.tick(15, node="node-15")
    assert cluster.entities.find_node("gone") == NULL
    assert cluster.entities.node_row("new") == row
    assert cluster.series("memory/usage", node="new") == []


def test_rows_are_held_by_others_than_the_store_too(cluster: Cluster) -> None:
    held = cluster.tick(7, node="gone")
    for minute in range(1, 40):
        cluster.now += 60
        cluster.tick(minute)
    assert cluster.entities.find_node("gone") != NULL
    assert held.metric_sets()["node:gone"].metrics["memory/usage"] == 7
    del held
    cluster.now += 60
    cluster.tick()
    assert cluster.entities.find_node("gone") == NULL


def test_retentions_can_be_set() -> None:
    cluster = Cluster()
    cluster.store = MetricStore(
        clock=lambda: cluster.now, short_retention_ns=10 * SECOND, long_retention_ns=20 * SECOND
    )
    for i in range(40):
        cluster.now += 1
        cluster.tick(i)
    assert len(cluster.store.batches) == 10
    assert len(cluster.series("memory/usage")) == 20


def test_the_batch_before_the_latest_is_there_however_old_it_is(cluster):
    assert cluster.store.latest() is None
    first = cluster.tick()
    assert cluster.store.before(first) is None
    cluster.now += 300
    second = cluster.tick()
    assert cluster.store.batches == (second,)
    assert cluster.store.before(second) is first
    cluster.now += 300
    third = cluster.tick()
    assert cluster.store.before(third) is second
    assert cluster.store.before(second) is None  # let go of


def test_the_batch_before_another_is_the_one_before_it_in_time(cluster):
    first = cluster.tick(at=cluster.now - 120)
    late = cluster.tick(at=cluster.now - 60)
    between = cluster.tick(at=cluster.now - 90)  # a tick that took longer than the next one
    assert cluster.store.before(late) is between
    assert cluster.store.before(between) is first


def test_what_is_past_its_time_can_go_before_the_next_batch_comes(cluster):
    for _ in range(3):
        cluster.now += 60
        cluster.tick()
    kept = cluster.store.batches
    assert len(kept) == 3
    cluster.store.expire()
    assert cluster.store.batches == kept
    cluster.now += 60
    cluster.store.expire()
    assert cluster.store.batches == kept[1:]
    cluster.now += 3_600
    cluster.store.expire()
    assert cluster.store.batches == kept[2:]  # the latest stays, however old
    assert cluster.store.latest() is kept[2]
    fourth = cluster.tick()
    assert cluster.store.before(fourth) is kept[2]


def test_nothing_expires_before_the_first_batch(cluster):
    cluster.store.expire()
    assert cluster.store.batches == ()


@pytest.mark.parametrize("value", [0, 1, 2**31 - 1, 2**31, 2**45 + 1, 2**63 - 1])
def test_the_long_history_keeps_values_of_any_size_exactly(cluster, value):
    cluster.tick(7, node="node-b")
    cluster.now += 60
    cluster.tick(value)
    assert [found for _, found in cluster.series("memory/usage")] == [value]
    assert [found for _, found in cluster.series("cpu/usage_rate")] == [value]
    assert [found for _, found in cluster.series("memory/usage", node="node-b")] == [7]
    assert cluster.store.series(NULL, USAGE, 0, 1 << 62) == ([], [])
    assert cluster.store.series(1 << 30, USAGE, 0, 1 << 62) == ([], [])
