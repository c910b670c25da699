"""What Heapster had, and what it had not."""

import numpy as np
import pytest

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FILESYSTEM, GROUPS, INDEX, METRICS, Kind, MetricTable
from collector.core.visibility import EVERYTHING, HEAPSTERS

ABOVE = (Kind.NAMESPACE, Kind.CLUSTER)
BELOW = (Kind.NODE, Kind.POD, Kind.POD_CONTAINER, Kind.SYS_CONTAINER)
SIX = {"cpu/usage_rate", "memory/usage", "cpu/request", "cpu/limit", "memory/request", "memory/limit"}


@pytest.mark.parametrize("name", ["memory/working_set", "memory/rss", "network/rx_rate", "ephemeral_storage/request"])
def test_a_sum_heapster_did_not_make_is_shown_below_only(name: str) -> None:
    assert [HEAPSTERS.shows_name(name, kind) for kind in ABOVE] == [False, False]
    assert all(HEAPSTERS.shows_name(name, kind) for kind in BELOW)
    assert all(EVERYTHING.shows_name(name, kind) for kind in Kind)


@pytest.mark.parametrize("name", ["swap/usage", "cpu/pressure_some", "imagefs/usage", "filesystem/inodes_used"])
def test_a_metric_heapster_did_not_have_is_shown_nowhere(name: str) -> None:
    assert not any(HEAPSTERS.shows_name(name, kind) for kind in Kind)
    assert all(EVERYTHING.shows_name(name, kind) for kind in Kind)


def test_heapsters_six_are_all_that_namespaces_and_the_cluster_show() -> None:
    for kind in ABOVE:
        summed = {metric.name for metric in METRICS if metric.summed_into(kind) and HEAPSTERS.shows(metric, kind)}
        assert summed == SIX
        assert len([metric for metric in METRICS if metric.summed_into(kind)]) > len(SIX)


def test_names_only_the_cluster_knows_are_shown_where_heapster_had_them() -> None:
    for kind in Kind:
        assert HEAPSTERS.shows_name("custom/queue", kind)
        below = kind in {Kind.POD, Kind.POD_CONTAINER, Kind.SYS_CONTAINER}
        assert HEAPSTERS.shows_name("nvidia.com/gpu/request", kind) is below


def test_the_masks_say_the_same_as_the_single_questions() -> None:
    table = MetricTable()
    table.custom("queue")
    table.resource_request("nvidia.com/gpu")
    for visibility in (HEAPSTERS, EVERYTHING):
        mask = visibility.plain(table)
        assert mask.shape == (len(table), len(Kind))
        for m, metric in table:
            assert mask[m].tolist() == [visibility.shows_name(metric.name, kind) for kind in Kind]
        for group in GROUPS:
            shown = visibility.labeled(group).tolist()
            assert shown == [visibility.shows_name(metric.name, Kind.POD) for metric in group.metrics]
    assert EVERYTHING.plain(table).all()


def test_entities_as_objects_show_what_may_be_shown() -> None:
    entities = EntityTable()
    batch = DataBatch(entities, MetricTable(), 1)
    node = entities.node_row("a")
    batch.ensure_rows()
    batch.exists[node] = True
    for name in ("memory/usage", "swap/usage"):
        batch.put(INDEX[name], np.array([node]), np.array([7]))
    label = np.array([entities.labels.resource("/")], np.int32)
    batch.labeled[FILESYSTEM.name].append(
        np.array([node], np.int32), label, np.array([[1], [-1], [-1], [-1], [-1], [2]])
    )
    batch.freeze()
    assert batch.metric_sets(HEAPSTERS)["node:a"].metrics == {"memory/usage": 7}
    assert [one.name for one in batch.metric_set(node, HEAPSTERS).labeled] == ["filesystem/usage"]
    assert batch.metric_sets()["node:a"].metrics == {"memory/usage": 7, "swap/usage": 7}
    assert [one.name for one in batch.metric_set(node).labeled] == ["filesystem/usage", "filesystem/inodes_used"]
