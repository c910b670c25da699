"""Connections to kubelets that stay open from one scrape to the next."""

import asyncio
from typing import Final

from collector.sources.link import Link, connect
from collector.sources.pace import Pace
from collector.sources.tls import KubeletIdentity, Peer
from collector.turns import Turns

IDLE_LIMIT: Final = 80.0
"""Seconds an unused connection is kept: below the kubelet's own 90 s (its http.Server's IdleTimeout), above a minute's
resolution, so that a scrape normally finds its connection open and the kubelet is never the one to close it."""


class LinkPool:
    """Idle links by peer, and a limit on those in use."""

    def __init__(self, identity: KubeletIdentity | None, limit: int, turns: Turns | None = None) -> None:
        """Plain TCP without `identity`; `limit` is the most links in use at once, 0 for none. Opens nothing.

        All links together read no longer than `turns` allows.
        """
        self._identity = identity
        self._places = asyncio.Semaphore(limit) if limit else None
        self._idle: dict[Peer, list[Link]] = {}
        self._used: set[Link] = set()
        self._retired: set[Link] = set()
        """Of those in use: not to be kept."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._pace = Pace(turns)

    async def take(self, peer: Peer) -> Link:
        """A link to `peer`, new if its `idle_since` is 0. Give it back. Raises NotConnectedError."""
        if self._places is not None:
            await self._places.acquire()
        try:
            link = self._kept(peer) or await connect(peer, self._identity, self._pace)
        except BaseException:
            if self._places is not None:
                self._places.release()
            raise
        self._used.add(link)
        return link

    def _kept(self, peer: Peer) -> Link | None:
        """The idle link used last."""
        links = self._idle.pop(peer, None)
        if links is None:
            return None
        now = asyncio.get_running_loop().time()
        while links:
            link = links.pop()
            if not link.closed and now - link.idle_since <= IDLE_LIMIT:
                if links:
                    self._idle[peer] = links
                return link
            self._pace.later(link.close)
        return None

    def give(self, peer: Peer, link: Link) -> None:
        """Take back a link, which is kept unless it is closed."""
        self._used.discard(link)
        if self._retired and link in self._retired:
            self._retired.discard(link)
            link.close()
        if self._places is not None:
            self._places.release()
        if link.closed:
            return
        loop = asyncio.get_running_loop()
        link.idle_since = loop.time()
        self._idle.setdefault(peer, []).append(link)
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_LIMIT, self._sweep)

    def keeps(self, peer: Peer) -> bool:
        """Whether a link to `peer` is open and idle, as far as is known."""
        return peer in self._idle

    def retire(self) -> None:
        """Use no link for another exchange that is open now: what it was accepted by counts no longer."""
        self._close_idle()
        self._retired = self._used.copy()

    def _close_idle(self) -> None:
        for links in self._idle.values():
            for link in links:
                self._pace.later(link.close)
        self._idle.clear()

    def close(self) -> None:
        """Close all links; what is under way fails."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._close_idle()
        self._pace.finish()
        for link in tuple(self._used):
            link.abort()

    def _sweep(self) -> None:
        """Close what has been idle for too long: a node that has gone is not asked again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for peer, links in tuple(self._idle.items()):
            for link in links:
                if now - link.idle_since > IDLE_LIMIT:
                    self._pace.later(link.close)
            kept = [link for link in links if not link.closed and now - link.idle_since <= IDLE_LIMIT]
            if kept:
                self._idle[peer] = kept
            else:
                del self._idle[peer]
        self._sweeping = loop.call_later(IDLE_LIMIT / 4, self._sweep) if self._idle else None
