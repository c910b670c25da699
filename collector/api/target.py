"""Request targets as Go's net/http and net/url read them (behaviour reference, 8.1 and 8.3).

Paths are compared decoded, so `%2F` is a slash; a path that is not clean is redirected to the clean one.
"""

import re
from collections import defaultdict
from html import escape
from urllib.parse import quote, unquote

_MALFORMED = re.compile("%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "$&+,/:;=@"
"""What Go leaves as it is in a path, besides letters, digits and `-_.~`."""


def split_target(target: str) -> tuple[str | None, str]:
    """The decoded path (None when its escapes are malformed) and the raw query of a request target."""
    path, _, query = target.partition("?")
    return _unescape(path), query


def clean_path(path: str) -> str:
    """`path` without empty, `.` and `..` segments; a final slash stays."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    clean = "/" + "/".join(kept)
    return clean + "/" if path.endswith("/") and kept else clean


def location(path: str, query: str) -> str:
    """The reference that leads to a decoded `path` with a raw `query`."""
    reference = quote(path, safe=_PATH_SAFE, errors="surrogateescape")
    return f"{reference}?{query}" if query else reference


def moved_text(reference: str) -> str:
    """The body of a redirect, as Go writes it."""
    shown = escape(reference).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    return f'<a href="{shown}">Moved Permanently</a>.\n\n'


def parse_query(query: str) -> dict[str, list[str]]:
    """Name -> values in order. As in Go, a pair with a malformed escape or a semicolon is left out."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for pair in query.split("&"):
        if not pair or ";" in pair:
            continue
        name, _, value = pair.replace("+", " ").partition("=")
        decoded = _unescape(name), _unescape(value)
        if decoded[0] is not None and decoded[1] is not None:
            found[decoded[0]].append(decoded[1])
    return found


def go_quote(text: str) -> str:
    """`text` as a Go string literal, the way `%q` prints it."""
    return '"' + "".join(map(_literal, text)) + '"'


_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _literal(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescape(text: str) -> str | None:
    return None if _MALFORMED.search(text) else unquote(text, errors="surrogateescape")
