"""What the answers of a cluster's kubelets share: the layout, and the order of its fields in a node's lanes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import DATE_LANES, Lanes, text_lanes
from collector.sim.layout import Field, Layout, Number, OptionalNumber, build_layout
from collector.sim.plan import Plan
from collector.sim.summary_fields import COPIES, TIMES_ASKED, TIMES_SAMPLED
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

    def of(self, lanes: Lanes) -> Lanes:
        """The field's part of a group's lanes, as (nodes, cells, lanes): a view."""
        part = lanes[:, self.first : self.first + self.positions.size]
        return part.reshape(len(lanes), *self.positions.shape)


@dataclass(frozen=True)
class NumberBlock:
    """Number fields of one width, side by side: digits of all of them are written in one go."""

    lanes: int
    first: int
    fields: tuple[Field, ...]
    cells: int


class SummaryFormat:
    """What all groups of a cluster share: the layout, and the order of its fields in a group's lanes."""

    def __init__(self, plan: Plan) -> None:
        builder = SummaryTree(plan.classes, plan.config.containers, psi=plan.config.psi)
        self.layout: Layout = build_layout(builder.tree())
        self.columns: dict[str, Column] = {}
        self.blocks: list[NumberBlock] = []
        self.width = 0
        fields = self.layout.fields
        numbers_of_own = [field for field in fields.values() if field.kind is Number and field.name not in COPIES]
        # Numbers that may be absent have blocks of their own: only there is it asked which are.
        kinds = sorted({(field.positions.shape[1], f"{field.name}?" in fields) for field in numbers_of_own})
        for width, optional in kinds:
            numbers = [
                field
                for field in numbers_of_own
                if field.positions.shape[1] == width and (f"{field.name}?" in fields) is optional
            ]
            self.blocks.append(NumberBlock(width, self.width, tuple(numbers), sum(len(each.cells) for each in numbers)))
            for field in numbers:
                self._add(field, field.positions)
        sampled = [fields[name] for name in TIMES_SAMPLED if name in fields]
        for field in sampled:
            self._add(field, field.positions[:, DATE_LANES:])
        for name, field in fields.items():
            if name not in self.columns and name not in TIMES_ASKED:
                self._add(field, field.positions)
        self.keys = [column for column in self.columns.values() if column.field.kind is OptionalNumber]
        self.copies = [(name, source) for name, source in COPIES.items() if name in self.columns]
        self.positions: NDArray[np.int64] = np.concatenate([each.positions.ravel() for each in self.columns.values()])
        self.container_names = self._container_names(plan)
        """Of each workload, (workloads, containers, lanes)."""
        self.date_positions = np.concatenate([field.positions[:, :DATE_LANES] for field in sampled])
        self.asked_positions = np.concatenate([fields[name].positions for name in TIMES_ASKED if name in fields])

    def _container_names(self, plan: Plan) -> Lanes:
        texts = [f'{spec.name}",' for workload in plan.workloads for spec in workload.containers]
        lanes = text_lanes(texts, self.columns["container.name"].lanes)
        return lanes.reshape(len(plan.workloads), plan.config.containers, -1)

    def _add(self, field: Field, positions: NDArray[np.int64]) -> None:
        self.columns[field.name] = Column(field, positions, self.width)
        self.width += positions.size
