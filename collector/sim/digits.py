"""Numbers and times as text, a whole matrix at once.

Text is written in lanes: four bytes seen as one uint32. Ten thousand groups of four digits are written once; a
number is then cut into groups and each group looked up. Leading zeros become spaces, which JSON allows before a
number.

What is meant stands here in NumPy; where it was built, the C extension `_lanes` does the same (docs/decisions/0020).
"""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collector.sim.hashing import I64

try:
    from collector.sim import _lanes as extension
except ImportError:  # no compiler when it was installed
    AVAILABLE = False
else:
    AVAILABLE = True

Lanes = NDArray[np.uint32]
LANE = 4
TIME_LANES = 5  # "2026-11-23T01:52:09Z" is twenty bytes
DATE_LANES = 3  # of these, "2026-11-23T0" is the same for ten hours
BLANK = np.frombuffer(b"    ", dtype=np.uint32)[0]
_GROUP = 10_000
_BATCH_CELLS = 32_768  # temporaries of one batch stay in the cache
_PAIR = _GROUP * _GROUP  # eight digits fit 32 bits, where division is cheap


def _group_table() -> Lanes:
    """Three tables of 10,000 groups: zero-padded; space-padded with zero blank; space-padded with zero as `   0`."""
    padded = b"".join(b"%04d" % number for number in range(_GROUP))
    spaced = b"".join(b"%4d" % number for number in range(_GROUP))
    blank = b"    " + spaced[LANE:]
    return np.frombuffer(padded + blank + spaced, dtype=np.uint32)


_GROUPS = _group_table()


def write_numbers(numbers: I64, lanes: int, out: Lanes) -> None:
    """Write `numbers` (n, k), right-aligned, into `out` (n, k, lanes); a negative number leaves spaces.

    A number must be below 10 ** (4 * lanes): higher digits would be lost.
    """
    if AVAILABLE:
        extension.write_numbers(numbers, out)
    else:
        write_numbers_by_numpy(numbers, lanes, out)


def write_numbers_by_numpy(numbers: I64, lanes: int, out: Lanes) -> None:
    """`write_numbers`, without the extension."""
    step = max(1, _BATCH_CELLS // max(1, numbers.shape[1]))
    for first in range(0, len(numbers), step):
        _write_batch(numbers[first : first + step], lanes, out[first : first + step])


def _write_batch(numbers: I64, lanes: int, out: Lanes) -> None:
    negative = numbers < 0
    absent = bool(negative.any())
    rest = np.maximum(numbers, 0) if absent else numbers
    last = 2 * _GROUP  # the last group stands for a whole number below 10,000: zero is `   0`
    for lane in range(lanes - 1, 0, -2):
        higher = rest // _PAIR if lane > 1 else None
        pair = (rest if higher is None else rest - higher * _PAIR).astype(np.uint32)
        upper = pair // np.uint32(_GROUP)
        pair -= upper * np.uint32(_GROUP)
        pair += (rest < _GROUP) * np.uint32(last)
        out[:, :, lane] = _GROUPS.take(pair)
        upper += np.uint32(_GROUP) if higher is None else (rest < _PAIR) * np.uint32(_GROUP)
        out[:, :, lane - 1] = _GROUPS.take(upper)
        if higher is not None:
            rest, last = higher, _GROUP
    if lanes % 2:
        out[:, :, 0] = _GROUPS.take(rest + last)
    if absent:
        out[negative] = BLANK


def scatter(text: Lanes, positions: NDArray[np.int32], lanes: Lanes, sources: NDArray[np.int32]) -> None:
    """Write lane `sources[i]` of `lanes` to `positions[i]` of `text`, each position once; all have one dimension."""
    if AVAILABLE:
        extension.scatter(text, positions, lanes, sources)
    else:
        scatter_by_numpy(text, positions, lanes, sources)


def scatter_by_numpy(text: Lanes, positions: NDArray[np.int32], lanes: Lanes, sources: NDArray[np.int32]) -> None:
    """`scatter`, without the extension."""
    text[positions] = lanes.take(sources)


def time_lanes(seconds: I64) -> Lanes:
    """RFC 3339 text of seconds since 1970, shape (..., 5)."""
    text = np.datetime_as_string(seconds.astype("datetime64[s]"), unit="s", timezone="UTC")
    return text.astype("S20").view(np.uint32).reshape(*seconds.shape, TIME_LANES)


class RecentTimes:
    """The text of every second of a short span, so that a sample time is a lookup; every one must lie within."""

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._lanes = time_lanes(np.arange(first, last + 1))
        self._clocks = np.ascontiguousarray(self._lanes[:, DATE_LANES:])
        dates = self._lanes[:, :DATE_LANES]
        self.date: Lanes | None = dates[0] if np.array_equal(dates[0], dates[-1]) else None
        """What every text of the span begins with, (3,); None when they differ."""

    def lanes(self, seconds: I64) -> Lanes:
        """The text of each of `seconds`, shape (..., 5)."""
        return self._lanes[seconds - self._first]

    def dates(self, seconds: I64) -> Lanes:
        """The beginning of each, shape (..., 3)."""
        return self.lanes(seconds)[..., :DATE_LANES]

    def clocks(self, seconds: I64) -> Lanes:
        """The rest of each, shape (..., 2)."""
        return self._clocks.take(seconds - self._first, axis=0)


def text_lanes(texts: Sequence[str], lanes: int) -> Lanes:
    """`texts`, ASCII, each padded with spaces to `lanes` lanes: (texts, lanes). ValueError when one does not fit."""
    size = lanes * LANE
    padded = "".join([text.ljust(size) for text in texts])
    if len(padded) > size * len(texts):
        longest = max(texts, key=len)
        raise ValueError(f"{longest!r} is longer than its slot of {size} bytes")
    return np.frombuffer(padded.encode("ascii"), dtype=np.uint32).reshape(-1, lanes)


@lru_cache(maxsize=65_536)
def rfc3339(seconds: int) -> str:
    """One time as text, without NumPy; an object names few times, and each of them often."""
    day, rest = divmod(seconds, 86_400)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_date(day)}T{hour:02d}:{minute:02d}:{second:02d}Z"


@lru_cache(maxsize=1024)
def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
