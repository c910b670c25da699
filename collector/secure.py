"""The second server (`--api-server`): HTTPS, every caller known and every request allowed by the API server (8.9).

This module reads its flags and puts it together; what it answers is the dispatcher's, who is let in the gate's.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator
from typing import Final

from collector.api.gate import ReviewGate
from collector.api.route import Context
from collector.api.server import Answering, ApiServer
from collector.api.tls import PairFiles, ServingCertificates, ca_files, sni_pair
from collector.errors import HeapsterError, ServerStoppedError, UsageError
from collector.kube.auth import Authenticator, Authorizer, Lifetimes
from collector.kube.auth_config import AuthConfig, ProxyFlags
from collector.kube.auth_reviews import Reviewer
from collector.kube.config import connect
from collector.kube.connection import ApiConnection
from collector.options import SECOND, Options
from collector.selfsigned import self_signed_pair
from collector.watchedfiles import NamedFile

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0
"""Between two looks at whether it still listens."""


class SecureServer:
    """`start`, then `run` for as long as it is wanted, then `stop`. The constructor opens nothing."""

    def __init__(self, options: Options, context: Context, dispatcher: Answering) -> None:
        self._options = options
        self._context = context
        self._dispatcher = dispatcher
        self._server: ApiServer | None = None
        self.authenticator: Authenticator | None = None
        """Known after `start`."""
        self._closing = contextlib.AsyncExitStack()
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 when it does not."""
        return self._server.port if self._server is not None else 0

    async def start(self, connection: ApiConnection) -> None:
        """Listen. `connection` asks the API server where no kubeconfig is given. Raises StartError and UsageError."""
        async with contextlib.AsyncExitStack() as building:
            await self._start(connection, building)
            self._closing = building.pop_all()

    async def run(self) -> None:
        """Until cancelled. Raises ServerStoppedError when it serves no longer."""
        assert self._refreshing is not None, "start comes first"
        while True:
            ended, _ = await asyncio.wait({self._refreshing}, timeout=CHECK_S)
            if ended or self._server is None or not self._server.listening:
                fault = self._refreshing.exception() if ended and not self._refreshing.cancelled() else None
                raise ServerStoppedError(f"the API server (--api-server) stopped: {fault or 'it listens no longer'}")

    async def stop(self) -> None:
        """Stop listening, give up reviews under way."""
        await self._closing.aclose()

    async def _start(self, connection: ApiConnection, building: contextlib.AsyncExitStack) -> None:
        options = self._options
        tokens = await building.enter_async_context(_asked(options.authentication_kubeconfig, connection))
        access = await building.enter_async_context(_asked(options.authorization_kubeconfig, connection))
        config = auth_config(options, None if options.authentication_skip_lookup else tokens)
        self.authenticator = authenticator = Authenticator(
            config, Reviewer(tokens), options.authentication_token_webhook_cache_ttl / SECOND
        )
        building.push_async_callback(authenticator.close)
        lifetimes = Lifetimes(
            options.authorization_webhook_cache_authorized_ttl / SECOND,
            options.authorization_webhook_cache_unauthorized_ttl / SECOND,
        )
        authorizer = Authorizer(Reviewer(access), lifetimes)
        building.push_async_callback(authorizer.close)
        certificates = await asyncio.to_thread(serving_certificates, options)
        server = ApiServer(
            self._context,
            host=options.bind_address,
            port=options.secure_port,
            flag="--secure-port",
            host_flag="--bind-address",
            dispatcher=self._dispatcher,
            tls=certificates,
            gate=ReviewGate(authenticator, authorizer),
        )
        certificates.load()
        config.load()
        await config.look()  # while the front proxy is not known, its requests would be refused
        await server.start()
        building.push_async_callback(server.stop)
        self._server = server
        self._refreshing = asyncio.create_task(config.run(), name="authentication config")
        building.push_async_callback(_cancelled, self._refreshing)


def serving_certificates(options: Options) -> ServingCertificates:
    """The pairs that the flags name, not read yet; the self-signed one is made here. Raises StartError, UsageError."""
    certificate, key = options.tls_cert_file, options.tls_private_key_file
    flags = ("--tls-cert-file", "--tls-private-key-file")
    if bool(certificate) != bool(key):
        given, missing = flags if certificate else flags[::-1]
        raise UsageError(f"{given} is given without {missing}: HTTPS takes a certificate and its key")
    others = [sni_pair(text, ask_client=True) for text in options.tls_sni_cert_key]
    if options.tls_ca_file:
        ca_files("--tls-ca-file", options.tls_ca_file).load()  # Heapster, too, only made sure that it can be read
    if not certificate:
        certificate, key = self_signed_pair(options.cert_dir, _addresses(options.bind_address))
        flags = ("--cert-dir", "--cert-dir")
    pair = NamedFile(flags[0], certificate), NamedFile(flags[1], key)
    return ServingCertificates(PairFiles(*pair, ask_client=True), others)


def auth_config(options: Options, lookup: ApiConnection | None) -> AuthConfig:
    """Whose certificates count, by the flags, and what is missing from the cluster that `lookup` leads to."""
    users = ca_files("--client-ca-file", options.client_ca_file) if options.client_ca_file else None
    path = options.requestheader_client_ca_file
    proxy = ProxyFlags(
        ca_files("--requestheader-client-ca-file", path),
        options.requestheader_allowed_names,
        options.requestheader_username_headers,
        options.requestheader_group_headers,
        options.requestheader_extra_headers_prefix,
    )
    return AuthConfig(lookup, users, proxy if path else None)


@contextlib.asynccontextmanager
async def _asked(kubeconfig: str, shared: ApiConnection) -> AsyncIterator[ApiConnection]:
    """A connection by `kubeconfig`, or the shared one where none is named. Raises StartError."""
    if not kubeconfig:
        yield shared
        return
    own = await connect(kubeconfig=kubeconfig)
    try:
        yield own
    finally:
        await own.close()


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _addresses(bind_address: str) -> list[str]:
    """The IP addresses the self-signed certificate is for."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(bind_address)
        return ["127.0.0.1"] if address.is_unspecified or address.is_loopback else ["127.0.0.1", str(address)]
    return ["127.0.0.1"]


async def start_if_asked(
    options: Options, context: Context, connection: ApiConnection, dispatcher: Answering
) -> SecureServer | None:
    """The second server, listening; None when it is not asked for, or cannot be had: then the log says why (1.7)."""
    if not options.api_server or not options.secure_port:
        return None
    server = SecureServer(options, context, dispatcher)
    try:
        await server.start(connection)
    except HeapsterError as error:
        log.error("the API server (--api-server) cannot be built, going on without it: %s", error)  # noqa: TRY400
        return None
    return server
