"""The four aggregators: sums along the parent column (behaviour reference, sections 5.4 to 5.7).

    containers -> pods -> namespaces -> cluster        pods -> nodes (requests and limits only)

Which metric is summed into which kind is said in METRICS (`sums`). Integers stay integers: `np.add.at` sums int64 in
int64, where bincount would go through float64 and stop being exact at 2^53.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.entities import NULL
from collector.core.metrics import Kind
from collector.processors.stepped import Stepped

Rows = NDArray[np.intp]

ROWS_AT_ONCE = 32_768
"""Rows added in one step: a millisecond or two."""


def _sum(
    batch: DataBatch,
    into: Kind,
    rows: Rows,
    targets: NDArray[np.int32],
    *,
    whole: NDArray[np.bool_] | None = None,
    own_traffic: NDArray[np.bool_] | None = None,
) -> Iterator[None]:
    """Sum every metric that METRICS sums into kind `into`, from `rows` to the parallel `targets`.

    A metric that no row has stays absent in the target. Where `whole` (parallel to `targets`) is True, a target that
    already has the metric keeps its value; elsewhere what it has counts as one more summand. Of the network metrics
    only rows with `own_traffic` are summed. A step is a part of the rows of one metric.
    """
    for m, metric in batch.metrics:
        if not metric.summed_into(into):
            continue
        column, present = batch.column(m), batch.present[m]
        had = present.copy() if whole is not None else present  # of a target, before its first summand
        for start in range(0, rows.size, ROWS_AT_ONCE):
            yield
            part = slice(start, start + ROWS_AT_ONCE)
            # NumPy's own type of index: with another one, adding takes twice as long.
            summands, to = rows[part], targets[part].astype(np.intp)
            adding = present[summands]
            if own_traffic is not None and metric.name.startswith("network/"):
                adding &= own_traffic[part]
            if whole is not None:
                adding &= ~(whole[part] & had[to])
            if not adding.any():
                continue
            if not adding.all():  # the rule for most metrics: nothing to leave out, nothing to copy
                summands, to = summands[adding], to[adding]
            column[to[~present[to]]] = 0
            present[to] = True
            np.add.at(column, to, column[summands])


class PodAggregator(Stepped):
    """Containers into pods; what the kubelet reported of a pod itself is kept.

    Unless it reported of the pod's pause container only: then the containers are added on top (5.4, the rule of 1.5.4).
    """

    name = "pod_aggregator"

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the sums; a pod no source reported comes into being through its containers."""
        containers = batch.rows_of(Kind.POD_CONTAINER)
        pods = batch.entities.parent[containers]
        yield
        batch.entities.invent(batch.rows_of(Kind.POD), invented=False)
        batch.entities.invent(np.unique(pods[~batch.exists[pods]]), invented=True)
        batch.exists[pods] = True
        yield
        yield from _sum(batch, Kind.POD, containers, pods, whole=~batch.share[pods])


class NamespaceAggregator(Stepped):
    """Pods into namespaces."""

    name = "namespace_aggregator"

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the sums; a namespace is in the batch as soon as one of its pods is.

        A pod in the network of its node reports the traffic of the whole node, which is not the namespace's.
        """
        pods = batch.rows_of(Kind.POD)
        namespaces = batch.entities.parent[pods]
        batch.exists[namespaces] = True
        yield from _sum(batch, Kind.NAMESPACE, pods, namespaces, own_traffic=~batch.entities.host_network[pods])


class NodeAggregator(Stepped):
    """Requests and limits of pods into their nodes; a node's usage is the kubelet's own figure, never a sum."""

    name = "node_aggregator"

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the sums to the nodes that are in the batch."""
        pods = batch.rows_of(Kind.POD)
        nodes = batch.entities.node[pods]
        placed = (nodes != NULL) & batch.exists[nodes]
        yield from _sum(batch, Kind.NODE, pods[placed], nodes[placed])


class ClusterAggregator(Stepped):
    """Namespaces into the cluster: what pods use, without system daemons."""

    name = "cluster_aggregator"

    def steps(self, batch: DataBatch) -> Iterator[None]:
        """Add the sums; the cluster is always in the batch."""
        namespaces = batch.rows_of(Kind.NAMESPACE)
        cluster = batch.entities.cluster
        batch.exists[cluster] = True
        yield from _sum(batch, Kind.CLUSTER, namespaces, np.full(namespaces.size, cluster, np.int32))
