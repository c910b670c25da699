"""Nodes or pods with their usage, as columns: what lists, pages, tables and watches of the metrics API are made of.

    objects[i]   a node, or a pod, as the API server knows it
    its rows     ends[i - 1] to ends[i] of `names` and `usage`: one of a node, one for each container of a pod

Only what is shown is in here. A `Scene` is all that a path shows at one moment, in order: pages are cut from it, and
two of them differ by what a watch tells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from collector.api.metrics_usage import Usage, joined
from collector.kube.objects import Node, Pod

Measured: TypeAlias = Node | Pod
Rows: TypeAlias = NDArray[np.int64]

ROW_BYTES = 72
"""About what a row keeps in memory."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Some objects with usage."""

    objects: Sequence[Measured]
    ends: Rows
    names: Sequence[str]
    """Of the containers; empty of nodes."""
    usage: Usage

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def starts(self) -> Rows:
        """Where the rows of each object begin."""
        return np.concatenate([[0], self.ends])[:-1].astype(np.int64)

    def piece(self, start: int, stop: int) -> "Shown":
        """The objects `start` to `stop`."""
        first = int(self.ends[start - 1]) if start else 0
        last = int(self.ends[stop - 1]) if stop else 0
        rows = slice(first, last)
        return Shown(self.objects[start:stop], self.ends[start:stop] - first, self.names[rows], self.usage.at(rows))

    def chosen(self, which: Sequence[int]) -> "Shown":
        """The objects of these numbers."""
        at = np.array(which, np.int64)
        starts, ends = np.where(at > 0, self.ends[at - 1], 0), self.ends[at]
        lengths = ends - starts
        new_ends = np.cumsum(lengths)
        rows = np.arange(int(new_ends[-1]) if at.size else 0) + np.repeat(ends - new_ends, lengths)
        names = [self.names[row] for row in rows.tolist()]
        return Shown([self.objects[each] for each in which], new_ends, names, self.usage.at(rows))

    def newest(self) -> NDArray[np.int64]:
        """For each object, when its newest sample was taken, ns since the epoch."""
        return np.maximum.reduceat(self.usage.times, self.starts) if len(self) else np.empty(0, np.int64)

    def oldest(self) -> Rows:
        """For each object, the row with its oldest sample; of several the first."""
        if not len(self):
            return np.empty(0, np.int64)
        starts, times = self.starts, self.usage.times
        lengths = self.ends - starts
        is_oldest = times == np.repeat(np.minimum.reduceat(times, starts), lengths)
        rows = np.where(is_oldest, np.arange(times.size), times.size)
        return np.minimum.reduceat(rows, starts)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is shown of one kind, in one namespace or in all, in order of namespace and name."""

    number: int
    """Of the revision that it belongs to."""
    object_version: int
    """The version of its objects."""
    shown: Shown
    differences: dict[int, "Difference"] = field(default_factory=dict)
    """By the number of the scene before: several watches tell the same."""

    @property
    def size_bytes(self) -> int:
        """About what it keeps in memory."""
        return ROW_BYTES * len(self.shown.names) + 16 * len(self.shown)


@dataclass(frozen=True, slots=True)
class Difference:
    """What lies between two scenes; numbers are those of the objects in either."""

    deleted: Sequence[int]
    """Of the scene before."""
    now: Sequence[int]
    """Of the later scene: what is new or has changed."""
    before: Sequence[int]
    """For each of those, what it was in the scene before; -1 for what is new."""


def key(measured: Measured) -> tuple[str, str]:
    """By which scenes are sorted: namespace (empty of nodes) and name."""
    return (measured.namespace, measured.name) if isinstance(measured, Pod) else ("", measured.name)


class Gathering:
    """Puts pieces together as they come, so that nothing long is left to be done in the end."""

    def __init__(self) -> None:
        self._objects: list[Measured] = []
        self._names: list[str] = []
        self._ends: list[Rows] = []
        self._usages: list[Usage] = []

    def add(self, part: Shown) -> None:
        """The next piece."""
        if not len(part):
            return
        self._ends.append(part.ends + len(self._names))
        self._objects += part.objects
        self._names += part.names
        self._usages.append(part.usage)

    def whole(self) -> Shown:
        """All of them."""
        if not self._objects:
            return nothing()
        return Shown(self._objects, np.concatenate(self._ends), self._names, joined(self._usages))


class Comparing:
    """Compares two scenes, in `steps` so that no other request waits; then `found` says what it found."""

    def __init__(self, before: Scene, after: Scene) -> None:
        self._old, self._new = before.shown.objects, after.shown.objects
        self._old_times, self._new_times = before.shown.newest(), after.shown.newest()
        self._deleted: list[int] = []
        self._now: list[int] = []
        self._before: list[int] = []

    def found(self) -> Difference:
        """What was found, once all steps are taken."""
        return Difference(self._deleted, self._now, self._before)

    def steps(self, bite: int) -> Iterator[None]:
        """Look at all objects, some `bite` each step."""
        if len(self._old) == len(self._new) and all(map(is_, self._old, self._new)):
            self._now = self._before = np.flatnonzero(self._old_times != self._new_times).tolist()
            return
        i = j = 0
        while i < len(self._old) or j < len(self._new):
            last = i + j + bite
            while i + j < last and (i < len(self._old) or j < len(self._new)):
                i, j = self._compared(i, j)
            yield

    def _compared(self, i: int, j: int) -> tuple[int, int]:
        """Look at the old object `i` and the new one `j`; which are next."""
        old = key(self._old[i]) if i < len(self._old) else None
        new = key(self._new[j]) if j < len(self._new) else None
        if new is None or (old is not None and old < new):
            self._deleted.append(i)
            return i + 1, j
        if old is None or new < old:
            self._changed(-1, j)
            return i, j + 1
        if self._old_times[i] != self._new_times[j] or self._old[i].labels != self._new[j].labels:
            self._changed(i, j)
        return i + 1, j + 1

    def _changed(self, before: int, now: int) -> None:
        self._before.append(before)
        self._now.append(now)


def nothing() -> Shown:
    """No object at all."""
    empty = np.empty(0, np.int64)
    usage = Usage(np.empty(0, np.bool_), empty, empty, empty, empty, -9)
    return Shown((), np.empty(0, np.int64), (), usage)


def fields_of(measured: Measured) -> dict[str, str]:
    """What field selectors may ask for."""
    namespace, name = key(measured)
    return {"metadata.name": name, "metadata.namespace": namespace}
