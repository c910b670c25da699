"""RateCalculator where no scenario reaches: labelled counters, out-of-order ticks, the ends of int64."""

import json
import logging

import pytest

from collector.core.batch import MetricSet
from collector.sources.summary import decode_summary
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import SmallCluster, samples_of

READ, WRITE = "disk/io_read_bytes", "disk/io_write_bytes"


@pytest.fixture
def cluster() -> SmallCluster:
    cluster = SmallCluster()
    cluster.start_node("node-a", cpu__usage=0)
    return cluster


class Ticker:
    """Ticks a minute apart, of one node."""

    def __init__(self, cluster: SmallCluster) -> None:
        self.rig, self.cluster, self.timestamp = Rig(), cluster, 0

    def tick(self, gap: int = 60) -> MetricSet:
        self.timestamp += gap * SECOND
        batch = self.rig.tick(samples_of(self.cluster.answers(), self.cluster.now), self.timestamp)
        return batch.metric_sets()["node:node-a"]


def disk(device: str, read: int, write: int | None) -> list[tuple[str, dict[str, str], int]]:
    labels = {"resource_id": device}
    return [(name, labels, value) for name, value in ((READ, read), (WRITE, write)) if value is not None]


def rates(found: MetricSet) -> dict[tuple[str, str], float]:
    return {
        (each.labels["resource_id"], each.name.removesuffix("_bytes_rate")): each.value
        for each in found.labeled
        if each.name.endswith("_rate")
    }


def test_disk_rates_belong_to_the_same_device_in_whatever_order_it_is_reported(cluster: SmallCluster) -> None:
    node, ticker = cluster.kubelets["node-a"]["node:node-a"], Ticker(cluster)
    node["labeled"] = disk("sda", 1000, 0) + disk("sdb", 50, 7)
    assert rates(ticker.tick()) == {}
    cluster.pass_time(60, [0])
    node["labeled"] = disk("sdb", 110, 7) + disk("sda", 7000, 90)
    assert rates(ticker.tick()) == {
        ("sda", "disk/io_read"): 100.0,
        ("sda", "disk/io_write"): 1.5,
        ("sdb", "disk/io_read"): 1.0,
        ("sdb", "disk/io_write"): 0.0,
    }


def test_a_disk_that_is_new_or_went_back_has_no_rate(cluster: SmallCluster) -> None:
    node, ticker = cluster.kubelets["node-a"]["node:node-a"], Ticker(cluster)
    node["labeled"] = disk("sda", 1000, 60)
    ticker.tick()
    cluster.pass_time(60, [0])
    node["labeled"] = disk("sda", 999, 120) + disk("sdb", 5000, 5000)
    assert rates(ticker.tick()) == {("sda", "disk/io_write"): 1.0}


def test_a_disk_counter_missing_on_either_side_has_no_rate(cluster: SmallCluster) -> None:
    node, ticker = cluster.kubelets["node-a"]["node:node-a"], Ticker(cluster)
    node["labeled"] = disk("sda", 0, None)
    ticker.tick()
    cluster.pass_time(60, [0])
    node["labeled"] = disk("sda", 60, 60)
    assert rates(ticker.tick()) == {("sda", "disk/io_read"): 1.0}


def test_a_restart_takes_the_disk_rates_as_well(cluster: SmallCluster) -> None:
    node, ticker = cluster.kubelets["node-a"]["node:node-a"], Ticker(cluster)
    node["labeled"] = disk("sda", 0, 0)
    ticker.tick()
    cluster.pass_time(60, [0])
    node["labeled"], node["times"]["start"] = disk("sda", 60, 60), cluster.now
    assert rates(ticker.tick()) == {}


def test_equal_labels_of_two_entities_are_not_mixed_up(cluster: SmallCluster) -> None:
    node, ticker = cluster.kubelets["node-a"]["node:node-a"], Ticker(cluster)
    system = cluster.start_system("node-a", "kubelet")
    node["labeled"], system["labeled"] = disk("sda", 0, None), disk("sda", 6000, None)
    ticker.tick()
    cluster.pass_time(60, [0])
    node["labeled"], system["labeled"] = disk("sda", 60, None), disk("sda", 12000, None)
    assert rates(ticker.tick()) == {("sda", "disk/io_read"): 1.0}
    found = ticker.rig.store.batches[-1].metric_sets()["node:node-a/container:kubelet"]
    assert rates(found) == {("sda", "disk/io_read"): 100.0}


@pytest.mark.parametrize(
    ("grown", "seconds", "rate"),
    [
        (9_223_372_036_854_775, 1, 9_223_372_036),  # 1000 times this is the last to fit
        (9_223_372_036_854_776, 1, None),
        (2**63 - 1, 1, None),
        (9_007_199_254_740_993, 1, 9_007_199_254),
        (999_999, 1, 0),
        (1_000_000, 1, 1),
        (1, 1e-9, 1000),
    ],
)
def test_millicores_are_exact_to_the_end_of_int64_and_absent_beyond(
    cluster: SmallCluster, grown: int, seconds: float, rate: int | None
) -> None:
    ticker = Ticker(cluster)
    ticker.tick()
    cluster.pass_time(seconds, [grown])
    assert ticker.tick().metrics.get("cpu/usage_rate") == rate


@pytest.mark.parametrize("gap", [0, -60])
def test_a_tick_that_is_not_later_is_logged_and_not_remembered(
    cluster: SmallCluster, caplog: pytest.LogCaptureFixture, gap: int
) -> None:
    ticker = Ticker(cluster)
    ticker.tick()
    cluster.pass_time(60, [6 * SECOND])
    with caplog.at_level(logging.WARNING):
        assert "cpu/usage_rate" not in ticker.tick(gap).metrics
    assert "not later" in caplog.text
    cluster.pass_time(60, [6 * SECOND])
    assert ticker.tick(120).metrics["cpu/usage_rate"] == 100


def test_a_clock_that_was_set_back_costs_one_tick_its_rates(cluster: SmallCluster) -> None:
    ticker = Ticker(cluster)
    ticker.tick()
    cluster.pass_time(60, [6 * SECOND])
    assert "cpu/usage_rate" not in ticker.tick(-3600).metrics
    for _ in range(2):
        cluster.pass_time(60, [6 * SECOND])
        assert ticker.tick(60).metrics["cpu/usage_rate"] == 100


def test_rates_need_no_batch_but_the_previous_one(cluster: SmallCluster) -> None:
    """The calculator holds one batch: the one before is free as soon as the store lets go."""
    ticker = Ticker(cluster)
    for _ in range(30):
        ticker.tick()
        cluster.pass_time(60, [SECOND])
    batches = ticker.rig.store.batches
    assert [batch.timestamp for batch in batches] == [ticker.timestamp - gap * SECOND for gap in (120, 60, 0)]
    assert ticker.rig.entities.pins.oldest() <= batches[0].pin.sequence


def summary(read_at: int, network_at: int | None) -> bytes:
    """A pod that has used 50 millicores since 12:00:00; its samples are of so many seconds past that."""

    def moment(seconds: int) -> str:
        return f"2026-11-23T12:{seconds // 60:02d}:{seconds % 60:02d}Z"

    cpu = {"time": moment(read_at), "usageCoreNanoSeconds": read_at * SECOND // 20}
    pod = {"podRef": {"name": "web", "namespace": "default", "uid": "u"}, "startTime": moment(0), "cpu": cpu}
    pod["containers"] = [{"name": "main", "startTime": moment(0), "cpu": cpu}]
    if network_at is not None:
        pod["network"] = {"time": moment(network_at), "rxBytes": 1000 * network_at}
    return json.dumps({"node": {"nodeName": "node-a"}, "pods": [pod]}).encode()


@pytest.mark.parametrize(
    "network",
    [
        pytest.param((0, 62, 131, 160), id="network samples of other times than CPU samples"),
        pytest.param((None, 60, 120, 180), id="network reported from the second cycle on"),
        pytest.param((0, None, 120, None), id="network reported now and then"),
    ],
)
def test_a_pod_that_uses_50_millicores_all_the_time_has_50(network: tuple[int | None, ...]) -> None:
    rig = Rig()
    found = []
    for minute, network_at in enumerate(network):
        sample = decode_summary(summary(60 * minute, network_at), 0)
        found.append(rig.tick([sample], (minute + 1) * 60 * SECOND).metric_sets()["namespace:default/pod:web"].metrics)
    assert [each.get("cpu/usage_rate") for each in found] == [None, 50, 50, 50]
    traffic = [each["network/rx_rate"] for each in found if "network/rx_rate" in each]
    assert set(traffic) <= {1000.0}
