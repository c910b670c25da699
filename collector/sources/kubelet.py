"""KubeletClient: one HTTP client for all kubelets; bytes out, or a FetchError that says what to turn."""

import asyncio
import re
import time
from types import TracebackType
from typing import Final, Self

from collector.errors import FetchError
from collector.sources import faults
from collector.sources.buffers import Buffers
from collector.sources.head import OK, Head, MalformedAnswerError
from collector.sources.http1 import Reading, TooLargeError
from collector.sources.link import DisconnectedError, NoRouteError, NotConnectedError
from collector.sources.pool import LinkPool
from collector.sources.routes import NotConnectedAtError, Routes
from collector.sources.target import KubeletOptions, KubeletTarget
from collector.sources.timelimit import TimeLimit, Turn
from collector.sources.tls import KubeletIdentity, Peer
from collector.sources.unpack import DamagedError, unpacked
from collector.turns import Turns

__all__ = ["SUMMARY_PATH", "KubeletClient", "KubeletOptions", "KubeletTarget"]

SUMMARY_PATH: Final = "/stats/summary"
"""Without the trailing slash that Heapster sent: kubelets register the path so."""

_PATH: Final = re.compile(r"/[!-~]*")
"""What may stand in a request line."""

_UNAUTHORIZED: Final = 401

RENEWAL_PAUSE: Final = 10.0
"""Seconds in which credentials are renewed once, however many kubelets refuse them; a token's file is looked at each
time."""


class KubeletClient:
    """Asks kubelets. `start` before the first `fetch`, `close` after the last; the constructor opens nothing.

    Connections stay open between scrapes. Nothing of the environment is used: no proxy, no netrc, no cookies.
    """

    def __init__(self, options: KubeletOptions, turns: Turns | None = None) -> None:
        """What there is to read is read in pieces as `turns` allows."""
        self._options = options
        self._identity = KubeletIdentity(options) if options.https else None
        self._pool = LinkPool(self._identity, options.connections, turns)
        self._routes = Routes(self._pool, self._peer, options.time_limit_s, options.routed)
        self._buffers = Buffers()
        self._limit = TimeLimit(options.time_limit_s)
        self._renewal = asyncio.Lock()
        self._next_renewal = 0.0
        # Packing would cost the kubelet, and unpacking us, more than the network of a cluster does.
        self._common = f"Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: {options.user_agent}\r\n"
        self._shown: tuple[str | None, str] = (None, "")
        """The token last shown, and the header for it."""

    async def start(self) -> None:
        """Read certificates and pins. Raises StartError; no kubelet is asked yet."""
        if self._identity is not None:
            self._identity.load()

    async def close(self) -> None:
        """Close all connections. Requests under way fail."""
        self._limit.close()
        self._pool.close()
        if self._identity is not None:
            await self._identity.close()

    def refresh(self) -> None:
        """Look whether certificates have changed, before each round: connections from before are not used again."""
        if self._identity is not None and self._identity.refresh():
            self._pool.retire()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def fetch(self, target: KubeletTarget, path: str = SUMMARY_PATH, question: bytes | None = None) -> memoryview:
        """The body of `path` at one kubelet, never empty; `question` is JSON to POST. Raises FetchError.

        The body is the caller's as long as a view of it is kept; its memory then holds another answer.
        """
        options = self._options
        try:
            with Turn(self._limit):
                if target.others:
                    target = await self._routes.find(target)
                return await self._answer(target, path, question)
        except FetchError:
            raise
        except NoRouteError as error:
            raise faults.no_route(target, target.url(path, https=options.https), error) from None
        except NotConnectedAtError as error:
            raise faults.broken(error.place, error.place.url(path, https=options.https), error, options) from error
        except TimeoutError:
            url = target.url(path, https=options.https)
            raise faults.timed_out(target, url, options.time_limit_s) from None
        except TooLargeError as error:
            url = target.url(path, https=options.https)
            raise faults.too_large(target, url, options.max_body_bytes, error.announced) from None
        except (NotConnectedError, DisconnectedError, MalformedAnswerError, DamagedError, OSError) as error:
            raise faults.broken(target, target.url(path, https=options.https), error, options) from error

    async def _answer(self, target: KubeletTarget, path: str, question: bytes | None) -> memoryview:
        token = self._token()
        head, body = await self._ask(target, self._request(target, path, question, token))
        if head.status == _UNAUTHORIZED and token is not None:
            renewed = await self._renewed(token)
            if renewed != token:
                token = renewed
                head, body = await self._ask(target, self._request(target, path, question, token))
        if head.status != OK:
            raise faults.refused_status(
                target,
                target.url(path, https=self._options.https),
                head.status,
                bytes(body),
                location=head.location,
                token_sent=token is not None,
                verb="get" if question is None else "create",
            )
        if head.packing is not None:
            body = unpacked(body, head.packing, self._options.max_body_bytes)
        if not body or faults.is_page(body):
            beginning = bytes(body[: faults.EXCERPT_BYTES])
            raise faults.no_document(target, target.url(path, https=self._options.https), beginning)
        return body

    async def _ask(self, target: KubeletTarget, request: bytes) -> tuple[Head, memoryview]:
        """One request and its answer, of any status. A kept connection may turn out to be none: then a new one."""
        pool, options = self._pool, self._options
        peer = self._peer(target)
        while True:
            link = await pool.take(peer)
            reading = Reading(self._buffers, link.room, options.max_body_bytes, faults.EXCERPT_BYTES)
            try:
                await link.exchange(request, reading)
            except DisconnectedError as error:
                if not (link.idle_since and error.untouched):
                    raise
            else:
                assert reading.head is not None
                if options.dated is not None and reading.head.date is not None:
                    options.dated(target.node, reading.head.date)
                return reading.head, reading.body()
            finally:
                pool.give(peer, link)

    def _peer(self, target: KubeletTarget) -> Peer:
        """Whom a connection to this kubelet has to lead to."""
        return self._identity.peer(target) if self._identity is not None else Peer(target.address, target.port)

    def _request(self, target: KubeletTarget, path: str, question: bytes | None, token: str | None) -> bytes:
        if _PATH.fullmatch(path) is None:
            raise FetchError(f"{target}: {path!r} is no path that could be asked for", reason="internal")
        host = f"[{target.address}]" if ":" in target.address else target.address
        if token != self._shown[0]:
            self._shown = (token, _authorization(token, target))
        common = f"{path} HTTP/1.1\r\nHost: {host}:{target.port}\r\n{self._common}{self._shown[1]}"
        if question is None:
            return f"GET {common}\r\n".encode()
        described = f"Content-Type: application/json\r\nContent-Length: {len(question)}\r\n"
        return f"POST {common}{described}\r\n".encode() + question

    def _token(self) -> str | None:
        options = self._options
        # Over plain http the token is not even asked for.
        return (options.token() or None) if options.https and options.token is not None else None

    async def _renewed(self, refused: str) -> str | None:
        """The token to try instead of `refused`; where all kubelets refuse it at once, it is renewed once."""
        async with self._renewal:
            if self._token() == refused and self._options.reread_token is not None:
                await self._options.reread_token()
            token, now = self._token(), time.monotonic()
            if token != refused or self._options.renew_token is None or now < self._next_renewal:
                return token
            self._next_renewal = now + RENEWAL_PAUSE
            await self._options.renew_token()
            return self._token()


def _authorization(token: str | None, target: KubeletTarget) -> str:
    """The header that shows a token."""
    if token is None:
        return ""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise FetchError(
            f"{target}: the bearer token holds blanks, line breaks or other characters that no token has",
            reason="internal",
        )
    return f"Authorization: Bearer {token}\r\n"
