"""Values into the rows of a batch's columns, and rows by the hash of their names: what every answer passes through.

Here stands what is meant, in NumPy; the C extension `_place` does the same without a call for each column, where it was
built (docs/decisions/0016).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

try:
    from collector.core import _place as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

UNKNOWN = -1
"""In place of a number: this key has none."""


def scatter(
    rows: NDArray[np.int32],
    metrics: Sequence[int],
    columns: Sequence[NDArray[np.int64]],
    cells: NDArray[np.int64],
    present: NDArray[np.bool_] | None,
) -> None:
    """Give `rows` (n,) in each of `metrics` the values of the column beside it, (n,), and note that they are present.

    A negative row is no row. A negative value is none: it is not written; without `present`, 0 is none. Each row
    occurs once. `cells` and `present` are (metrics, rows).
    """
    if AVAILABLE:
        extension.scatter(rows, metrics, columns, cells, present)
    else:
        scatter_by_numpy(rows, metrics, columns, cells, present)


def scatter_by_numpy(
    rows: NDArray[np.int32],
    metrics: Sequence[int],
    columns: Sequence[NDArray[np.int64]],
    cells: NDArray[np.int64],
    present: NDArray[np.bool_] | None,
) -> None:
    """`scatter`, without the extension."""
    live = rows >= 0
    everywhere = bool(live.all())
    target = rows.astype(np.intp)  # NumPy's own type of index: converted once, not for each column
    for m, column in zip(metrics, columns, strict=True):
        given = column >= 0 if present is not None else column != 0
        if not everywhere:
            given &= live
        if given.all():
            into, values = target, column
        else:
            into, values = target[given], column[given]
        cells[m][into] = values
        if present is not None:
            present[m][into] = True


def find(keys: NDArray[np.uint64], slots: NDArray[np.int32], owner: NDArray[np.uint64]) -> NDArray[np.int32]:
    """The number of each of `keys` (n, 2), UNKNOWN where it has none; `slots` and `owner` are those of Identities."""
    if not AVAILABLE:
        return find_by_numpy(keys, slots, owner)
    found = np.empty(len(keys), np.int32)
    extension.find(np.ascontiguousarray(keys), slots, owner, found)
    return found


def find_by_numpy(keys: NDArray[np.uint64], slots: NDArray[np.int32], owner: NDArray[np.uint64]) -> NDArray[np.int32]:
    """`find`, without the extension."""
    owner_first, owner_second = owner
    last = slots.size - 1
    first, second = keys[:, 0], keys[:, 1]
    place = (first & np.uint64(last)).astype(np.intp)
    found: NDArray[np.intp] = ~slots[place].astype(np.intp)
    # An empty slot gives -1, which leads to the last owner, whoever that is; it ends the search either way.
    wrong = np.flatnonzero(((owner_first[found] != first) | (owner_second[found] != second)) & (found != UNKNOWN))
    place, first, second = place[wrong], first[wrong], second[wrong]
    while wrong.size:
        place = (place + 1) & last
        there = ~slots[place].astype(np.intp)
        found[wrong] = there
        left = np.flatnonzero(((owner_first[there] != first) | (owner_second[there] != second)) & (there != UNKNOWN))
        wrong, place, first, second = wrong[left], place[left], first[left], second[left]
    return found.astype(np.int32)
