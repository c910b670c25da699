"""Every difference from Heapster that the replay shows, each under its heading in docs/compatibility.md.

An entry is a rule, not a pattern: it computes from the recording which values or answers differ and what they are
instead. What an entry says must be so, to the value, and an entry that changes nothing fails.

NOT_THERE_YET names what is not judged, because it is not built; it must be empty in the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests.replay.recording import Cell, Question
from tests.replay.world import Value, World, recorded_world


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
    """One difference. `cells` says which values of a source's batches are others (None: absent), and so in every answer
    and every point that shows them; `answer` says what a recorded answer is instead, None where it stays."""

    heading: str
    cells: Callable[[World], Cells] = field(default=lambda _world: {})
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


EXPLAINED: tuple[Explained, ...] = (Explained("Counters that go backwards give no rate", cells=_negative_rates),)


@cache
def final_world(source: str) -> World:
    """The recorded batches with every difference applied, in the order of the table."""
    world = recorded_world(source)
    for entry in EXPLAINED:
        world = world.changed(entry.cells(world))
    return world


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


@dataclass(frozen=True)
class Row:
    """What is not judged yet."""

    sources: tuple[str, ...]
    prefixes: tuple[str, ...]
    """Beginnings of request targets; none: nothing of these sources."""


NOT_THERE_YET: Mapping[str, Row] = {
    "historical API": Row(("summary", "kubelet"), ("/api/v1/historical",)),
    "metric-export": Row(("summary", "kubelet"), ("/api/v1/metric-export",)),
    "resource metrics": Row(("summary", "kubelet"), ("/apis/metrics.k8s.io", "/apis/metrics/")),
    "profiles": Row(("summary", "kubelet"), ("/debug/pprof",)),
    "source kubernetes:": Row(("kubelet",), ("",)),
}


def not_there_yet(question: Question) -> str | None:
    """The row that a question belongs to."""
    for name, row in NOT_THERE_YET.items():
        if question.source in row.sources and question.target.startswith(row.prefixes):
            return name
    return None


def batches_judged(source: str) -> bool:
    """Whether a source's values are judged."""
    return not any(source in row.sources and "" in row.prefixes for row in NOT_THERE_YET.values())


__all__ = ["EXPLAINED", "NOT_THERE_YET", "Expected", "Explained", "final_world", "replace"]
