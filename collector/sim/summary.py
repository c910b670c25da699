"""Writes /stats/summary: numbers of many nodes become text together, an answer is then a scatter.

Nodes are kept in groups. A group is sampled when a housekeeping tick has passed since it was asked last; until the
next tick its lanes (see digits.py) are reused. What a tick cannot change (names, start times) is written when a pod
or container changes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import BLANK, Lanes, RecentTimes, text_lanes, time_lanes, write_numbers
from collector.sim.hashing import I64
from collector.sim.identity import PodIdentity, pod_identity
from collector.sim.layout import Field
from collector.sim.sample_columns import Samples
from collector.sim.sampling import GROUP_NODES, SampledGroup, Sampling
from collector.sim.summary_body import SummaryBody
from collector.sim.summary_fields import number_fields, sampled_times
from collector.sim.summary_format import SummaryFormat
from collector.sim.workloads import letters


class SummaryGroup:
    """The answers of a group's nodes, as lanes; `refresh` brings them to a tick."""

    def __init__(self, summary_format: SummaryFormat, sampled: SampledGroup) -> None:
        plan, count = sampled.plan, sampled.count
        self._plan = plan
        self._format = summary_format
        self.sampled = sampled
        self._nodes = sampled.nodes
        self.lanes: Lanes = np.full((count, summary_format.width), BLANK, dtype=np.uint32)
        self._views = {name: column.of(self.lanes) for name, column in summary_format.columns.items()}
        self._generation = np.full((count, len(plan.classes)), -(2**62))
        self._started = np.full((count, *plan.containers.cpu.shape[1:]), -(2**62))
        self._absent: dict[str, NDArray[np.bool_]] = {}
        self._dates: Lanes = np.empty(0, dtype=np.uint32)
        self._shown: Samples | None = None
        self._write_node_texts()

    def refresh(self, second: int) -> Samples:
        """Bring the lanes to the tick at `second`; gives the samples they hold."""
        samples = self.sampled.at(second)
        if samples is not self._shown:
            self._shown = samples
            self._write_lives(samples)
            self._write_samples(samples)
        return samples

    def dates_of(self, row: int) -> Lanes:
        """What the sampled times of this row begin with: one beginning for all, or one for each."""
        return self._dates if self._dates.ndim == 1 else self._dates[row]

    def _write_samples(self, samples: Samples) -> None:
        values = number_fields(samples)
        rows = self.lanes.shape[0]
        for column in self._format.numbers:
            numbers = _cells(column.field, values[column.field.name].reshape(rows, -1))
            write_numbers(numbers, column.lanes, self._views[column.field.name])
        self._write_optional_keys(values)
        self._write_times(samples)

    def _write_times(self, samples: Samples) -> None:
        now = self._plan.origin + samples.second
        recent = RecentTimes(now - 2 * self._plan.config.housekeeping - 1, now)
        dates: list[Lanes] = []
        for times, names in sampled_times(samples):
            seconds = times.reshape(len(self.lanes), -1)
            self._views[names[0]][:] = recent.clocks(seconds)
            if recent.date is None:
                shown = [name for name in names if name in self._format.layout.fields]
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
        """Names and uids of these pods."""
        places = zip(rows.tolist(), slots.tolist(), self._generation[rows, slots].tolist(), strict=True)
        pods = [pod_identity(self._plan, self._nodes.start + row, slot, number) for row, slot, number in places]
        for name, text in _POD_TEXTS.items():
            column = self._format.columns.get(name)
            shown = np.isin(slots, column.field.cells) if column else np.zeros(0, dtype=np.bool_)
            if column and shown.any():
                texts = [text(pods[number]) for number in shown.nonzero()[0].tolist()]
                cells = np.searchsorted(column.field.cells, slots[shown])
                self._views[name][rows[shown], cells] = text_lanes(texts, column.lanes)

    def _write_node_texts(self) -> None:
        """What never changes: the nodes' names and boot times, and the names of the containers."""
        plan, nodes = self._plan, self._nodes
        boot = plan.nodes.boot[nodes] + plan.origin
        self._views["node.boot"][:] = time_lanes(boot)[:, None]
        self._views["system.boot"][:] = time_lanes(boot + 9)[:, None]
        names = self._format.container_names[plan.slots.workload[nodes]]
        self._views["container.name"][:] = names.reshape(len(self.lanes), -1, names.shape[-1])
        texts = [f'{name}",' for name in plan.node_names[nodes]]
        self._views["node.name"][:, 0] = text_lanes(texts, self._format.columns["node.name"].lanes)


def _cells(field: Field, table: NDArray[Any]) -> NDArray[Any]:
    """Of the cells of `table` (nodes, cells), those the answer shows."""
    return table if len(field.cells) == table.shape[1] else table[:, field.cells]


_POD_TEXTS: dict[str, Callable[[PodIdentity], str]] = {
    "pod.name": lambda pod: f'{pod.name}",',
    "pod.namespace": lambda pod: f'{pod.namespace}",',
    "pod.uid": lambda pod: f'{pod.kubelet_uid}"',
    "pod.token_name": lambda pod: f'kube-api-access-{letters(int(pod.uid[:6], 16), 5)}"',
    "pod.claim_name": lambda pod: f'data-{pod.name}",',
    "pod.claim_namespace": lambda pod: f'{pod.namespace}"',
}
"""The fields that change with a pod, each as the rest of a JSON string: a comma follows unless it is the last one."""


class SummaryWriter:
    """Answers for every node of a plan at any time; groups are made when first asked for."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._plan = sampling.plan
        self._format = SummaryFormat(sampling.plan)
        self._body = SummaryBody(self._format)
        self._groups: dict[int, SummaryGroup] = {}

    def write(self, node: int, now: float) -> memoryview:
        """The body for `node` at `now` (seconds since 1970), until the next one is written."""
        number, row = divmod(node, GROUP_NODES)
        group = self._groups.get(number)
        if group is None:
            group = self._groups[number] = SummaryGroup(self._format, self._sampling.group(number))
        second = int(now - self._plan.origin)
        samples = group.refresh(self._sampling.tick(second))
        text = self._body.write(group.lanes[row], group.dates_of(row), self._plan.origin + samples.second)
        return text if group.sampled.whole(row, second) else self._body.without(*group.sampled.hidden(row, second))
