"""Sums since the start and quantiles of the last ten minutes, for many series at once: rows of slabs of numbers.

A slab is never moved. One table grown to twice its rows would be copied while a scrape waits: with 5,000 nodes that
falls into the first round, whose turns are the longest as it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.5, 0.9, 0.99)

WINDOW_S = 600.0
"""Older observations count for no quantile."""

LATEST = 120
"""Nor do any before the latest this many of a series: ten minutes of cycles of 5 s."""

ROWS_AT_ONCE = 200

SLAB_ROWS = 512
"""Series a slab holds: half a megabyte, of which only what has been written takes memory."""

_VALUE, _MOMENT = 0, 1


@dataclass(slots=True)
class _Series:
    """What is known of one series since the start."""

    row: int
    count: int = 0
    total: float = 0.0
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """One series, at the moment of asking."""

    label: str
    count: int
    total: float
    quantiles: tuple[float, ...]
    """In the order of QUANTILES; NaN when there is no observation in the window. Empty when not asked for."""


class Windows:
    """The observations of one summary, by the value of its label.

    A series costs 1 KB, an observation no object. Times are Unix seconds, given by the caller.
    """

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._free: list[int] = []
        self._slabs: list[NDArray[np.float32]] = []
        """Shape (SLAB_ROWS, 2, LATEST): values and moments of a series lie side by side."""
        self._epoch = 0.0
        """What moments count from, so that four bytes will do for them."""

    def add(self, label: str, value: float, now: float) -> None:
        """One observation."""
        series = self._series.get(label)
        if series is None:
            if not self._series:
                self._epoch = now
            series = self._series[label] = _Series(self._take_row())
        count, (slab, row) = series.count, divmod(series.row, SLAB_ROWS)
        numbers, slot = self._slabs[slab], count % LATEST
        numbers[row, _VALUE, slot] = value
        numbers[row, _MOMENT, slot] = now - self._epoch
        series.count = count + 1
        series.total += value
        series.end = now

    def ends(self) -> Iterator[tuple[str, float]]:
        """When each series was last added to."""
        return ((label, series.end) for label, series in self._series.items())

    def summaries(self, now: float, *, quantiles: bool = True) -> Iterator[Summary]:
        """Each series, with its quantiles: exact ones, of the nearest rank, over the observations in the window."""
        known = list(self._series.items())
        for first in range(0, len(known), ROWS_AT_ONCE):
            piece = known[first : first + ROWS_AT_ONCE]
            found = self._quantiles([series for _, series in piece], now) if quantiles else repeat(())
            for (label, series), of_series in zip(piece, found, strict=False):
                yield Summary(label, series.count, series.total, of_series)

    def _quantiles(self, piece: Sequence[_Series], now: float) -> Iterable[tuple[float, ...]]:
        places = [divmod(series.row, SLAB_ROWS) for series in piece]
        numbers = np.array([self._slabs[slab][row] for slab, row in places])
        seen = np.array([min(series.count, LATEST) for series in piece])
        young = numbers[:, _MOMENT] >= now - self._epoch - WINDOW_S
        young &= np.arange(LATEST) < seen[:, None]
        # What is no observation of the window sorts behind all that are.
        ordered = np.sort(np.where(young, numbers[:, _VALUE], np.inf), axis=1)
        counts = young.sum(axis=1)
        ranks = [np.maximum(np.ceil(q * counts).astype(np.intp) - 1, 0) for q in QUANTILES]
        columns = [np.where(counts > 0, ordered[np.arange(len(piece)), rank], np.nan).tolist() for rank in ranks]
        return zip(*columns, strict=True)

    def forget_before(self, oldest: float) -> None:
        """Drop the series that were last added to before `oldest`."""
        for label in [label for label, series in self._series.items() if series.end < oldest]:
            self._free.append(self._series.pop(label).row)

    def _take_row(self) -> int:
        if self._free:
            return self._free.pop()
        row = len(self._series)
        if row >= SLAB_ROWS * len(self._slabs):
            self._slabs.append(np.zeros((SLAB_ROWS, 2, LATEST), np.float32))
        return row
