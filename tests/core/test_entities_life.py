"""Rows under churn: ticks that overlap, end in any order and sweep at any moment, against a dictionary."""

import gc

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from collector.core.batch import DataBatch, LabeledMetric
from collector.core.entities import FREE, NULL, SLAB, EntityTable
from collector.core.intake import Intake
from collector.core.metrics import Kind, MetricTable
from tests.core.samples import CPU, sample
from tests.sources.observed import Key, key_of

PODS = [(namespace, name) for namespace in ("a", "b") for name in ("x", "y", "z")]
CONTAINERS = ("m", "n")

pods_of_a_node = st.dictionaries(st.sampled_from(PODS), st.lists(st.sampled_from(CONTAINERS), unique=True), max_size=4)


def names_in(node: str, pods: dict[tuple[str, str], list[str]]) -> set[Key]:
    """The entities a sample names, with those above them."""
    keys: set[Key] = {("node", node), ("sys_container", node, "kubelet")}
    for (namespace, pod), containers in pods.items():
        keys |= {("ns", namespace), ("pod", namespace, pod)}
        keys |= {("pod_container", namespace, pod, name) for name in containers}
    return keys


class Rows(RuleBasedStateMachine):
    """The model: what each live batch holds, entity -> row, and when each entity was last named."""

    def __init__(self) -> None:
        super().__init__()
        self.entities = EntityTable()
        self.metrics = MetricTable()
        self.live: dict[int, DataBatch] = {}
        self.rows: dict[int, dict[Key, int]] = {}
        self.values: dict[int, dict[Key, int]] = {}
        self.volumes: dict[int, dict[Key, list[LabeledMetric]]] = {}
        self.last_named: dict[Key, int] = {}

    batches = Bundle("batches")

    @rule(target=batches)
    def open(self) -> int:
        batch = DataBatch(self.entities, self.metrics, 0)
        sequence = batch.pin.sequence
        self.live[sequence], self.rows[sequence] = batch, {}
        self.values[sequence], self.volumes[sequence] = {}, {}
        return sequence

    @rule(
        tick=batches,
        node=st.sampled_from("pq"),
        pods=pods_of_a_node,
        volume=st.sampled_from("tu"),
        value=st.integers(0, 2**63 - 1),
    )
    def fill(self, tick: int, node: str, pods: dict[tuple[str, str], list[str]], volume: str, value: int) -> None:
        batch = self.live[tick]
        if batch.frozen:
            return
        intake = Intake(batch)
        intake.add(sample(node, pods, value=value, system=["kubelet"], volumes={pod: [volume] for pod in pods}))
        intake.flush()
        for key in names_in(node, pods):
            row = self.find(key)
            assert row != NULL
            self.rows[tick][key] = row
            self.last_named[key] = self.entities.pins.current
            if key[0] != "ns":
                self.values[tick][key] = value
            if key[0] == "pod":
                self.volumes[tick][key] = [
                    LabeledMetric("filesystem/usage", {"resource_id": f"Volume:{volume}"}, value)
                ]

    @rule(tick=batches)
    def freeze(self, tick: int) -> None:
        if not self.live[tick].frozen:
            self.live[tick].freeze()

    @rule(tick=consumes(batches))
    def let_go(self, tick: int) -> None:
        del self.live[tick], self.rows[tick], self.values[tick], self.volumes[tick]

    @rule()
    def sweep(self) -> None:
        self.entities.sweep()
        oldest = self.entities.pins.oldest()
        assert self.entities.count <= 1 + sum(last >= oldest for last in self.last_named.values())

    @rule(most=st.integers(1, 3))
    def sweep_some(self, most: int) -> None:
        """Others have a turn before the rest is swept: the table must be whole, as the invariants say."""
        before = self.entities.count
        freed = self.entities.sweep(most)
        assert freed <= most
        assert self.entities.count == before - freed

    @invariant()
    def a_row_means_one_entity_to_all_live_batches_and_the_table(self) -> None:
        owners: dict[int, Key] = {}
        for rows in self.rows.values():
            for key, row in rows.items():
                assert owners.setdefault(row, key) == key
                assert self.find(key) == row
                assert key_of(self.entities, row) == key

    @invariant()
    def no_row_points_to_one_that_nobody_owns(self) -> None:
        kind, size = self.entities.kind, self.entities.size
        owned = np.flatnonzero(kind[:size] != FREE)
        for column in (self.entities.parent, self.entities.node):
            above = column[owned]
            assert (kind[above[above != NULL]] != FREE).all()
        nodes = self.entities.node[owned]
        assert set(kind[nodes[nodes != NULL]].tolist()) <= {Kind.NODE}

    @invariant()
    def every_batch_still_holds_its_own_values(self) -> None:
        for tick, values in self.values.items():
            batch = self.live[tick]
            for key, value in values.items():
                assert batch.value(self.rows[tick][key], CPU) == value
            for table in batch.labeled.values():
                table.join()  # what was appended can be looked at only then
            for key, volumes in self.volumes[tick].items():
                assert batch.labeled_of(self.rows[tick][key]) == volumes
            held = {self.rows[tick][key] for key in values}
            assert set(np.flatnonzero(batch.exists).tolist()) - {self.entities.cluster} == held

    def find(self, key: Key) -> int:
        match key:
            case "node", name:
                return self.entities.find_node(name)
            case "ns", name:
                return self.entities.find_namespace(name)
            case "sys_container", node, name:
                return self.entities.find_child(self.entities.find_node(node), name)
            case "pod", namespace, name:
                return self.entities.find_pod(namespace, name)
            case _:
                return self.entities.find_child(self.entities.find_pod(*key[1:3]), key[3])

    def teardown(self) -> None:
        self.live.clear()
        self.entities.sweep()
        assert self.entities.count == 1
        assert self.entities.size <= 6 * SLAB
        assert not self.entities.nodes
        assert not self.entities.namespaces
        assert len(self.entities.labels) == 0


Rows.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRows = Rows.TestCase


def test_nothing_grows_while_pods_come_and_go() -> None:
    entities, metrics = EntityTable(), MetricTable()
    held: list[DataBatch] = []
    for tick in range(60):
        batch = DataBatch(entities, metrics, tick)
        intake = Intake(batch)
        pods = {(f"ns-{tick}-{i % 3}", f"pod-{tick}-{i}"): ["m", "n"] for i in range(300)}
        intake.add(sample(f"node-{tick % 5}", pods, volumes={pod: [f"token-{tick}"] for pod in pods}))
        intake.flush()
        batch.freeze()
        held = [*held[-2:], batch]
        entities.sweep()
        if tick == 9:
            size, labels = entities.size, len(entities.labels.pairs)
    assert (entities.size, len(entities.labels.pairs)) == (size, labels)
    assert entities.count <= 1 + 3 * (1 + 3 + 300 * 3)
    del batch, intake
    held.clear()
    gc.collect()
    entities.sweep()
    assert entities.count == 1
    assert len(entities.labels) == 0
