"""The three collections of the API server, each with the same few questions: how many, which page, which events.

A collection is asked for a second, never for "now": a list taken page by page shows one moment however long it takes.
"""

from collections.abc import Iterator
from typing import Protocol

import msgspec

from collector.sim.life import lives
from collector.sim.objects import ClusterObjects, Json
from collector.sim.plan import Plan
from collector.sim.timeline import Change, Timeline
from collector.sim.versions import event_version, list_version

_encode = msgspec.json.Encoder().encode


class Collection(Protocol):
    """One kind of object."""

    kind: str
    """As in `kind: Pod`."""
    count: int
    """How many objects there are, at any time."""

    def object(self, row: int, second: int) -> Json:
        """The object in `row` at `second`, without kind and apiVersion."""

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """What happened with `after` < version <= `up_to`, oldest first."""

    def row_of(self, selector: dict[str, str], second: int) -> list[int] | None:
        """The rows a field selector leaves, or None for all."""


class Nodes:
    """The nodes: a heartbeat every five minutes is all that happens to them."""

    kind = "Node"

    def __init__(self, plan: Plan, objects: ClusterObjects, timeline: Timeline) -> None:
        self._plan, self._objects, self._timeline = plan, objects, timeline
        self.count = len(plan.node_names)

    def object(self, row: int, second: int) -> Json:
        """The node in `row`."""
        return self._objects.node(row, second)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Heartbeats."""
        for events in self._timeline.between("nodes", after, up_to):
            for second, change, row in events.rows():
                yield change, self._objects.node(row, second)

    def row_of(self, selector: dict[str, str], second: int) -> list[int] | None:
        """By metadata.name."""
        del second
        name = selector.get("metadata.name")
        if name is None:
            return None
        return [row for row, known in enumerate(self._plan.node_names) if known == name]


class Namespaces:
    """The namespaces: nothing ever happens to them."""

    kind = "Namespace"

    def __init__(self, objects: ClusterObjects) -> None:
        self._objects = objects
        self.count = len(objects.namespaces)

    def object(self, row: int, second: int) -> Json:
        """The namespace in `row`."""
        del second
        return self._objects.namespace(row)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Nothing."""
        del after, up_to
        yield from ()

    def row_of(self, selector: dict[str, str], second: int) -> list[int] | None:
        """By metadata.name."""
        del second
        name = selector.get("metadata.name")
        return None if name is None else [row for row, known in enumerate(self._objects.namespaces) if known == name]


class Pods:
    """The pods: row is node x pods per node + slot."""

    kind = "Pod"

    def __init__(self, plan: Plan, objects: ClusterObjects, timeline: Timeline) -> None:
        self._plan, self._objects, self._timeline = plan, objects, timeline
        self._per_node = len(plan.classes)
        self.count = len(plan.node_names) * self._per_node

    def object(self, row: int, second: int) -> Json:
        """The pod in `row`."""
        node, slot = divmod(row, self._per_node)
        alive = lives(self._plan, slice(node, node + 1), second)
        return self._objects.pod(node, slot, int(alive.generation[0, slot]), second, alive, 0)

    def events(self, after: int, up_to: int) -> Iterator[tuple[Change, Json]]:
        """Births, deaths, readiness and restarts."""
        for events in self._timeline.between("pods", after, up_to):
            for second, change, row in events.rows():
                if change is Change.DELETED:
                    gone = self.object(row, second - 1)
                    gone["metadata"]["resourceVersion"] = str(event_version(second, row, 0))
                    yield change, gone
                else:
                    yield change, self.object(row, second)

    def row_of(self, selector: dict[str, str], second: int) -> list[int] | None:
        """By spec.nodeName; metadata.name is looked for among all pods."""
        rows: list[int] | None = None
        node_name = selector.get("spec.nodeName")
        if node_name is not None:
            nodes = [node for node, known in enumerate(self._plan.node_names) if known == node_name]
            rows = [node * self._per_node + slot for node in nodes for slot in range(self._per_node)]
        name = selector.get("metadata.name")
        if name is not None:
            candidates = range(self.count) if rows is None else rows
            rows = [row for row in candidates if self.object(row, second)["metadata"]["name"] == name]
        return rows


def encode_list(collection: Collection, rows: list[int], second: int, token: str, remaining: int) -> bytes:
    """A List answer of the objects in `rows`; `token` continues it, `remaining` objects follow."""
    metadata: Json = {"resourceVersion": str(list_version(second))}
    if token:
        metadata["continue"] = token
        metadata["remainingItemCount"] = remaining
    items = b",".join(_encode(collection.object(row, second)) for row in rows)
    head = _encode({"kind": f"{collection.kind}List", "apiVersion": "v1", "metadata": metadata})
    return b'%b,"items":[%b]}\n' % (head[:-1], items)


def encode_event(kind: str, change: str, body: Json) -> bytes:
    """One line of a watch."""
    return _encode({"type": change, "object": {"kind": kind, "apiVersion": "v1", **body}}) + b"\n"
