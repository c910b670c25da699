"""Kubernetes quantities: text to exact integers, and integers to canonical text.

Grammar (Kubernetes API, `resource.Quantity`): an optional sign, a decimal number with digits before or after the point,
and one suffix of

    n u m (none) k M G T P E      powers of ten, 10^-9 to 10^18
    Ki Mi Gi Ti Pi Ei             powers of 1024
    e<int> E<int>                 decimal exponent; a bare E is 10^18

Rounding is Go's `Value` and `MilliValue`: away from zero, so that any request, however small, counts as one. A result
beyond int64 is cut at its bounds; Go cuts binary suffixes the same way and lets the others wrap.
"""

import re
from functools import lru_cache
from typing import Final

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)

LENGTH_LIMIT: Final = 256
"""Characters; no quantity needs them, and a number of any length would cost any time."""

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

_FORM: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?"
)

_DECIMAL_SUFFIXES: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIXES: Final = ("", *_BINARY)

_EXPONENT_BOUND: Final = 2 * LENGTH_LIMIT
"""Beyond this power of ten either way the result is a bound of int64 or the smallest step, whatever the digits."""


class QuantityError(ValueError):
    """A text that is no Kubernetes quantity; the message names it."""


@lru_cache(maxsize=4096)
def value(text: str) -> int:
    """Whole units (bytes, devices), rounded away from zero, cut to int64."""
    return _scaled(text, 0)


@lru_cache(maxsize=4096)
def milli(text: str) -> int:
    """Thousandths (millicores), rounded away from zero, cut to int64."""
    return _scaled(text, 3)


def _scaled(text: str, power: int) -> int:
    """`text` times 10^`power` as an integer."""
    if len(text) > LENGTH_LIMIT:
        raise QuantityError(f"quantity {text[:32]!r}... has {len(text)} characters; at most {LENGTH_LIMIT} are read")
    form = _FORM.fullmatch(text)
    if form is None:
        raise QuantityError(f"{text!r} is no Kubernetes quantity such as 100m, 0.5, 1e3 or 1Gi")
    whole, fraction = form["whole"], form["fraction"] or ""
    if not whole and not fraction:
        raise QuantityError(f"quantity {text!r} has no digits")
    suffix = form["suffix"] or ""
    digits = int(whole + fraction)
    exponent = power - len(fraction)
    if suffix in _BINARY:
        digits <<= _BINARY[suffix]
    else:
        exponent += int(form["exponent"]) if form["exponent"] else _DECIMAL[suffix]
    exponent = max(-_EXPONENT_BOUND, min(_EXPONENT_BOUND, exponent))
    size: int = digits * 10**exponent if exponent >= 0 else -(-digits // 10**-exponent)
    return max(INT64_MIN, -size) if form["sign"] == "-" else min(INT64_MAX, size)


def decimal_text(number: int, power: int = 0) -> str:
    """`number` times 10^`power` in canonical form (DecimalSI): whole digits and the largest suffix that allows them.

    `power` is -9, -6, -3 or 0. Source: `Quantity.CanonicalizeBytes` of Kubernetes' API library.
    """
    if not number:
        return "0"
    while not number % 1000 and power < 18:
        number //= 1000
        power += 3
    return f"{number}{_DECIMAL_SUFFIXES[power]}"


def decimal_suffix(power: int) -> str:
    """How 10^`power` is written: `m` for -3."""
    return _DECIMAL_SUFFIXES[power]


def binary_text(number: int) -> str:
    """`number` in canonical form (BinarySI): `3Gi`; below 1024 either way decimal, so that 1000 is `1k`."""
    if -1024 < number < 1024:
        return decimal_text(number)
    times = 0
    while not number % 1024 and times < 6:
        number //= 1024
        times += 1
    return f"{number}{_BINARY_SUFFIXES[times]}"
