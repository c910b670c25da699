"""Comparing an answer with the one expected: value by value and byte for byte, but for what no two runs have in common.

Those are (README of the recordings): the order of names, of series in metric-export and of API items; `uptime`; the
time of the request in `creationTimestamp`; the last bits of pods' float rates that are sums in random order.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tests.replay.layout import Number, lay_out, ordered

UPTIME_MS = 2_000
"""Heapster decoded some milliseconds to a second later or earlier than five seconds after the window."""
SUMMED = 1e-12


def unordered(document: Any) -> Any:
    """The document with everything in order that came in a random one."""
    if isinstance(document, list):
        return sorted((ordered(each) for each in document), key=_sort_key)
    if isinstance(document, Mapping) and "metadata" in document and isinstance(document.get("items"), list):
        return {**document, "items": sorted(document["items"], key=_sort_key)}
    return document


def _sort_key(each: Any) -> tuple[str, ...]:
    if isinstance(each, str):
        return (each,)
    if "labels" in each:
        return tuple(f"{name}={value}" for name, value in sorted(each["labels"].items()))
    return tuple(str(each["metadata"].get(name, "")) for name in ("namespace", "name"))


def settled(expected: Any, found: Any, *, uptime: bool, summed: bool, now: str) -> Any:
    """`expected` with the values of `found` where they may differ: see above.

    `uptime` and `summed` say that the whole document is about such a metric.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return {
            name: settled(
                each,
                found.get(name, each),
                uptime=uptime or name == "uptime",
                summed=summed,
                now=now,
            )
            if name not in {"count", "bucketSize", "creationTimestamp"}
            else now
            if name == "creationTimestamp"
            else each
            for name, each in expected.items()
        }
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = zip(expected, found, strict=True)
        return [settled(one, other, uptime=uptime, summed=summed, now=now) for one, other in pairs]
    if isinstance(expected, int | float) and not isinstance(expected, bool) and isinstance(found, Number):
        return found if _near(expected, found.text, uptime=uptime, summed=summed) else expected
    return expected


def _near(expected: float, text: str, *, uptime: bool, summed: bool) -> bool:
    try:
        found = float(text)
    except ValueError:
        return False
    if uptime:
        return abs(found - expected) <= UPTIME_MS and ("." in text or isinstance(expected, int))
    if not summed:
        return False
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=SUMMED)
    return abs(found - expected) <= 1


def differing(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """One line for each place where two documents differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in [*expected, *(name for name in found if name not in expected)]:
            if name not in found:
                yield f"{where}.{name} is missing: {_shown(expected[name])}"
            elif name not in expected:
                yield f"{where}.{name} should not be there: {_shown(found[name])}"
            else:
                yield from differing(expected[name], found[name], f"{where}.{name}")
        return
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield f"{where} has {len(found)} elements, not {len(expected)}: {_shown(found)}, not {_shown(expected)}"
            return
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differing(one, other, f"{where}[{place}]")
        return
    if lay_out(expected, "compact") != lay_out(found, "compact"):
        yield f"{where} is {_shown(found)}, not {_shown(expected)}"


def _shown(document: Any) -> str:
    text = lay_out(document, "compact").decode()
    return text if len(text) <= 200 else f"{text[:200]}..."
