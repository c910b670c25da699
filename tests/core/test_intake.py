"""Intake: which of several answers about one entity counts, and what an open batch may rely on."""

import numpy as np
import pytest

from collector.core import intake as intake_module
from collector.core.batch import DataBatch, LabeledMetric
from collector.core.entities import EntityTable
from collector.core.intake import Intake
from collector.core.metrics import DISK, DYNAMIC_LIMIT, DYNAMIC_OF_A_NODE, Clock, Kind, MetricTable
from collector.core.sample import ABSENT, CustomValue, LabeledBlock, NodeSample
from tests.core.samples import CPU, RSS, UPTIME, sample

WEB = ("default", "web-1")


def batch_of(*samples: NodeSample, entities: EntityTable | None = None) -> DataBatch:
    batch = DataBatch(entities or EntityTable(), MetricTable(), 0)
    fill(batch, *samples)
    batch.freeze()
    return batch


def fill(batch: DataBatch, *samples: NodeSample) -> None:
    intake = Intake(batch)
    for one in samples:
        intake.add(one)
    intake.flush()


@pytest.mark.parametrize("flush_rows", [1, 10_000])
def test_of_two_answers_about_one_entity_the_later_replaces_the_earlier_wholly(
    flush_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "FLUSH_ROWS", flush_rows)
    first = sample("node-a", {WEB: ["nginx", "old"]}, value=1, start=1, metrics=(CPU, RSS), volumes={WEB: ["v"]})
    first.custom = [CustomValue(Kind.POD_CONTAINER, 0, "queue", 1.0), CustomValue(Kind.POD_CONTAINER, 1, "queue", 2.0)]
    second = sample("node-b", {WEB: ["nginx"]}, value=2, uid="later")
    sets = batch_of(first, second).metric_sets()
    pod, nginx, old = (
        sets[f"namespace:default/pod:web-1{rest}"] for rest in ("", "/container:nginx", "/container:old")
    )
    assert pod.metrics == nginx.metrics == {"cpu/usage": 2}
    assert pod.labeled == ()
    assert (pod.labels["nodename"], pod.labels["pod_id"], pod.start_time) == ("node-b", "later", 0)
    # What only the earlier answer names stays.
    assert old.metrics == {"cpu/usage": 1, "memory/rss": 1, "custom/queue": 2.0}
    assert old.labels["nodename"] == "node-a"


@pytest.mark.parametrize("flush_rows", [1, 10_000])
def test_the_later_answer_counts_whatever_source_the_answers_come_from(
    flush_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "FLUSH_ROWS", flush_rows)
    answers = [
        sample("node-a", {WEB: ["nginx"]}, value=1, metrics=(CPU,)),
        sample("node-a", {WEB: ["nginx"]}, value=2, metrics=(CPU, RSS)),
        sample("node-a", {WEB: ["nginx"]}, value=3, metrics=(CPU,)),
    ]
    batch = batch_of(*answers)
    assert {found.metrics.get("cpu/usage") for key, found in batch.metric_sets().items() if key != "cluster"} == {3}
    assert batch.rows_with(RSS).size == 0


def test_a_node_that_answers_twice_keeps_its_pods() -> None:
    sets = batch_of(sample("node-a", {WEB: ["nginx"]}, system=["kubelet"]), sample("node-a", value=2)).metric_sets()
    assert sets["node:node-a"].metrics["cpu/usage"] == 2
    for key in ("namespace:default/pod:web-1", "node:node-a/container:kubelet"):
        assert sets[key].labels["nodename"] == "node-a"


def test_one_answer_with_two_containers_of_one_name_gives_the_one_that_started_later() -> None:
    for starts, winner in (((5, 9), 1), ((9, 5), 0), ((7, 7), 1)):
        one = sample("node-a", {WEB: ["nginx", "nginx"]})
        one.container_block.values[:, 0] = [0, 1]
        one.container_block.times[:, Clock.START] = starts
        assert batch_of(one).metric_sets()["namespace:default/pod:web-1/container:nginx"].metrics["cpu/usage"] == winner


def test_uptime_is_absent_without_a_start_and_before_it() -> None:
    batch = batch_of(*(sample(f"node-{start}", start=start) for start in (0, 1_000_000, 5_000_000_000)))
    assert batch.rows_with(UPTIME).size == 0
    late = sample("node-a", start=1_000_000)
    late.read_at = 3_999_999
    assert batch_of(late).metric_sets()["node:node-a"].metrics["uptime"] == 2


def test_an_absent_cell_is_not_zero_and_zero_is_not_absent() -> None:
    batch = batch_of(sample("node-a", value=ABSENT), sample("node-b", value=0))
    assert batch.metric_sets()["node:node-a"].metrics == {}
    assert batch.metric_sets()["node:node-b"].metrics == {"cpu/usage": 0}
    assert batch.count(Kind.NODE) == 2


def test_label_sets_given_whole_and_those_without_any_value() -> None:
    one = sample("node-a")
    one.labeled = [
        LabeledBlock(
            DISK,
            Kind.NODE,
            np.array([0, 0, 0], np.intp),
            [(("resource_id", "sda"), ("bus", "1")), (("resource_id", "sdb"),), (("resource_id", "sdc"),)],
            np.array([[1, 2], [ABSENT, ABSENT], [ABSENT, 0]], np.int64),
        )
    ]
    batch = batch_of(one)
    assert batch.labeled_of(batch.entities.find_node("node-a")) == [
        LabeledMetric("disk/io_read_bytes", {"resource_id": "sda", "bus": "1"}, 1),
        LabeledMetric("disk/io_write_bytes", {"resource_id": "sda", "bus": "1"}, 2),
        LabeledMetric("disk/io_write_bytes", {"resource_id": "sdc"}, 0),
    ]
    assert len(batch.labeled["disk"]) == 2


def test_metrics_of_applications_beyond_the_limit_are_left_out() -> None:
    one, other = sample("node-a", system=["kubelet"]), sample("node-b", system=["kubelet"])
    share = DYNAMIC_OF_A_NODE
    one.custom = [CustomValue(Kind.SYS_CONTAINER, 0, f"m{i}", i) for i in range(share)]
    other.custom = [CustomValue(Kind.SYS_CONTAINER, 0, f"m{i}", i) for i in range(share, DYNAMIC_LIMIT + 5)]
    batch = batch_of(one, other)
    sets = batch.metric_sets()
    metrics = sets["node:node-a/container:kubelet"].metrics | sets["node:node-b/container:kubelet"].metrics
    assert {name: value for name, value in metrics.items() if name.startswith("custom/")} == {
        f"custom/m{i}": float(i) for i in range(DYNAMIC_LIMIT)
    }
    assert batch.metrics.refused == {f"custom/m{i}" for i in range(DYNAMIC_LIMIT, DYNAMIC_LIMIT + 5)}


def test_nothing_is_written_before_enough_has_been_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "FLUSH_ROWS", 5)
    batch = DataBatch(EntityTable(), MetricTable(), 0)
    intake = Intake(batch)
    intake.add(sample("node-a", {WEB: ["nginx"]}))
    assert batch.count(Kind.NODE) == 0
    intake.add(sample("node-b", {("default", "web-2"): []}))
    assert batch.count(Kind.NODE) == 2
    intake.flush()  # nothing is pending
    assert batch.count(Kind.POD) == 2


def test_what_an_open_batch_holds_survives_the_sweep_after_an_earlier_one() -> None:
    entities = EntityTable()
    pods = {WEB: ["nginx"]}
    before = batch_of(sample("node-a", pods, system=["kubelet"], volumes={WEB: ["v"]}), entities=entities)
    finished = DataBatch(entities, before.metrics, 0)
    opened = DataBatch(entities, before.metrics, 0)
    fill(opened, sample("node-a", pods, value=7, system=["kubelet"], volumes={WEB: ["v"]}))
    finished.freeze()  # a tick in which node-a did not answer
    del before
    entities.sweep()
    fill(opened, sample("node-b", {("other", "pod"): ["new"]}, system=["kubelet"], volumes={("other", "pod"): ["w"]}))
    opened.freeze()
    sets = opened.metric_sets()
    assert sets["namespace:default/pod:web-1/container:nginx"].metrics == {"cpu/usage": 7}
    assert sets["namespace:default/pod:web-1"].labeled == (
        LabeledMetric("filesystem/usage", {"resource_id": "Volume:v"}, 7),
    )
    assert entities.find_pod(*WEB) in opened.rows_of(Kind.POD)
