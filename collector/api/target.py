"""Request targets as Go's net/http and net/url read them (behaviour reference, 8.1 and 8.3).

Paths are compared decoded, so `%2F` is a slash; a path that is not clean is redirected to the clean one.
"""

import re
from collections import defaultdict
from html import escape
from urllib.parse import quote, unquote

from collector.gotext import quoted

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


go_quote = quoted


def _unescape(text: str) -> str | None:
    return None if _MALFORMED.search(text) else unquote(text, errors="surrogateescape")
