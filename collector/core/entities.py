"""EntityTable: names become row numbers once, at the door; inside, only row numbers travel.

    row   kind        parent  node   name
     0    cluster       -1     -1    ""
    512   node           0    512    "node-a"
   1024   ns             0     -1    "default"
   1536   pod         1024    512    "web-1"
   2048   pod_container 1536  512    "nginx"

Rows are given out in slabs of one kind, so that a column that only nodes have touches only the memory pages of nodes.
A row belongs to one entity until no live batch knows that entity any more; then it is used again.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice, repeat
from sys import intern
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from collector.core.identities import Identities
from collector.core.metrics import Kind
from collector.core.pages import untouched
from collector.core.slots import LabelTable, Pins

NULL = -1
"""The row that is none."""

SLAB = 512
"""Rows of one kind that lie together: one 4 KiB memory page of an int64 column."""

FREE = -1
"""The kind of a row that no entity owns."""

FEW = 64
"""A look at all rows costs as much as one by one at this part of them."""

_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_NOTHING: Mapping[str, int] = MappingProxyType({})


_DEPTH: NDArray[np.int8] = np.zeros(len(Kind), np.int8)
"""By kind: how many entities lie above one."""
_DEPTH[[Kind.NODE, Kind.NAMESPACE]] = 1
_POD_DEPTH = 2
_DEPTH[[Kind.POD, Kind.SYS_CONTAINER]] = _POD_DEPTH
_DEPTH[Kind.POD_CONTAINER] = 3


class EntityTable:
    """The rows. Long-lived, written on the event loop only.

    Columns, one element a row: `kind` int8, `parent` int32, `node` int32 (the row of the node it runs on, NULL if
    none), `generation` int64 (unique per owner of the row), `label_version` int64 (changes when the label set does),
    `last_seen` int64 (the last tick that held it), `invented` and `host_network` bool (of pods); and the lists `name`
    and `uid` (pods: as the kubelet said).
    """

    def __init__(self) -> None:
        self.pins = Pins()
        self.labels = LabelTable(self.pins)
        self.identities = Identities()
        """Rows by the names that led to them, of pods also the uid: forgotten with the row and with another uid."""
        self.size = 0
        """Rows in use are below this; every array is at least this long."""
        self.kind: NDArray[np.int8] = np.full(0, FREE, np.int8)
        self.parent: NDArray[np.int32] = np.full(0, NULL, np.int32)
        self.node: NDArray[np.int32] = np.full(0, NULL, np.int32)
        self.generation: NDArray[np.int64] = np.zeros(0, np.int64)
        self.label_version: NDArray[np.int64] = np.zeros(0, np.int64)
        self.last_seen: NDArray[np.int64] = np.zeros(0, np.int64)
        self.invented: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Pods that neither source nor API server knew when their containers were last summed."""
        self.host_network: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Pods that use the network of their node, by their specification."""
        self.name: list[str] = []
        self.uid: list[str] = []
        self._own_labels: list[Mapping[str, str]] = []
        self._source_labels: dict[int, Mapping[str, str]] = {}
        """Row -> labels that a source set; empty where all sources are summaries."""
        self.scratch: NDArray[np.int64] = np.zeros(0, np.int64)
        """Anything, (rows,): whoever needs a number a row for the moment writes it here first."""
        self._children: list[dict[str, int] | None] = []
        self._nodes: dict[str, int] = {}
        self._namespaces: dict[str, int] = {}
        self._free: dict[Kind, list[int]] = {kind: [] for kind in Kind}
        self._stamp = 0
        self.count = 0
        """Entities known now."""
        self.cluster = self._create(Kind.CLUSTER, NULL, NULL, "")

    def expect(self, rows: int) -> None:
        """Have room for so many, and for as many labels: later it would be made while others wait."""
        if rows > self.kind.size:
            self._grow(max(rows, self.kind.size * 9 // 8))
        self.identities.expect(rows)
        self.labels.identities.expect(rows)

    # Finding: NULL when there is no such entity.

    @property
    def nodes(self) -> Mapping[str, int]:
        """Node name -> row."""
        return MappingProxyType(self._nodes)

    @property
    def namespaces(self) -> Mapping[str, int]:
        """Namespace name -> row."""
        return MappingProxyType(self._namespaces)

    @property
    def maps(self) -> tuple[dict[str, int], list[dict[str, int] | None]]:
        """`namespaces`, and `children` by row, for who looks up thousands of names: to be read only."""
        return self._namespaces, self._children

    def children(self, row: int) -> Mapping[str, int]:
        """Name -> row of a namespace's pods, a pod's containers or a node's system containers."""
        return self._children[row] or _NOTHING if row != NULL else _NOTHING

    def find_node(self, name: str) -> int:
        """The row of node `name`."""
        return self._nodes.get(name, NULL)

    def find_namespace(self, name: str) -> int:
        """The row of namespace `name`."""
        return self._namespaces.get(name, NULL)

    def find_pod(self, namespace: str, name: str) -> int:
        """The row of pod `namespace/name`."""
        return self.find_child(self.find_namespace(namespace), name)

    def find_child(self, parent: int, name: str) -> int:
        """The row of the pod, container or system container `name` below row `parent`."""
        return self.children(parent).get(name, NULL)

    # Naming: the row of an entity, created when it is new.

    def node_row(self, name: str) -> int:
        """The row of node `name`; a node's `node` is itself."""
        row = self._nodes.get(name)
        if row is None:
            row = self._nodes[name] = self._create(Kind.NODE, self.cluster, NULL, name)
            self.node[row] = row
        return row

    def namespace_row(self, name: str) -> int:
        """The row of namespace `name`."""
        row = self._namespaces.get(name)
        if row is None:
            row = self._namespaces[name] = self._create(Kind.NAMESPACE, self.cluster, NULL, name)
        return row

    def child_row(self, kind: Kind, parent: int, name: str, node: int) -> int:
        """The row of a pod, container or system container below `parent`."""
        siblings = self._children[parent]
        if siblings is None:
            siblings = self._children[parent] = {}
        row = siblings.get(name)
        if row is None:
            if kind is not Kind.POD:
                name = intern(name)  # the containers of a cluster have few names
            row = siblings[name] = self._create(kind, parent, node, name)
        return row

    def pod_row(self, namespace: str, name: str, node: int = NULL) -> int:
        """The row of pod `namespace/name`, which runs on `node` when it is new."""
        return self.child_row(Kind.POD, self.namespace_row(namespace), name, node)

    def pod_rows(self, namespaces: Iterable[str], names: Iterable[str], uids: Iterable[str], node: int) -> list[int]:
        """The rows of the pods that the kubelet of `node` reported, in order. The three iterables are parallel."""
        rows = []
        spaces, children, known_uid = self._namespaces, self._children, self.uid
        for namespace, name, uid in zip(namespaces, names, uids, strict=True):
            try:
                row = children[spaces[namespace]][name]  # type: ignore[index]  # None is caught below
            except (KeyError, TypeError):
                row = self.pod_row(namespace, name, node)
                known_uid[row] = uid
            else:
                if known_uid[row] != uid:
                    known_uid[row] = uid
                    self.identities.forget(row)
                    self.touch(row)
            rows.append(row)
        return rows

    def container_rows(self, pods: Iterable[int], counts: Iterable[int], names: Iterable[str], node: int) -> list[int]:
        """The rows of containers: `counts[i]` of `names` belong to `pods[i]`, in order."""
        rows = []
        children, kind = self._children, Kind.POD_CONTAINER  # looking up a member costs as much as finding a row
        remaining = iter(names)
        for pod, count in zip(pods, counts, strict=True):
            siblings = children[pod] or {}
            for name in islice(remaining, count):
                row = siblings.get(name)
                if row is None:
                    row = self.child_row(kind, pod, name, node)
                    siblings = children[pod] or {}
                rows.append(row)
        return rows

    def place(self, rows: NDArray[np.int32], nodes: NDArray[np.int32]) -> None:
        """Note that `rows[i]` runs on `nodes[i]`; a pod of the same name may come back on another node."""
        moved = rows[self.node[rows] != nodes]
        self.node[rows] = nodes
        for row in moved.tolist():
            self.touch(row)

    def invent(self, pods: NDArray[np.intp], *, invented: bool) -> None:
        """Note whether it was their containers alone that brought these pods about."""
        changed = pods[self.invented[pods] != invented]
        self.invented[changed] = invented
        for row in changed.tolist():
            self.touch(row)

    # Labels.

    def own_labels(self, row: int) -> Mapping[str, str]:
        """What only this entity contributes to label sets.

        A pod's `labels`, a node's `hostname`, a container's image.
        """
        return self._own_labels[row]

    def source_labels(self, row: int) -> Mapping[str, str]:
        """What the source says of this entity, which wins over own labels."""
        return self._source_labels.get(row, _NO_LABELS)

    def set_own_labels(self, row: int, labels: Mapping[str, str]) -> None:
        """Replace what `row` contributes.

        The mapping is kept, not copied: share one between equal entities, never change it.
        """
        if self._own_labels[row] != labels:
            self._own_labels[row] = labels
            self.touch(row)

    def set_many_own_labels(self, rows: Sequence[int], labels: Iterable[Mapping[str, str]]) -> None:
        """The same for many rows at once; the two are parallel."""
        own, changed = self._own_labels, []
        for row, new in zip(rows, labels, strict=True):
            old = own[row]
            if old is not new and old != new:
                own[row] = new
                changed.append(row)
        if changed:
            self._touch_many(changed)

    def set_source_labels(self, rows: Sequence[int], labels: Iterable[Mapping[str, str]] | None) -> None:
        """Replace what the source says of each of `rows`, which wins over own labels; None: it says nothing of them."""
        known = self._source_labels
        if labels is None and not known:
            return
        changed = []
        for row, new in zip(rows, repeat(_NO_LABELS) if labels is None else labels, strict=labels is not None):
            if known.get(row, _NO_LABELS) != new:
                if new:
                    known[row] = new
                else:
                    del known[row]
                changed.append(row)
        if changed:
            self._touch_many(changed)

    def forget_source_labels(self, rows: NDArray[np.int32]) -> None:
        """`set_source_labels` of a source that says nothing of any of `rows`."""
        if self._source_labels:
            self.set_source_labels(rows.tolist(), None)

    def touch(self, row: int) -> None:
        """Note that the label sets of `row` and of everything below it changed."""
        self._stamp += 1
        self.label_version[row] = self._stamp
        if self.kind[row] == Kind.NODE:
            self.label_version[: self.size][self.node[: self.size] == row] = self._stamp
        for child in self.children(row).values():
            self.label_version[child] = self._stamp
            for grandchild in self.children(child).values():
                self.label_version[grandchild] = self._stamp

    def _touch_many(self, rows: list[int]) -> None:
        """`touch` for all of `rows`, in one pass over the table, or without one where they are few."""
        self._stamp += 1
        size = self.size
        if len(rows) < size // FEW and (_DEPTH[self.kind[rows]] >= _POD_DEPTH).all():
            below = [self._children[row] for row in rows]
            self.label_version[[*rows, *chain.from_iterable(each.values() for each in below if each)]] = self._stamp
            return
        touched = np.zeros(size + 1, np.bool_)  # the last one is NULL's, and stays False
        touched[rows] = True
        touched[:size] |= touched[self.node[:size]]
        for _ in range(2):  # namespace -> pod -> container
            touched[:size] |= touched[self.parent[:size]]
        self.label_version[:size][touched[:size]] = self._stamp

    def label_set(self, row: int) -> dict[str, str]:
        """All labels of the entity in `row` (behaviour reference, section 6.1), in Heapster's key names."""
        kind = Kind(self.kind[row])
        labels = {"type": kind.label}
        own = self._own_labels[row]
        if kind is Kind.CLUSTER:
            return labels
        if kind is Kind.NAMESPACE:
            return labels | {"namespace_name": self.name[row], "namespace_id": own.get("namespace_id", "")}
        node = int(self.node[row])
        if node != NULL:
            name, of_node = self.name[node], self._own_labels[node]
            labels["nodename"] = name
            labels["hostname"] = of_node.get("hostname", name)
            labels["host_id"] = of_node.get("host_id", "")
        said = self.source_labels(row)
        if kind is Kind.NODE:
            return {**labels, **own, **said}
        if kind is Kind.SYS_CONTAINER:
            return labels | {"container_name": self.name[row]}
        pod = row if kind is Kind.POD else int(self.parent[row])
        namespace = int(self.parent[pod])
        labels["pod_id"] = self.uid[pod]
        labels["pod_name"] = self.name[pod]
        labels["namespace_name"] = self.name[namespace]
        labels |= self._own_labels[namespace]
        labels |= self._own_labels[pod]
        if kind is Kind.POD and self.invented[pod]:
            labels.pop("nodename", None)
        if kind is Kind.POD_CONTAINER:
            labels["container_name"] = self.name[row]
            labels |= own
            labels |= said
        return labels

    def key(self, row: int) -> str:
        """Heapster's key of the entity in `row`, such as `namespace:default/pod:web-1/container:nginx`."""
        kind, name, parent = Kind(self.kind[row]), self.name[row], int(self.parent[row])
        if kind is Kind.CLUSTER:
            return "cluster"
        if kind in {Kind.NODE, Kind.NAMESPACE}:
            return f"{'node' if kind is Kind.NODE else 'namespace'}:{name}"
        return f"{self.key(parent)}/{'pod' if kind is Kind.POD else 'container'}:{name}"

    # Life.

    def mark_seen(self, rows: NDArray[np.intp] | NDArray[np.int32], sequence: int, *, above: bool = True) -> None:
        """Note that tick `sequence` holds `rows`, and so the parents and nodes their label sets need.

        Ticks overlap: a later one may have noted the same before. Not `above`: those are noted by themselves.
        """
        newest = sequence >= self.pins.current
        if not above:
            self.last_seen[rows] = sequence if newest else np.maximum(self.last_seen[rows], sequence)
            return
        for _ in range(3):  # container -> pod -> namespace
            nodes, parents = self.node[rows], self.parent[rows]
            for held in (rows, nodes[nodes != NULL]):
                self.last_seen[held] = sequence if newest else np.maximum(self.last_seen[held], sequence)
            rows = parents[parents != NULL]

    def sweep(self, most: int | None = None) -> int:
        """Free the rows (and label numbers) that no live batch holds, `most` rows at most; how many rows were freed.

        What lies below goes first, so that the table is whole between two sweeps.
        """
        oldest = self.pins.oldest()
        self.labels.sweep(oldest)
        owned = self.kind[: self.size] != FREE
        dead = owned & (self.last_seen[: self.size] < oldest)
        dead[self.cluster] = False
        if not dead.any():
            return 0
        for _ in range(3):  # what stays keeps its node and its parents: container -> pod -> namespace
            stays = np.flatnonzero(owned & ~dead)
            for above in (self.node[stays], self.parent[stays]):
                dead[above[above != NULL]] = False
        found = np.flatnonzero(dead)
        depth = _DEPTH[self.kind[found]]
        rows = found[np.argsort(-depth, kind="stable")][:most].tolist()
        self.identities.forget(rows)
        for row in rows:
            self._forget(row)
        return len(rows)

    def _forget(self, row: int) -> None:
        kind, parent, name = Kind(self.kind[row]), int(self.parent[row]), self.name[row]
        if kind is Kind.NODE:
            del self._nodes[name]
        elif kind is Kind.NAMESPACE:
            del self._namespaces[name]
        else:
            siblings = self._children[parent]
            if siblings is not None and siblings.get(name) == row:
                del siblings[name]
        self.kind[row] = FREE
        self.parent[row] = self.node[row] = NULL
        self.name[row] = self.uid[row] = ""
        self._own_labels[row] = _NO_LABELS
        self._source_labels.pop(row, None)
        self._children[row] = None
        self._free[kind].append(row)
        self.count -= 1

    def _create(self, kind: Kind, parent: int, node: int, name: str) -> int:
        if not self._free[kind]:
            self._add_slab(kind)
        row = self._free[kind].pop()
        self._stamp += 1
        self.kind[row] = kind
        self.parent[row] = parent
        self.node[row] = node
        self.generation[row] = self.label_version[row] = self._stamp
        self.last_seen[row] = self.pins.current  # not to be swept before the batch being filled is closed
        self.invented[row] = self.host_network[row] = False
        self.name[row] = name
        self.count += 1
        return row

    def _add_slab(self, kind: Kind) -> None:
        first, self.size = self.size, self.size + SLAB
        if self.size > self.kind.size:
            self._grow(max(self.size, 2 * self.kind.size))
        self._free[kind].extend(range(self.size - 1, first - 1, -1))  # popped from the lowest row on

    def _grow(self, rows: int) -> None:
        grow = rows - self.kind.size
        self.kind = np.concatenate([self.kind, np.full(grow, FREE, np.int8)])
        self.parent = np.concatenate([self.parent, np.full(grow, NULL, np.int32)])
        self.node = np.concatenate([self.node, np.full(grow, NULL, np.int32)])
        self.generation = np.concatenate([self.generation, np.zeros(grow, np.int64)])
        self.label_version = np.concatenate([self.label_version, np.zeros(grow, np.int64)])
        self.last_seen = np.concatenate([self.last_seen, np.zeros(grow, np.int64)])
        self.invented = np.concatenate([self.invented, np.zeros(grow, np.bool_)])
        self.host_network = np.concatenate([self.host_network, np.zeros(grow, np.bool_)])
        self.scratch = untouched((rows,), np.int64)
        self.name.extend([""] * grow)
        self.uid.extend([""] * grow)
        self._own_labels.extend([_NO_LABELS] * grow)
        self._children.extend([None] * grow)
