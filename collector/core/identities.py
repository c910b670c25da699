"""Identities: numbers (rows, label numbers) found again by a 128-bit hash of the names they were given for.

A hash table in two arrays, searched and filled for thousands of keys at once, so that names that were seen before cost
neither a Python string nor a dictionary lookup. `owner[number]` is the key that a number was last given for; the slots
lead there. A slot whose number has another owner by now leads nowhere, and so forgetting is one write.
"""

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
"""In place of a number: this key has none."""

Keys = NDArray[np.uint64]
"""(n, 2); never all zeros."""


class Identities:
    """Key -> number, at most one key a number. Whoever gives numbers to others has to `forget` them here."""

    def __init__(self) -> None:
        self._slots: NDArray[np.int32] = np.full(1024, UNKNOWN, np.int32)
        self._used = 0
        self._owner: Keys = np.zeros((1024, 2), np.uint64)

    def find(self, keys: Keys) -> NDArray[np.int32]:
        """The number of each key, UNKNOWN where it has none."""
        mask = np.uint64(self._slots.size - 1)
        place = keys[:, 0] & mask
        found: NDArray[np.int32] = self._slots[place]
        wrong = np.flatnonzero((self._owner[found] != keys).any(axis=1))
        wrong = wrong[found[wrong] != UNKNOWN]
        while wrong.size:
            place[wrong] = (place[wrong] + np.uint64(1)) & mask
            found[wrong] = self._slots[place[wrong]]
            wrong = wrong[(self._owner[found[wrong]] != keys[wrong]).any(axis=1)]
            wrong = wrong[found[wrong] != UNKNOWN]
        # An empty slot leads to the last owner, which may be any.
        return found

    def put(self, keys: Keys, numbers: NDArray[np.int32]) -> None:
        """From now on each of `numbers` has this key; of two keys for one number the later one counts."""
        if not numbers.size:
            return
        numbers, last = np.unique(numbers[::-1], return_index=True)
        keys = keys[::-1][last]
        highest = int(numbers[-1])
        if highest >= len(self._owner):
            grown = np.zeros((max(highest + 1, 2 * len(self._owner)), 2), np.uint64)
            grown[: len(self._owner)] = self._owner
            self._owner = grown
        self._owner[numbers] = keys
        if 2 * (self._used + numbers.size) > self._slots.size:
            self._rebuild()
        else:
            self._fill(keys, numbers)

    def forget(self, numbers: int | list[int] | NDArray[np.int32]) -> None:
        """These numbers have no key any more."""
        known = np.atleast_1d(np.asarray(numbers, np.intp))
        self._owner[known[known < len(self._owner)]] = 0

    def _rebuild(self) -> None:
        """Slots for the numbers that have an owner, a quarter of them filled."""
        numbers = np.flatnonzero(self._owner.any(axis=1)).astype(np.int32)
        self._slots = np.full(max(1024, 1 << (4 * numbers.size - 1).bit_length()), UNKNOWN, np.int32)
        self._used = 0
        self._fill(self._owner[numbers], numbers)

    def _fill(self, keys: Keys, numbers: NDArray[np.int32]) -> None:
        mask = np.uint64(self._slots.size - 1)
        place = keys[:, 0] & mask
        self._used += numbers.size
        while numbers.size:
            free = self._slots[place] == UNKNOWN
            self._slots[place[free]] = numbers[free]  # where several want one slot, one of them gets it
            left = self._slots[place] != numbers
            place, numbers = (place[left] + np.uint64(1)) & mask, numbers[left]
