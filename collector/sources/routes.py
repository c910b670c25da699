"""Which of several addresses a kubelet is asked at: the first, in the order of preference, that takes connections.

It is asked there until it takes none; then all are tried again. A certificate that is not accepted is no reason to go
on to the next address: that is told.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from collector.sources.link import OWN_LIMITS, NoRouteError, NotConnectedError
from collector.sources.pins import PinChangedError
from collector.sources.pool import LinkPool
from collector.sources.target import KubeletTarget
from collector.sources.tls import OtherNameError, Peer

log = logging.getLogger(__name__)

CONNECTING_SHARE: Final = 0.5
"""The part of a node's time limit within which its addresses are tried; the rest is for its answer."""


class Routes:
    """Where kubelets with several addresses are asked."""

    def __init__(
        self,
        pool: LinkPool,
        peer: Callable[[KubeletTarget], Peer],
        limit_s: float,
        routed: Callable[[str, str], None],
    ) -> None:
        """`limit_s` is a node's time limit; `routed` is told when a kubelet is asked at another address."""
        self._pool = pool
        self._peer = peer
        self._limit_s = limit_s * CONNECTING_SHARE
        self._routed = routed
        self._known: WeakKeyDictionary[KubeletTarget, str] = WeakKeyDictionary()

    async def find(self, target: KubeletTarget) -> KubeletTarget:
        """`target` at the address to ask, a connection to it open. Raises NotConnectedError and NoRouteError."""
        known = self._known.get(target, target.address)
        route = target if known == target.address else replace(target, address=known, others=())
        if self._pool.keeps(self._peer(route)):
            return route
        places = sorted(target.places, key=lambda place: place.address != known)  # the others stay in their order
        loop = asyncio.get_running_loop()
        due = loop.time() + self._limit_s
        faults: dict[str, OSError | None] = {}
        for number, place in enumerate(places):
            share = (due - loop.time()) / (len(places) - number)
            try:
                async with asyncio.timeout(share):
                    peer = self._peer(place)
                    self._pool.give(peer, await self._pool.take(peer))
            except TimeoutError:
                faults[place.address] = None
            except NotConnectedError as error:
                if _final(error.cause):
                    raise NotConnectedAtError(place, error.cause) from error
                faults[place.address] = error.cause
            else:
                self._settle(target, known, place, faults)
                return place
        raise NoRouteError(faults)

    def _settle(
        self, target: KubeletTarget, known: str, place: KubeletTarget, faults: dict[str, OSError | None]
    ) -> None:
        self._known[target] = place.address
        if place.address != known:
            why = "; ".join(f"{address}: {error or 'no connection in time'}" for address, error in faults.items())
            log.info("%s: its kubelet is asked at %s from now on (%s)", target, place.address, why)
            self._routed(target.node, place.address)


class NotConnectedAtError(NotConnectedError):
    """The same, and at which address."""

    def __init__(self, place: KubeletTarget, cause: OSError) -> None:
        super().__init__(cause)
        self.place: Final = place


def _final(error: OSError) -> bool:
    """Whether another address would be no remedy: the wrong one has answered, or this process is at a limit."""
    return isinstance(error, (ssl.SSLError, OtherNameError, PinChangedError)) or error.errno in OWN_LIMITS
