"""Just enough HTTP/1.1 for a kubelet: read requests, write answers, stay alive.

A kubelet's answers are the hot loop of every benchmark, so the five thousand connections of a large cluster get a
protocol of one screen instead of a web framework (measured: 35 microseconds of CPU less an answer). The API server
uses aiohttp.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from collector.sim.wire import Wire

MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 65_536
RECORD_BYTES = 16_384
"""What fits one TLS record (RFC 8446, 5.1): the head and the end of an answer share those of the body."""

_TLS_HANDSHAKE = b"\x16"
"""The first byte of a client that speaks TLS."""


class Sheet(bytearray):
    """Memory for a body with room around it, so that head, body and end are sent in one piece.

    The body begins at byte FRONT; BACK bytes follow it. The room belongs to this module.
    """

    FRONT = 1024
    BACK = 16

    def __init__(self, size: int) -> None:
        super().__init__(self.FRONT + size + self.BACK)

    def body(self, size: int) -> memoryview:
        """The first `size` bytes of the body."""
        return memoryview(self)[self.FRONT : self.FRONT + size]

    def around(self, body: memoryview, start: bytes, end: bytes) -> memoryview:
        """`start`, a `body` that `self.body` gave, and `end`, written here."""
        first, last = self.FRONT - len(start), self.FRONT + len(body)
        self[first : self.FRONT] = start
        self[last : last + len(end)] = end
        return memoryview(self)[first : last + len(end)]


@dataclass(frozen=True)
class Request:
    """A request as far as a kubelet looks at it; `path` ends before the query."""

    method: str
    path: str
    query: str
    authorization: str
    close: bool
    length: int = 0
    """of the body that follows"""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An answer and how it is delivered.

    A body is sent chunked as Go's server does for large answers, unless `length` says what Content-Length to claim.
    `delay` seconds pass before anything is sent; a `drip` spreads the body over so many seconds; `silent` sends
    nothing at all. The memory of a `body` that is a view may be written over by the next answer.
    """

    status: int
    body: bytes | memoryview
    content_type: str = "text/plain; charset=utf-8"
    length: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    drip: float = 0.0
    silent: bool = False
    close: bool = False
    ahead: int = 0
    """seconds by which its Date is"""


class KubeletProtocol:
    """One connection: requests are answered one after another by `respond`; `connections` holds the open ones."""

    def __init__(self, respond: Callable[[Request], Answer], connections: "set[KubeletProtocol]") -> None:
        self._respond = respond
        self._connections = connections
        self._wire: Wire | None = None
        self._received = b""
        self._head = b""
        self._request: Request | None = None
        """What the head says: a client asks the same again and again."""
        self._waiting: asyncio.TimerHandle | None = None
        self._answering = False

    def connection_made(self, wire: Wire) -> None:
        """Keep the connection."""
        self._wire = wire
        self._connections.add(self)

    def connection_lost(self) -> None:
        """Forget the connection and what was to be sent."""
        self._wire = None
        self._connections.discard(self)
        if self._waiting is not None:
            self._waiting.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on; answer every whole request."""
        self._received = self._received + data if self._received else data
        self._next()

    def abort(self) -> None:
        """Drop the connection."""
        if self._wire is not None:
            self._wire.abort()

    def _next(self) -> None:
        while self._wire is not None and not self._answering:
            end = self._received.find(b"\r\n\r\n")
            if self._received[:1] == _TLS_HANDSHAKE:
                self._refuse()
                return
            if end < 0:
                if len(self._received) > MOST_HEAD_BYTES:
                    self.abort()
                return
            request = self._parsed(self._received[:end])
            if request is not None and request.length:
                if len(self._received) < end + 4 + request.length:
                    return
                request = replace(request, body=self._received[end + 4 : end + 4 + request.length])
            self._received = self._received[end + 4 + (request.length if request else 0) :]
            if request is None:
                self._refuse()
                return
            self._answer(request, self._respond(request))

    def _refuse(self) -> None:
        """As Go's server does with what is no request."""
        assert self._wire is not None
        self._wire.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self._wire.close()

    def _parsed(self, head: bytes) -> Request | None:
        if head != self._head:
            self._head, self._request = head, _parse(head)
        return self._request

    def _answer(self, request: Request, answer: Answer) -> None:
        self._answering = True
        if answer.silent:
            return
        if answer.delay or answer.drip:
            answer = replace(answer, body=bytes(answer.body))
        if answer.delay:
            self._later(answer.delay, lambda: self._send(request, answer))
        else:
            self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> None:
        """Write the answer: the body is one chunk, as Go's server writes a large one."""
        assert self._wire is not None
        close = request.close or answer.close
        body = memoryview(answer.body)
        chunked = answer.length is None
        start = _head(answer, int(time.time()) + answer.ahead, close=close) + (
            b"%x\r\n" % len(body) if chunked else b""
        )
        end = b"\r\n0\r\n\r\n" if chunked else b""
        if answer.drip:
            self._wire.write(start)
            self._drip(body, answer.drip, end, close=close)
            return
        sheet = body.obj
        if isinstance(sheet, Sheet) and len(start) <= Sheet.FRONT:
            self._wire.write(sheet.around(body, start, end))
        else:
            first = min(RECORD_BYTES - len(start), len(body))
            last = max(first, first + (len(body) - first) // RECORD_BYTES * RECORD_BYTES)
            pieces = (b"".join((start, body[:first])), body[first:last], b"".join((body[last:], end)))
            self._wire.write(*[piece for piece in pieces if piece])
        self._finish(b"", close=close)

    def _drip(self, body: memoryview, seconds: float, end: bytes, *, close: bool) -> None:
        """Send a fiftieth of what was the body every fiftieth of `seconds`."""
        assert self._wire is not None
        size = max(1, len(body) // 50)
        pieces = iter([body[begin : begin + size] for begin in range(0, len(body), size)])

        def next_piece() -> None:
            assert self._wire is not None
            piece = next(pieces, None)
            if piece is None:
                self._finish(end, close=close)
            else:
                self._wire.write(piece)
                self._later(seconds / 50, next_piece)

        next_piece()

    def _finish(self, end: bytes, *, close: bool) -> None:
        assert self._wire is not None
        if end:
            self._wire.write(end)
        self._answering = False
        if close:
            self._wire.close()
            self._wire = None

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def resume() -> None:
            self._waiting = None
            if self._wire is not None:
                action()
                self._next()

        self._waiting = asyncio.get_running_loop().call_later(seconds, resume)


def _head(answer: Answer, second: int, *, close: bool) -> bytes:
    return _lines(answer.status, answer.content_type, answer.headers, answer.length, second, close)


@lru_cache(maxsize=64)
def _lines(
    status: int,
    content_type: str,
    headers: tuple[tuple[str, str], ...],
    length: int | None,
    second: int,
    close: bool,  # what is kept is found by position
) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {text}" for name, text in headers]
    lines.append(f"Date: {formatdate(second, usegmt=True)}")
    if close:
        lines.append("Connection: close")
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parse(head: bytes) -> Request | None:
    """A request from its head, without the empty line; None when it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    authorization, close, length = "", words[2] == "HTTP/1.0", 0
    for line in lines:
        name, _, text = line.partition(":")
        match name.lower():
            case "authorization":
                authorization = text.strip()
            case "connection":
                close = "close" in text.lower()
            case "content-length":
                if not text.strip().isdecimal() or int(text) > MOST_BODY_BYTES:
                    return None
                length = int(text)
            case "transfer-encoding":
                return None  # what a kubelet is asked here has a length
            case _:
                pass
    path, _, query = words[1].partition("?")
    return Request(words[0], path, query, authorization, close, length)
