"""Watches: streams of what happens after a version, until a time or a fault ends them.

Bookmarks come when asked for, at an interval and at the end of timeoutSeconds. A version that is no longer kept
ends the watch with an ERROR event that holds a Status 410. See
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from aiohttp import web

from collector.sim.apiwire import JSON_TYPE, event_line, object_line, status_body
from collector.sim.clock import ManualClock
from collector.sim.config import SimConfig
from collector.sim.inventory import Collection, matches
from collector.sim.versions import list_version

_POLL_SECONDS = 0.25
_BATCH = 500
_DEFAULT_TIMEOUT_SECONDS = 1_800.0


@dataclass(frozen=True)
class _Wanted:
    """What a watch was asked for; version 0 asks for everything first."""

    selector: dict[str, str]
    version: int
    seconds: float
    bookmarks: bool


class Watches:
    """All open watches of an API server; times are relative to `origin`."""

    def __init__(self, config: SimConfig, origin: int) -> None:
        self._config = config
        self._origin = origin
        self._open: set[asyncio.Transport] = set()
        self._moved: set[asyncio.Event] = set()
        self._ended = False
        self._expired_before = -(2**62)
        if isinstance(config.clock, ManualClock):
            config.clock.listen(self._clock_moved)

    def second(self) -> int:
        """Now, in whole seconds since the origin."""
        return int(self._config.clock() - self._origin)

    def too_old(self, version: int) -> bool:
        """Whether `version` lies before what is kept."""
        oldest = list_version(self.second() - int(self._config.watch_history))
        return version < max(oldest, self._expired_before)

    def expire(self) -> None:
        """Forget the past: every version up to now is too old, for open watches and for new ones."""
        self._expired_before = list_version(self.second()) + 1
        self._clock_moved()

    def drop(self) -> None:
        """Break every open watch in the middle of its stream."""
        for transport in tuple(self._open):
            transport.abort()

    def close(self) -> None:
        """End every watch and leave the clock."""
        self._ended = True
        self._clock_moved()
        if isinstance(self._config.clock, ManualClock):
            self._config.clock.unlisten(self._clock_moved)

    async def serve(self, request: web.Request, collection: Collection, selector: dict[str, str]) -> web.StreamResponse:
        """Answer a watch request for the objects that match `selector`. ValueError when a number in it is none."""
        wanted = _Wanted(
            selector,
            version=int(request.query.get("resourceVersion", "0") or "0"),
            seconds=float(request.query.get("timeoutSeconds", _DEFAULT_TIMEOUT_SECONDS)),
            bookmarks=request.query.get("allowWatchBookmarks") in {"true", "1"},
        )
        response = web.StreamResponse(headers={"Content-Type": JSON_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        moved = asyncio.Event()
        self._open.add(transport)
        self._moved.add(moved)
        try:
            with contextlib.suppress(ConnectionError):
                await self._stream(response, collection, wanted, moved)
        finally:
            self._open.discard(transport)
            self._moved.discard(moved)
        return response

    async def _stream(
        self, response: web.StreamResponse, collection: Collection, wanted: "_Wanted", moved: asyncio.Event
    ) -> None:
        kind, clock, loop = collection.kind, self._config.clock, asyncio.get_running_loop()
        deadline, version = loop.time() + wanted.seconds, wanted.version
        if version == 0:
            version = await self._send_all(response, collection, wanted.selector)
        marked = clock()
        while not self._ended:
            if self.too_old(version):
                message = f"too old resource version: {version} ({list_version(self.second())})"
                await response.write(event_line("ERROR", status_body(410, "Expired", message)))
                return
            now = list_version(self.second())
            lines = [
                object_line(kind, change.name, body)
                for change, body in collection.events(version, now)
                if matches(body, wanted.selector)
            ]
            version = max(version, now)
            remaining = deadline - loop.time()
            if wanted.bookmarks and (clock() - marked >= self._config.bookmarks or remaining <= 0):
                marked = clock()
                mark = {"metadata": {"resourceVersion": str(version), "creationTimestamp": None}}
                lines.append(object_line(kind, "BOOKMARK", mark))
            if lines:
                await response.write(b"".join(lines))
            if remaining <= 0:
                return
            moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_POLL_SECONDS, remaining)):
                    await moved.wait()

    async def _send_all(self, response: web.StreamResponse, collection: Collection, selector: dict[str, str]) -> int:
        """Everything there is, as a watch without a version begins; gives the version it shows."""
        second = self.second()
        rows = collection.select(selector, second)
        for first in range(0, len(rows), _BATCH):
            bodies = collection.objects(rows[first : first + _BATCH], second)
            await response.write(b"".join(object_line(collection.kind, "ADDED", body) for body in bodies))
            await asyncio.sleep(0)
        return list_version(second)

    def _clock_moved(self) -> None:
        for moved in tuple(self._moved):
            moved.set()
