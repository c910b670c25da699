"""Texts as Go prints them: clients see them in refusals and in the metrics API."""

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


def quoted(text: str) -> str:
    """`text` as a Go string literal, the way `%q` prints it."""
    return '"' + "".join(map(_literal, text)) + '"'


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


def duration(ns: int) -> str:
    """`ns` the way Go prints a time.Duration: `1m0s`, `10.019s`, `1.5ms`."""
    sign, rest = ("-", -ns) if ns < 0 else ("", ns)
    for unit, size in (("ns", 1), ("\u00b5s", 1_000), ("ms", 1_000_000)):
        if 0 < rest < min(1000 * size, 10**9):
            return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60 * 10**9)
    text = f"{_decimal(rest, 10**9)}s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    if minutes >= 60:
        text = f"{minutes // 60}h{text}"
    return sign + text


def _decimal(number: int, size: int) -> str:
    """`number` divided by `size`, a power of ten, without closing zeros."""
    whole, fraction = divmod(number, size)
    digits = f"{size + fraction}"[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else f"{whole}"
