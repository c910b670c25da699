"""The one body all answers are written into, one after another: what most of them share is already there.

Every lane that differs between nodes is written each time; what an answer repeats (times, free space) is in a node's
lanes once. Sampled times differ in their last eight bytes, the rest of them is the same for ten hours; and some times
are those of the tick, the same for all nodes.
"""

import numpy as np
from numpy.typing import NDArray

from collector.sim.digits import Lanes, scatter, time_lanes
from collector.sim.hashing import I64
from collector.sim.http import Sheet
from collector.sim.summary_format import SummaryFormat


class SummaryBody:
    """Bytes that change with every `write`: whoever keeps an answer copies it."""

    def __init__(self, summary_format: SummaryFormat) -> None:
        self._format = summary_format
        layout = summary_format.layout
        sheet = Sheet(layout.template.nbytes)
        self._text = sheet.body(layout.size)
        self._lanes: Lanes = np.frombuffer(sheet, np.uint32, len(layout.template), Sheet.FRONT)
        self._lanes[:] = layout.template
        self._asked = -1
        self._dates = b""

    def write(self, lanes: Lanes, dates: Lanes, asked: int) -> memoryview:
        """An answer at the tick `asked`, seconds since 1970; `dates` (3,), or (cells, 3) at the turn of ten hours."""
        text, shared = self._lanes, self._format
        scatter(text, shared.positions, lanes, shared.sources)
        if dates.ndim > 1 or dates.tobytes() != self._dates:
            text[shared.date_positions] = dates
            self._dates = b"" if dates.ndim > 1 else dates.tobytes()
        if asked != self._asked:
            text[shared.asked_positions] = time_lanes(np.array([asked]))
            self._asked = asked
        return self._text

    def without(self, absent: NDArray[np.bool_], gone: NDArray[np.bool_]) -> memoryview:
        """The latest answer with the records of absent containers and of pods that are gone cut out."""
        extents = self._format.layout.extents
        cuts = _cuts(extents["pods"], gone)
        for slot in (absent.any(axis=1) & ~gone).nonzero()[0].tolist():
            cuts += _cuts(extents[f"containers {slot}"], absent[slot])
        kept: list[bytes | memoryview] = []
        begin = 0
        for first, last, instead in sorted(cuts):
            kept += (self._text[begin:first], instead)
            begin = last
        return memoryview(b"".join([*kept, self._text[begin:]]))


def _cuts(extents: I64, gone: NDArray[np.bool_]) -> list[tuple[int, int, bytes]]:
    """The extents of the records that are gone, and the comma of the last one that stays: a space comes instead."""
    cuts = [(first, last, b"") for first, last in extents[gone].tolist()]
    staying = (~gone).nonzero()[0]
    if staying.size:
        end = int(extents[staying[-1], 1])
        cuts.append((end - 1, end, b" "))
    return cuts
