"""A SampleGroup into a batch: the same cells that its answers would give one by one as NodeSamples.

Rows of names seen before are found by their identities, all at once; only what is new is looked up by name.
"""

from collections.abc import Callable

import numpy as np

from collector.core.entities import EntityTable
from collector.core.identities import UNKNOWN, Identities, Keys
from collector.core.metrics import Clock
from collector.core.place import scatter
from collector.core.samplegroup import Entities, Labels, Names, Owners, SampleGroup
from collector.core.slots import LabelTable
from collector.core.writer import SHADOWED, Rows, Writer


def write_group(writer: Writer, group: SampleGroup) -> None:
    """Write the answers of `group`."""
    table = writer.batch.entities
    nodes = _find(table.identities, group.nodes.identities, group.nodes.names, lambda _, name: table.node_row(name))
    system = _children(table, group.system, nodes, nodes[group.system.owners])
    pods = _pods(table, group.pods, nodes)
    node_of_container = nodes[group.pods.owners][group.containers.owners]
    containers = _children(table, group.containers, pods, node_of_container)
    table.forget_source_labels(nodes)
    table.forget_source_labels(containers)
    writer.make_room()
    arrival = group.pods.owners[group.containers.owners]
    _write(writer, group, group.nodes, nodes, nodes, group.nodes.owners)
    _write(writer, group, group.system, system, nodes[group.system.owners], group.system.owners)
    _write(writer, group, group.pods, pods, nodes[group.pods.owners], group.pods.owners)
    _write(writer, group, group.containers, containers, node_of_container, arrival)


def _find(known: Identities, identities: Keys, names: Names, create: Callable[..., int]) -> Rows:
    """The number of each identity; `create` is asked, with position and names, for those not known yet."""
    found = known.find(identities)
    missing = np.flatnonzero(found == UNKNOWN)
    if missing.size:
        for i in missing.tolist():
            found[i] = create(i, *names(i))
        known.put(identities[missing], found[missing])
    return found


def _children(table: EntityTable, found: Entities, parents: Rows, nodes: Rows) -> Rows:
    """The rows of entities whose owners have the rows `parents`."""

    def create(i: int, name: str) -> int:
        return table.child_row(found.kind, int(parents[found.owners[i]]), name, int(nodes[i]))

    return _find(table.identities, found.identities, found.names, create)


def _pods(table: EntityTable, found: Entities, nodes: Rows) -> Rows:
    created = []

    def create(i: int, namespace: str, name: str, uid: str) -> int:
        created.append(i)
        return table.pod_rows([namespace], [name], [uid], int(nodes[found.owners[i]]))[0]

    rows = _find(table.identities, found.identities, found.names, create)
    if created:
        # Several may be one pod under different uids: the last one is to be the one that stays.
        order, counts = np.unique(rows, return_counts=True)
        again = np.flatnonzero(np.isin(rows, order[counts > 1]))
        for i in again.tolist():
            create(i, *found.names(i))
        table.identities.put(found.identities[again], rows[again])
    return rows


def _write(writer: Writer, group: SampleGroup, found: Entities, rows: Rows, nodes: Rows, arrival: Owners) -> None:
    """Write the entities of one kind and what labelled values they have."""
    if not len(found):
        return
    start = found.times[Clock.START]
    rows = writer.without_duplicates(found.kind, rows, arrival, start)
    shadowed = rows == SHADOWED
    live = ~shadowed if shadowed.any() else slice(None)  # the rule: nothing to leave out, nothing to copy
    batch = writer.batch
    target = rows[live].astype(np.intp)  # NumPy's own type of index: converted once, not for each column
    writer.claim(found.kind, target, nodes[live])
    # What none of them has is not written: it would cost memory.
    scatter(rows, range(len(Clock)), list(found.times), batch.times, None)
    scatter(rows, found.metrics, found.columns, batch.cells, batch.present)
    writer.write_uptime(target, start[live], group.read_at)
    for labels in group.labels:
        if labels.kind is found.kind and len(labels.owners):
            _write_labels(writer, labels, rows)


def _write_labels(writer: Writer, labels: Labels, rows: Rows) -> None:
    batch = writer.batch
    table: LabelTable = batch.entities.labels
    row = rows[labels.owners]
    if labels.label is not None:
        one = table.resource(labels.label)
        label = np.full(row.size, one, np.int32)
        table.mark_seen(label[:1], batch.pin.sequence)
    else:
        label = _find(table.identities, labels.identities, labels.names, lambda _, name: table.resource(name))
        table.mark_seen(label, batch.pin.sequence)
    keep = (labels.values >= 0).any(axis=0) & (row != SHADOWED)
    if keep.all():
        batch.labeled[labels.group.name].append(row, label, labels.values)
    else:
        batch.labeled[labels.group.name].append(row[keep], label[keep], labels.values[:, keep])
