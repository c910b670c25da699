"""Writer: what every way of filling a batch has to do the same, whatever form the answers come in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.core.batch import DataBatch
from collector.core.metrics import INDEX, Kind

SHADOWED = -1
"""In place of a row: this entry is a duplicate that another one replaces."""

_UPTIME = INDEX["uptime"]

Rows = NDArray[np.int32]


class Writer:
    """Claims rows of one batch and writes what belongs to all of them.

    A later answer about an entity replaces an earlier one wholly, its labelled values included. Within one answer, of
    two containers of one name the one that started later counts, on a tie the later one in the list (behaviour
    reference, section 3.4).
    """

    def __init__(self, batch: DataBatch) -> None:
        self.batch = batch

    def make_room(self) -> None:
        """Called after rows may have been created."""
        self.batch.ensure_rows()

    def without_duplicates(self, kind: Kind, rows: Rows, arrival: NDArray[Any], start: NDArray[np.int64]) -> Rows:
        """`rows`, with SHADOWED for every entity of `kind` that another one of them replaces.

        `arrival[i]` is the place of the answer that holds entity i, `start[i]` its start in ns.
        """
        order, scratch = np.arange(rows.size), self.batch.entities.scratch
        scratch[rows] = order
        if (scratch[rows] == order).all():
            return rows
        return _shadow(rows, arrival, start if kind is Kind.POD_CONTAINER else np.zeros(rows.size, np.int64))

    def claim(self, kind: Kind, rows: NDArray[Any], nodes: Rows) -> None:
        """Make `rows`, each once, part of the batch; what an earlier answer said of them is dropped.

        `nodes[i]` is where `rows[i]` runs. A container's pod and its node are claimed as well, by whoever claims it.
        """
        batch = self.batch
        again = rows[batch.exists[rows]]
        if again.size:
            batch.forget(again)
        batch.exists[rows] = True
        if kind is not Kind.NODE:
            batch.entities.place(rows, nodes)
        # Now, not when the batch is frozen: an earlier batch that ends meanwhile must not sweep them.
        above = kind in {Kind.NODE, Kind.POD}
        batch.entities.mark_seen(rows, batch.pin.sequence, above=above)

    def write_uptime(self, rows: NDArray[Any], start: NDArray[np.int64], read_at: NDArray[np.int64] | int) -> None:
        """How long each of `rows` had lived at `read_at` (ns since the epoch)."""
        lived = (read_at - start) // 1_000_000
        self.batch.cells[_UPTIME][rows] = lived
        self.batch.present[_UPTIME][rows] = (start > 0) & (lived >= 0)


def _shadow(rows: Rows, arrival: NDArray[Any], start: NDArray[np.int64]) -> Rows:
    """`rows` with SHADOWED for every duplicate but the one that counts.

    Last to arrive, then last to start, then last in the list.
    """
    order = np.lexsort((np.arange(rows.size), start, arrival, rows))
    in_order = rows[order]
    last = np.append(in_order[1:] != in_order[:-1], True)
    kept = np.full_like(rows, SHADOWED)
    kept[order[last]] = in_order[last]
    return kept
