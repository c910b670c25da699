"""Durations as Go writes them: `300ms`, `10s`, `1h30m`; a bare number is none (behaviour reference, section 1.1)."""

import re
from fractions import Fraction

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which Go takes too
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,  # Go has no days; retentions are written in them
}
_TERM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d)", re.ASCII)


def parse_duration_ns(text: str, *, days: bool = True) -> int:
    """Nanoseconds of `text`, exactly; `days` admits the unit d, which Go does not know.

    Raises ValueError for anything that is no duration, or none below 292 years.
    """
    body = text[1:] if text[:1] in {"-", "+"} else text
    if body == "0":
        return 0
    total, at = Fraction(0), 0
    while at < len(body):
        term = _TERM.match(body, at)
        if term is None or (term[2] == "d" and not days):
            break
        total += Fraction(term[1].rstrip(".")) * _UNITS[term[2]]
        at = term.end()
    if not body or at != len(body) or total >= 2**63:
        raise ValueError(f"{text!r} is no duration: write a number with a unit, such as 300ms, 10s, 2m or 1h30m")
    return -int(total) if text.startswith("-") else int(total)


def format_duration(ns: int) -> str:
    """The shortest exact form: `1m30s`, `20s`, `1.5s`, `300ms`."""
    if ns == 0:
        return "0s"
    if abs(ns) < 1_000_000_000:
        return f"{ns / 1_000_000:g}ms"
    text, rest = "-" if ns < 0 else "", abs(ns)
    for unit in ("h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    return text + (f"{rest / 1_000_000_000:.9f}".rstrip("0").rstrip(".") + "s" if rest else "")
