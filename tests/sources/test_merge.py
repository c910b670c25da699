"""Merging two answers of one node: columns and groups are added, nothing is replaced."""

import numpy as np

from collector.core.metrics import ACCELERATOR, DISK, FILESYSTEM, INDEX, Clock, Kind
from collector.core.sample import ABSENT, Block, LabeledBlock, NodeSample
from collector.sources.merge import merge

USAGE, CACHE, LOAD = INDEX["memory/usage"], INDEX["memory/cache"], INDEX["cpu/load"]


def block(metrics: tuple[int, ...], *rows: tuple[int, ...], start: tuple[int, ...] = (), disk: int = 0) -> Block:
    times = np.zeros((len(rows), len(Clock)), np.int64)
    times[:, Clock.SCRAPE] = 5
    times[:, Clock.DISK] = disk
    times[:, Clock.START] = start or 1
    return Block(metrics, np.array(rows, np.int64).reshape(len(rows), len(metrics)), times)


def disks(kind: Kind, *owned: tuple[int, str, int]) -> LabeledBlock:
    owners = np.array([owner for owner, _, _ in owned], np.intp)
    return LabeledBlock(DISK, kind, owners, [name for _, name, _ in owned], np.array([[v, v] for *_, v in owned]))


def base() -> NodeSample:
    return NodeSample(
        "node-a",
        9,
        block((USAGE,), (1,)),
        system_names=["kubelet", "pods", "docker-daemon"],
        system_block=block((USAGE,), (2,), (3,), (4,)),
        pod_namespaces=["default", "default"],
        pod_names=["web", "db"],
        pod_uids=["u", "v"],
        pod_block=block((USAGE,), (10,), (20,)),
        container_counts=[2, 1],
        container_names=["nginx", "sidecar", "db"],
        container_block=block((USAGE,), (11,), (12,), (21,)),
        labeled=[LabeledBlock(FILESYSTEM, Kind.NODE, np.zeros(1, np.intp), "/", np.array([[7]]))],
    )


def extra() -> NodeSample:
    return NodeSample(
        "node-a",
        9,
        block((USAGE, CACHE), (100, 5), disk=77),
        system_names=["kubepods", "system.slice/kubelet.service", "user.slice"],
        system_block=block((USAGE, CACHE), (300, 6), (200, 7), (1, 1)),
        pod_namespaces=["default", "other", "default"],
        pod_names=["db", "web", "web"],
        pod_uids=["", "", ""],
        pod_block=block((USAGE, CACHE), (200, 8), (1, 1), (100, ABSENT)),
        pod_shares=np.zeros(3, np.bool_),
        container_counts=[1, 1, 2],
        container_names=["db", "nginx", "nginx", "nginx"],
        container_block=block((USAGE, CACHE), (210, 9), (1, 1), (110, 10), (111, 11), start=(1, 1, 3, 2)),
        labeled=[
            disks(Kind.POD_CONTAINER, (0, "sda", 1), (1, "sda", 2), (2, "sda", 3), (2, "sdb", 4), (3, "sda", 5)),
            disks(Kind.NODE, (0, "sda", 6)),
            LabeledBlock(FILESYSTEM, Kind.NODE, np.zeros(1, np.intp), ["sda1"], np.array([[8]])),
        ],
        faults=["one line"],
    )


def test_columns_are_added_to_the_entities_of_the_first_answer() -> None:
    merged = merge(base(), extra())
    assert merged.node_block.metrics == merged.pod_block.metrics == (USAGE, CACHE)
    assert merged.node_block.values.tolist() == [[1, 5]]
    assert merged.system_block.values.tolist() == [[2, 7], [3, 6], [4, ABSENT]]
    assert merged.pod_block.values.tolist() == [[10, ABSENT], [20, 8]]
    assert merged.container_block.values.tolist() == [[11, 10], [12, ABSENT], [21, 9]]  # nginx: the later of two
    assert merged.pod_names == ["web", "db"]
    assert merged.faults == ["one line"]


def test_the_clock_of_disks_is_added_and_no_other() -> None:
    merged, before = merge(base(), extra()), base()
    assert merged.node_block.times[0, Clock.DISK] == 77
    assert (
        np.delete(merged.node_block.times, Clock.DISK, axis=1).tolist()
        == np.delete(before.node_block.times, Clock.DISK, axis=1).tolist()
    )


def test_groups_are_added_whole_or_not_at_all() -> None:
    merged = merge(base(), extra())
    found = {
        (block.group.name, block.kind, owner, label)
        for block in merged.labeled
        for owner, label in zip(
            block.owners.tolist(),
            [block.labels] * len(block.owners) if isinstance(block.labels, str) else block.labels,
            strict=True,
        )
    }
    assert found == {
        ("filesystem", Kind.NODE, 0, "/"),
        ("disk", Kind.NODE, 0, "sda"),
        ("disk", Kind.POD_CONTAINER, 2, "sda"),
        ("disk", Kind.POD_CONTAINER, 0, "sda"),
        ("disk", Kind.POD_CONTAINER, 0, "sdb"),
    }
    assert ACCELERATOR.name not in {block.group.name for block in merged.labeled}


def test_a_pods_share_is_not_taken_for_the_pod() -> None:
    shared = extra()
    shared.pod_shares = np.array([True, False, False])
    assert merge(base(), shared).pod_block.values.tolist() == [[10, ABSENT], [20, ABSENT]]


def test_of_two_containers_of_one_name_in_the_first_answer_the_later_gets_the_labelled_values() -> None:
    first, second = base(), extra()
    first.container_names = ["nginx", "nginx", "db"]
    first.container_block = block((USAGE,), (11,), (12,), (21,), start=(4, 3, 1))
    merged = merge(first, second)
    [added] = [each for each in merged.labeled if each.group is DISK and each.kind is Kind.POD_CONTAINER]
    assert sorted(set(added.owners.tolist())) == [0, 2]


def test_nothing_to_add_leaves_the_answer_as_it_is() -> None:
    empty = NodeSample("node-a", 9, Block.empty())
    merged = merge(base(), empty)
    assert merged.pod_block.values.tolist() == base().pod_block.values.tolist()
    assert [each.group.name for each in merged.labeled] == ["filesystem"]
    assert not len(merge(empty, extra()).node_block)
