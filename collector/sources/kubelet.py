"""KubeletClient: one HTTP client for all kubelets; bytes out, or a FetchError that says what to turn."""

import asyncio
import ssl
import time
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from collector.errors import FetchError
from collector.sources import faults
from collector.sources.connector import NodeConnector
from collector.sources.target import KubeletOptions, KubeletTarget
from collector.sources.tls import client_context

__all__ = ["SUMMARY_PATH", "KubeletClient", "KubeletOptions", "KubeletTarget"]

SUMMARY_PATH: Final = "/stats/summary"
"""Without the trailing slash that Heapster sent: kubelets register the path so."""

_JSON: Final = {"Content-Type": "application/json"}

RENEWAL_PAUSE: Final = 10.0
"""Seconds in which a refused token is read again once, however many kubelets refuse it."""


class KubeletClient:
    """Asks kubelets. `start` before the first `fetch`, `close` after the last; the constructor opens nothing.

    Connections stay open between scrapes. Nothing of the environment is used: no proxy, no netrc, no cookies.
    """

    def __init__(self, options: KubeletOptions) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None
        self._renewal = asyncio.Lock()
        self._next_renewal = 0.0
        self._shown_token: str | None = None

    async def start(self) -> None:
        """Read the certificates. Raises StartError; no kubelet is asked yet."""
        options = self._options
        context: ssl.SSLContext | None = None
        if options.https:
            context = client_context(options.verify, options.ca_files, options.client_certificate, options.client_key)
        self._session = aiohttp.ClientSession(
            connector=NodeConnector(context, limit=options.connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The one limit is set around the whole request; each limit of aiohttp's would cost a timer more.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            # Packing would cost the kubelet, and unpacking us, more than the network of a cluster does.
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": options.user_agent},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections. Requests under way fail."""
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def fetch(self, target: KubeletTarget, path: str = SUMMARY_PATH, question: bytes | None = None) -> bytes:
        """The body of `path` at one kubelet, never empty; `question` is JSON to POST. Raises FetchError."""
        options = self._options
        url = target.url(path, https=options.https)
        try:
            async with asyncio.timeout(options.time_limit_s):
                return await self._answer(target, url, question)
        except FetchError:
            raise
        except TimeoutError:
            raise faults.timed_out(target, url, options.time_limit_s) from None
        except (aiohttp.ClientError, OSError) as error:
            raise faults.broken(target, url, error, options) from error

    async def _answer(self, target: KubeletTarget, url: URL, question: bytes | None) -> bytes:
        token = self._token()
        response = await self._send(target, url, token, question)
        if response.status == 401 and token is not None:
            renewed = await self._renewed(token)
            if renewed != token:
                response.release()
                token = renewed
                response = await self._send(target, url, token, question)
        try:
            if response.status == 200:
                return await self._body(target, url, response)
            body = await response.content.read(faults.EXCERPT_BYTES)
        except BaseException:
            response.close()
            raise
        response.close()  # keeps the connection where that was the whole body
        location = response.headers.get("Location")
        raise faults.refused_status(
            target,
            url,
            response.status,
            body,
            location=location,
            token_sent=token is not None,
            verb="get" if question is None else "create",
        )

    async def _send(
        self, target: KubeletTarget, url: URL, token: str | None, question: bytes | None
    ) -> aiohttp.ClientResponse:
        session = self._session
        assert session is not None, "start comes before fetch"
        if token != self._shown_token:
            self._show(session, token, target)
        name = target.node if self._options.verify_name == "node" else None
        # An answer that only ends with its connection could have been cut anywhere: it counts as empty.
        if question is None:
            return await session.get(url, allow_redirects=False, server_hostname=name, read_until_eof=False)
        return await session.post(
            url,
            data=question,
            headers=_JSON,
            allow_redirects=False,
            server_hostname=name,
            read_until_eof=False,
        )

    async def _body(self, target: KubeletTarget, url: URL, response: aiohttp.ClientResponse) -> bytes:
        limit = self._options.max_body_bytes
        announced = response.content_length
        if announced is not None and announced > limit:
            raise faults.too_large(target, url, limit, announced)
        # Counted as it comes, unpacked: a length may be missing or may be that of a packed body. ClientResponse.read
        # would unpack without bound.
        parts, size = [], 0
        while part := await response.content.readany():
            size += len(part)
            if size > limit:
                raise faults.too_large(target, url, limit)
            parts.append(part)
        body = b"".join(parts)
        if not body or faults.is_page(body):
            raise faults.no_document(target, url, body)
        return body

    def _token(self) -> str | None:
        options = self._options
        # Over plain http the token is not even asked for.
        return (options.token() or None) if options.https and options.token is not None else None

    def _show(self, session: aiohttp.ClientSession, token: str | None, target: KubeletTarget) -> None:
        """From now on, show this token: a header of the session costs less than one of each request."""
        if token is None:
            session.headers.popall("Authorization", None)
        elif not token.isascii() or not token.isprintable() or " " in token:
            raise FetchError(
                f"{target}: the bearer token holds blanks, line breaks or other characters that no token has",
                reason="internal",
            )
        else:
            session.headers["Authorization"] = f"Bearer {token}"
        self._shown_token = token

    async def _renewed(self, refused: str) -> str | None:
        """The token to try instead of `refused`; where all kubelets refuse it at once, it is read again once."""
        async with self._renewal:
            token, now = self._token(), time.monotonic()
            if token != refused or self._options.renew_token is None or now < self._next_renewal:
                return token
            self._next_renewal = now + RENEWAL_PAUSE
            await self._options.renew_token()
            return self._token()
