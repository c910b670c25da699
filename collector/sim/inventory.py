"""The collections of the API server, each with the same few questions: how many, which objects, which events.

A collection is asked for a second, never for "now": a list taken page by page shows one moment however long it takes.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

import numpy as np

from collector.sim.identity import pod_identity
from collector.sim.life import lives
from collector.sim.objects import ClusterObjects, Json
from collector.sim.plan import Plan
from collector.sim.timeline import Change, Timeline
from collector.sim.versions import event_version


class Collection(Protocol):
    """One kind of object; objects are numbered by rows, and their number never changes."""

    kind: str
    """As in `kind: Pod`."""
    count: int

    def objects(self, rows: Sequence[int], second: int) -> Iterator[Json]:
        """The objects in `rows` (rising) at `second`, without kind and apiVersion."""

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """What happened with `after` < version <= `up_to`, oldest first."""

    def select(self, selector: dict[str, str], second: int) -> Sequence[int]:
        """The rows a field selector leaves; fields but name, namespace and spec.nodeName are ignored."""


class StaticCollection:
    """Objects to which nothing ever happens: namespaces, and all that is replayed."""

    def __init__(self, kind: str, objects: Sequence[Json]) -> None:
        self.kind = kind
        self.count = len(objects)
        self._objects = objects

    def objects(self, rows: Sequence[int], second: int) -> Iterator[Json]:
        """The objects in `rows`."""
        del second
        return (self._objects[row] for row in rows)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Nothing."""
        del after, up_to
        return iter(())

    def select(self, selector: dict[str, str], second: int) -> Sequence[int]:
        """The rows that match."""
        del second
        if not selector:
            return range(self.count)
        return [row for row, body in enumerate(self._objects) if matches(body, selector)]


class Nodes:
    """The invented nodes: a heartbeat every five minutes is all that happens to them."""

    kind = "Node"

    def __init__(self, plan: Plan, objects: ClusterObjects, timeline: Timeline) -> None:
        self._plan, self._objects, self._timeline = plan, objects, timeline
        self.count = len(plan.node_names)

    def objects(self, rows: Sequence[int], second: int) -> Iterator[Json]:
        """The nodes in `rows`."""
        return (self._objects.node(row, second) for row in rows)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Heartbeats."""
        for events in self._timeline.between("nodes", after, up_to):
            for second, change, row in events.rows():
                yield change, self._objects.node(row, second)

    def select(self, selector: dict[str, str], second: int) -> Sequence[int]:
        """The rows that match."""
        del second
        name = selector.get("metadata.name")
        if name is None:
            return range(self.count)
        return [row for row, known in enumerate(self._plan.node_names) if known == name]


class Pods:
    """The invented pods: row is node x pods per node + slot."""

    kind = "Pod"

    def __init__(self, plan: Plan, objects: ClusterObjects, timeline: Timeline) -> None:
        self._plan, self._objects, self._timeline = plan, objects, timeline
        self._per_node = len(plan.classes)
        self.count = len(plan.node_names) * self._per_node

    def objects(self, rows: Sequence[int], second: int) -> Iterator[Json]:
        """The pods in `rows`; lives are computed once a node."""
        for node, of_node in groupby(rows, key=lambda row: row // self._per_node):
            alive = lives(self._plan, slice(node, node + 1), second)
            for row in of_node:
                yield self._objects.pod(node, row % self._per_node, second, alive, 0)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Births, deaths, readiness and restarts."""
        for events in self._timeline.between("pods", after, up_to):
            for second, change, row in events.rows():
                deleted = change is Change.DELETED
                body = next(self.objects([row], second - 1 if deleted else second))
                if deleted:
                    body["metadata"]["resourceVersion"] = str(event_version(second, row, 0))
                yield change, body

    def select(self, selector: dict[str, str], second: int) -> Sequence[int]:
        """The rows that match: node and namespace by column, the name one by one."""
        matching = np.ones(self._plan.slots.workload.shape, dtype=np.bool_)
        node_name, namespace = selector.get("spec.nodeName"), selector.get("metadata.namespace")
        if node_name is not None:
            matching &= np.array([name == node_name for name in self._plan.node_names])[:, None]
        if namespace is not None:
            inside = np.array([workload.namespace == namespace for workload in self._plan.workloads])
            matching &= inside[self._plan.slots.workload]
        rows: list[int] = np.flatnonzero(matching).tolist()
        name = selector.get("metadata.name")
        if name is None:
            return rows
        generation = lives(self._plan, slice(None), second).generation
        places = ((row, *divmod(row, self._per_node)) for row in rows)
        return [
            row
            for row, node, slot in places
            if pod_identity(self._plan, node, slot, int(generation[node, slot])).name == name
        ]


def matches(body: Json, selector: dict[str, str]) -> bool:
    """Whether an object has the wanted fields; fields other than those three are ignored."""
    metadata, spec = body["metadata"], body.get("spec", {})
    held = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace"),
        "spec.nodeName": spec.get("nodeName"),
    }
    return all(held[key] == wanted for key, wanted in selector.items() if key in held)
