"""Identities: numbers (rows, label numbers) found again by a 128-bit hash of the names they were given for.

A hash table in two arrays, searched and filled for thousands of keys at once, so that names that were seen before cost
neither a Python string nor a dictionary lookup. `owner[number]` is the key that a number was last given for; the slots
lead there. A slot whose number has another owner by now leads nowhere, and so forgetting is one write.
"""

import numpy as np
from numpy.typing import NDArray

from collector.core.pages import untouched
from collector.core.place import UNKNOWN, find

__all__ = ["UNKNOWN", "Identities", "Keys"]

Keys = NDArray[np.uint64]
"""(n, 2); never all zeros."""


class Identities:
    """Key -> number, at most one key a number. Whoever gives numbers to others has to `forget` them here."""

    def __init__(self) -> None:
        self._slots: NDArray[np.int32] = np.zeros(1024, np.int32)
        """The complement of a number, negative; 0 where there is none, so that making many costs nothing at once."""
        self._used = 0
        self._owner = np.zeros((2, 1024), np.uint64)  # the halves apart: comparing them so is much faster

    def find(self, keys: Keys) -> NDArray[np.int32]:
        """The number of each key, UNKNOWN where it has none."""
        return find(keys, self._slots, self._owner)

    def put(self, keys: Keys, numbers: NDArray[np.int32]) -> None:
        """From now on each of `numbers` has this key; of two keys for one number the later one counts."""
        if not numbers.size:
            return
        numbers, last = np.unique(numbers[::-1], return_index=True)
        keys = keys[::-1][last]
        highest = int(numbers[-1])
        if highest >= self._owner.shape[1]:
            grown = untouched((2, max(highest + 1, 2 * self._owner.shape[1])), np.uint64)
            grown[:, : self._owner.shape[1]] = self._owner
            self._owner = grown
        self._owner[:, numbers] = keys.T
        if 4 * (self._used + numbers.size) > self._slots.size:
            self._rebuild()
        else:
            self._fill(keys[:, 0], numbers)

    def expect(self, numbers: int) -> None:
        """Have slots for so many, that they need not be made anew again and again while the first ones come."""
        if self._slots.size < _slots_for(numbers):
            self._rebuild(numbers)

    def forget(self, numbers: int | list[int] | NDArray[np.int32]) -> None:
        """These numbers have no key any more."""
        known = np.atleast_1d(np.asarray(numbers, np.intp))
        self._owner[:, known[known < self._owner.shape[1]]] = 0

    def _rebuild(self, expected: int = 0) -> None:
        """Slots for the numbers that have an owner, or `expected` ones, an eighth of them filled, or little more.

        Sparse, because it is the key that has to look furthest that costs: each further look is a round of calls.
        """
        numbers = np.flatnonzero(self._owner.any(axis=0)).astype(np.int32)
        self._slots = untouched((max(1024, _slots_for(max(numbers.size, expected))),), np.int32)
        self._used = 0
        self._fill(self._owner[0, numbers], numbers)

    def _fill(self, first: NDArray[np.uint64], numbers: NDArray[np.int32]) -> None:
        mask = np.uint64(self._slots.size - 1)
        place = first & mask
        self._used += numbers.size
        while numbers.size:
            free = self._slots[place] == 0
            self._slots[place[free]] = ~numbers[free]  # where several want one slot, one of them gets it
            left = self._slots[place] != ~numbers
            place, numbers = (place[left] + np.uint64(1)) & mask, numbers[left]


def _slots_for(numbers: int) -> int:
    return 1 << (7 * numbers).bit_length()
