"""JSON as Heapster wrote it (behaviour reference, 8.1): Go's encoder, in its pretty and its compact layout.

Pretty: one value a line, nested by one space, and every line after the first one space further in.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from collector.api.route import Document, Style

_UNSAFE = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

PREFIX = " "
"""Before every pretty line but the first."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a pretty document is broken into lines."""

    prefix: str
    """Before every line but the first."""
    step: str
    """What one level of nesting moves a line in."""

    def newline(self, depth: int) -> str:
        """The break before a line of this depth."""
        return f"\n{self.prefix}{self.step * depth}"


HEAPSTER = Layout(PREFIX, " ")
"""What Heapster's own API wrote."""


def lay_out(document: Document, style: Style) -> str:
    """`document` in a route's style; maps keep the order they have."""
    return pretty(document, HEAPSTER) if style is Style.PRETTY else f"{compact(document)}\n"


def pretty(document: Document, layout: Layout, depth: int = 0) -> str:
    """`document` over several lines, as it stands within another one at this depth."""
    out: list[str] = []
    _pretty(document, out, layout.newline(depth), layout.step)
    return "".join(out)


def compact(document: Document) -> str:
    """`document` on one line, as a part of a longer text."""
    out: list[str] = []
    _compact(document, out)
    return "".join(out)


def nested(document: Document, style: Style, depth: int) -> str:
    """`document` as it stands within a longer text of that style, `depth` levels below the top."""
    return pretty(document, HEAPSTER, depth) if style is Style.PRETTY else compact(document)


def string(text: str) -> str:
    """`text` between quotes; `<`, `>` and `&` are escaped, as for use within HTML."""
    return f'"{_UNSAFE.sub(_escaped, text)}"'


@lru_cache(maxsize=16_384)
def escaped(text: str) -> str:
    """`text` as it stands between the quotes; of what comes again and again."""
    return string(text)[1:-1]


def number(value: float) -> str:
    """The shortest text that reads back as `value`: with an exponent from 1e21 up and below 1e-6."""
    if isinstance(value, int):
        return str(value)
    text = repr(value)
    if value != 0 and not 1e-6 <= abs(value) < 1e21:
        return text.replace("e-0", "e-")
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        sign = "-" if mantissa.startswith("-") else ""
        whole, _, fraction = mantissa.lstrip("-").partition(".")
        shift = int(exponent)
        if shift < 0:
            return f"{sign}0.{'0' * (-shift - 1)}{whole}{fraction}"
        return sign + whole + fraction.ljust(shift, "0")
    return text.removesuffix(".0")


def _pretty(document: Document, out: list[str], newline: str, step: str) -> None:
    match document:
        case Mapping() if document:
            inner, opening = newline + step, "{"
            for name, value in document.items():
                out.append(f"{opening}{inner}{string(name)}: ")
                _pretty(value, out, inner, step)
                opening = ","
            out.append(newline + "}")
        case Sequence() if document and not isinstance(document, str):
            inner, opening = newline + step, "["
            for value in document:
                out.append(opening + inner)
                _pretty(value, out, inner, step)
                opening = ","
            out.append(newline + "]")
        case _:
            _compact(document, out)


def _compact(document: Document, out: list[str]) -> None:
    match document:
        case None:
            out.append("null")
        case bool():
            out.append("true" if document else "false")
        case str():
            out.append(string(document))
        case int() | float():
            out.append(number(document))
        case Mapping():
            opening = "{"
            for name, value in document.items():
                out.append(f"{opening}{string(name)}:")
                _compact(value, out)
                opening = ","
            out.append("}" if document else "{}")
        case _:
            opening = "["
            for value in document:
                out.append(opening)
                _compact(value, out)
                opening = ","
            out.append("]" if document else "[]")


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if "\ud800" <= char <= "\udfff":
        return "\\ufffd"
    return _SHORT.get(char) or f"\\u{ord(char):04x}"
