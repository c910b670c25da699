"""Heapster's recorded batches of the source `kubernetes:` (cAdvisor's JSON), value for value over eleven steps.

Compared are all sets, labels, scrape and start times, metrics with their types, and labelled values. Three things
differ, each by its name in docs/compatibility.md: pod totals (F5) with the sums above them, rates of counters that went
down (F28), and the order of labelled values, which in Heapster was that of a Go map.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.processors.golden import NO_TIME, Step, differing, replay

PAUSE_ONLY = frozenset(
    {
        *("cpu/load", "cpu/usage_rate", "memory/usage", "memory/rss", "memory/cache", "memory/working_set"),
        *("memory/page_faults_rate", "memory/major_page_faults_rate"),
    }
)
"""F5: what Heapster's last revision reported of a pod was the pause container's; here the containers' are added."""
ABOVE_PODS = frozenset({"cpu/usage_rate", "memory/usage"})
"""F5: of those, what namespaces and the cluster sum."""
RESTARTED = "namespace:default/pod:db-143ebc0a7b-p4f8x/container:"
NEGATIVE: Mapping[tuple[int, str, str], int | float] = {
    (8, f"{RESTARTED}db", "cpu/usage_rate"): -1682135,
    (8, f"{RESTARTED}db", "memory/page_faults_rate"): -2944756.466667,
    (8, f"{RESTARTED}db", "memory/major_page_faults_rate"): -3967.4,
    (8, f"{RESTARTED}sidecar", "cpu/usage_rate"): -4209528,
    (8, f"{RESTARTED}sidecar", "memory/page_faults_rate"): -13798156.871429,
    (8, f"{RESTARTED}sidecar", "memory/major_page_faults_rate"): -2721.271429,
}
"""F28: Heapster's rates of counters that went down under an unchanged start time; we give none."""


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    return list(replay("kubelet"))


def test_every_step_has_the_sets_that_heapster_had(steps: list[Step]) -> None:
    assert len(steps) == 11
    for step in steps:
        assert step.ours.keys() == step.heapsters.keys(), f"step {step.number}"


def test_every_metric_equals_heapsters_but_for_the_pod_totals_and_the_negative_rates(steps: list[Step]) -> None:
    unexplained, negative, seen = [], {}, Counter[str]()
    for step in steps:
        totals = _totals(step.heapsters)
        for key, metric_set in step.ours.items():
            for name, ours, heapsters in differing(metric_set, step.heapsters[key]["metrics"]):
                if ours is None and heapsters is not None and heapsters < 0:
                    negative[step.number, key, name] = heapsters
                elif ours is not None and _equal(ours, totals.get((key, name))):
                    seen[metric_set.labels["type"]] += 1
                else:
                    unexplained.append((step.number, key, name, ours, heapsters, totals.get((key, name))))
    assert unexplained == []
    assert negative == NEGATIVE
    assert seen.keys() == {"pod", "ns", "cluster"}


def test_pod_totals_are_the_pause_container_and_the_containers(steps: list[Step]) -> None:
    """Wherever Heapster had a total, not only where it differs from ours."""
    compared = 0
    for step in steps:
        for (key, name), total in _totals(step.heapsters).items():
            assert _equal(step.ours[key].metrics[name], total), f"step {step.number}, {key}, {name}"
            compared += 1
    assert compared > 900


def test_every_label_equals_heapsters(steps: list[Step]) -> None:
    for step in steps:
        for key, metric_set in step.ours.items():
            assert metric_set.labels == step.heapsters[key]["labels"], f"step {step.number}, {key}"


def test_scrape_and_start_times_equal_heapsters_to_the_nanosecond(steps: list[Step]) -> None:
    for step in steps:
        for key, metric_set in step.ours.items():
            recorded = step.heapsters[key]
            times = [0 if recorded[name] == NO_TIME else recorded[name] for name in ("scrape_ns", "create_ns")]
            assert [metric_set.scrape_time, metric_set.start_time] == times, f"step {step.number}, {key}"


def test_labelled_values_equal_heapsters(steps: list[Step]) -> None:
    compared = Counter[str]()
    for step in steps:
        for key, metric_set in step.ours.items():
            ours = [(each.name, each.labels, each.value) for each in metric_set.labeled]
            recorded = [(each["name"], each["labels"], each["value"]) for each in step.heapsters[key]["labeled"]]
            assert _printed(ours) == _printed(recorded), f"step {step.number}, {key}"
            compared.update(name for name, _, _ in ours)
    assert compared["disk/io_read_bytes_rate"] > 100
    assert compared["filesystem/inodes_free"] > 0


def test_the_recording_shows_what_it_promises(steps: list[Step]) -> None:
    """The comparison is worth something: cordoned nodes, runtime images, disks without a name are in it."""
    first, cordoned = steps[0].ours, steps[7].ours
    assert first["node:node-0001"].labels["schedulable"] == "true"
    assert cordoned["node:node-0001"].labels["schedulable"] == "false"
    assert any(each.labels.get("container_base_image") for each in first.values())
    assert {"8:16"} <= {each.labels["resource_id"] for each in first["node:node-0000"].labeled}
    assert "node:node-0000/container:docker-daemon" in first
    assert sum(len(each.metrics) for step in steps for each in step.ours.values()) > 10_000


def _totals(heapsters: Mapping[str, Any]) -> dict[tuple[str, str], int | float]:
    """(set, metric) -> the total of a pod, and what follows from it above: from Heapster's own recorded parts."""
    totals: dict[tuple[str, str], int | float] = {}
    for key, recorded in heapsters.items():
        if recorded["labels"]["type"] == "pod":
            inside = [each["metrics"] for name, each in heapsters.items() if name.startswith(f"{key}/container:")]
            given = {name: recorded["metrics"][name] for name in PAUSE_ONLY & recorded["metrics"].keys()}
            parts = {name: sum(each[name] for each in inside if each.get(name, -1) >= 0) for name in given}
            rates = {name for name in given if name.endswith("_rate")}
            # A pause container without rates (its first step) left the containers' sums to be the pod's.
            if all(abs(given[name] - parts[name]) < 1e-5 for name in rates):
                parts |= dict.fromkeys(rates, 0)
            totals |= {(key, name): given[name] + parts[name] for name in given}
    for name in ABOVE_PODS:
        spaces = [key for key, recorded in heapsters.items() if recorded["labels"]["type"] == "ns"]
        for key in spaces:
            pods = [k for k in heapsters if k.startswith(f"{key}/pod:") and "/container:" not in k]
            _add_up(totals, heapsters, (key, name), [(pod, name) for pod in pods])
        _add_up(totals, heapsters, ("cluster", name), [(space, name) for space in spaces])
    return totals


def _add_up(
    totals: dict[tuple[str, str], int | float],
    heapsters: Mapping[str, Any],
    target: tuple[str, str],
    parts: Iterable[tuple[str, str]],
) -> None:
    found = [totals.get(part, heapsters[part[0]]["metrics"].get(part[1])) for part in parts]
    if target[1] in heapsters[target[0]]["metrics"]:
        totals[target] = sum(value for value in found if value is not None)


def _equal(ours: float, total: float | None) -> bool:
    """Integers to the unit; sums of recorded floats to the six decimals each part has."""
    if total is None or type(ours) is not type(total):
        return False
    return abs(ours - total) < 1e-5 if isinstance(ours, float) else ours == total


def _printed(labeled: Iterable[tuple[str, Mapping[str, str], int | float]]) -> list[tuple[str, str, str]]:
    return sorted(
        (name, labels["resource_id"], f"{value:.6f}" if isinstance(value, float) else str(value))
        for name, labels, value in labeled
    )
