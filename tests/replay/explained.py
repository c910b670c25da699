"""Every difference from Heapster that the replay shows, each under its heading in docs/compatibility.md.

An entry is a rule, not a pattern: it computes from the recording which values or answers differ and what they are
instead. What an entry says must be so, to the value, and an entry that changes nothing fails.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests.replay.oracle import HISTORICAL, Oracle
from tests.replay.recording import Cell, Question
from tests.replay.world import Labelled, Sets, Value, World, recorded_world


@dataclass(frozen=True)
class Expected:
    """An answer: a document, laid out in a style, or a text."""

    status: int
    content_type: str
    document: Any = None
    style: str = ""
    """Empty for a text."""
    text: str = ""
    location: str | None = None
    encoding: str | None = None


Cells = Mapping[Cell, Value | None]


@dataclass(frozen=True)
class Explained:
    """One difference.

    `cells` says which values of a source's batches are others (None: absent), and so in every answer and every point
    that shows them; `alike` names another recorded question that this one is answered like; `answer` says what a
    recorded answer is instead, None where it stays; `order` in what order the labelled values of an entity stand.
    """

    heading: str
    order: Callable[[Labelled], Labelled] = field(default=lambda values: values)
    cells: Callable[[World], Cells] = field(default=lambda _world: {})
    store: str = ""
    """The historical store it is about, `influxdb` or `embedded`; empty for any."""
    alike: Callable[[Question], str | None] = field(default=lambda _question: None)
    """The target of the other question, in the same capture."""
    answer: Callable[[Question, Expected], Expected | None] = field(default=lambda _question, _expected: None)


def _negative_rates(world: World) -> Cells:
    """A counter under an unchanged start time went down: Heapster's rate is negative, ours is absent."""
    found: dict[Cell, Value | None] = {}
    for step, sets in enumerate(world.sets):
        for key, entity in sets.items():
            values = [(name, (), value) for name, value in entity.metrics.items()]
            values += [(name, labels, value) for (name, labels), value in entity.labeled.items()]
            for name, labels, value in values:
                if name.endswith("_rate") and value < 0:
                    pod, _, container = key.partition("/container:")
                    given = name.removesuffix("_rate") in sets[pod].metrics
                    assert not container or given, f"{key}: the pod's {name} is a sum, which changes too"
                    found[step, key, name, labels] = None
    return found


PAUSED = {
    **dict.fromkeys(("cpu/load", "memory/usage", "memory/rss", "memory/cache", "memory/working_set"), ""),
    "cpu/usage_rate": "cpu/usage",
    "memory/page_faults_rate": "memory/page_faults",
    "memory/major_page_faults_rate": "memory/major_page_faults",
}
"""Metrics of a pod that Heapster's last revision took from its pause container alone, and the counter of a rate."""
SUMMED_FROM_PODS = ("cpu/usage_rate", "memory/usage")


def _pause_and_containers(world: World) -> Cells:
    """Of cAdvisor's JSON, a pod's totals are its pause container's and its containers' together; so are the sums above.

    A pause container that gave no value leaves the sum over the containers, in Heapster too.
    """
    found: dict[Cell, Value | None] = {}
    if not _of_cadvisor(world):
        return found  # the summary has totals of its own
    for step, sets in enumerate(world.sets):
        totals: dict[tuple[str, str], Value] = {}
        for key, entity in sets.items():
            if entity.labels["type"] != "pod":
                continue
            inside = [one for name, one in sets.items() if name.startswith(f"{key}/container:")]
            for metric, counter in PAUSED.items():
                if metric in entity.metrics and _by_the_pause_container(world, step, key, counter):
                    parts = [one.metrics[metric] for one in inside if metric in one.metrics]
                    totals[key, metric] = entity.metrics[metric] + sum(parts)
        for metric in SUMMED_FROM_PODS:
            _sum_up(sets, totals, metric)
        found |= {
            (step, key, metric, ()): value
            for (key, metric), value in totals.items()
            if sets[key].metrics[metric] != value
        }
    return found


def _of_cadvisor(world: World) -> bool:
    return any("schedulable" in entity.labels for entity in world.sets[0].values())


def _by_the_pause_container(world: World, step: int, key: str, counter: str) -> bool:
    """Whether a pod's value is its pause container's own: a gauge it reports, or a counter's rate over two steps."""
    now, before = world.sets[step][key], world.sets[step - 1].get(key) if step else None
    if not counter:
        return "uptime" in now.metrics
    if before is None or counter not in now.metrics or counter not in before.metrics:
        return False
    return now.create_ns == before.create_ns and now.scrape_ns > before.scrape_ns


def _sum_up(sets: Sets, totals: dict[tuple[str, str], Value], metric: str) -> None:
    """Namespaces from pods, the cluster from namespaces."""
    for key, entity in sets.items():
        if entity.labels["type"] == "ns" and metric in entity.metrics:
            pods = [
                name for name, one in sets.items() if name.startswith(f"{key}/pod:") and one.labels["type"] == "pod"
            ]
            values = [totals.get((pod, metric), sets[pod].metrics.get(metric)) for pod in pods]
            totals[key, metric] = sum(value for value in values if value is not None)
    if metric in sets["cluster"].metrics:
        spaces = [key for key, entity in sets.items() if entity.labels["type"] == "ns"]
        totals["cluster", metric] = sum(totals[key, metric] for key in spaces if (key, metric) in totals)


GROUPS = ("accelerator", "filesystem", "disk")


def _by_group(values: Labelled) -> Labelled:
    """Accelerators, file systems, disks; one label set after another, its rates after its counters."""
    names, sets = list(dict.fromkeys(name for name, _ in values)), list(dict.fromkeys(labels for _, labels in values))
    names.sort(key=lambda name: (name.endswith("_rate"), name if name.startswith("disk/") else ""))
    places = {one: (GROUPS.index(one[0].partition("/")[0]), sets.index(one[1]), names.index(one[0])) for one in values}
    return {one: values[one] for one in sorted(values, key=lambda one: places[one])}


METRICS_ROOTS = ("/apis/metrics.k8s.io/v1alpha1", "/apis/metrics/v1alpha1")


def _same_below_both_roots(question: Question) -> str | None:
    served, asked = METRICS_ROOTS
    found = question.target.startswith((f"{asked}/", f"{asked}?")) or question.target == asked
    return served + question.target.removeprefix(asked) if found else None


def _missing_pod(question: Question, expected: Expected) -> Expected | None:
    """The status is another one, the words stay."""
    found = question.target.startswith(METRICS_ROOTS) and expected.status == 500
    return replace(expected, status=404) if found and expected.text.startswith("Error while getting pod") else None


def _nothing_or_forbidden(question: Question, expected: Expected) -> Expected | None:
    """The status is another one, the words stay."""
    if not question.target.startswith(HISTORICAL) or expected.status != 500:
        return None
    if expected.text.startswith(("No results for metric ", "Unable to list available metrics")):
        return replace(expected, status=404)
    if expected.text.startswith("Unable to list ") and not Oracle(final_world(question.source)).seen(question):
        return replace(expected, status=404)
    return replace(expected, status=400) if expected.text.startswith("Invalid ") else None


def _lists_list(question: Question, expected: Expected) -> Expected | None:
    names = None if expected.status == 400 else Oracle(final_world(question.source)).seen(question)
    return Expected(200, "application/json", names, "pretty") if names else None


def _pods_by_uid(question: Question, expected: Expected) -> Expected | None:
    hint = " (the influxdb sink stores no pod ids; with its option store_pod_id=true it does from then on)"
    return replace(expected, text=expected.text + hint) if question.target.startswith(f"{HISTORICAL}/pod-id") else None


def _names_it_had(question: Question, expected: Expected) -> Expected | None:
    """Without those that SHOW MEASUREMENTS names for other entities."""
    names = Oracle(final_world(question.source)).had(question) if expected.status == 200 else None
    return None if names is None or names == sorted(expected.document) else replace(expected, document=names)


EXPLAINED: tuple[Explained, ...] = (
    Explained("Counters that go backwards give no rate", cells=_negative_rates),
    Explained("Pod totals of `kubernetes:` are pause container plus containers", cells=_pause_and_containers),
    Explained("Labelled values are listed by group", order=_by_group),
    Explained("Metrics API: both roots, and today's versions", alike=_same_below_both_roots),
    Explained("Metrics API: a pod that does not exist is 404", answer=_missing_pod),
    Explained("Historical API: no data is 404, a forbidden name 400", answer=_nothing_or_forbidden),
    Explained("Historical API: lists list", answer=_lists_list),
    Explained("Historical API: pods by uid", store="influxdb", answer=_pods_by_uid),
    Explained("Historical API over the embedded history", store="embedded", answer=_names_it_had),
)


@cache
def final_world(source: str) -> World:
    """The recorded batches with every difference applied, in the order of the table."""
    world = recorded_world(source)
    for entry in EXPLAINED:
        world = world.changed(entry.cells(world))
    for entry in EXPLAINED:
        for sets in world.sets:
            for entity in sets.values():
                entity.labeled = entry.order(entity.labeled)
    return world


@cache
def reordered(source: str) -> frozenset[str]:
    """Headings of entries that put something into another order."""
    sets = [entity for batch in recorded_world(source).sets for entity in batch.values()]
    return frozenset(
        entry.heading for entry in EXPLAINED if any(list(entry.order(one.labeled)) != list(one.labeled) for one in sets)
    )


@cache
def changes(source: str) -> Mapping[str, Cells]:
    """Heading -> the cells that its entry changes, of those that have any."""
    world, found = recorded_world(source), {}
    for entry in EXPLAINED:
        cells = entry.cells(world)
        assert all(world.cell(cell) != value for cell, value in cells.items()), f"{entry.heading} changes nothing"
        world = world.changed(cells)
        if cells:
            found[entry.heading] = cells
    return found
