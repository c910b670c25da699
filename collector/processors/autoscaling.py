"""NodeAutoscalingEnricher: nodes against their capacity (behaviour reference, section 5.8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import EntityTable
from collector.core.metrics import FLOAT64, INDEX
from collector.kube.listers import NodeLister
from collector.kube.objects import Node, Resources
from collector.processors.labels import LabelCopier
from collector.processors.stepped import Stepped

RESOURCES = ("cpu", "memory", "ephemeral_storage")

_USED = ("cpu/usage_rate", "memory/usage", "ephemeral_storage/usage")
_ALWAYS_WRITTEN = ("cpu", "memory")
"""Capacity and allocatable of these are 0 when unknown; ephemeral storage is absent then."""

_UNKNOWN = Resources()

NODES_AT_ONCE = 1_024
"""Nodes labelled in one step: some ten milliseconds."""


@dataclass(slots=True)
class _Capacities:
    """The node entities, in parallel arrays; amounts are (3, n) in the order of RESOURCES, -1 where unknown."""

    rows: NDArray[np.int64]
    generations: NDArray[np.int64]
    known: NDArray[np.bool_]
    """Whether the API server knows the node."""
    capacity: NDArray[np.int64]
    allocatable: NDArray[np.int64]


class NodeAutoscalingEnricher(Stepped):
    """Capacity, allocatable, utilization, reservation; and the labels of nodes."""

    name = "node_autoscaling_enricher"

    def __init__(self, nodes: NodeLister, copier: LabelCopier, host_id_annotation: str = "") -> None:
        self._nodes = nodes
        self._changes = nodes.subscribe()
        self._copier = copier
        self._host_id_annotation = host_id_annotation
        self._capacities: _Capacities | None = None

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the twelve node columns. Every ratio is of the allocatable amount, in spite of what the names promise."""
        entities = batch.entities
        if self._outdated(entities):
            names = list(entities.nodes)
            yield from self._label(entities, names)
            self._capacities = self._read(entities, names)
        read = self._capacities
        assert read is not None, "it has been outdated"
        here = read.known & batch.exists[read.rows]
        rows = read.rows[here]
        for i, resource in enumerate(RESOURCES):
            capacity, allocatable = read.capacity[i, here], read.allocatable[i, here]
            if resource in _ALWAYS_WRITTEN:
                capacity, allocatable = np.maximum(capacity, 0), np.maximum(allocatable, 0)
            both = (capacity >= 0) & (allocatable >= 0)
            _put(batch, f"{resource}/node_capacity", rows[both], capacity[both])
            _put(batch, f"{resource}/node_allocatable", rows[both], allocatable[both])
            shared = both & (allocatable > 0)
            at, of = rows[shared], allocatable[shared].astype(FLOAT64)
            _put(batch, f"{resource}/node_utilization", at, _integers(batch, _USED[i], at) / of)
            _put(batch, f"{resource}/node_reservation", at, _integers(batch, f"{resource}/request", at) / of)
            yield

    def _outdated(self, entities: EntityTable) -> bool:
        """Whether a node or its entity is another one than when the amounts were read."""
        read = self._capacities
        if self._changes.take() or read is None or read.rows.size != len(entities.nodes):
            self._capacities = None  # a tick that is abandoned leaves it to the next one
        elif (entities.generation[read.rows] != read.generations).any():
            self._capacities = None
        return self._capacities is None

    def _label(self, entities: EntityTable, names: Sequence[str]) -> Iterator[None]:
        """Label these nodes anew."""
        for start in range(0, len(names), NODES_AT_ONCE):
            some = [name for name in names[start : start + NODES_AT_ONCE] if name in entities.nodes]
            found = [self._nodes.get(name) for name in some]
            entities.set_many_own_labels(
                [entities.nodes[name] for name in some],
                [{} if node is None else self._labels(node) for node in found],
            )
            yield

    def _read(self, entities: EntityTable, names: Sequence[str]) -> _Capacities:
        """Read the amounts of these nodes: of one that came since, labels are not set either."""
        names = [name for name in names if name in entities.nodes]
        found = [self._nodes.get(name) for name in names]
        at = np.array([entities.nodes[name] for name in names], np.int64)
        return _Capacities(
            at,
            entities.generation[at],
            np.array([node is not None for node in found], np.bool_),
            _amounts([_UNKNOWN if node is None else node.capacity for node in found]),
            _amounts([_UNKNOWN if node is None else node.allocatable for node in found]),
        )

    def _labels(self, node: Node) -> dict[str, str]:
        """`hostname` and `host_id` (behaviour reference, section 3.1), and the copied labels."""
        return {
            "hostname": node.host_name,
            "host_id": node.external_id or node.annotations.get(self._host_id_annotation, ""),
            **self._copier.copy(node.labels),
        }


def _amounts(resources: Sequence[Resources]) -> NDArray[np.int64]:
    """(3, n), -1 where unknown."""
    given = [(each.cpu, each.memory, each.ephemeral_storage) for each in resources]
    filled = [[-1 if amount is None else amount for amount in each] for each in given]
    return np.array(filled, np.int64).reshape(-1, len(RESOURCES)).T


def _integers(batch: DataBatch, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """An integer metric of `rows` as float64, 0 where absent."""
    m = INDEX[name]
    return np.where(batch.present[m, rows], batch.cells[m, rows], 0).astype(FLOAT64)


def _put(batch: DataBatch, name: str, rows: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64]) -> None:
    batch.put(INDEX[name], rows, values.astype(FLOAT64))
