"""The pipeline as a whole: its order, what it reports, and what it leaves alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from collector.core.batch import DataBatch
from collector.processors import build_pipeline, run_pipeline
from collector.processors.labels import LabelCopier
from tests.processors.rig import SECOND, Rig
from tests.processors.small_cluster import SmallCluster, pod_object, samples_of

HEAPSTERS_ORDER = [
    "rate calculator",
    "pod_based_enricher",
    "namespace_based_enricher",
    "pod_aggregator",
    "namespace_aggregator",
    "node_aggregator",
    "cluster_aggregator",
    "node_autoscaling_enricher",
]
"""Behaviour reference, sections 2.6 and 2.9: the order, and the values of the self-metrics' `processor` label."""


class Failing:
    name = "failing"

    def steps(self, _batch: DataBatch) -> Iterator[None]:
        yield
        raise ZeroDivisionError


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_processors_run_in_heapsters_order_under_heapsters_names(rig: Rig) -> None:
    pipeline = build_pipeline(rig.pods, rig.namespaces, rig.nodes, LabelCopier())
    assert [processor.name for processor in pipeline] == HEAPSTERS_ORDER


def test_each_processor_is_reported_once_in_order_with_its_seconds(rig: Rig) -> None:
    reported: list[tuple[str, float]] = []
    run_pipeline(rig.pipeline, rig.fill([], SECOND), lambda name, seconds: reported.append((name, seconds)))
    assert [name for name, _ in reported] == HEAPSTERS_ORDER
    assert all(0 <= seconds < 60 for _, seconds in reported)


def test_the_batch_is_frozen_behind_the_last_processor(rig: Rig) -> None:
    batch = rig.fill([], SECOND)
    batch.put(0, np.array([0]), np.array([1]))
    run_pipeline(rig.pipeline, batch)
    assert batch.frozen
    with pytest.raises(ValueError, match="read-only"):
        batch.put(0, np.array([0]), np.array([1]))


def test_a_processor_that_fails_ends_the_run_and_leaves_the_batch_open(rig: Rig) -> None:
    batch = rig.fill([], SECOND)
    reported: list[str] = []
    with pytest.raises(ZeroDivisionError):
        run_pipeline((Failing(), *rig.pipeline), batch, lambda name, _seconds: reported.append(name))
    assert not batch.frozen
    assert reported == []


def test_the_next_window_is_none_the_worse_for_a_failed_one(rig: Rig) -> None:
    cluster = SmallCluster()
    cluster.start_node("node-a", cpu__usage=0)
    rig.tick(samples_of(cluster.answers(), cluster.now), 60 * SECOND)
    cluster.pass_time(60, [6 * SECOND])
    failed = rig.fill(samples_of(cluster.answers(), cluster.now), 120 * SECOND)
    with pytest.raises(ZeroDivisionError):
        run_pipeline((*rig.pipeline, Failing()), failed)
    del failed
    rig.entities.sweep()
    cluster.pass_time(60, [6 * SECOND])
    batch = rig.tick(samples_of(cluster.answers(), cluster.now), 180 * SECOND)
    assert batch.metric_sets()["node:node-a"].metrics["cpu/usage_rate"] == 100


def test_a_processor_never_touches_an_earlier_batch(rig: Rig) -> None:
    cluster = SmallCluster()
    cluster.start_pod("node-a", "default", "web", "uid", cpu__usage=0, network__rx=0)
    cluster.start_container("node-a", "default", "web", "main", cpu__usage=0)
    batches, contents = [], []
    for minute in range(1, 5):
        # The specification grows with every tick, and with it the columns and rows of the enricher.
        requests = {f"example.com/device-{i}": i for i in range(minute)}
        containers = {f"c{i}": {"image": "", "requests": requests, "limits": {}} for i in range(minute)}
        pod = {"uid": "api", "labels": {}, "containers": containers, "restarts": {}}
        rig.pods.apply([(("default", "web"), pod_object(("default", "web"), pod))])
        cluster.pass_time(60, [SECOND])
        batches.append(rig.tick(samples_of(cluster.answers(), cluster.now), minute * 60 * SECOND))
        contents.append([array.copy() for array in _arrays(batches[-1])])
    for batch, before in zip(batches, contents, strict=True):
        for array, copy in zip(_arrays(batch), before, strict=True):
            assert not array.flags.writeable
            assert np.array_equal(array, copy)


def _arrays(batch: DataBatch) -> list[np.ndarray]:
    tables = [
        array for table in batch.labeled.values() for array in (table.row, table.label, table.values, table.present)
    ]
    return [batch.cells, batch.present, batch.exists, batch.times, *tables]
