"""The head of an HTTP/1.1 answer: its status, how long its body is, and the five headers that anybody here reads.

Strict, since a kubelet is the only one to be understood: lines end with CRLF, lengths are digits, nothing is guessed
(RFC 9112). All kubelets of a cluster send the same heads in the same second, so each is understood once.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

HEAD_BYTES: Final = 32 * 1024
"""Most bytes of all heads of an answer together, and of its trailers."""
OK: Final = 200
_SWITCHING: Final = 101
_WITHOUT_BODY: Final = frozenset((204, 304))

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r\n]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")


class MalformedAnswerError(Exception):
    """What came is no answer in HTTP/1."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says."""

    status: int
    chunked: bool
    length: int
    """Bytes of the body, where it is not chunked. A body that ends with its connection could have been cut anywhere: it
    counts as empty."""
    keep: bool
    """Whether the connection stays open after the answer."""
    packing: bytes | None
    """Content-Encoding"""
    location: str | None
    date: str | None = None
    """As it stands there."""

    @property
    def interim(self) -> bool:
        """Whether the answer proper is still to come."""
        return self.status < OK


@lru_cache(maxsize=64)
def read_head(head: bytes) -> Head:
    """`head` comes without the empty line at its end. Raises MalformedAnswerError."""
    first, *lines = head.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise MalformedAnswerError(f"its first line is {first[:100]!r}")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, value = read_field(line)
        headers[name] = headers[name] + b", " + value if name in headers else value
    status = int(match[2])
    if status == _SWITCHING:
        raise MalformedAnswerError("status 101, but no other protocol was asked for")
    chunked, length = _framing(headers)
    if status in _WITHOUT_BODY:
        chunked, length = False, 0
    options = headers.get(b"connection", b"").lower().split(b",")
    stays = match[1] == b"1" and b"close" not in [option.strip() for option in options]
    location, date = headers.get(b"location"), headers.get(b"date")
    return Head(
        status=status,
        chunked=chunked,
        length=length or 0,
        keep=stays and (chunked or length is not None),
        packing=headers.get(b"content-encoding"),
        location=None if location is None else location.decode(errors="replace"),
        date=None if date is None else date.decode(errors="replace"),
    )


def read_field(line: bytes) -> tuple[bytes, bytes]:
    """Name in lower case and value of one line of a head or a trailer. Raises MalformedAnswerError."""
    match = _FIELD.fullmatch(line)
    if match is None:
        raise MalformedAnswerError(f"one of its headers is {line[:100]!r}")
    return match[1].lower(), match[2].strip(b" \t")


def _framing(headers: dict[bytes, bytes]) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its length otherwise; None where only the connection ends it."""
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if coding is not None:
        if coding.lower() != b"chunked" or length is not None:
            beside = "" if length is None else " beside a Content-Length"
            raise MalformedAnswerError(f"Transfer-Encoding {coding[:100]!r}{beside}")
        return True, None
    if length is None:
        return False, None
    if _LENGTH.fullmatch(length) is None:
        raise MalformedAnswerError(f"Content-Length {length[:100]!r}")
    return False, int(length)
