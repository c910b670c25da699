"""NodeAutoscalingEnricher: nodes against their capacity (behaviour reference, section 5.8)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import FLOAT64, INDEX
from collector.kube.listers import NodeLister
from collector.kube.objects import Node, Resources
from collector.processors.labels import LabelCopier

RESOURCES = ("cpu", "memory", "ephemeral_storage")

_USED = ("cpu/usage_rate", "memory/usage", "ephemeral_storage/usage")
_ALWAYS_WRITTEN = ("cpu", "memory")
"""Capacity and allocatable of these are 0 when unknown; ephemeral storage is absent then."""


@dataclass(slots=True)
class _Capacities:
    """What the nodes have, in parallel arrays; amounts are (3, n) in the order of RESOURCES, -1 where unknown."""

    rows: NDArray[np.int64]
    generations: NDArray[np.int64]
    capacity: NDArray[np.int64]
    allocatable: NDArray[np.int64]


class NodeAutoscalingEnricher:
    """Capacity, allocatable, utilization, reservation; and the labels of nodes."""

    name = "node_autoscaling_enricher"

    def __init__(self, nodes: NodeLister, copier: LabelCopier, host_id_annotation: str = "") -> None:
        self._nodes = nodes
        self._changes = nodes.subscribe()
        self._copier = copier
        self._host_id_annotation = host_id_annotation
        self._known: _Capacities | None = None

    def process(self, batch: DataBatch) -> None:
        """Add the twelve node columns. Every ratio is of the allocatable amount, in spite of what the names promise."""
        known = self._current(batch.entities)
        here = batch.exists[known.rows] if known.rows.size else np.zeros(0, np.bool_)
        rows = known.rows[here]
        for i, resource in enumerate(RESOURCES):
            capacity, allocatable = known.capacity[i, here], known.allocatable[i, here]
            if resource in _ALWAYS_WRITTEN:
                capacity, allocatable = np.maximum(capacity, 0), np.maximum(allocatable, 0)
            both = (capacity >= 0) & (allocatable >= 0)
            _put(batch, f"{resource}/node_capacity", rows[both], capacity[both])
            _put(batch, f"{resource}/node_allocatable", rows[both], allocatable[both])
            shared = both & (allocatable > 0)
            at, of = rows[shared], allocatable[shared].astype(FLOAT64)
            _put(batch, f"{resource}/node_utilization", at, _integers(batch, _USED[i], at) / of)
            _put(batch, f"{resource}/node_reservation", at, _integers(batch, f"{resource}/request", at) / of)

    def _current(self, entities: EntityTable) -> _Capacities:
        known = self._known
        if (
            known is None
            or self._changes.take()
            or known.rows.size != len(entities.nodes)
            or (entities.generation[known.rows] != known.generations).any()
        ):
            known = self._known = self._read(entities)
        return known

    def _read(self, entities: EntityTable) -> _Capacities:
        """Label the nodes anew and read their amounts; a node that is no entity yet comes with its first sample."""
        rows: list[int] = []
        capacity: list[tuple[int, ...]] = []
        allocatable: list[tuple[int, ...]] = []
        for node in self._nodes.items.values():
            row = entities.find_node(node.name)
            if row == NULL:
                continue
            entities.set_own_labels(row, {**self._identity(node), **self._copier.copy(node.labels)})
            rows.append(row)
            capacity.append(_amounts(node.capacity))
            allocatable.append(_amounts(node.allocatable))
        at = np.array(rows, np.int64)
        return _Capacities(
            at,
            entities.generation[at],
            np.array(capacity, np.int64).reshape(-1, len(RESOURCES)).T,
            np.array(allocatable, np.int64).reshape(-1, len(RESOURCES)).T,
        )

    def _identity(self, node: Node) -> dict[str, str]:
        """`hostname` and `host_id` (behaviour reference, section 3.1)."""
        return {
            "hostname": node.host_name,
            "host_id": node.external_id or node.annotations.get(self._host_id_annotation, ""),
        }


def _amounts(resources: Resources) -> tuple[int, ...]:
    given = (resources.cpu, resources.memory, resources.ephemeral_storage)
    return tuple(-1 if amount is None else amount for amount in given)


def _integers(batch: DataBatch, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """An integer metric of `rows` as float64, 0 where absent."""
    m = INDEX[name]
    return np.where(batch.present[m, rows], batch.cells[m, rows], 0).astype(FLOAT64)


def _put(batch: DataBatch, name: str, rows: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64]) -> None:
    batch.put(INDEX[name], rows, values.astype(FLOAT64))
