"""RFC 3339 times as Go's time.Parse reads them and time.Time prints them.

Clients see the words of a refusal, so they are Go's too (behaviour reference, 8.3; recorded answers to bad queries).
"""

import re
from datetime import date
from functools import lru_cache

from collector.api.route import BadRequestError

_LAYOUT = "2006-01-02T15:04:05Z07:00"
_SECOND = 1_000_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAYS_IN_400_YEARS = 146_097
_SIGNED = re.compile("[+-]?[0-9]+")
_FRACTION = re.compile("[.,]([0-9]+)")

ZERO_TIME = "0001-01-01T00:00:00Z"
"""How Go prints a time that was never set."""


@lru_cache(4096)
def format_time(timestamp: int) -> str:
    """`timestamp` (ns since the epoch) in UTC, with as many digits of a second as it needs."""
    seconds, fraction = divmod(timestamp, _SECOND)
    day, second = divmod(seconds, 86_400)
    of_day = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{date.fromordinal(_EPOCH_DAY + day).isoformat()}T{of_day}{digits}Z"


def parse_time(text: str) -> int:
    """The ns since the epoch that `text` names; BadRequestError in Go's words when it names no time.

    As in Go: one digit for the hour will do, a fraction may follow a comma, an offset may exceed a day, and the year
    may be 0.
    """
    reader = _Reader(text)
    year = reader.year()
    reader.literal("-")
    month = reader.number("01", "month", 1, 12)
    reader.literal("-")
    day = reader.number("02", "day", 0, 99)
    reader.literal("T")
    hour = reader.number("15", "hour", 0, 23, one_digit=True)
    reader.literal(":")
    minute = reader.number("04", "minute", 0, 59)
    reader.literal(":")
    second = reader.number("05", "second", 0, 59)
    fraction = reader.fraction()
    offset = reader.offset()
    reader.end()
    # The calendar repeats after 400 years; Python's begins with year 1.
    try:
        days = date(year + 400, month, day).toordinal() if year + 400 <= 9999 else _late(year, month, day)
    except ValueError:
        raise reader.refusal(": day out of range") from None
    days -= _DAYS_IN_400_YEARS + _EPOCH_DAY
    return (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * _SECOND + fraction


def _late(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal() + _DAYS_IN_400_YEARS


class _Reader:
    """Reads `text` from the left; what is left of it when a step fails goes into the refusal."""

    def __init__(self, text: str) -> None:
        # One character a byte, as in Go.
        self._text = self._rest = text.encode("utf-8", "surrogateescape").decode("latin-1")

    def refusal(self, message: str) -> BadRequestError:
        return BadRequestError(f"timestamp argument cannot be parsed: parsing time {_quoted(self._text)}{message}")

    def literal(self, char: str) -> None:
        if not self._rest.startswith(char):
            raise self._mismatch(char)
        self._rest = self._rest[1:]

    def year(self) -> int:
        if len(self._rest) < 4 or not _is_digit(self._rest[0]):
            raise self._mismatch("2006")
        digits, self._rest = self._rest[:4], self._rest[4:]
        return self._integer(digits, "2006")

    def number(self, element: str, name: str, low: int, high: int, *, one_digit: bool = False) -> int:
        rest = self._rest
        width = sum(1 for char in rest[:2] if _is_digit(char)) if rest and _is_digit(rest[0]) else 0
        if width < (1 if one_digit else 2):
            raise self._mismatch(element)
        value, self._rest = int(rest[:width]), rest[width:]
        if not low <= value <= high:
            raise self.refusal(f": {name} out of range")
        return value

    def fraction(self) -> int:
        found = _FRACTION.match(self._rest)
        if found is None:
            return 0
        self._rest = self._rest[found.end() :]
        return int(found[1][:9].ljust(9, "0"))

    def offset(self) -> int:
        if self._rest.startswith("Z"):
            self._rest = self._rest[1:]
            return 0
        if len(self._rest) < 6 or self._rest[3] != ":":
            raise self._mismatch("Z07:00")
        zone, self._rest = self._rest[:6], self._rest[6:]
        hours, minutes = self._integer(zone[1:3], "Z07:00"), self._integer(zone[4:6], "Z07:00")
        if zone[0] not in "+-":
            raise self._mismatch("Z07:00")
        return (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)

    def end(self) -> None:
        if self._rest:
            raise self.refusal(f": extra text: {_quoted(self._rest)}")

    def _integer(self, digits: str, element: str) -> int:
        if not _SIGNED.fullmatch(digits):
            raise self._mismatch(element)
        return int(digits)

    def _mismatch(self, element: str) -> BadRequestError:
        return self.refusal(f' as "{_LAYOUT}": cannot parse {_quoted(self._rest)} as "{element}"')


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _quoted(latin: str) -> str:
    """As Go's time package quotes: bytes beyond ASCII and control bytes in hex."""
    return '"' + "".join(map(_quoted_byte, latin)) + '"'


def _quoted_byte(char: str) -> str:
    if char < " " or char >= "\x80":
        return f"\\x{ord(char):02x}"
    return f"\\{char}" if char in '"\\' else char
