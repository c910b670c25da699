"""List and watch of one collection: requests, pages, line ends; what to do about a failure is the reflector's business.

A list is asked for without a resourceVersion. `resourceVersion=0`, which Heapster sent, is answered from the API
server's watch cache, which then ignores `limit`: one answer of a gigabyte for 150,000 pods, and possibly a stale one.
Without it, `limit` and `continue` are honoured by every server, the pages are one consistent state, and recent servers
answer even this from their cache.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import aiohttp

from collector.errors import KubernetesError
from collector.kube import faults
from collector.kube.connection import ApiConnection
from collector.kube.lines import LineSplitter
from collector.kube.resources import Batch, Decoder, Page, Resource

K = TypeVar("K")
T = TypeVar("T")

_PAGE_BYTES: Final = 256 << 20
"""500 pods are about 5 MB, and etcd refuses objects above 1.5 MiB: only a broken server sends more than this."""
_LINE_BYTES: Final = 32 << 20
_REFUSAL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Pace:
    """Sizes and times of list and watch; the defaults are for real API servers."""

    page_limit: int = 500
    """objects per page"""
    page_limit_most: int = 8_000
    """objects per page after continue tokens expired repeatedly"""
    page_seconds: float = 120.0
    """deadline of one page"""
    connect_seconds: float = 10.0
    """deadline of opening a connection"""
    watch_seconds: tuple[int, int] = (300, 600)
    """a watch asks to be ended after a random time between these, so that watches spread over API server replicas"""
    watch_grace: float = 30.0
    """a watch silent for this long after it should have ended is dead"""
    pause_first: float = 1.0
    """upper bound of the pause after a first failure, in seconds; doubled by each further one"""
    pause_most: float = 30.0
    """upper bound of any pause, in seconds"""
    pause_refused: float = 20.0
    """lower bound of the pause after a refusal that lasts, in seconds; the upper one is twice that"""
    watch_shortest: float = 1.0
    """a watch that ends well within this many seconds was ended by something other than its time"""


class Source(Protocol[K, T]):
    """What a reflector needs of the API server."""

    @property
    def oddities_count(self) -> int:
        """How many objects, fields and lines could not be read so far."""

    def pages(self, limit: int) -> AsyncGenerator[Page[T], None]:
        """The whole collection by pages; raises KubernetesError, ExpiredError when a token ran out on the way."""

    def watch(self, resource_version: str) -> AsyncGenerator[Batch[K, T], None]:
        """What changes after `resource_version`, until the server ends the watch; raises like `pages`.

        The first batch comes, empty, as soon as the server has accepted the watch.
        """


class Collection(Generic[K, T]):
    """One collection of one API server; the `Source` of its reflector."""

    def __init__(self, connection: ApiConnection, resource: Resource[K, T], pace: Pace) -> None:
        self._connection = connection
        self._resource = resource
        self._pace = pace
        self._decoder = Decoder(resource, lambda: connection.endpoint)

    @property
    def oddities_count(self) -> int:
        """How many objects, fields and lines could not be read so far."""
        return self._decoder.oddities.count

    async def pages(self, limit: int) -> AsyncGenerator[Page[T], None]:
        """See `Source.pages`; each page is decoded and its bytes dropped before the next one is asked for."""
        deadline = aiohttp.ClientTimeout(total=self._pace.page_seconds, sock_connect=self._pace.connect_seconds)
        token = ""
        while True:
            query = [("limit", str(limit))]
            if token:
                query.append(("continue", token))
            page = self._decoder.page(await self._body(query, deadline))
            yield page
            if not page.continue_token:
                return
            if page.continue_token == token:
                raise KubernetesError(
                    f"API server {self._connection.url}: a page of {self._resource.plural} names itself as the next one"
                )
            token = page.continue_token

    async def watch(self, resource_version: str) -> AsyncGenerator[Batch[K, T], None]:
        """See `Source.watch`; one batch for every piece of the stream, empty where a piece completes no line."""
        seconds = random.randint(*self._pace.watch_seconds)
        query = [
            ("watch", "true"),
            ("resourceVersion", resource_version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
        ]
        deadline = aiohttp.ClientTimeout(
            total=seconds + self._pace.watch_grace, sock_connect=self._pace.connect_seconds
        )
        splitter = LineSplitter(_LINE_BYTES)
        async with aclosing(self._stream("watch", query, deadline)) as chunks:
            async for chunk in chunks:
                dropped = splitter.dropped
                lines = splitter.feed(chunk)
                if splitter.dropped > dropped:
                    self._decoder.oddities.note("a watch event", f"left out: longer than {_LINE_BYTES} bytes")
                yield self._decoder.lines(lines)

    async def _body(self, query: list[tuple[str, str]], deadline: aiohttp.ClientTimeout) -> bytes:
        """One whole page."""
        parts: list[bytes] = []  # joined once: growing one buffer by each part costs twice the time
        size = 0
        async with aclosing(self._stream("list", query, deadline)) as chunks:
            async for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > _PAGE_BYTES:
                    raise KubernetesError(
                        f"API server {self._connection.url}: a page of {self._resource.plural} is longer than "
                        f"{_PAGE_BYTES} bytes; is something between it and us joining the pages?"
                    )
        return b"".join(parts)

    async def _stream(
        self, verb: str, query: list[tuple[str, str]], deadline: aiohttp.ClientTimeout
    ) -> AsyncGenerator[bytes, None]:
        """The body of a good answer, piece by piece; every failure is a KubernetesError."""
        try:
            response = await self._open(verb, query, deadline)
            # Not `async with`: leaving a watch early must close its connection, not wait for an end that does not come.
            try:
                yield b""  # accepted: an idle collection may send nothing for minutes
                async for chunk in response.content.iter_any():
                    yield chunk
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise faults.unreachable(self._connection.endpoint, error) from error

    async def _open(
        self, verb: str, query: list[tuple[str, str]], deadline: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """The answer with status 200; credentials that are not accepted are read again once."""
        try:
            response = await self._connection.get(self._resource.path, query, deadline)
        except aiohttp.ClientConnectorCertificateError:
            pass  # the cluster's CA, or ours, may have been replaced on disk
        else:
            if response.status == 200:
                return response
            if response.status != 401:
                raise await self._refusal(verb, response)
            response.close()
        await self._connection.refresh()
        response = await self._connection.get(self._resource.path, query, deadline)
        if response.status != 200:
            raise await self._refusal(verb, response)
        return response

    async def _refusal(self, verb: str, response: aiohttp.ClientResponse) -> KubernetesError:
        try:
            body = await response.content.read(_REFUSAL_BYTES)
        finally:
            response.close()
        retry_after = response.headers.get("Retry-After", "")
        return faults.refusal(
            self._connection.endpoint, verb, self._resource.plural, response.status, body, retry_after
        )
