"""What the answers of a cluster's kubelets share: the layout, and the order of its fields in a node's lanes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import DATE_LANES, Lanes, text_lanes
from collector.sim.layout import Field, Layout, Number, OptionalNumber, build_layout
from collector.sim.plan import Plan
from collector.sim.summary_fields import REPEATS, TIMES_ASKED, TIMES_SAMPLED
from collector.sim.summary_tree import SummaryTree


@dataclass(frozen=True)
class Column:
    """Where a field stands in a group's lanes: from column `first` on, as many as there are `positions`."""

    field: Field
    positions: NDArray[np.int64]
    """Of the answer, (cells, lanes): of a sampled time the end only, see SummaryBody."""
    first: int

    @property
    def lanes(self) -> int:
        """Of each cell."""
        return len(self.positions[0])

    def numbers(self, cells: int) -> NDArray[np.int64]:
        """Of the field's lanes in a group's, (cells, lanes); a single cell is repeated."""
        own = self.first + np.arange(self.positions.size).reshape(self.positions.shape)
        return np.broadcast_to(own, (cells, self.lanes))

    def of(self, lanes: Lanes) -> Lanes:
        """The field's part of a group's lanes, as (nodes, cells, lanes): a view."""
        part = lanes[:, self.first : self.first + self.positions.size]
        return part.reshape(len(lanes), *self.positions.shape)


class SummaryFormat:
    """What all groups of a cluster share: the layout, and the order of its fields in a group's lanes."""

    def __init__(self, plan: Plan) -> None:
        builder = SummaryTree(plan.classes, plan.config.containers, psi=plan.config.psi)
        self.layout: Layout = build_layout(builder.tree())
        self.columns: dict[str, Column] = {}
        self.width = 0
        fields = self.layout.fields
        for field in fields.values():
            if field.kind is Number and field.name not in REPEATS:
                self._add(field, field.positions)
        self.numbers = list(self.columns.values())
        sampled = [fields[name] for name in TIMES_SAMPLED if name in fields]
        for field in sampled:
            if field.name not in REPEATS:
                self._add(field, field.positions[:, DATE_LANES:])
        for name, field in fields.items():
            if name not in self.columns and name not in REPEATS and name not in TIMES_ASKED:
                self._add(field, field.positions)
        self.keys = [column for column in self.columns.values() if column.field.kind is OptionalNumber]
        self.positions, self.sources = self._all_positions()
        """Of the answer's lanes, rising: where one is written; and which of a node's lanes it is (some stand twice)."""
        self.container_names = self._container_names(plan)
        """Of each workload, (workloads, containers, lanes)."""
        self.date_positions = np.concatenate([field.positions[:, :DATE_LANES] for field in sampled])
        self.asked_positions = np.concatenate([fields[name].positions for name in TIMES_ASKED if name in fields])

    def _all_positions(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        columns, fields = self.columns, self.layout.fields
        repeats = [(fields[name], columns[source]) for name, source in REPEATS.items() if name in fields]
        positions = [column.positions.ravel() for column in columns.values()]
        positions += [repeat.positions[:, -of.lanes :].ravel() for repeat, of in repeats]
        sources = [np.arange(self.width)] + [of.numbers(len(repeat.cells)).ravel() for repeat, of in repeats]
        together = np.concatenate(positions)
        order = together.argsort()  # so that an answer is written from its beginning to its end
        return together[order].astype(np.int32), np.concatenate(sources)[order].astype(np.int32)

    def _container_names(self, plan: Plan) -> Lanes:
        texts = [f'{spec.name}",' for workload in plan.workloads for spec in workload.containers]
        lanes = text_lanes(texts, self.columns["container.name"].lanes)
        return lanes.reshape(len(plan.workloads), plan.config.containers, -1)

    def _add(self, field: Field, positions: NDArray[np.int64]) -> None:
        self.columns[field.name] = Column(field, positions, self.width)
        self.width += positions.size
