"""EntityTable: names to rows and back, label sets, versions, growth, sweeping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.entities import FREE, NULL, SLAB, EntityTable
from collector.core.metrics import Kind


@pytest.fixture
def entities() -> EntityTable:
    return EntityTable()


def populate(entities: EntityTable) -> dict[str, int]:
    """One entity of every kind, two of some."""
    node = entities.node_row("node-a")
    pod = entities.pod_row("default", "web-1", node)
    rows = {
        "cluster": entities.cluster,
        "node": node,
        "system": entities.child_row(Kind.SYS_CONTAINER, node, "kubelet", node),
        "namespace": entities.namespace_row("default"),
        "pod": pod,
        "container": entities.child_row(Kind.POD_CONTAINER, pod, "nginx", node),
        "other pod": entities.pod_row("default", "web-2", node),
    }
    entities.uid[pod] = "uid-1"
    return rows


def test_a_row_stays_with_its_name(entities: EntityTable) -> None:
    assert populate(entities) == populate(entities)
    assert entities.count == 7


def test_every_kind_can_be_found_by_name_and_named_by_row(entities: EntityTable) -> None:
    rows = populate(entities)
    assert entities.find_node("node-a") == rows["node"]
    assert entities.find_namespace("default") == rows["namespace"]
    assert entities.find_pod("default", "web-1") == rows["pod"]
    assert entities.find_child(rows["pod"], "nginx") == rows["container"]
    assert entities.find_child(rows["node"], "kubelet") == rows["system"]
    assert dict(entities.nodes) == {"node-a": rows["node"]}
    assert dict(entities.namespaces) == {"default": rows["namespace"]}
    assert dict(entities.children(rows["namespace"])) == {"web-1": rows["pod"], "web-2": rows["other pod"]}
    assert [entities.key(row) for row in rows.values()] == [
        "cluster",
        "node:node-a",
        "node:node-a/container:kubelet",
        "namespace:default",
        "namespace:default/pod:web-1",
        "namespace:default/pod:web-1/container:nginx",
        "namespace:default/pod:web-2",
    ]


def test_what_is_unknown_is_null(entities: EntityTable) -> None:
    rows = populate(entities)
    assert entities.find_node("x") == entities.find_namespace("x") == NULL
    assert entities.find_pod("default", "x") == entities.find_pod("x", "web-1") == NULL
    assert entities.find_child(rows["container"], "x") == entities.find_child(NULL, "x") == NULL
    assert dict(entities.children(NULL)) == dict(entities.children(rows["container"])) == {}


def test_parent_and_node_columns_point_upward(entities: EntityTable) -> None:
    rows = populate(entities)
    parents = {"cluster": NULL, "node": rows["cluster"], "system": rows["node"], "namespace": rows["cluster"]}
    parents |= {"pod": rows["namespace"], "container": rows["pod"], "other pod": rows["namespace"]}
    assert {name: entities.parent[row] for name, row in rows.items()} == parents
    on_node = {name for name, row in rows.items() if entities.node[row] == rows["node"]}
    assert on_node == {"node", "system", "pod", "container", "other pod"}
    assert entities.node[rows["cluster"]] == entities.node[rows["namespace"]] == NULL


def test_each_slab_holds_rows_of_one_kind(entities: EntityTable) -> None:
    for i in range(3 * SLAB):
        populate(entities)
        node = entities.node_row(f"node-{i % 700}")
        entities.pod_row(f"ns-{i % 10}", f"pod-{i}", node)
    assert entities.size % SLAB == 0
    for first in range(0, entities.size, SLAB):
        kinds = set(entities.kind[first : first + SLAB].tolist()) - {FREE}
        assert len(kinds) == 1


@given(st.lists(st.tuples(st.sampled_from(list(Kind)[1:]), st.integers(0, 2000)), max_size=40), st.integers(0, 5000))
def test_growth_keeps_every_column(made: list[tuple[Kind, int]], expected: int) -> None:
    entities = EntityTable()
    entities.expect(expected)
    known: dict[str, int] = {}
    for kind, extra in made:
        node = entities.node_row("node-a")
        for i in range(extra % 600):
            entities.pod_row("crowd", f"{kind}-{i}", node)
        known[f"node-{extra}"] = entities.node_row(f"node-{extra}")
        assert all(entities.name[row] == name and entities.node[row] == row for name, row in known.items())
    for column in (entities.kind, entities.parent, entities.node, entities.generation, entities.label_version):
        assert column.size >= entities.size
    assert len(entities.name) == len(entities.uid) == entities.kind.size >= expected
    assert entities.count == np.count_nonzero(entities.kind != FREE)


def test_pods_are_named_in_bulk_with_their_uids(entities: EntityTable) -> None:
    node = entities.node_row("node-a")
    rows = entities.pod_rows(["a", "a", "b"], ["x", "y", "x"], ["1", "2", "3"], node)
    assert rows == [entities.find_pod("a", "x"), entities.find_pod("a", "y"), entities.find_pod("b", "x")]
    assert [entities.uid[row] for row in rows] == ["1", "2", "3"]
    containers = entities.container_rows(rows, [2, 0, 1], ["m", "n", "m"], node)
    assert [entities.key(row) for row in containers] == [
        "namespace:a/pod:x/container:m",
        "namespace:a/pod:x/container:n",
        "namespace:b/pod:x/container:m",
    ]
    with pytest.raises(ValueError, match="zip"):
        entities.pod_rows(["a"], [], [], node)


# Labels.


def test_label_sets_have_heapsters_keys(entities: EntityTable) -> None:
    rows = populate(entities)
    on_node = {"nodename": "node-a", "hostname": "node-a", "host_id": ""}
    of_pod = {**on_node, "pod_id": "uid-1", "pod_name": "web-1", "namespace_name": "default"}
    assert {name: entities.label_set(row) for name, row in rows.items() if name != "other pod"} == {
        "cluster": {"type": "cluster"},
        "node": {"type": "node", **on_node},
        "system": {"type": "sys_container", **on_node, "container_name": "kubelet"},
        "namespace": {"type": "ns", "namespace_name": "default", "namespace_id": ""},
        "pod": {"type": "pod", **of_pod},
        "container": {"type": "pod_container", **of_pod, "container_name": "nginx"},
    }


def test_what_the_api_server_adds_reaches_everything_below(entities: EntityTable) -> None:
    rows = populate(entities)
    entities.set_own_labels(rows["node"], {"hostname": "host", "host_id": "i-1", "labels": "zone:z"})
    entities.set_own_labels(rows["namespace"], {"namespace_id": "ns-uid"})
    entities.set_own_labels(rows["pod"], {"pod_id": "api-uid", "labels": "app:web", "mine": "yes"})
    entities.set_own_labels(rows["container"], {"container_base_image": "nginx:1"})
    on_node = {"nodename": "node-a", "hostname": "host", "host_id": "i-1"}
    assert entities.label_set(rows["node"]) == {"type": "node", **on_node, "labels": "zone:z"}
    assert entities.label_set(rows["system"]) == {"type": "sys_container", **on_node, "container_name": "kubelet"}
    assert entities.label_set(rows["namespace"])["namespace_id"] == "ns-uid"
    of_pod = {"pod_id": "api-uid", "pod_name": "web-1", "namespace_name": "default", "namespace_id": "ns-uid"}
    of_pod |= {**on_node, "labels": "app:web", "mine": "yes"}
    assert entities.label_set(rows["pod"]) == {"type": "pod", **of_pod}
    assert entities.label_set(rows["container"]) == {
        "type": "pod_container",
        **of_pod,
        "container_name": "nginx",
        "container_base_image": "nginx:1",
    }


def test_a_stored_label_may_hide_a_built_in_one_as_in_heapster(entities: EntityTable) -> None:
    rows = populate(entities)
    entities.set_own_labels(rows["pod"], {"type": "mine"})
    assert entities.label_set(rows["pod"])["type"] == "mine"


def test_a_pod_that_no_node_reported_has_no_node_labels(entities: EntityTable) -> None:
    row = entities.pod_row("default", "invented")
    assert entities.label_set(row) == {"type": "pod", "pod_id": "", "pod_name": "invented", "namespace_name": "default"}


CHANGES = {
    "node": {"node", "system", "pod", "container", "other pod"},
    "namespace": {"namespace", "pod", "container", "other pod"},
    "pod": {"pod", "container"},
    "container": {"container"},
    "system": {"system"},
}


@pytest.mark.parametrize("changed", CHANGES)
def test_the_label_version_changes_exactly_where_the_label_set_may_have(entities: EntityTable, changed: str) -> None:
    rows = populate(entities)
    before = entities.label_version.copy()
    entities.set_own_labels(rows[changed], {"hostname": "new", "namespace_id": "new"})
    assert {name for name, row in rows.items() if entities.label_version[row] != before[row]} == CHANGES[changed]

    again = entities.label_version.copy()
    entities.set_own_labels(rows[changed], {"hostname": "new", "namespace_id": "new"})
    assert (entities.label_version == again).all()


changes_of_many = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.sampled_from(["old", "new"])), max_size=6)


@given(changes_of_many)
def test_changing_many_label_sets_at_once_is_changing_them_one_by_one(changes: list[tuple[str, str]]) -> None:
    tables = EntityTable(), EntityTable()
    for table in tables:
        rows = populate(table)
        for name in CHANGES:
            table.set_own_labels(rows[name], {"labels": "old"})
    before = [table.label_version.copy() for table in tables]
    at_once, one_by_one = tables
    at_once.set_many_own_labels([rows[name] for name, _ in changes], [{"labels": text} for _, text in changes])
    for name, text in changes:
        one_by_one.set_own_labels(rows[name], {"labels": text})
    changed = [table.label_version != old for table, old in zip(tables, before, strict=True)]
    assert (changed[0] == changed[1]).all()
    assert [at_once.label_set(row) for row in rows.values()] == [one_by_one.label_set(row) for row in rows.values()]
    with pytest.raises(ValueError, match="zip"):
        at_once.set_many_own_labels([rows["pod"]], [])


def test_a_new_uid_and_a_move_to_another_node_change_the_label_version(entities: EntityTable) -> None:
    rows = populate(entities)
    before = entities.label_version.copy()
    entities.pod_rows(["default"], ["web-1"], ["uid-1"], rows["node"])
    pod = np.array([rows["pod"]], np.int32)
    entities.place(pod, np.array([rows["node"]], np.int32))
    assert (entities.label_version == before).all()

    entities.pod_rows(["default"], ["web-1"], ["uid-2"], rows["node"])
    changed = {name for name, row in rows.items() if entities.label_version[row] != before[row]}
    assert changed == {"pod", "container"}
    assert entities.label_set(rows["container"])["pod_id"] == "uid-2"

    before = entities.label_version.copy()
    other = entities.node_row("node-b")
    entities.place(pod, np.array([other], np.int32))
    assert entities.label_version[rows["pod"]] > before[rows["pod"]]
    assert entities.label_set(rows["pod"])["nodename"] == "node-b"


# Life.


def test_a_sweep_frees_what_no_live_tick_holds_and_nothing_else(entities: EntityTable) -> None:
    tick = entities.pins.next()
    rows = populate(entities)
    assert entities.sweep() == 0
    entities.mark_seen(np.array([rows["container"]]), tick.sequence)

    later = entities.pins.next()
    entities.mark_seen(np.array([rows["container"]]), later.sequence)
    del tick
    assert entities.sweep() == 2  # the other pod and the system container
    assert entities.find_pod("default", "web-2") == entities.find_child(rows["node"], "kubelet") == NULL
    for name in ("node", "namespace", "pod"):
        assert entities.kind[rows[name]] != FREE, f"the {name} is needed for the container's labels"

    del later
    assert entities.sweep() == 4
    assert entities.count == 1
    assert entities.find_node("node-a") == entities.find_namespace("default") == NULL
    assert entities.kind[entities.cluster] == Kind.CLUSTER


def test_a_freed_row_goes_to_a_new_owner_of_its_kind_with_nothing_left_of_the_old_one(entities: EntityTable) -> None:
    rows = populate(entities)
    entities.set_own_labels(rows["pod"], {"labels": "app:web"})
    generation, version = int(entities.generation[rows["pod"]]), int(entities.label_version[rows["pod"]])
    entities.pins.next()
    entities.sweep()

    size = entities.size
    new = [entities.pod_row("fresh", f"pod-{i}") for i in range(SLAB)]
    assert entities.size == size
    assert rows["pod"] in new
    row = rows["pod"]
    assert entities.generation[row] > generation
    assert entities.label_version[row] > version
    assert entities.uid[row] == ""
    assert dict(entities.own_labels(row)) == {}
    assert dict(entities.children(row)) == {}
    assert entities.node[row] == NULL


def test_no_two_owners_ever_share_a_generation(entities: EntityTable) -> None:
    seen: set[int] = set()
    for _ in range(5):
        rows = populate(entities)
        generations = {int(entities.generation[row]) for name, row in rows.items() if name != "cluster"}
        assert len(generations) == 6
        assert not generations & seen
        seen |= generations
        entities.pins.next()
        entities.sweep()


def test_overlapping_ticks_may_note_what_they_hold_in_any_order(entities: EntityTable) -> None:
    early, late = entities.pins.next(), entities.pins.next()
    row = entities.node_row("node-a")
    entities.mark_seen(np.array([row]), late.sequence)
    entities.mark_seen(np.array([row]), early.sequence)
    del early
    assert entities.sweep() == 0
    assert entities.find_node("node-a") == row
    del late
    assert entities.sweep() == 1
