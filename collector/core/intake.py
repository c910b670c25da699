"""Intake: node samples into a batch.

Names become rows here, once; cells are written column by column for many nodes together.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.groupintake import write_group
from collector.core.metrics import FLOAT64, INT64, Clock, Kind, LabeledGroup
from collector.core.sample import Block, LabeledBlock, NodeSample
from collector.core.samplegroup import SampleGroup
from collector.core.writer import SHADOWED, Rows, Writer

FLUSH_ROWS = 4096
"""Entities gathered before they are written.

Enough to pay for NumPy's calls, few enough (about 2 ms) not to hold up the event loop.
"""


@dataclass(slots=True)
class _Placed:
    """A sample whose names have become rows."""

    sample: NodeSample
    node: int
    rows: dict[Kind, Rows]
    """The row of every entity by kind, parallel to the sample's blocks; SHADOWED for a duplicate."""


class Intake:
    """Gathers the samples of one tick and writes them into its batch. Call `flush` once at the end.

    What counts where several answers speak of one entity is said at Writer.
    """

    def __init__(self, batch: DataBatch) -> None:
        self.batch = batch
        self._pending: list[NodeSample] = []
        self._pending_rows = 0
        self._writer = Writer(batch)

    def add(self, sample: NodeSample) -> None:
        """Take one node's sample."""
        self._pending.append(sample)
        self._pending_rows += 1 + len(sample.system_block) + len(sample.pod_block) + len(sample.container_block)
        if self._pending_rows >= FLUSH_ROWS:
            self.flush()

    def add_group(self, group: SampleGroup) -> None:
        """Take the answers of several nodes and write them: later than everything taken before."""
        self.flush()
        write_group(self._writer, group)

    def flush(self) -> None:
        """Write what was gathered."""
        samples, self._pending, self._pending_rows = self._pending, [], 0
        if not samples:
            return
        placed = [self._place(sample) for sample in samples]
        self._writer.make_room()
        for kind in (Kind.NODE, Kind.SYS_CONTAINER, Kind.POD, Kind.POD_CONTAINER):
            self._shadow_duplicates(kind, placed)
            by_source: defaultdict[tuple[int, ...], list[_Placed]] = defaultdict(list)
            for one in placed:
                block = _block(one.sample, kind)
                if len(block):
                    by_source[block.metrics].append(one)
            for alike in by_source.values():
                self._write_kind(kind, alike)
        for one in placed:
            self._write_custom(one)

    def _place(self, sample: NodeSample) -> _Placed:
        entities = self.batch.entities
        node = entities.node_row(sample.node)
        pods = entities.pod_rows(sample.pod_namespaces, sample.pod_names, sample.pod_uids, node)
        containers = entities.container_rows(pods, sample.container_counts, sample.container_names, node)
        system = [entities.child_row(Kind.SYS_CONTAINER, node, name, node) for name in sample.system_names]
        entities.set_source_labels([node], None if sample.node_labels is None else [sample.node_labels])
        images = sample.container_images
        entities.set_source_labels(containers, None if images is None else map(_image_label, images))
        rows = {
            Kind.NODE: np.array([node], np.int32),
            Kind.SYS_CONTAINER: np.array(system, np.int32),
            Kind.POD: np.array(pods, np.int32),
            Kind.POD_CONTAINER: np.array(containers, np.int32),
        }
        return _Placed(sample, node, rows)

    def _shadow_duplicates(self, kind: Kind, placed: Sequence[_Placed]) -> None:
        """Put SHADOWED for every entity of `kind` that another entry of these samples replaces."""
        rows = np.concatenate([one.rows[kind] for one in placed])
        lengths = [one.rows[kind].size for one in placed]
        arrival = np.repeat(np.arange(len(placed)), lengths)
        start = np.concatenate([_block(one.sample, kind).times[:, Clock.START] for one in placed])
        kept = self._writer.without_duplicates(kind, rows, arrival, start)
        if kept is rows:
            return
        for one, part in zip(placed, np.split(kept, np.cumsum(lengths)[:-1]), strict=True):
            one.rows[kind] = part

    def _write_kind(self, kind: Kind, placed: Sequence[_Placed]) -> None:
        """Write the entities of one kind of several samples of one source."""
        blocks = [_block(one.sample, kind) for one in placed]
        lengths = [len(block) for block in blocks]
        rows = np.concatenate([one.rows[kind] for one in placed])
        shadowed = rows == SHADOWED
        live = ~shadowed if shadowed.any() else slice(None)  # the rule: nothing to leave out, nothing to copy
        self._write(
            kind,
            blocks[0].metrics,
            rows[live],
            np.repeat(np.array([one.node for one in placed], np.int32), lengths)[live],
            np.concatenate([block.values for block in blocks])[live],
            np.concatenate([block.times for block in blocks])[live],
            np.repeat([one.sample.read_at for one in placed], lengths)[live],
        )
        if kind is Kind.POD:
            self._mark_shares(placed)
        self._write_labeled(kind, placed, rows, np.cumsum([0, *lengths[:-1]]))

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
        self._writer.claim(kind, rows, nodes)
        where = np.ix_(np.array(metrics, np.intp), rows)
        columns = values.T
        batch.cells[where] = columns
        batch.present[where] = columns >= 0
        batch.times[:, rows] = times.T
        self._writer.write_uptime(rows, times[:, Clock.START], read_at)

    def _mark_shares(self, placed: Sequence[_Placed]) -> None:
        """Note which pods' own values are those of their pause containers alone.

        Where even that one is missing nothing was said of the pod: it is not in the batch, its containers are.
        """
        for one in placed:
            shares, block = one.sample.pod_shares, one.sample.pod_block
            if shares is not None:
                rows = one.rows[Kind.POD]
                live = rows != SHADOWED
                self.batch.share[rows[live]] = shares[live]
                silent = live & shares & ~block.times.any(axis=1) & (block.values < 0).all(axis=1)
                self.batch.exists[rows[silent]] = False

    def _write_labeled(self, kind: Kind, placed: Sequence[_Placed], rows: Rows, offsets: NDArray[np.int64]) -> None:
        """Write the labelled values of one kind; the owner at position p of sample i is `rows[offsets[i] + p]`."""
        alike: defaultdict[tuple[LabeledGroup, str | None, int], list[tuple[int, LabeledBlock]]] = defaultdict(list)
        for one, offset in zip(placed, offsets.tolist(), strict=True):
            for block in one.sample.labeled:
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
            table.mark_seen(ids if label is None else ids[:1], self.batch.pin.sequence)
            self.batch.labeled[group.name].append(rows[owners[keep]], ids[keep], values[keep].T)

    def _write_custom(self, placed: _Placed) -> None:
        for custom in placed.sample.custom:
            row = placed.rows[custom.kind][custom.owner]
            dtype = INT64 if isinstance(custom.value, int) else FLOAT64
            m = (
                self.batch.metrics.custom(custom.name, dtype, placed.sample.asked or placed.sample.node)
                if row != SHADOWED
                else None
            )
            if m is not None:
                # The type a name first came with stays: a column has one.
                kept = float if self.batch.metrics.descriptors[m].is_float else int
                self.batch.put(m, np.array([row]), np.array([kept(custom.value)]))


@lru_cache(maxsize=1 << 14)
def _image_label(image: str) -> Mapping[str, str]:
    """One mapping for all containers of one image."""
    return {"container_base_image": image}


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
