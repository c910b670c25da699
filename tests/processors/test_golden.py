"""Heapster's own recorded batches, value for value: eleven steps of a cluster in which things happen to nodes and pods.

Compared are all sets, labels, scrape and start times, metrics with their types, and labelled values in their order.
Integers must be equal; floats must print the same six decimals, which is what the recording holds of them.
"""

import pytest

from collector.core.batch import LabeledMetric
from tests.processors.golden import NO_TIME, Step, differing, replay

RESTARTED = "namespace:default/pod:db-143ebc0a7b-p4f8x/container:"
NEGATIVE = "F28: the counter went down under an unchanged start time; Heapster gave a negative rate, we give none"

DIFFERENCES: dict[tuple[int, str, str], tuple[int | float | None, int | float | None, str]] = {
    (8, f"{RESTARTED}db", "cpu/usage_rate"): (None, -1682135, NEGATIVE),
    (8, f"{RESTARTED}db", "memory/page_faults_rate"): (None, -2944756.466667, NEGATIVE),
    (8, f"{RESTARTED}db", "memory/major_page_faults_rate"): (None, -3967.4, NEGATIVE),
    (8, f"{RESTARTED}sidecar", "cpu/usage_rate"): (None, -4209528, NEGATIVE),
    (8, f"{RESTARTED}sidecar", "memory/page_faults_rate"): (None, -13798156.871429, NEGATIVE),
    (8, f"{RESTARTED}sidecar", "memory/major_page_faults_rate"): (None, -2721.271429, NEGATIVE),
}
"""(step, set, metric) -> (ours, Heapster's, why). Nothing else may differ, and each of these must."""


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return list(replay())


def test_every_step_has_the_sets_that_heapster_had(steps: list[Step]) -> None:
    assert len(steps) == 11
    for step in steps:
        assert step.ours.keys() == step.heapsters.keys(), f"step {step.number}"


def test_every_metric_equals_heapsters_but_for_the_listed_differences(steps: list[Step]) -> None:
    found = {}
    for step in steps:
        for key, metric_set in step.ours.items():
            for name, ours, heapsters in differing(metric_set, step.heapsters[key]["metrics"]):
                found[step.number, key, name] = (ours, heapsters)
    assert found == {where: (ours, heapsters) for where, (ours, heapsters, _why) in DIFFERENCES.items()}


def test_every_label_equals_heapsters(steps: list[Step]) -> None:
    for step in steps:
        for key, metric_set in step.ours.items():
            assert metric_set.labels == step.heapsters[key]["labels"], f"step {step.number}, {key}"


def test_scrape_and_start_times_equal_heapsters(steps: list[Step]) -> None:
    for step in steps:
        for key, metric_set in step.ours.items():
            recorded = step.heapsters[key]
            times = [0 if recorded[name] == NO_TIME else recorded[name] for name in ("scrape_ns", "create_ns")]
            assert [metric_set.scrape_time, metric_set.start_time] == times, f"step {step.number}, {key}"


def test_labelled_values_equal_heapsters_in_their_order(steps: list[Step]) -> None:
    for step in steps:
        for key, metric_set in step.ours.items():
            recorded = [
                LabeledMetric(each["name"], each["labels"], each["value"]) for each in step.heapsters[key]["labeled"]
            ]
            assert list(metric_set.labeled) == recorded, f"step {step.number}, {key}"


def test_the_recording_shows_what_it_promises(steps: list[Step]) -> None:
    """The comparison is worth something: rates, stubs, restarts and missing nodes are in it."""
    first, second, restarted = steps[0].ours, steps[1].ours, steps[2].ours
    assert not any("cpu/usage_rate" in each.metrics for each in first.values())
    assert all("cpu/usage_rate" in each.metrics for each in second.values())
    assert "cpu/usage_rate" not in restarted["namespace:default/pod:ingest-1/container:ingest"].metrics
    assert restarted["namespace:default/pod:ingest-1/container:ingest"].metrics["restart_count"] == 1
    assert "node:node-0001" not in steps[4].ours
    assert "node:node-0002" not in steps[6].ours
    assert sum(len(each.metrics) for step in steps for each in step.ours.values()) > 10_000
    assert sum(len(each.labeled) for step in steps for each in step.ours.values()) > 1_000
