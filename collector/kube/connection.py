"""One API server: its address, its trust and the credentials shown to it, kept fresh.

kubernetes_asyncio owns configuration and credentials; this module keeps its client and renews both. Requests go through
its ApiClient with raw responses, so proxy settings of the environment and of a kubeconfig count for the API server as
far as that library honours them.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration

from collector import __version__
from collector.errors import StartError
from collector.kube.faults import ApiServerError, Endpoint

Load = Callable[[], Awaitable[Configuration]]
"""Reads the configuration and credentials from where they live; raises StartError."""

_REFRESH_PAUSE = 1.0
"""seconds; three watches that lose their token at once shall not start three exec plugins"""


class ApiConnection:
    """The way to one API server; made by `collector.kube.config.connect`, closed by whoever asked for it.

    The list and watch client uses `get`; a client for kubelets takes `authorization` and `ssl_context`.
    """

    def __init__(self, configuration: Configuration, load: Load, origin: str, ca_origin: str) -> None:
        self._configuration = configuration
        self._load = load
        self._origin = origin
        self._ca_origin = ca_origin
        self._client: ApiClient | None = None
        self._retired: ApiClient | None = None
        self._refreshing = asyncio.Lock()
        self._refreshed_at = float("-inf")

    @property
    def url(self) -> str:
        """`https://10.0.0.1:443`, without a trailing slash."""
        return str(self._configuration.host)

    @property
    def verified(self) -> bool:
        """Whether the server's certificate is checked."""
        return bool(self._configuration.verify_ssl)

    @property
    def ca_file(self) -> str | None:
        """The file of CA certificates; None when the CAs of the operating system are used."""
        path: str | None = self._configuration.ssl_ca_cert
        return path

    @property
    def client_certificate(self) -> tuple[str, str | None] | None:
        """The files of the client certificate and its key; None when the credentials are of another kind."""
        configuration = self._configuration
        return (configuration.cert_file, configuration.key_file) if configuration.cert_file else None

    @property
    def endpoint(self) -> Endpoint:
        """The words that name this server in messages."""
        return Endpoint(self.url, self._origin, self._ca_origin)

    async def authorization(self) -> dict[str, str]:
        """The current `Authorization` header, or no header at all; ask once per fan-out, not once per node.

        Waits when a token has to be renewed first; raises ApiServerError when that fails.
        """
        value = await self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": value} if value else {}

    def ssl_context(self, *, verify: bool | None = None) -> ssl.SSLContext:
        """A new context with the cluster's CA and the client certificate, read from their files now.

        `verify` overrides whether the other side's certificate is checked. Raises OSError (ssl.SSLError is one) for a
        file that is missing or no certificate.
        """
        context = ssl.create_default_context(cafile=self.ca_file)
        # Python 3.13 asks for certificate extensions that many cluster CAs do not write; Go does not ask either.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self._configuration.cert_file:
            context.load_cert_chain(self._configuration.cert_file, self._configuration.key_file)
        if not (self.verified if verify is None else verify):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def get(
        self, path: str, query: Sequence[tuple[str, str]], deadline: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """The raw answer to one GET, whatever its status; the caller reads and closes it.

        Raises aiohttp.ClientError, TimeoutError or OSError when there is no answer.
        """
        return await self._send("GET", path, query, None, deadline)

    async def post(
        self, path: str, document: dict[str, Any], deadline: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """The raw answer to one POST of a JSON document; otherwise as `get`."""
        return await self._send("POST", path, (), document, deadline)

    async def patch(
        self, path: str, document: dict[str, Any], deadline: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """The raw answer to one JSON merge patch (RFC 7386); otherwise as `get`."""
        return await self._send("PATCH", path, (), document, deadline, "application/merge-patch+json")

    async def _send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        document: dict[str, Any] | None,
        deadline: aiohttp.ClientTimeout,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        if self._client is None:
            self._configuration.disable_strict_ssl_verification = True  # as in ssl_context
            self._client = ApiClient(self._configuration)
            self._client.user_agent = f"pyheapster/{__version__}"
        # Lists are large: the API server would spend a core compressing them, and we one undoing it.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if document is not None:
            headers["Content-Type"] = content_type
        response: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list(query),
            header_params=headers,
            body=document,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=deadline,
        )
        return response

    async def refresh(self) -> None:
        """Read configuration, credentials and certificates again after the server did not accept them (or we not its).

        Concurrent calls are one refresh. Requests under way go on with the old credentials until the next refresh.
        Raises ApiServerError when they cannot be read.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._refreshing:
            if asked_at - self._refreshed_at < _REFRESH_PAUSE:
                return
            try:
                self._configuration = await self._load()
            except StartError as error:
                raise ApiServerError(f"the credentials cannot be renewed: {error}", lasting=True) from error
            retired, self._retired, self._client = self._retired, self._client, None
            self._refreshed_at = loop.time()
            if retired is not None:
                await retired.close()

    async def close(self) -> None:
        """Close the open connections; a later request opens new ones."""
        clients, self._client, self._retired = (self._client, self._retired), None, None
        for client in clients:
            if client is not None:
                await client.close()
