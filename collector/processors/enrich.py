"""PodEnricher and NamespaceEnricher: what the API server knows, onto rows (behaviour reference, sections 5.2 and 5.3).

Specifications change rarely and batches come every minute, so the enricher keeps what it learned in columns of its own,
by row, and writes them into each batch column by column. Python runs only for pods that are new or changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL, EntityTable
from collector.core.metrics import INDEX, Kind, MetricTable
from collector.kube.listers import NamespaceLister, PodLister
from collector.kube.objects import ContainerSpec, Pod
from collector.processors.labels import LabelCopier
from collector.processors.stepped import Stepped

NOT_GIVEN = -1

PODS_AT_ONCE = 512
"""Pods applied in one step: some ten milliseconds."""

NAMES_AT_ONCE = 8_192
"""Changed pods looked up in one step: some ten milliseconds."""

ROWS_AT_ONCE = 16_384
"""Rows written in one step: a millisecond or two."""

_NO_LABELS: Mapping[str, str] = {}
_FROM_SPEC = {
    INDEX["cpu/request"]: "cpu_request",
    INDEX["cpu/limit"]: "cpu_limit",
    INDEX["memory/request"]: "memory_request",
    INDEX["memory/limit"]: "memory_limit",
    INDEX["ephemeral_storage/request"]: "ephemeral_request",
    INDEX["ephemeral_storage/limit"]: "ephemeral_limit",
}
_AMOUNTS: Callable[[ContainerSpec], tuple[Any, ...]] = attrgetter(*_FROM_SPEC.values())
_RESTARTS = INDEX["restart_count"]


class PodEnricher(Stepped):
    """Requests, limits, restarts and labels of pods and containers; stub sets for what no kubelet reported.

    `_columns[m]` int64 (rows,), NOT_GIVEN where there is none, valid only where `_specified[row]` equals the row's
    generation: a row that got a new owner has lost its old specification by that alone.
    """

    name = "pod_based_enricher"

    def __init__(self, pods: PodLister, copier: LabelCopier) -> None:
        self._pods = pods
        self._changes = pods.subscribe()
        self._copier = copier
        self._changed: list[tuple[str, str]] = []
        """Namespace and name of pods whose objects changed, their rows not marked yet."""
        self._applied: NDArray[np.int64] = np.zeros(0, np.int64)
        """Generation of each pod row when its Pod object was last applied."""
        self._specified: NDArray[np.int64] = np.zeros(0, np.int64)
        """Generation of each container row when its specification was last applied."""
        self._known: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Pod rows whose Pod object is known."""
        self._columns: dict[int, NDArray[np.int64]] = dict.fromkeys((*_FROM_SPEC, _RESTARTS), np.zeros(0, np.int64))

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add requests, limits and restart counts; create the stub sets of 5.2."""
        entities, n = batch.entities, batch.rows
        self._changed.extend(self._changes.take())
        yield from self._growing(entities.size)
        while self._changed:  # what is left when a tick is abandoned is the next one's
            for namespace, name in self._changed[-NAMES_AT_ONCE:]:
                row = entities.find_pod(namespace, name)
                if NULL != row < self._applied.size:
                    self._applied[row] = 0
            del self._changed[-NAMES_AT_ONCE:]
            yield
        # Rows that came meanwhile are of later batches; the columns must reach them all the same.
        yield from self._growing(entities.size)
        pods = np.zeros(n, np.bool_)  # those of the batch, and those of its containers
        pods[batch.rows_of(Kind.POD)] = True
        yield
        pods[entities.parent[batch.rows_of(Kind.POD_CONTAINER)]] = True
        stale = np.flatnonzero(pods & (self._applied[:n] != entities.generation[:n]))
        for start in range(0, stale.size, PODS_AT_ONCE):
            yield
            self._apply(entities, batch.metrics, stale[start : start + PODS_AT_ONCE])
        if stale.size:
            yield
            batch.ensure_rows()
        batch.exists[:n] |= pods & self._known[:n]
        yield
        yield from self._write(batch)

    def _write(self, batch: DataBatch) -> Iterator[None]:
        """The columns into the containers whose pods are in the batch."""
        entities = batch.entities
        for start in range(0, batch.rows, ROWS_AT_ONCE):
            rows = slice(start, min(start + ROWS_AT_ONCE, batch.rows))
            specified = self._specified[rows] == entities.generation[rows]
            specified &= entities.kind[rows] == Kind.POD_CONTAINER
            specified &= batch.exists[entities.parent[rows]]
            reported = specified & batch.exists[rows]
            stubs = start + np.flatnonzero(specified & ~reported)
            batch.exists[stubs] = True
            entities.place(stubs.astype(np.int32), entities.node[entities.parent[stubs]])
            for m, column in self._columns.items():
                # A stub has requests and limits only: nobody counted its restarts.
                given = (reported if m == _RESTARTS else specified) & (column[rows] != NOT_GIVEN)
                np.copyto(batch.cells[m, rows], column[rows], where=given)
                batch.present[m, rows] |= given
            yield

    def _apply(self, entities: EntityTable, metrics: MetricTable, rows: NDArray[np.intp]) -> None:
        """Take over what the API server knows of the pods in `rows` now."""
        names, spaces, get = entities.name, entities.parent[rows].tolist(), self._pods.get
        pods = rows.tolist()
        found = [get((names[space], names[pod])) for pod, space in zip(pods, spaces, strict=True)]
        self._applied[rows] = entities.generation[rows]
        before = rows[self._known[rows]]
        self._known[rows] = [pod is not None for pod in found]
        entities.host_network[rows] = [pod is not None and pod.host_network for pod in found]
        entities.set_many_own_labels(pods, self._labels_of(found))
        forgotten = self._unspecify(entities, before)
        specs = [spec for pod in found if pod is not None for spec in pod.containers]
        containers = np.array(
            entities.container_rows(
                pods, [0 if pod is None else len(pod.containers) for pod in found], (spec.name for spec in specs), NULL
            ),
            np.intp,
        )
        self._grow(entities.size)
        self._specify(metrics, containers, specs)
        self._columns[_RESTARTS][containers] = _restarts_of(found)
        self._specified[containers] = entities.generation[containers]
        entities.set_many_own_labels(containers.tolist(), [_image_label(spec.image) for spec in specs])
        forgotten = forgotten[self._specified[forgotten] == 0]
        entities.set_many_own_labels(forgotten.tolist(), [_NO_LABELS] * forgotten.size)

    def _labels_of(self, found: Sequence[Pod | None]) -> list[Mapping[str, str]]:
        """What each pod contributes to label sets. Labels are shared by replicas, and copied once."""
        copied: dict[int, Mapping[str, str]] = {}
        labels = []
        for pod in found:
            if pod is None:
                labels.append(_NO_LABELS)
                continue
            own = copied.get(id(pod.labels))
            if own is None:
                own = copied[id(pod.labels)] = self._copier.copy(pod.labels)
            labels.append({"pod_id": pod.uid, **own} if pod.uid else own)
        return labels

    def _unspecify(self, entities: EntityTable, pods: NDArray[np.intp]) -> NDArray[np.intp]:
        """Forget the specifications of the containers of `pods`; returns the rows of these containers."""
        if not pods.size:  # as in the first tick: no need to look at all rows for each bite of it
            return pods
        n = entities.size
        of_pods = np.zeros(n, np.bool_)
        of_pods[pods] = True
        specified = (self._specified[:n] == entities.generation[:n]) & (entities.kind[:n] == Kind.POD_CONTAINER)
        rows = np.flatnonzero(specified & of_pods[entities.parent[:n]])
        self._specified[rows] = 0
        return rows

    def _specify(self, metrics: MetricTable, containers: NDArray[np.intp], specs: Sequence[ContainerSpec]) -> None:
        """Put the requests and limits of the parallel `specs` into the columns."""
        for column in self._columns.values():
            column[containers] = NOT_GIVEN
        amounts = np.fromiter(chain.from_iterable(map(_AMOUNTS, specs)), np.int64, len(specs) * len(_FROM_SPEC))
        for m, column in zip(_FROM_SPEC, amounts.reshape(-1, len(_FROM_SPEC)).T, strict=True):
            self._columns[m][containers] = column
        for i, spec in enumerate(specs):
            for resource, amount in spec.extended:
                extended = metrics.resource_request(resource)
                if extended is not None:
                    if extended not in self._columns:
                        self._columns[extended] = np.full(self._applied.size, NOT_GIVEN, np.int64)
                    self._columns[extended][containers[i]] = amount

    def _grow(self, rows: int) -> None:
        for _ in self._growing(rows):
            pass

    def _growing(self, rows: int) -> Iterator[None]:
        """Make room for so many rows, a column a step; `_applied` comes last, and says how many there is room for."""
        missing = rows - self._applied.size
        if missing <= 0:
            return
        size = self._applied.size + max(missing, self._applied.size // 8)
        for m in tuple(self._columns):
            self._columns[m] = _longer(self._columns[m], size, NOT_GIVEN)
            yield
        self._specified = _longer(self._specified, size, 0)
        self._known = np.concatenate([self._known, np.zeros(max(0, size - self._known.size), np.bool_)])
        yield
        self._applied = _longer(self._applied, size, 0)


def _longer(column: NDArray[np.int64], size: int, filled: int) -> NDArray[np.int64]:
    """`column` and behind it, up to `size`, the value `filled`."""
    return np.concatenate([column, np.full(max(0, size - column.size), filled, np.int64)])


def _restarts_of(found: Sequence[Pod | None]) -> list[int]:
    """The restarts of every specified container of these pods, in order."""
    restarts = []
    for pod in found:
        if pod is not None:
            counted = dict(reversed(pod.restart_counts))  # of two of one name the first one counts
            restarts += [counted.get(spec.name, NOT_GIVEN) for spec in pod.containers]
    return restarts


@lru_cache(maxsize=1 << 14)
def _image_label(image: str) -> Mapping[str, str]:
    """One mapping for all containers of one image."""
    return {"container_base_image": image}


class NamespaceEnricher(Stepped):
    """`namespace_id`: the UID of the namespace."""

    name = "namespace_based_enricher"

    def __init__(self, namespaces: NamespaceLister) -> None:
        self._namespaces = namespaces
        self._changes = namespaces.subscribe()
        self._applied: dict[int, int] = {}
        """Namespace row -> its generation when its Namespace object was last applied."""

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Label the namespaces; the label sets of their pods and containers follow by themselves."""
        entities = batch.entities
        changed = self._changes.take()
        stale = [
            (name, row)
            for name, row in entities.namespaces.items()
            if name in changed or self._applied.get(row) != entities.generation[row]
        ]
        rows = [row for _, row in stale]
        self._applied.update(zip(rows, entities.generation[rows].tolist(), strict=True))
        found = [self._namespaces.get(name) for name, _ in stale]
        entities.set_many_own_labels(
            rows, [_NO_LABELS if each is None else {"namespace_id": each.uid} for each in found]
        )
        yield
