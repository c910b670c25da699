"""What a client takes: the compression and the exposition format of its answer.

Compression happens piece by piece, small enough for the event loop.
"""

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
    return "gzip" if _qualities(accepted).get("gzip", 0.0) > 0 else None


def json_accepted(accept: str) -> bool:
    """Whether an `Accept` header admits JSON; qualities are ignored, as they were."""
    types = {part.partition(";")[0].strip() for part in accept.split(",")}
    return not accept or bool(types & {"application/json", "*/*"})


def openmetrics_wanted(accept: str) -> bool:
    """Whether an `Accept` header prefers OpenMetrics to the older Prometheus text; on a tie it does."""
    qualities = _qualities(accept)
    openmetrics = qualities.get("application/openmetrics-text", 0.0)
    text = max(qualities.get(name, 0.0) for name in ("text/plain", "text/*", "*/*"))
    return openmetrics > 0 and openmetrics >= text


def _qualities(header: str) -> dict[str, float]:
    """Name -> quality of a header such as `Accept`; of equal names the best counts, what cannot be read counts 0."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            found[name] = max(found.get(name, 0.0), float(quality))
        except ValueError:
            found.setdefault(name, 0.0)
    return found


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
