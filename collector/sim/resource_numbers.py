"""What follows the labels of a line of /metrics/resource, as lanes, for many lines at once.

A number has as many digits as it needs, there is one blank before the time, and Prometheus' format allows no other: so
what a number leaves of its lanes is NUL, which the writer takes out (see resource_body.py). Times are milliseconds of
thirteen digits: 2001 to 2286. The first two share a lane with the number's last digit, the others fill three lanes.
"""

import numpy as np

from collector.sim.digits import LANE, Lanes
from collector.sim.hashing import I64

NANO = 1_000_000_000
SECONDS_LANES = 8
NODE_SECONDS_LANES = 10
BYTES_LANES = 7
ZERO_LANES = 4
START_LANES = 3
_GROUP = 10_000
_TIME_LANES = 3


def _lanes(texts: list[bytes], *, right: bool = True) -> Lanes:
    """Each text a lane, NUL where it is shorter: in front of it, or behind."""
    padded = [text.rjust(LANE, b"\0") if right else text.ljust(LANE, b"\0") for text in texts]
    return np.frombuffer(b"".join(padded), dtype=np.uint32)


_PADDED = [b"%04d" % number for number in range(_GROUP)]
_HIGHER = _lanes([*_PADDED, b"", *(b"%d" % number for number in range(1, _GROUP))])
"""Four digits; from 10,000 on the same without leading zeros, nothing for zero."""
_DECIMALS = np.concatenate([_HIGHER[:_GROUP], _lanes([text.rstrip(b"0") for text in _PADDED], right=False)])
"""Four digits; from 10,000 on the same without zeros at the end."""
_POINT = np.concatenate(
    [_lanes([form % number + point for number in range(1_000)]) for point in (b".", b"") for form in (b"%03d", b"%d")]
)
"""Three digits and a point; from 1,000 on without leading zeros; from 2,000 on both without the point."""
_LAST = _lanes([b"%d %02d" % (digit, time) for digit in range(10) for time in range(100)])
_LAST = np.concatenate([_LAST, _lanes([b" %02d" % time for time in range(100)])])
"""A digit, the blank and the first two digits of a time; from 1,000 on without the digit."""
_END = _lanes([b"%03d\n" % number for number in range(1_000)])


def write_seconds(nanoseconds: I64, milliseconds: I64, out: Lanes) -> None:
    """Nanoseconds as exact seconds, then the time: (n, k) each, into (n, k, lanes).

    Five lanes of `out` are for seconds below 1,000, decimals and the time, so (n, k, 8) holds ten million seconds.
    """
    seconds = nanoseconds // NANO
    rest = (nanoseconds - seconds * NANO).astype(np.uint32)
    tens = rest // np.uint32(10)
    upper = tens // np.uint32(_GROUP)
    lower, last = tens - upper * np.uint32(_GROUP), rest - tens * np.uint32(10)
    first = out.shape[2] - 4 - _TIME_LANES
    thousands = seconds // 1_000
    units = seconds - thousands * 1_000
    _write_higher(thousands, out[:, :, :first])
    out[:, :, first] = _POINT.take(units + (thousands == 0) * 1_000 + (rest == 0) * 2_000)
    out[:, :, first + 1] = _DECIMALS.take(upper + (rest == upper * np.uint32(_GROUP * 10)) * np.uint32(_GROUP))
    out[:, :, first + 2] = _DECIMALS.take(lower + (last == 0) * np.uint32(_GROUP))
    _write_time(np.where(last == 0, 10, last), milliseconds, out[:, :, first + 3 :])


def write_bytes(amounts: I64, milliseconds: I64, out: Lanes) -> None:
    """Whole numbers below 10^13, then the time: (n, k) each, into (n, k, 7)."""
    tens = amounts // 10
    _write_higher(tens, out[:, :, :-4])
    _write_time(amounts - tens * 10, milliseconds, out[:, :, -4:])


def write_zero(milliseconds: I64, out: Lanes) -> None:
    """Zero, then the time: (n, k), into (n, k, 4)."""
    _write_time(np.zeros_like(milliseconds), milliseconds, out)


def write_starts(seconds: I64, out: Lanes) -> None:
    """Seconds since 1970 of ten digits, without a time: (n, k) into (n, k, 3)."""
    thousands = seconds // 1_000
    _write_higher(thousands, out[:, :, :-1])
    out[:, :, -1] = _END.take(seconds - thousands * 1_000)


def _write_higher(numbers: I64, out: Lanes) -> None:
    """What stands before other digits: nothing for zero."""
    rest = numbers
    for lane in range(out.shape[2] - 1, -1, -1):
        higher = rest // _GROUP
        out[:, :, lane] = _HIGHER.take(rest - higher * _GROUP + (higher == 0) * _GROUP)
        rest = higher


def _write_time(last: I64, milliseconds: I64, out: Lanes) -> None:
    """The last digit of a number (10: none), and the time behind it."""
    seconds = milliseconds // 1_000
    middle = seconds // _GROUP
    first = middle // _GROUP
    out[:, :, 0] = _LAST.take(last * 100 + first)
    out[:, :, 1] = _HIGHER.take(middle - first * _GROUP)
    out[:, :, 2] = _HIGHER.take(seconds - middle * _GROUP)
    out[:, :, 3] = _END.take(milliseconds - seconds * 1_000)
