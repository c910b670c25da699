"""PodEnricher and NamespaceEnricher: what the API server knows, onto rows (behaviour reference, sections 5.2 and 5.3).

Specifications change rarely and batches come every minute, so the enricher keeps what it learned in columns of its own,
by row, and writes them into each batch column by column. Python runs only for pods that are new or changed.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import INDEX, Kind, MetricTable
from collector.kube.listers import NamespaceLister, PodLister
from collector.kube.objects import ContainerSpec
from collector.processors.labels import LabelCopier

NOT_GIVEN = -1

_FROM_SPEC = {
    INDEX["cpu/request"]: "cpu_request",
    INDEX["cpu/limit"]: "cpu_limit",
    INDEX["memory/request"]: "memory_request",
    INDEX["memory/limit"]: "memory_limit",
    INDEX["ephemeral_storage/request"]: "ephemeral_request",
    INDEX["ephemeral_storage/limit"]: "ephemeral_limit",
}
_RESTARTS = INDEX["restart_count"]


class PodEnricher:
    """Requests, limits, restarts and labels of pods and containers; stub sets for what no kubelet reported.

    `_columns[m]` int64 (rows,), NOT_GIVEN where there is none, valid only where `_specified[row]` equals the row's
    generation: a row that got a new owner has lost its old specification by that alone.
    """

    name = "pod_based_enricher"

    def __init__(self, pods: PodLister, copier: LabelCopier) -> None:
        self._pods = pods
        self._changes = pods.subscribe()
        self._copier = copier
        self._applied: NDArray[np.int64] = np.zeros(0, np.int64)
        """Generation of each pod row when its Pod object was last applied."""
        self._specified: NDArray[np.int64] = np.zeros(0, np.int64)
        """Generation of each container row when its specification was last applied."""
        self._known: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Pod rows whose Pod object is known."""
        self._columns: dict[int, NDArray[np.int64]] = dict.fromkeys((*_FROM_SPEC, _RESTARTS), np.zeros(0, np.int64))
        self._containers_of: dict[int, list[tuple[int, int]]] = {}
        """Pod row -> (row, generation) of the containers specified for it."""

    def process(self, batch: DataBatch) -> None:
        """Add requests, limits and restart counts; create the stub sets of 5.2."""
        entities = batch.entities
        self._grow(entities.size)
        candidates = np.union1d(batch.rows_of(Kind.POD), entities.parent[batch.rows_of(Kind.POD_CONTAINER)])
        for namespace, name in self._changes.take():
            row = entities.find_pod(namespace, name)
            if row != NULL:
                self._applied[row] = 0
        for row in candidates[self._applied[candidates] != entities.generation[candidates]].tolist():
            self._apply(entities, batch.metrics, row)
        batch.ensure_rows()
        self._grow(entities.size)
        batch.exists[candidates[self._known[candidates]]] = True
        self._write(batch)

    def _write(self, batch: DataBatch) -> None:
        entities, n = batch.entities, batch.rows
        specified = np.flatnonzero(
            (self._specified[:n] == entities.generation[:n]) & (entities.kind[:n] == Kind.POD_CONTAINER)
        )
        specified = specified[batch.exists[entities.parent[specified]]]
        reported = batch.exists[specified]
        stubs = specified[~reported]
        batch.exists[stubs] = True
        entities.place(stubs.astype(np.int32), entities.node[entities.parent[stubs]])
        for m, column in self._columns.items():
            # A stub has requests and limits only: nobody counted its restarts.
            rows = specified[reported] if m == _RESTARTS else specified
            values = column[rows]
            given = values != NOT_GIVEN
            batch.put(m, rows[given], values[given])

    def _apply(self, entities: EntityTable, metrics: MetricTable, row: int) -> None:
        """Take over what the API server knows of the pod in `row` now."""
        self._applied[row] = entities.generation[row]
        pod = self._pods.get((entities.name[int(entities.parent[row])], entities.name[row]))
        self._known[row] = pod is not None
        before = self._containers_of.pop(row, [])
        if pod is None:
            entities.set_own_labels(row, {})
            self._unspecify(entities, before)
            return
        entities.set_own_labels(row, {**({"pod_id": pod.uid} if pod.uid else {}), **self._copier.copy(pod.labels)})
        restarts = dict(pod.restart_counts)
        placed = self._containers_of[row] = []
        for spec in pod.containers:
            container = entities.child_row(Kind.POD_CONTAINER, row, spec.name, int(entities.node[row]))
            self._grow(entities.size)
            placed.append((container, int(entities.generation[container])))
            self._specified[container] = entities.generation[container]
            entities.set_own_labels(container, _image_label(spec.image))
            self._specify(metrics, container, spec, restarts.get(spec.name, NOT_GIVEN))
        self._unspecify(entities, [old for old in before if old not in placed])

    def _unspecify(self, entities: EntityTable, containers: list[tuple[int, int]]) -> None:
        """Forget specifications, unless the row has another owner by now."""
        for container, generation in containers:
            if self._specified[container] == generation == entities.generation[container]:
                self._specified[container] = 0
                entities.set_own_labels(container, {})

    def _specify(self, metrics: MetricTable, container: int, spec: ContainerSpec, restarts: int) -> None:
        for column in self._columns.values():
            column[container] = NOT_GIVEN
        for m, attribute in _FROM_SPEC.items():
            self._columns[m][container] = getattr(spec, attribute)
        self._columns[_RESTARTS][container] = restarts
        for resource, amount in spec.extended:
            extended = metrics.resource_request(resource)
            if extended is not None:
                if extended not in self._columns:
                    self._columns[extended] = np.full(self._applied.size, NOT_GIVEN, np.int64)
                self._columns[extended][container] = amount

    def _grow(self, rows: int) -> None:
        missing = rows - self._applied.size
        if missing <= 0:
            return
        missing = max(missing, self._applied.size)
        self._applied = np.concatenate([self._applied, np.zeros(missing, np.int64)])
        self._specified = np.concatenate([self._specified, np.zeros(missing, np.int64)])
        self._known = np.concatenate([self._known, np.zeros(missing, np.bool_)])
        for m, column in self._columns.items():
            self._columns[m] = np.concatenate([column, np.full(missing, NOT_GIVEN, np.int64)])


@lru_cache(maxsize=1 << 14)
def _image_label(image: str) -> dict[str, str]:
    """One mapping for all containers of one image."""
    return {"container_base_image": image} if image else {}


class NamespaceEnricher:
    """`namespace_id`: the UID of the namespace."""

    name = "namespace_based_enricher"

    def __init__(self, namespaces: NamespaceLister) -> None:
        self._namespaces = namespaces
        self._changes = namespaces.subscribe()
        self._applied: dict[int, int] = {}
        """Namespace row -> its generation when its Namespace object was last applied."""

    def process(self, batch: DataBatch) -> None:
        """Label the namespaces of the batch's pods; the label sets of the pods follow by themselves."""
        entities = batch.entities
        for name in self._changes.take():
            self._applied.pop(entities.find_namespace(name), None)
        for row in np.unique(entities.parent[batch.rows_of(Kind.POD)]).tolist():
            if self._applied.get(row) != entities.generation[row]:
                self._applied[row] = int(entities.generation[row])
                namespace = self._namespaces.get(entities.name[row])
                entities.set_own_labels(row, {} if namespace is None else {"namespace_id": namespace.uid})
