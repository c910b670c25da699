"""METRICS against Heapster's catalogue (behaviour reference, section 4), and the metrics that appear while running."""

import pytest

from collector.core.metrics import (
    ACCELERATOR,
    COUNTERS_NOT_SUMMED,
    DISK,
    DYNAMIC_LIMIT,
    FILESYSTEM,
    INDEX,
    METRICS,
    Kind,
    MetricTable,
    MetricType,
    attribute_path,
)

STANDARD = [
    "uptime",
    "cpu/usage",
    "cpu/load",
    "ephemeral_storage/usage",
    "memory/usage",
    "memory/rss",
    "memory/cache",
    "memory/working_set",
    "memory/page_faults",
    "memory/major_page_faults",
    "network/rx",
    "network/rx_errors",
    "network/tx",
    "network/tx_errors",
]
COUNTERS = ["cpu/usage", *STANDARD[8:]]


def test_the_standard_metrics_come_first_in_heapsters_order() -> None:
    assert [metric.name for metric in METRICS[:14]] == STANDARD


def test_names_are_unique_and_indexed() -> None:
    assert len(INDEX) == len(METRICS)
    assert all(METRICS[m].name == name for name, m in INDEX.items())


def test_the_counters_with_a_rate_are_heapsters() -> None:
    assert {metric.name: metric.rate for metric in METRICS if metric.rate} == {
        name: f"{name}_rate" for name in COUNTERS
    }
    assert {metric.name: metric.rate for metric in DISK.metrics if metric.rate} == {
        name: f"{name}_rate" for name in ("disk/io_read_bytes", "disk/io_write_bytes")
    }
    for metric in METRICS:
        if metric.rate:
            assert metric.type is MetricType.CUMULATIVE
            assert metric.clock is not None
            assert METRICS[INDEX[metric.rate]].type is MetricType.GAUGE
    assert {"uptime", *COUNTERS} == COUNTERS_NOT_SUMMED


def test_float_metrics_are_the_rates_but_of_cpu_and_the_node_ratios() -> None:
    floats = {metric.name for metric in METRICS if metric.is_float}
    rates = {f"{name}_rate" for name in COUNTERS} - {"cpu/usage_rate"}
    assert floats == rates | {metric.name for metric in METRICS if "/node_" in metric.name}
    assert sum("/node_" in metric.name for metric in METRICS) == 12


def test_what_is_summed_into_namespaces_and_the_cluster() -> None:
    six = {"cpu/usage_rate", "memory/usage", "cpu/request", "cpu/limit", "memory/request", "memory/limit"}
    heapsters = [metric for metric in METRICS if not metric.extended]
    for kind in (Kind.NAMESPACE, Kind.CLUSTER):
        assert {metric.name for metric in heapsters if kind in metric.sums} == six
    requests = {
        f"{resource}/{what}" for resource in ("cpu", "memory", "ephemeral_storage") for what in ("request", "limit")
    }
    assert {metric.name for metric in METRICS if Kind.NODE in metric.sums} == requests
    assert not any(metric.sums for metric in METRICS if metric.name in COUNTERS_NOT_SUMMED)


def test_labelled_groups_hold_heapsters_twelve_metrics() -> None:
    groups = (DISK, FILESYSTEM, ACCELERATOR)
    assert [metric.name for group in groups for metric in group.metrics if not metric.extended] == [
        "disk/io_read_bytes",
        "disk/io_write_bytes",
        "disk/io_read_bytes_rate",
        "disk/io_write_bytes_rate",
        "filesystem/usage",
        "filesystem/limit",
        "filesystem/available",
        "filesystem/inodes",
        "filesystem/inodes_free",
        "accelerator/memory_total",
        "accelerator/memory_used",
        "accelerator/duty_cycle",
    ]
    for group in (FILESYSTEM, ACCELERATOR):
        assert len(group.summary) == len(group.metrics)


def test_what_heapster_did_not_have_comes_behind_what_it_had() -> None:
    extended = [metric.extended for metric in METRICS]
    assert extended == sorted(extended)
    assert sum(not one for one in extended) == 40
    for group in (DISK, FILESYSTEM, ACCELERATOR):
        of_group = [metric.extended for metric in group.metrics]
        assert of_group == sorted(of_group)
    assert not any(metric.extended_sums for metric in METRICS if metric.extended), "they are wholly extended"
    assert not any(metric.extended_sums & metric.sums for metric in METRICS)


def test_kinds_have_heapsters_labels() -> None:
    assert [kind.label for kind in Kind] == ["cluster", "node", "ns", "pod", "pod_container", "sys_container"]


def test_a_dynamic_metric_keeps_its_column() -> None:
    table = MetricTable()
    queue, gpu = table.custom("queue"), table.resource_request("nvidia.com/gpu")
    assert queue == len(METRICS)
    assert gpu == len(METRICS) + 1
    assert (table.custom("queue"), table.find("custom/queue")) == (queue, queue)
    assert table.find("nvidia.com/gpu/request") == gpu
    assert table.descriptors[queue].is_float
    assert not table.descriptors[gpu].is_float
    assert table.descriptors[queue].sums == table.descriptors[gpu].sums == {Kind.POD}
    assert table.resource_request("cpu") == INDEX["cpu/request"]
    assert table.find("custom/other") is None
    assert len(table) == len(METRICS) + 2 == len(list(table))


def test_a_cluster_that_invents_names_cannot_eat_the_memory() -> None:
    table = MetricTable()
    given = [table.custom(f"m{i}") for i in range(5000)]
    assert given[:DYNAMIC_LIMIT] == list(range(len(METRICS), table.capacity))
    assert set(given[DYNAMIC_LIMIT:]) == {None}
    assert len(table) == table.capacity
    assert len(table.refused) == 1000
    assert table.custom("m0") == len(METRICS)
    assert MetricTable().find("custom/m0") is None


@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("cpu.usageCoreNanoSeconds", "cpu.usage_core_nano_seconds"),
        ("ephemeral-storage.usedBytes", "ephemeral_storage.used_bytes"),
        ("inodes", "inodes"),
    ],
)
def test_json_paths_become_attribute_paths(path: str, attribute: str) -> None:
    assert attribute_path(path) == attribute
