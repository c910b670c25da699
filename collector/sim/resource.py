"""Writes /metrics/resource: the light endpoint, in the Prometheus text format, from the samples the summary shows.

Sample times have milliseconds here. As with the summary, numbers of many nodes become text together; labels and start
times are written when a pod or container changes, and kept in the order of a kubelet's lines: that of their text.
"""

import numpy as np

from collector.sim.digits import Lanes
from collector.sim.hashing import I64
from collector.sim.identity import pod_identity
from collector.sim.plan import Plan
from collector.sim.resource_body import Extent, ResourceBody, Text, lanes_of
from collector.sim.resource_families import FAMILIES, Reading, Subject
from collector.sim.resource_numbers import write_bytes, write_seconds, write_starts, write_zero
from collector.sim.sample_columns import Bools, LightSamples
from collector.sim.sampling import GROUP_NODES, SampledGroup, Sampling

_LONGEST_POD = 48
"""Bytes of a pod's name, as the summary has room for."""


def _extents(plan: Plan) -> dict[Subject, Extent]:
    """Places of a node's lines, whose labels are as long as the longest names."""
    pods, containers = len(plan.classes), plan.config.containers
    container = max(len(spec.name) for workload in plan.workloads for spec in workload.containers)
    namespace = max(len(workload.namespace) for workload in plan.workloads)
    of_pod = len(_pod_labels("", "")) + namespace + _LONGEST_POD
    of_container = len(_container_labels("", "", "")) + container + namespace + _LONGEST_POD
    return {
        Subject.CONTAINER: Extent(pods * containers, of_container),
        Subject.POD: Extent(pods, of_pod),
        Subject.NODE: Extent(1, 0),
    }


def _container_labels(container: str, namespace: str, pod: str) -> bytes:
    """Behind the brace that opens."""
    return f'container="{container}",namespace="{namespace}",pod="{pod}"}} '.encode()


def _pod_labels(namespace: str, pod: str) -> bytes:
    return f'namespace="{namespace}",pod="{pod}"}} '.encode()


class _Lines:
    """The lines of one subject in a group of nodes: their labels in order, and the order itself."""

    def __init__(self, nodes: int, extent: Extent) -> None:
        self._extent = extent
        self._labels = np.zeros((nodes, extent.lines), f"S{extent.labels}")
        """By slot, then container."""
        self.order: I64 = np.tile(np.arange(extent.lines), (nodes, 1))
        """Of each line, which of the places above."""
        self.text: Text = np.zeros((nodes, extent.lines, extent.labels), np.uint8)
        self._number()

    def put(self, rows: I64, places: I64, labels: list[bytes]) -> None:
        """New labels; ValueError when one is longer than its place."""
        if max(map(len, labels)) > self._extent.labels:
            longest = max(labels, key=len)
            raise ValueError(f"{longest!r} is longer than its {self._extent.labels} bytes")
        self._labels[rows, places] = labels
        for row in np.unique(rows).tolist():
            self.order[row] = order = self._labels[row].argsort()
            self.text[row] = self._labels[row][order].view(np.uint8).reshape(self.text.shape[1:])
        self._number()

    def _number(self) -> None:
        self._flat = self.order + np.arange(len(self.order))[:, None] * self._extent.lines

    def ordered(self, table: I64) -> I64:
        """A column of samples, (n, lines)."""
        return table.ravel().take(self._flat)


class ResourceGroup:
    """The answers of a group's nodes, as text with NULs; `refresh` brings them to a tick."""

    def __init__(self, extents: dict[Subject, Extent], sampled: SampledGroup) -> None:
        self._plan = sampled.plan
        self.sampled = sampled
        count = sampled.count
        self._lines = {subject: _Lines(count, extent) for subject, extent in extents.items()}
        self.labels = {subject: lines.text for subject, lines in self._lines.items()}
        self._lanes = [
            np.zeros((count, extents[family.subject].lines, lanes_of(family)), np.uint32) for family in FAMILIES
        ]
        self.numbers: list[Text] = [lanes.view(np.uint8) for lanes in self._lanes]
        """Of each family, (n, lines, bytes)."""
        self._generation = np.full((count, len(sampled.plan.classes)), -(2**62))
        self._started = np.full((count, *sampled.plan.containers.cpu.shape[1:]), -(2**62))
        self._shown: LightSamples | None = None

    def refresh(self, second: int) -> None:
        """Bring the text to the tick at `second`."""
        samples = self.sampled.light_at(second)
        if samples is not self._shown:
            self._shown = samples
            self._write_lives(samples)
            self._write_samples(samples)

    def hidden(self, row: int, second: int) -> dict[Subject, Bools]:
        """The lines that are not in the answer of this row."""
        absent, gone = self.sampled.hidden(row, second)
        containers = (absent | gone[:, None]).ravel()
        return {
            Subject.CONTAINER: containers[self._lines[Subject.CONTAINER].order[row]],
            Subject.POD: gone[self._lines[Subject.POD].order[row]],
        }

    def _write_samples(self, samples: LightSamples) -> None:
        tables = {Subject.CONTAINER: samples.containers, Subject.POD: samples.pods, Subject.NODE: samples.nodes}
        for subject, table in tables.items():
            lines = self._lines[subject]
            times = lines.ordered(table.milliseconds)
            for family, out in zip(FAMILIES, self._lanes, strict=True):
                if family.subject is not subject:
                    continue
                if family.reading is Reading.CPU:
                    write_seconds(np.maximum(lines.ordered(table.cpu), 0), times, out)
                elif family.reading is Reading.MEMORY:
                    write_bytes(lines.ordered(table.working_set), times, out)
                elif family.reading is Reading.SWAP:
                    write_zero(times, out)

    def _write_lives(self, samples: LightSamples) -> None:
        """Labels of pods that are new in their slot, start times of containers that are."""
        changed = samples.lives.generation != self._generation
        if changed.any():
            self._generation = samples.lives.generation
            self._write_labels(*changed.nonzero())
        if changed.any() or not np.array_equal(samples.started, self._started):
            self._started = samples.started
            out = self._start_lanes()
            write_starts(self._lines[Subject.CONTAINER].ordered(self._started), out)

    def _start_lanes(self) -> Lanes:
        return next(out for family, out in zip(FAMILIES, self._lanes, strict=True) if family.reading is Reading.START)

    def _write_labels(self, rows: I64, slots: I64) -> None:
        plan, first = self._plan, self.sampled.nodes.start
        pods: list[bytes] = []
        containers: list[bytes] = []
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            pod = pod_identity(plan, first + row, slot, int(self._generation[row, slot]))
            pods.append(_pod_labels(pod.namespace, pod.name))
            specs = plan.workloads[plan.slots.workload[first + row, slot]].containers
            containers += [_container_labels(spec.name, pod.namespace, pod.name) for spec in specs]
        self._lines[Subject.POD].put(rows, slots, pods)
        count = plan.config.containers
        places = (slots[:, None] * count + np.arange(count)).ravel()
        self._lines[Subject.CONTAINER].put(np.repeat(rows, count), places, containers)


class ResourceWriter:
    """Answers for every node of a plan at any time; groups are made when first asked for."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._origin = sampling.plan.origin
        self._extents = _extents(sampling.plan)
        self._body = ResourceBody(self._extents)
        self._groups: dict[int, ResourceGroup] = {}

    def write(self, node: int, now: float) -> memoryview:
        """The body for `node` at `now` (seconds since 1970), until the next one is written."""
        number, row = divmod(node, GROUP_NODES)
        group = self._groups.get(number)
        if group is None:
            group = self._groups[number] = ResourceGroup(self._extents, self._sampling.group(number))
        second = int(now - self._origin)
        group.refresh(self._sampling.tick(second))
        hidden = None if group.sampled.whole(row, second) else group.hidden(row, second)
        return self._body.write(group.labels, group.numbers, row, hidden)
