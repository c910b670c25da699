"""Keeps one store equal to one collection: list once, watch for ever, and what to do when either fails.

    list all pages ----> watch from the list's resource version ----> the server ends it after minutes: watch on
         ^                     |               |
         |   expired, or an    |               | connection lost, server error: pause, watch on from where it broke
         +--- answer that -----+               | refused (401, 403, 404, certificate): long pause, try again
              cannot be read

Pauses grow exponentially with full jitter (a random part of the whole), so that many clients do not come back as one.
"""

import asyncio
import logging
import random
from contextlib import aclosing
from typing import Generic, NoReturn, Protocol, TypeVar

from collector.errors import ExpiredError, KubernetesError
from collector.kube.client import Pace, Source
from collector.kube.faults import ApiServerError

K = TypeVar("K")
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Store(Protocol[K, T]):
    """Where a reflector puts what it learns."""

    def reuse(self, fresh: list[T]) -> list[T]:
        """`fresh`, with each object that is already stored in the same value replaced by the stored one."""

    def replace(self, listed: list[T]) -> None:
        """The whole collection, all at once."""

    def apply(self, changes: list[tuple[K, T | None]]) -> None:
        """Single changes in their order; None deletes."""

    def reached(self, oddities: int) -> None:
        """The server has answered well; `oddities` objects, fields and lines could not be read so far."""

    def failed(self, error: Exception) -> None:
        """The server has not answered well; what is stored stays as it is."""


class Backoff:
    """Seconds to wait after each failure in a row."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._failures = 0

    def reset(self) -> None:
        """The last try went well."""
        self._failures = 0

    def next(self, error: Exception) -> float:
        """The pause after `error`; longer for a refusal that lasts, at least what the server asked for."""
        if isinstance(error, ApiServerError) and error.lasting:
            return self._pace.pause_refused * (1 + random.random())
        bound = min(self._pace.pause_most, self._pace.pause_first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        asked = error.retry_after if isinstance(error, ApiServerError) else 0.0
        return asked + random.uniform(0, bound)


class Reflector(Generic[K, T]):
    """Runs for ever in one task; cancelling that task ends it."""

    def __init__(self, plural: str, source: Source[K, T], store: Store[K, T], pace: Pace) -> None:
        self._plural = plural
        self._source = source
        self._store = store
        self._pace = pace
        self._backoff = Backoff(pace)
        self._page_limit = pace.page_limit
        self._version = ""
        self._complaint = ""

    async def run(self) -> NoReturn:
        """List and watch until cancelled; no failure ends it."""
        while True:
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 - one answer we did not foresee must not end the watch for good
                pause = self._backoff.next(error)
                self._complain(error, pause)
                await asyncio.sleep(pause)

    async def _step(self) -> None:
        """One list if there is none, then one watch."""
        try:
            if not self._version:
                await self._list()
            await self._watch()
        except ApiServerError as error:
            # What is stored is still a state of the server: go on from there. But where listing is allowed and watching
            # is not, listing again at every try is the next best thing.
            if error.lasting:
                self._version = ""
            raise
        except Exception:
            # Expired, or something we cannot read and would meet again: begin anew.
            self._version = ""
            raise

    async def _list(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        listed: list[T] = []
        version = ""
        try:
            async with aclosing(self._source.pages(self._page_limit)) as pages:
                async for page in pages:
                    listed += self._store.reuse(page.objects)
                    # All pages are the state of the first one, so the watch goes on from there.
                    version = version or page.resource_version
        except ExpiredError:
            # The list took longer than the server keeps a state (5 minutes): fewer, larger pages are quicker.
            self._page_limit = min(self._page_limit * 2, self._pace.page_limit_most)
            raise
        self._store.replace(listed)
        self._version = version or "0"  # 0: any state will do, and it comes as ADDED events first
        self._page_limit = self._pace.page_limit
        self._recovered()
        _log.info("%s: listed %d in %.1f s", self._plural, len(listed), loop.time() - began)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with aclosing(self._source.watch(self._version)) as batches:
            async for batch in batches:
                if batch.changes:
                    self._store.apply(batch.changes)
                self._version = batch.resource_version or self._version
                self._recovered()
                if batch.resource_version:
                    self._backoff.reset()
        if loop.time() - began < self._pace.watch_shortest:
            raise ApiServerError(f"the watch of {self._plural} was ended at once; something between us cuts it")
        self._backoff.reset()

    def _recovered(self) -> None:
        """There is contact. Pauses start small again only once a watch lasts: a list alone may come before a 410."""
        self._store.reached(self._source.oddities_count)
        if self._complaint:
            self._complaint = ""
            _log.info("%s: in contact again", self._plural)

    def _complain(self, error: Exception, pause: float) -> None:
        """Tell the store always, the log once per kind of trouble."""
        self._store.failed(error)
        expected = isinstance(error, KubernetesError)
        complaint = str(error) if expected else repr(error)
        if complaint == self._complaint:
            return
        self._complaint = complaint
        level = logging.INFO if isinstance(error, ExpiredError) else logging.WARNING if expected else logging.ERROR
        _log.log(level, "%s: %s; next try in %.1f s", self._plural, complaint, pause, exc_info=not expected)
