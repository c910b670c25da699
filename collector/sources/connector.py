"""Connections to nodes: one numeric address each, so no resolver, no racing of addresses, no proxy."""

import asyncio
import ssl
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from collector.sources.tls import SharedBuffers, TlsLink

IDLE_LIMIT: Final = 80.0
"""Seconds an unused connection is kept: below the kubelet's own 90 s (its http.Server's IdleTimeout), above a minute's
resolution, so that a scrape normally finds its connection open and the kubelet is never the one to close it."""


class NodeConnector(aiohttp.BaseConnector):
    """aiohttp's pool over plain TCP, or over TlsLink when a context is given."""

    def __init__(self, context: ssl.SSLContext | None, *, limit: int = 0) -> None:
        """`limit` is the most connections in use at once; 0 means no limit. Opens nothing."""
        super().__init__(limit=limit, keepalive_timeout=IDLE_LIMIT)
        self._context = context
        self._buffers = SharedBuffers()

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  the signature is aiohttp's
    ) -> ResponseHandler:
        """The hook BaseConnector leaves to its subclasses. Raises ClientConnectorError."""
        del traces, timeout  # neither is used: the client has one limit for a whole request
        handler = self._factory()
        try:
            await self._connect(handler, str(req.url.raw_host), req.url.port or 0, req.server_hostname)
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        return handler

    async def _connect(self, handler: ResponseHandler, host: str, port: int, name: str | None) -> None:
        loop = asyncio.get_running_loop()
        if self._context is None:
            await loop.create_connection(lambda: handler, host, port)
            return
        link = TlsLink(handler, self._context, name or host, self._buffers)
        try:
            await loop.create_connection(lambda: link, host, port)
            await link.wait_secured()
        except BaseException:
            link.abort()
            raise
