"""The bytes Heapster sent, from what was recorded of them: the order of fields, white space, numbers, escapes.

The recordings hold parsed JSON, so the order of fields is taken from the behaviour reference (8.3 to 8.7): the fields
of Go structs in their order, the keys of maps sorted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

STRUCTS = (
    ("metrics", "latestTimestamp"),
    ("timestamp", "value"),
    ("buckets", "bucketSize"),
    ("timestamp", "count", "average", "maximum", "minimum", "median", "percentiles"),
    ("metrics", "labels"),
    ("start", "end", "labels", "value"),
    ("metrics", "common_labels", "pod_labels"),
    ("name", "description", "labels", "type", "value_type", "units"),
    ("key", "description"),
    ("metadata", "items"),
    ("metadata", "timestamp", "window", "usage"),
    ("metadata", "timestamp", "window", "containers"),
    ("name", "namespace", "creationTimestamp"),
    ("name", "creationTimestamp"),
    ("name", "usage"),
    ("cpu", "memory"),
)


@dataclass(frozen=True)
class Number:
    """A number as it was written."""

    text: str


def lay_out(document: Any, style: str) -> bytes:
    """A document in a recorded style: `pretty`, `compact` or `compact+nl`."""
    pretty = style == "pretty"
    text = _text(document, 0 if pretty else None)
    return (text.replace("\n", "\n ") + ("\n" if style == "compact+nl" else "")).encode()


def read(body: bytes) -> Any:
    """A document whose numbers are kept as written and whose fields stay in their order. ValueError if it is none."""
    return json.loads(body, parse_float=Number, parse_int=Number)


def ordered(document: Any) -> Any:
    """A recorded document with the fields where Heapster had them."""
    if isinstance(document, Mapping):
        return {name: ordered(document[name]) for name in _in_order(frozenset(document))}
    if isinstance(document, list):
        return [ordered(each) for each in document]
    return document


@lru_cache(1 << 12)
def _in_order(names: frozenset[str]) -> tuple[str, ...]:
    struct = next((one for one in STRUCTS if names <= set(one)), None)
    return tuple(sorted(names)) if struct is None else tuple(name for name in struct if name in names)


def number(value: float) -> str:
    """As Go's encoding/json writes a number: shortest digits, no forced fraction, exponents only far out."""
    if value and not 1e-6 <= abs(value) < 1e21:
        mantissa, _, exponent = repr(float(value)).partition("e")
        assert exponent, f"{value!r}: Python has exponents wherever Go has"
        sign, digits = exponent[0], exponent[1:]
        return f"{mantissa.removesuffix('.0')}e{sign}{digits.lstrip('0') if sign == '-' else digits}"
    text = repr(value)
    return (f"{Decimal(text):f}" if "e" in text else text).removesuffix(".0")


def _text(value: Any, indent: int | None) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Number):
        return value.text
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        colon = ":" if indent is None else ": "
        parts = [f"{_quoted(name)}{colon}{_text(each, _deeper(indent))}" for name, each in value.items()]
        return _wrapped("{", parts, "}", indent)
    return _wrapped("[", [_text(each, _deeper(indent)) for each in value], "]", indent)


def _deeper(indent: int | None) -> int | None:
    return None if indent is None else indent + 1


def _wrapped(opening: str, parts: Sequence[str], closing: str, indent: int | None) -> str:
    if indent is None or not parts:
        return opening + ",".join(parts) + closing
    inside = "\n" + " " * (indent + 1)
    return opening + inside + f",{inside}".join(parts) + "\n" + " " * indent + closing


@lru_cache(1 << 16)
def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        quoted = quoted.replace(char, f"\\u{ord(char):04x}")
    return quoted
