"""What both wires share: the contract, and the way from an answer's status and words to an error."""

import asyncio
import gzip
import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Protocol

import aiohttp

from collector.errors import ExportError

WORDS_LIMIT = 300
"""Characters of a server's answer that go into an error."""

ATTEMPTS = 2
"""A connection kept alive may be one that a restarted server has forgotten: points overwrite, so write once more."""

WITH_HEADERS = 4_096
"""Bytes of a body that go with the headers, into which aiohttp copies them."""

CONTENT_TYPE = "text/plain; charset=utf-8"

_GZIP_LEVEL = 1

_DROPPED = re.compile(r"partial write: .*\bdropped=([1-9]\d*)", re.DOTALL)
"""How many points of a write InfluxDB 1.x has dropped; it tells 0 of lines it could not read."""


class Lines(aiohttp.Payload):
    """A body as it is: for bytes of this size aiohttp has a warning, of a file it makes and sends pieces of 64 KiB."""

    _value: bytes

    def __init__(self, body: bytes) -> None:
        """`body` is not copied."""
        super().__init__(body, content_type=CONTENT_TYPE)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Send it."""
        view = memoryview(self._value)
        await writer.write(view[:WITH_HEADERS])
        await writer.write(view[WITH_HEADERS:])


class Wire(Protocol):
    """One way to write line protocol to a server. Connects at the first write and again when it must."""

    async def write(self, body: bytes) -> None:
        """Deliver lines. Raises ExportError, `retryable` when the server did not or could not look at them."""
        ...

    def is_changed(self) -> bool:
        """Whether the next write would be made with other credentials than the last one. Blocking."""
        ...

    async def probe(self) -> str:
        """Whether it would take lines, in words: nothing is written or made. Raises ExportError."""
        ...

    async def close(self) -> None:
        """Release the connections; a later write opens new ones."""
        ...


def refusal(url: str, status: int, text: str | bytes, *, advice: str = "", retry_after: str = "") -> ExportError:
    """The error for an answer of `status` to a write: 429 and 5xx may pass, other refusals stay.

    A 2xx that is none for a write, such as a page of a proxy, judges nothing: it may pass, too.
    `text` is the answer's body, `retry_after` its header, `advice` what we add to the words.
    """
    full = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    dropped = _DROPPED.search(full)
    return ExportError(
        f"{url} answered {status}: {(server_words(full) + (advice or _advice(status))) or 'no reason given'}",
        retryable=status == 429 or status >= 500 or (status < 300 and dropped is None),
        status=status,
        retry_after_s=_seconds(retry_after),
        refused_points=int(dropped[1]) if dropped else None,
    )


def _advice(status: int) -> str:
    """What to turn where the other side may be no InfluxDB at all."""
    if status < 300:
        return " (no answer to a write: is it InfluxDB?)"
    if status < 400 or status == 405:
        return " (check scheme, host and path of the sink's URI: redirects are not followed)"
    return ""


def _seconds(retry_after: str) -> float | None:
    """The header Retry-After, a number of seconds or a date; None when it is absent or neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, then.timestamp() - time.time())


def unreachable(url: str, timeout_ns: int, error: BaseException) -> ExportError:
    """The error for no answer at all."""
    if isinstance(error, TimeoutError):
        return ExportError(
            f"{url} did not answer within {timeout_ns / 1e9:g} s; is it overloaded? the limit is the option timeout"
        )
    return ExportError(f"{url} cannot be reached: {str(error) or type(error).__name__}")


def is_forgotten(error: BaseException) -> bool:
    """Whether an established connection broke, rather than none being possible."""
    broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return broken and not isinstance(error, aiohttp.ClientConnectorError)


def server_words(body: str | bytes) -> str:
    """What an answer says, in at most WORDS_LIMIT characters and one line."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        said = found.get("error") or found.get("message")
        text = said if isinstance(said, str) else text
    text = " ".join(text.split())
    return text if len(text) <= WORDS_LIMIT else f"{text[:WORDS_LIMIT]}..."


async def compressed(body: bytes) -> bytes:
    """`body` as gzip, made in a thread: it takes tens of milliseconds and holds no lock of the interpreter."""
    return await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL)
