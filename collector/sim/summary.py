"""Writes /stats/summary: numbers of many nodes become text together, an answer is then a scatter.

Nodes are kept in groups. A group is sampled when a housekeeping tick has passed since it was asked last; until the
next tick its lanes (see digits.py) are reused. What a tick cannot change (names, start times) is written when a pod
or container changes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import BLANK, Lanes, RecentTimes, text_lanes, time_lanes, write_numbers
from collector.sim.hashing import I64
from collector.sim.identity import pod_identity
from collector.sim.layout import Field
from collector.sim.plan import Plan
from collector.sim.sample_columns import Samples
from collector.sim.samples import Sampler
from collector.sim.summary_body import SummaryBody
from collector.sim.summary_fields import number_fields, sampled_times
from collector.sim.summary_format import Column, SummaryFormat
from collector.sim.workloads import letters

GROUP_NODES = 128
"""Nodes whose numbers become text together: fewer, and NumPy's calls cost more than its work; more, and the caches are
too small (measured: 112 microseconds an answer with 64, 95 with 128, 104 with 256)."""


class SummaryGroup:
    """The answers of `nodes`, as lanes; `refresh` brings them to a tick."""

    def __init__(self, plan: Plan, summary_format: SummaryFormat, nodes: slice) -> None:
        self._plan = plan
        self._format = summary_format
        self._nodes = nodes
        self._sampler = Sampler(plan, nodes)
        count = len(range(*nodes.indices(plan.config.nodes)))
        self.lanes: Lanes = np.full((count, summary_format.width), BLANK, dtype=np.uint32)
        self._views = {name: column.of(self.lanes) for name, column in summary_format.columns.items()}
        self._generation = np.full((count, len(plan.classes)), -(2**62))
        self._started = np.full((count, *plan.containers.cpu.shape[1:]), -(2**62))
        self._absent: dict[str, NDArray[np.bool_]] = {}
        self._dates: Lanes = np.empty(0, dtype=np.uint32)
        self.samples: Samples | None = None
        self.lacking: NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        """Nodes of which something is not in the answer at this tick."""
        self.first_end: list[int] = []
        """When the first of each node's pods ends."""
        self._write_node_texts()

    def refresh(self, second: int) -> Samples:
        """Bring the lanes to the tick at `second`; gives the samples they hold."""
        if self.samples is None or self.samples.second != second:
            self.samples = self._sampler.sample(second)
            self._write_lives(self.samples)
            self._write_samples(self.samples)
            containers, pods = self.samples.containers.present, self.samples.pods.present
            self.lacking = np.logical_not(containers.all(axis=(1, 2)) & pods.all(axis=1))
            self.first_end = self.ends(slice(None)).min(axis=1).tolist()
        return self.samples

    def ends(self, rows: slice | int) -> I64:
        """When the pods of these rows end, in seconds since the plan's origin."""
        assert self.samples is not None
        ends: I64 = self.samples.lives.birth[rows] + self._plan.slots.lifetime[self._nodes][rows]
        return ends

    def dates_of(self, row: int) -> Lanes:
        """What the sampled times of this row begin with: one beginning for all, or one for each."""
        return self._dates if self._dates.ndim == 1 else self._dates[row]

    def _write_samples(self, samples: Samples) -> None:
        values = number_fields(samples)
        rows = self.lanes.shape[0]
        for block in self._format.blocks:
            columns = [_cells(field, values[field.name].reshape(rows, -1)) for field in block.fields]
            numbers = np.concatenate(columns, axis=1)
            out = self.lanes[:, block.first : block.first + block.cells * block.lanes]
            write_numbers(numbers, block.lanes, out.reshape(rows, block.cells, block.lanes))
        for name, source in self._format.copies:
            self._views[name][:] = self._views[source]
        self._write_optional_keys(values)
        self._write_times(samples)

    def _write_times(self, samples: Samples) -> None:
        now = self._plan.origin + samples.second
        recent = RecentTimes(now - 2 * self._plan.config.housekeeping - 1, now)
        dates: list[Lanes] = []
        for times, names in sampled_times(samples):
            seconds = times.reshape(len(self.lanes), -1)
            shown = [name for name in names if name in self._format.columns]
            clocks = recent.clocks(seconds)
            for name in shown:
                self._views[name][:] = clocks
            if recent.date is None:
                dates += [recent.dates(seconds)] * len(shown)
        self._dates = np.concatenate(dates, axis=1) if recent.date is None else recent.date

    def _write_optional_keys(self, values: dict[str, I64]) -> None:
        for column in self._format.keys:
            name = column.field.name
            absent = values[name.rstrip("?")] < 0
            known = self._absent.get(name)
            if known is None or not np.array_equal(known, absent):
                self._absent[name] = absent
                key = np.frombuffer(column.field.key + b",   ", dtype=np.uint32)
                cells = _cells(column.field, absent.reshape(len(self.lanes), -1))
                self._views[name][:] = np.where(cells[..., None], BLANK, key)

    def _write_lives(self, samples: Samples) -> None:
        """Names of pods that are new in their slot, start times of containers that are."""
        changed = samples.lives.generation != self._generation
        if changed.any():
            self._generation = samples.lives.generation
            self._write_pod_texts(*changed.nonzero())
            self._views["pod.birth"][changed] = time_lanes(samples.pods.birth[changed])
        started = samples.containers.started
        restarted = started != self._started
        if restarted.any():
            self._started = started
            rows = self.lanes.shape[0]
            self._views["container.started"][restarted.reshape(rows, -1)] = time_lanes(started[restarted])

    def _write_pod_texts(self, rows: I64, slots: I64) -> None:
        texts: dict[str, list[str]] = {name: [] for name in _POD_TEXTS}
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            pod = pod_identity(self._plan, self._nodes.start + row, slot, int(self._generation[row, slot]))
            texts["pod.name"].append(pod.name)
            texts["pod.namespace"].append(pod.namespace)
            texts["pod.uid"].append(pod.kubelet_uid)
            texts["pod.token_name"].append(f"kube-api-access-{letters(int(pod.uid[:6], 16), 5)}")
            texts["pod.claim_name"].append(f"data-{pod.name}")
            texts["pod.claim_namespace"].append(pod.namespace)
        for name, written in texts.items():
            if name in self._format.columns:
                column = self._format.columns[name]
                cells = column.field.cells
                shown = np.isin(slots, cells)
                lanes = self._text(column, written)[shown]
                self._views[name][rows[shown], np.searchsorted(cells, slots[shown])] = lanes

    def _text(self, column: Column, texts: list[str]) -> Lanes:
        """`texts` as the rest of a JSON string each, (texts, lanes)."""
        closing = '"' if column.field.name in _LAST_IN_OBJECT else '",'
        padded = b"".join(text_lanes(f"{text}{closing}".encode(), column.lanes) for text in texts)
        return np.frombuffer(padded, dtype=np.uint32).reshape(-1, column.lanes)

    def _write_node_texts(self) -> None:
        """What never changes: the nodes' names and boot times, and the names of the containers."""
        plan, nodes = self._plan, self._nodes
        boot = plan.nodes.boot[nodes] + plan.origin
        self._views["node.boot"][:] = time_lanes(boot)[:, None]
        self._views["system.boot"][:] = time_lanes(boot + 9)[:, None]
        column = self._format.columns["container.name"]
        workloads = plan.slots.workload[nodes]
        view = self._views["container.name"].reshape(*workloads.shape, -1)
        for number in np.unique(workloads).tolist():
            names = [spec.name for spec in plan.workloads[number].containers]
            view[workloads == number] = self._text(column, names).ravel()
        self._views["node.name"][:, 0] = self._text(self._format.columns["node.name"], list(plan.node_names[nodes]))


def _cells(field: Field, table: NDArray[Any]) -> NDArray[Any]:
    """Of the cells of `table` (nodes, cells), those the answer shows."""
    return table if len(field.cells) == table.shape[1] else table[:, field.cells]


_POD_TEXTS = ("pod.name", "pod.namespace", "pod.uid", "pod.token_name", "pod.claim_name", "pod.claim_namespace")
_LAST_IN_OBJECT = frozenset({"pod.uid", "pod.token_name", "pod.claim_namespace"})


class SummaryWriter:
    """Answers for every node of a plan at any time; groups are made when first asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._format = SummaryFormat(plan)
        self._body = SummaryBody(self._format)
        self._groups: dict[int, SummaryGroup] = {}

    def write(self, node: int, now: float) -> memoryview:
        """The body for `node` at `now` (seconds since 1970), until the next one is written."""
        group, row, samples = self.samples(node, now)
        text = self._body.write(group.lanes[row], group.dates_of(row), self._plan.origin + samples.second)
        second = int(now - self._plan.origin)
        if not group.lacking[row] and second < group.first_end[row]:
            return text
        absent = ~samples.containers.present[row]
        gone = (group.ends(row) <= second) | ~samples.pods.present[row]
        return self._body.without(absent, gone)

    def samples(self, node: int, now: float) -> tuple[SummaryGroup, int, Samples]:
        """The group of `node`, brought to the tick before `now`, and the node's row in it."""
        number, row = divmod(node, GROUP_NODES)
        group = self._groups.get(number)
        if group is None:
            last = min((number + 1) * GROUP_NODES, self._plan.config.nodes)
            group = SummaryGroup(self._plan, self._format, slice(number * GROUP_NODES, last))
            self._groups[number] = group
        interval = self._plan.config.housekeeping
        second = int(now - self._plan.origin) // interval * interval
        return group, row, group.refresh(second)
