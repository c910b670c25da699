"""Which rows of a batch their reader may see: whole columns at a time, for lists of everything."""

import numpy as np
from numpy.typing import NDArray

from collector.api.route import Sight
from collector.core.batch import DataBatch
from collector.core.metrics import Kind


def visible_rows(batch: DataBatch, rows: NDArray[np.intp], sight: Sight) -> NDArray[np.intp]:
    """Those of `rows` that `sight` shows: namespaces with their pods and containers, nodes with what is theirs."""
    if sight.everything:
        return rows
    entities = batch.entities
    kind = entities.kind[rows]
    seen: NDArray[np.bool_] = np.isin(kind, (Kind.NODE, Kind.SYS_CONTAINER)) & sight.nodes
    space = rows.astype(np.intp)
    for below in (Kind.POD_CONTAINER, Kind.POD):  # container -> pod -> namespace
        inner = entities.kind[space] == below
        space[inner] = entities.parent[space[inner]]
    if sight.namespaces is None:
        seen |= entities.kind[space] == Kind.NAMESPACE
    else:
        seen |= np.isin(space, [entities.find_namespace(name) for name in sight.namespaces])
    return rows[np.flatnonzero(seen)]
