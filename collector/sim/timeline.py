"""What happens in the cluster, as the events a watch carries, computed for any span of seconds.

Events need no log: births, first readiness, restarts and heartbeats follow from the plan. Spans are computed in windows
of a fixed length and the latest of them kept, so that many watches share the work.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from collector.sim.hashing import I64
from collector.sim.objects import HEARTBEAT_SECONDS
from collector.sim.plan import Plan
from collector.sim.versions import event_version, second_of

WINDOW_SECONDS = 60
_WINDOWS_KEPT = 12


class Change(IntEnum):
    """What an event says of its object."""

    DELETED = 0
    ADDED = 1
    MODIFIED = 2


@dataclass(frozen=True)
class Events:
    """Events in the order of their versions: `row` is the object's (slot over all nodes, or node)."""

    version: I64
    change: NDArray[np.int8]
    row: I64

    def between(self, after: int, up_to: int) -> "Events":
        """The events with `after` < version <= `up_to`."""
        first, last = np.searchsorted(self.version, [after, up_to], side="right")
        return Events(self.version[first:last], self.change[first:last], self.row[first:last])

    def rows(self) -> Iterator[tuple[int, Change, int]]:
        """Second, change and row of each event."""
        columns = (self.version.tolist(), self.change.tolist(), self.row.tolist())
        for version, change, row in zip(*columns, strict=True):
            yield second_of(version), Change(change), row


class Timeline:
    """The events of a plan's pods and nodes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._windows: dict[str, OrderedDict[int, Events]] = {"pods": OrderedDict(), "nodes": OrderedDict()}

    def between(self, resource: str, after: int, up_to: int) -> list[Events]:
        """The events of `resource` (pods or nodes) with `after` < version <= `up_to`, in runs of rising versions."""
        first, last = second_of(after) // WINDOW_SECONDS, second_of(up_to) // WINDOW_SECONDS
        return [self._window(resource, number).between(after, up_to) for number in range(first, last + 1)]

    def _window(self, resource: str, number: int) -> Events:
        windows = self._windows[resource]
        events = windows.get(number)
        if events is None:
            begin = number * WINDOW_SECONDS
            make = self._pod_events if resource == "pods" else self._node_events
            events = windows[number] = make(begin, begin + WINDOW_SECONDS)
            if len(windows) > _WINDOWS_KEPT:
                windows.popitem(last=False)
        else:
            windows.move_to_end(number)
        return events

    def _pod_events(self, begin: int, end: int) -> Events:
        """Births, readiness and restarts in [begin, end)."""
        slots, columns = self._plan.slots, self._plan.containers
        lifetime, first = slots.lifetime.ravel(), slots.first_birth.ravel()
        delay = slots.delay.ravel()
        period = columns.restart_period.reshape(lifetime.size, -1)
        seconds: list[I64] = []
        changes: list[I64] = []
        rows: list[I64] = []

        def add(second: I64, change: Change, row: I64) -> None:
            inside = (second >= begin) & (second < end)
            seconds.append(second[inside])
            changes.append(np.full(int(inside.sum()), change))
            rows.append(row[inside])

        oldest = (begin - 1 - first) // lifetime
        newest = (end - 1 - first) // lifetime
        mortal = np.flatnonzero((newest > oldest) | (first + oldest * lifetime + delay >= begin))
        for step in range(int((newest - oldest).max(initial=0)) + 1):
            rows_now = mortal[oldest[mortal] + step <= newest[mortal]]
            birth = first[rows_now] + (oldest[rows_now] + step) * lifetime[rows_now]
            if step:
                add(birth, Change.DELETED, rows_now)
                add(birth, Change.ADDED, rows_now)
            lives_on = delay[rows_now] < lifetime[rows_now]
            add((birth + delay[rows_now])[lives_on], Change.MODIFIED, rows_now[lives_on])
        restarting, container = np.nonzero(period < 2**39)
        for generation_end in (oldest, newest):
            birth = first[restarting] + generation_end[restarting] * lifetime[restarting]
            dies = birth + lifetime[restarting]
            start = birth + delay[restarting]
            span = period[restarting, container]
            count = np.maximum(1, -((start - begin) // span))
            restart = start + count * span  # a period is longer than a window: at most one restart falls in it
            add(np.where(restart < dies, restart, begin - 1), Change.MODIFIED, restarting)
        return _in_order(seconds, changes, rows)

    def _node_events(self, begin: int, end: int) -> Events:
        """Heartbeats in [begin, end)."""
        rows = np.arange(len(self._plan.node_names))
        offset = rows * 37 % HEARTBEAT_SECONDS
        beat = -((offset - begin) // HEARTBEAT_SECONDS) * HEARTBEAT_SECONDS + offset
        inside = beat < end
        return _in_order([beat[inside]], [np.full(int(inside.sum()), Change.MODIFIED)], [rows[inside]])


def _in_order(seconds: list[I64], changes: list[I64], rows: list[I64]) -> Events:
    """One event for each version, sorted: two restarts of one pod in one second are one change."""
    second, change, row = np.concatenate(seconds), np.concatenate(changes), np.concatenate(rows)
    step = np.where(change == Change.DELETED, 0, 1)
    version = event_version(0, 0, 0) + second * 1_000_000 + 2 * row + step
    unique, kept = np.unique(version, return_index=True)
    return Events(unique, change[kept].astype(np.int8), row[kept])
