"""One HTTP/1.1 answer, read into one buffer and put together there: lengths and chunks, without a socket.

The body of an answer with a length, or of one large chunk, as Go writes a summary, is never moved: it stays where the
socket put it. tests/sources/test_http1.py holds this against aiohttp's parser.
"""

import re
from collections.abc import Callable
from typing import Final

from collector.sources.buffers import Buffers
from collector.sources.head import HEAD_BYTES, OK, Head, MalformedAnswerError, read_field, read_head

RECORD: Final = 16 * 1024
"""Room there must be for a read: the most plaintext in one TLS record (RFC 8446, 5.1), so that OpenSSL keeps none."""
_LINE_BYTES: Final = 1024
"""Longest line before a chunk, extensions included."""
_TRUSTED: Final = 4 << 20
"""Up to here a length is believed before the bytes are there."""
_GAP: Final = 64 * 1024
"""So many bytes of framing are left lying in the buffer before what follows is moved over them."""

_BEGINNING: Final = b"HTTP/1."
_LAST_CHUNK: Final = b"0\r\n\r\n"
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00\r\n]*)?")
_HEX: Final = 16


class TooLargeError(Exception):
    """The body is larger than allowed; `announced` is what its length said, None when it only turned out."""

    def __init__(self, announced: int | None = None) -> None:
        super().__init__(announced)
        self.announced: Final = announced


class Reading:
    """One answer on its way.

    Whoever reads puts bytes into `view[filled:]`, never into less than RECORD bytes of room (`grow`), counts them in
    `filled`, and calls `advance` once `filled` has reached `due`. When that says True the answer is there.
    """

    __slots__ = (
        "_at",
        "_begin",
        "_buffer",
        "_buffers",
        "_end",
        "_excerpt",
        "_limit",
        "_room",
        "_size",
        "_step",
        "_whole",
        "due",
        "filled",
        "head",
        "view",
    )

    def __init__(self, buffers: Buffers, room: int, limit: int, excerpt: int) -> None:
        """A body of status 200 may have `limit` bytes, of another only `excerpt` are read.

        A buffer of `room` bytes comes from `buffers` with the first byte: one that waits for a kubelet holds none.
        """
        self._buffers, self._room, self._limit, self._excerpt = buffers, room, limit, excerpt
        self._buffer = bytearray()
        self.view = memoryview(self._buffer)
        self.filled = 0
        self.due = 1
        # Where what is not understood yet begins; the body put together so far; bytes of the chunk or the trailers.
        self._at = self._begin = self._end = self._size = 0
        self._whole = True  # more of the body is wanted, or all of it has been read
        self._step: Callable[[], bool] | None = self._heads
        self.head: Head | None = None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on the connection: nothing of this answer, nor after it, is left."""
        return self.head is not None and self.head.keep and self._whole and self.filled == self._at

    def advance(self) -> bool:
        """Understand what came. Raises MalformedAnswerError, TooLargeError."""
        while self._step is not None:
            if not self._step():
                return False
        return True

    def grow(self) -> None:
        """Make room for a read."""
        if not self._buffer:
            self._buffer = self._buffers.take(self._room)
            self.view = memoryview(self._buffer)
            return
        gap = self._at - self._end if self._end else 0
        if gap >= _GAP:
            self.view[self._end : self.filled - gap] = self.view[self._at : self.filled]
            self._at, self.filled, self.due = self._at - gap, self.filled - gap, self.due - gap
            return
        wanted = max(2 * len(self._buffer), min(self.due, _TRUSTED) + 2 * RECORD)
        self.view.release()
        self._buffer.extend(bytes(wanted - len(self._buffer)))
        self.view = memoryview(self._buffer)

    def body(self) -> memoryview:
        """The body, once `advance` said that it is there. Its buffer is used again when the last view of it is gone."""
        return self.view[self._begin : self._end]

    def _line(self, longest: int) -> bytes | None:
        """The line at `_at`, which then lies behind it; None when it has not come whole."""
        end = self._buffer.find(b"\r\n", self._at, self.filled)
        if (self.filled if end < 0 else end) - self._at > longest:
            raise MalformedAnswerError(f"a line between chunks has more than {longest} bytes")
        if end < 0:
            self.due = self.filled + 1
            return None
        line = bytes(self.view[self._at : end])
        self._at = end + 2
        return line

    def _heads(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", self._at, self.filled)
        if (self.filled if end < 0 else end) > HEAD_BYTES:
            raise MalformedAnswerError(f"its head has more than {HEAD_BYTES} bytes")
        if end < 0:
            begun = bytes(self.view[self._at : min(self.filled, self._at + len(_BEGINNING))])
            if not _BEGINNING.startswith(begun):
                raise MalformedAnswerError(f"the answer begins with {begun!r}")
            self.due = self.filled + 1
            return False
        head = self.head = read_head(bytes(self.view[self._at : end]))
        self._at = self._begin = self._end = end + 4
        if head.interim:
            return True
        if head.chunked:
            self._step = self._chunk
            return True
        if head.status == OK and head.length > self._limit:
            raise TooLargeError(head.length)
        self._want(head.length)
        self.due, self._step = self._at + self._size, self._plain
        return True

    def _want(self, size: int) -> None:
        """So many bytes of body follow: how many of them to read. Of a refusal its beginning is enough."""
        assert self.head is not None
        wanted = size if self.head.status == OK else self._excerpt - (self._end - self._begin)
        self._whole, self._size = size <= wanted, min(size, wanted)

    def _plain(self) -> bool:
        if self.filled < self.due:
            return False
        self._end = self._at = self.due
        self._step = None
        return True

    def _chunk(self) -> bool:
        if self._buffer.startswith(_LAST_CHUNK, self._at, self.filled):
            self._at += len(_LAST_CHUNK)
            self._step = None
            return True
        line = self._line(_LINE_BYTES)
        if line is None:
            return False
        found = _SIZE.fullmatch(line)
        if found is None:
            raise MalformedAnswerError(f"a chunk begins with {line[:100]!r}")
        size = int(found[1], _HEX)
        if size == 0:
            self._size, self._step = 0, self._trailer
            return True
        assert self.head is not None
        if self.head.status == OK and self._end - self._begin + size > self._limit:
            raise TooLargeError
        if self._begin == self._end:
            self._begin = self._end = self._at
        self._want(size)
        self.due, self._step = self._at + self._size + (2 if self._whole else 0), self._data
        return True

    def _data(self) -> bool:
        if self.filled < self.due:
            return False
        view, at, end, size = self.view, self._at, self._end, self._size
        if self._whole and not self._buffer.startswith(b"\r\n", at + size):
            raise MalformedAnswerError("a chunk is longer than it said")
        if at != end:
            view[end : end + size] = view[at : at + size]
        self._end, self._at = end + size, self.due
        self._step = self._chunk if self._whole else None
        return True

    def _trailer(self) -> bool:
        line = self._line(HEAD_BYTES)
        if line is None:
            return False
        self._size += len(line) + 2
        if self._size > HEAD_BYTES:
            raise MalformedAnswerError(f"its trailers have more than {HEAD_BYTES} bytes")
        if line:
            read_field(line)
        else:
            self._step = None
        return True
