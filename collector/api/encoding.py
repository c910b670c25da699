"""Compression of answers: which one a client gets, and the bytes, in bites small enough for the event loop."""

import zlib

LEVEL = 1
"""Label text shrinks to an eighth at this level and takes 4 ms a megabyte; higher levels gain little for much."""

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""What makes zlib write each encoding; `deflate` is the zlib format, as HTTP means it and Heapster sent it."""


def heapster_encoding(accepted: str) -> str | None:
    """The API's choice: whichever of the two names stands first in `Accept-Encoding`; qualities are ignored."""
    found = [(accepted.find(name), name) for name in _WINDOW_BITS if name in accepted]
    return min(found)[1] if found else None


def standard_encoding(accepted: str) -> str | None:
    """The choice on other routes: gzip where the client takes it."""
    for part in accepted.split(","):
        name, _, parameters = part.partition(";")
        if name.strip().lower() == "gzip":
            quality = parameters.strip().lower().removeprefix("q=").strip()
            return None if quality and not quality.strip("0.") else "gzip"
    return None


class Compressor:
    """Compresses one body, piece by piece; with no encoding it hands the pieces through."""

    def __init__(self, encoding: str | None) -> None:
        self._zlib = zlib.compressobj(LEVEL, zlib.DEFLATED, _WINDOW_BITS[encoding]) if encoding else None

    def compress(self, piece: bytes) -> bytes:
        """What can be sent after `piece`; may be nothing yet."""
        return self._zlib.compress(piece) if self._zlib else piece

    def flush(self) -> bytes:
        """What is left to be sent after the last piece."""
        return self._zlib.flush() if self._zlib else b""
