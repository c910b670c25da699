"""What a collector should hold, step by step, as plain dictionaries: from the recording, or from a slow reference."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.replay.recording import SECOND, SHORT_RETENTION_NS, Cell, Inputs, Labels, Recording, inputs, recording
from tests.sinks.lines import parse_line

Value = int | float
NO_TIME = -6795364578871345152
"""How the log sink prints a time that was never set."""


@dataclass
class Entity:
    """One set of one step."""

    labels: dict[str, str]
    metrics: dict[str, Value]
    labeled: dict[tuple[str, Labels], Value]
    """In the order in which they were reported."""
    scrape_ns: int
    """0 when there is none."""
    create_ns: int

    def get(self, metric: str, labels: Labels = ()) -> Value | None:
        return self.labeled.get((metric, labels)) if labels else self.metrics.get(metric)

    def put(self, metric: str, labels: Labels, value: Value | None) -> None:
        """Set a value; None takes it away."""
        values: dict[Any, Value] = self.labeled if labels else self.metrics
        key = (metric, labels) if labels else metric
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value


Sets = dict[str, Entity]
Labelled = dict[tuple[str, Labels], Value]


@dataclass
class World:
    """Every step's sets, and when they were collected."""

    timestamps: Sequence[int]
    """ns: the end of each step's window."""
    arrivals: Sequence[float]
    """Unix time in s: when the store got each step's batch."""
    shown: Sequence[Inputs]
    """What the API server and the kubelets said in each step."""
    sets: list[Sets] = field(default_factory=list)
    sums: set[tuple[str, str]] = field(default_factory=set)
    """Key and metric of further floats that are sums, whose last bits depend on the order of adding."""

    def is_sum(self, key: str, metric: str) -> bool:
        """Whether a float is a sum over containers: a pod's, where the kubelet gives no time for a rate of its own."""
        if (key, metric) in self.sums:
            return True
        found = [sets[key] for sets in self.sets if key in sets] if metric.endswith("faults_rate") else []
        return any(one.labels["type"] == "pod" and "network/rx" not in one.metrics for one in found)

    def held(self, step: int) -> list[int]:
        """The steps whose whole batches the store holds after `step`."""
        oldest = self.arrivals[step] * SECOND - SHORT_RETENTION_NS
        return [one for one in range(step) if self.timestamps[one] > oldest] + [step]

    def cell(self, cell: Cell) -> Value | None:
        step, key, metric, labels = cell
        entity = self.sets[step].get(key)
        return None if entity is None else entity.get(metric, labels)

    def changed(self, cells: Mapping[Cell, Value | None]) -> "World":
        """A copy with other values in `cells`; None takes a value away."""
        made = World(self.timestamps, self.arrivals, self.shown, copy.deepcopy(self.sets), set(self.sums))
        made.sums |= {(key, metric) for _, key, metric, _ in cells}
        for (step, key, metric, labels), value in cells.items():
            made.sets[step][key].put(metric, labels, value)
        return made


@cache
def recorded_world(source: str) -> World:
    """Heapster's batches. Floats, which the log shows with six decimals, are those it wrote to InfluxDB."""
    found = recording(source)
    steps = range(len(found.timestamps))
    world = World(found.timestamps, [found.arrival(step) for step in steps], [inputs(step) for step in steps])
    world.sets = [{key: _entity(one) for key, one in batch.items()} for batch in found.batches]
    _refine(world, found)
    return world


def _entity(one: Mapping[str, Any]) -> Entity:
    labeled = {(each["name"], tuple(sorted(each["labels"].items()))): each["value"] for each in one["labeled"]}
    times = [0 if one[name] == NO_TIME else one[name] for name in ("scrape_ns", "create_ns")]
    return Entity(dict(one["labels"]), dict(one["metrics"]), labeled, *times)


def key_of(labels: Mapping[str, str]) -> str:
    """The key of the set that has these labels."""
    kind = labels["type"]
    if kind == "cluster":
        return "cluster"
    if kind in {"node", "sys_container"}:
        key = f"node:{labels['nodename']}"
    else:
        key = f"namespace:{labels['namespace_name']}"
        if kind != "ns":
            key += f"/pod:{labels['pod_name']}"
    return f"{key}/container:{labels['container_name']}" if kind.endswith("container") else key


@dataclass(frozen=True)
class Point:
    """One point of InfluxDB."""

    step: int
    key: str
    tags: tuple[tuple[str, str], ...]
    """All of them, sorted."""
    metric: str
    labels: Labels
    value: Value


RESOURCE_TAGS = frozenset({"resource_id", "make", "model", "accelerator_id"})


def points(lines: Sequence[str]) -> list[Point]:
    """Recorded lines (`... value=1i @STEP`) as points."""
    return [point_of(*parsed) for parsed in map(_parsed, lines)]


def point_of(measurement: str, tags: Mapping[str, str], value: Value, step: int) -> Point:
    labels = tuple(sorted((name, text) for name, text in tags.items() if name in RESOURCE_TAGS))
    return Point(step, key_of(tags), tuple(sorted(tags.items())), measurement, labels, value)


def _parsed(line: str) -> tuple[str, dict[str, str], Value, int]:
    text, _, step = line.rpartition(" @")
    parsed = parse_line(f"{text} 0")
    (value,) = parsed.fields.values()
    return parsed.measurement, dict(parsed.tags), value, int(step)


def _refine(world: World, found: Recording) -> None:
    """Put the exact floats in place of those with six decimals; they must be the same to that precision."""
    for point in points(found.lines()):
        entity = world.sets[point.step][point.key]
        known = entity.get(point.metric, point.labels)
        assert type(known) is type(point.value), point
        if isinstance(known, float):
            assert math.isclose(known, point.value, rel_tol=1e-12, abs_tol=5.1e-7), (point, known)
            entity.put(point.metric, point.labels, point.value)
        else:
            assert known == point.value, (point, known)
