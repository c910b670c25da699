"""Numbers that stand for things: given out, seen, and given out again once nothing that lives knows the old owner."""

import weakref

import numpy as np
from numpy.typing import NDArray

from collector.core.identities import Identities

NEVER = np.iinfo(np.int64).max
"""In place of the last tick that saw a number which is free: no sweep looks at it again."""


class Pin:
    """Held by whatever may still use the numbers of tick `sequence`; letting go of it is all it takes."""

    __slots__ = ("__weakref__", "sequence")

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence


class Pins:
    """The ticks that something still holds.

    A batch in the store, a slow sink, the previous batch of the rate calculator.
    """

    def __init__(self) -> None:
        self.current = 0
        """The sequence number of the newest tick."""
        self._live: weakref.WeakValueDictionary[int, Pin] = weakref.WeakValueDictionary()

    def next(self) -> Pin:
        """A pin on a new, later tick."""
        self.current += 1
        pin = Pin(self.current)
        self._live[pin.sequence] = pin
        return pin

    def oldest(self) -> int:
        """The sequence number of the oldest tick still held; the next one to come when none is."""
        return min(self._live.keys(), default=self.current + 1)


class LabelTable:
    """Label sets of labelled values (`resource_id=/`), each known by one int32.

    A label set is a tuple of (key, value) pairs in their output order. A number is used again once no live batch
    holds it: volume names are as many as pods, and pods come and go.
    """

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self.pairs: list[tuple[tuple[str, str], ...] | None] = []
        self.last_seen: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._ids: dict[tuple[tuple[str, str], ...], int] = {}
        self._resources: dict[str, int] = {}
        self._free: list[int] = []
        self.identities = Identities()
        """Label numbers by whatever hash their users know them by; forgotten when a number is given back."""
        self.lengths: dict[str, int] = {}
        """By group: how many label sets of entities the latest whole batch had."""

    def __len__(self) -> int:
        return len(self._ids)

    def resource(self, resource_id: str) -> int:
        """The number of the one-label set `resource_id=...`."""
        label = self._resources.get(resource_id)
        if label is None:
            label = self._resources[resource_id] = self.intern((("resource_id", resource_id),))
        return label

    def intern(self, pairs: tuple[tuple[str, str], ...]) -> int:
        """The number of `pairs`, given out now if they are new."""
        label = self._ids.get(pairs)
        if label is None:
            label = self._free.pop() if self._free else len(self.pairs)
            if label == len(self.pairs):
                self.pairs.append(pairs)
                if label >= self.last_seen.size:
                    self.last_seen = np.concatenate([self.last_seen, np.zeros_like(self.last_seen)])
            else:
                self.pairs[label] = pairs
            self.last_seen[label] = self._pins.current  # not to be swept before the batch being filled is closed
            self._ids[pairs] = label
        return label

    def mark_seen(self, labels: NDArray[np.int32], sequence: int) -> None:
        """Note that tick `sequence` holds `labels`; ticks overlap, so a later one may have noted it before."""
        self.last_seen[labels] = np.maximum(self.last_seen[labels], sequence)

    def sweep(self, oldest: int) -> None:
        """Give back the numbers that no tick from `oldest` on holds."""
        gone = np.flatnonzero(self.last_seen[: len(self.pairs)] < oldest).tolist()
        self.identities.forget(gone)
        for label in gone:
            pairs = self.pairs[label]
            assert pairs is not None  # a free number is seen NEVER
            del self._ids[pairs]
            if len(pairs) == 1 and pairs[0][0] == "resource_id":
                self._resources.pop(pairs[0][1], None)
            self.pairs[label] = None
            self.last_seen[label] = NEVER
            self._free.append(label)
