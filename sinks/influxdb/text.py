r"""Words and numbers of the line protocol (behaviour reference, section 9.1; InfluxDB line protocol reference).

Escaped are comma, space and, outside measurements, the equals sign; a backslash is not. A line cannot hold a line
break, so line feed, carriage return and tab become the two characters `\n`, `\r` and `\t`, as in influxdb-client. A
backslash right before an escaped character, or at the end, reads differently on InfluxDB (it escapes what follows)
and VictoriaMetrics (which counts backslashes); no way to write it is safe on both, so it becomes a slash. No name that
the Kubernetes API accepts holds one.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

_PLAIN = re.compile(r"[^,= \\\n\r\t]*")
_BACKSLASHES = re.compile(r"\\+(?=[,= ]|\Z)")


def _slashes(found: re.Match[str]) -> str:
    return "/" * len(found[0])


def escape_measurement(text: str) -> str:
    """`text` as a measurement."""
    if _PLAIN.fullmatch(text):
        return text
    if "\\" in text:
        text = _BACKSLASHES.sub(_slashes, text)
    text = text.replace(",", "\\,").replace(" ", "\\ ")
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


@lru_cache(maxsize=8192)
def escape_key(text: str) -> str:
    """`text` as a tag key, a tag value or a field key; remembered, as nodes and namespaces come again and again."""
    return text if _PLAIN.fullmatch(text) else escape_measurement(text).replace("=", "\\=")


def float_texts(values: Sequence[float]) -> list[str]:
    """Finite floats in decimal notation: the fewest digits that read back equal, no exponent, no forced fraction.

    The same as Go's strconv 'f' with precision -1. One repr of the whole list is far cheaper than one per value.
    """
    if not values:
        return []
    joined = repr(list(values))[1:-1]
    if "e" in joined:
        return [float_text(value) for value in values]
    return (joined + ",").replace(".0,", ",")[:-1].split(", ")


def float_text(value: float) -> str:
    """One finite float in the same notation."""
    text = repr(value)
    if "e" in text:
        return format(Decimal(text), "f")
    return text.removesuffix(".0")
