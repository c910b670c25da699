"""Intake: node samples into a batch.

Names become rows here, once; cells are written column by column for many nodes together.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.metrics import FLOAT64, INDEX, Clock, Kind, LabeledGroup
from collector.core.sample import Block, LabeledBlock, NodeSample

FLUSH_ROWS = 4096
"""Entities gathered before they are written.

Enough to pay for NumPy's calls, few enough (about 2 ms) not to hold up the event loop.
"""

SHADOWED = -1
"""In place of a row: this entry is a duplicate that another one replaces."""

_UPTIME = INDEX["uptime"]

Rows = NDArray[np.int32]


class Intake:
    """Gathers the samples of one tick and writes them into its batch. Call `flush` once at the end.

    A later answer about an entity replaces an earlier one wholly, its labelled values included. Within one answer, of
    two containers of one name the one that started later counts, on a tie the later one in the list (behaviour
    reference, section 3.4).
    """

    def __init__(self, batch: DataBatch) -> None:
        self.batch = batch
        self._pending: list[NodeSample] = []
        self._pending_rows = 0
        self._scratch = np.empty(0, np.int64)

    def add(self, sample: NodeSample) -> None:
        """Take one node's sample."""
        self._pending.append(sample)
        self._pending_rows += 1 + len(sample.system_block) + len(sample.pod_block) + len(sample.container_block)
        if self._pending_rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        samples, self._pending, self._pending_rows = self._pending, [], 0
        if not samples:
            return
        placed = [self._resolve(sample) for sample in samples]
        self.batch.ensure_rows()
        if self._scratch.size < self.batch.rows:
            self._scratch = np.empty(2 * self.batch.rows, np.int64)
        for kind in (Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER):
            by_source: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
            for i, sample in enumerate(samples):
                block = _block(sample, kind)
                if len(block):
                    by_source[block.metrics].append(i)
            for members in by_source.values():
                self._write_kind(kind, [samples[i] for i in members], [placed[i] for i in members])
        for sample, rows in zip(samples, placed, strict=True):
            for custom in sample.custom:
                m = self.batch.metrics.custom(custom.name)
                if m is not None:
                    self.batch.put(
                        m,
                        rows[custom.kind][custom.owner : custom.owner + 1],
                        np.array([custom.value], FLOAT64),
                    )

    def _resolve(self, sample: NodeSample) -> dict[Kind, Rows]:
        """The row of every entity of one sample, by kind, parallel to the sample's blocks."""
        entities = self.batch.entities
        node = entities.node_row(sample.node)
        pods = entities.pod_rows(sample.pod_namespaces, sample.pod_names, sample.pod_uids, node)
        containers = entities.container_rows(pods, sample.container_counts, sample.container_names, node)
        system = [entities.child_row(Kind.SYS_CONTAINER, node, name, node) for name in sample.system_names]
        return {
            Kind.NODE: np.array([node], np.int32),
            Kind.SYS_CONTAINER: np.array(system, np.int32),
            Kind.POD: np.array(pods, np.int32),
            Kind.POD_CONTAINER: np.array(containers, np.int32),
        }

    def _write_kind(self, kind: Kind, samples: Sequence[NodeSample], placed: Sequence[dict[Kind, Rows]]) -> None:
        """Write the entities of one kind of several samples of one source."""
        blocks = [_block(sample, kind) for sample in samples]
        lengths = [len(block) for block in blocks]
        rows = np.concatenate([of_kind[kind] for of_kind in placed])
        times = np.concatenate([block.times for block in blocks])
        order = np.arange(rows.size)
        self._scratch[rows] = order
        if (self._scratch[rows] != order).any():
            start = times[:, Clock.START] if kind is Kind.POD_CONTAINER else np.zeros(rows.size, np.int64)
            rows = _shadow(rows, np.repeat(np.arange(len(samples)), lengths), start)
        live = np.flatnonzero(rows != SHADOWED)
        self._write(
            kind,
            blocks[0].metrics,
            rows[live],
            np.repeat(np.array([of_kind[Kind.NODE][0] for of_kind in placed], np.int32), lengths)[live],
            np.concatenate([block.values for block in blocks])[live],
            times[live],
            np.repeat([sample.read_at for sample in samples], lengths)[live],
        )
        self._write_labeled(kind, samples, rows, np.cumsum([0, *lengths[:-1]]))

    def _write(
        self,
        kind: Kind,
        metrics: tuple[int, ...],
        rows: Rows,
        nodes: Rows,
        values: NDArray[np.int64],
        times: NDArray[np.int64],
        read_at: NDArray[np.int64],
    ) -> None:
        batch = self.batch
        again = rows[batch.exists[rows]]
        if again.size:
            batch.forget(again)
        batch.exists[rows] = True
        if kind is not Kind.NODE:
            batch.entities.place(rows, nodes)
        where = np.ix_(np.array(metrics, np.intp), rows)
        columns = values.T
        batch.cells[where] = columns
        batch.present[where] = columns >= 0
        batch.times[:, rows] = times.T
        start = times[:, Clock.START]
        lived = (read_at - start) // 1_000_000
        batch.cells[_UPTIME, rows] = lived
        batch.present[_UPTIME, rows] = (start > 0) & (lived >= 0)

    def _write_labeled(self, kind: Kind, samples: Sequence[NodeSample], rows: Rows, offsets: NDArray[np.int64]) -> None:
        """Write the labelled values of one kind; the owner at position p of sample i is `rows[offsets[i] + p]`."""
        alike: defaultdict[tuple[LabeledGroup, str | None, int], list[tuple[int, LabeledBlock]]] = defaultdict(list)
        for sample, offset in zip(samples, offsets.tolist(), strict=True):
            for block in sample.labeled:
                if block.kind is kind and len(block.owners):
                    label = block.labels if isinstance(block.labels, str) else None
                    alike[block.group, label, block.values.shape[1]].append((offset, block))
        table = self.batch.entities.labels
        for (group, label, _), found in alike.items():
            owners = np.concatenate([block.owners + offset for offset, block in found])
            values = np.concatenate([block.values for _, block in found])
            if label is not None:
                ids = np.full(owners.size, table.resource(label), np.int32)
            else:
                ids = np.array(
                    [
                        table.resource(own) if isinstance(own, str) else table.intern(own)
                        for _, block in found
                        for own in block.labels
                    ],
                    np.int32,
                )
            keep = (values >= 0).any(axis=1) & (rows[owners] != SHADOWED)
            self.batch.labeled[group.name].append(rows[owners[keep]], ids[keep], values[keep].T)


def _shadow(rows: Rows, arrival: NDArray[np.int64], start: NDArray[np.int64]) -> Rows:
    """`rows` with SHADOWED for every duplicate but the one that counts.

    Last to arrive, then last to start, then last in the list.
    """
    order = np.lexsort((np.arange(rows.size), start, arrival, rows))
    in_order = rows[order]
    last = np.append(in_order[1:] != in_order[:-1], True)
    kept = np.full_like(rows, SHADOWED)
    kept[order[last]] = in_order[last]
    return kept


def _block(sample: NodeSample, kind: Kind) -> Block:
    match kind:
        case Kind.NODE:
            return sample.node_block
        case Kind.SYS_CONTAINER:
            return sample.system_block
        case Kind.POD:
            return sample.pod_block
        case _:
            return sample.container_block
