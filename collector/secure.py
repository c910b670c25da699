"""The second server (`--api-server`): HTTPS, every caller known and every request allowed by the API server (8.9).

This module reads its flags and puts it together; what it answers is the dispatcher's, who is let in the gate's.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from collector import certdir
from collector.api.gate import ReviewGate
from collector.api.route import Context
from collector.api.server import Answering, ApiServer
from collector.api.tls import PairFiles, ServingCertificates, ca_files, sni_pair
from collector.authority import Keyring, Service
from collector.errors import HeapsterError, ServerStoppedError, UsageError
from collector.kube.apiservices import CaPublisher
from collector.kube.auth import Authenticator, Authorizer, Lifetimes
from collector.kube.auth_config import AuthConfig, ProxyFlags
from collector.kube.auth_reviews import Reviewer
from collector.kube.config import SERVICE_ACCOUNT, connect
from collector.kube.connection import ApiConnection
from collector.options import SECOND, Options
from collector.owncertificates import OwnCertificates
from collector.selfmetrics import SelfMetrics
from collector.watchedfiles import NamedFile

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
_LOOPBACK: Final = ("127.0.0.1", "::1")
_LABEL: Final = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

PUBLISH_S: Final = 5.0
"""The start waits so long for our CA to be in the APIServices; after that it goes on while it is tried again."""

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
        self.own: OwnCertificates | None = None
        """The certificates made here, known after `start`; None where the flags name others."""
        self._closing = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

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
        assert self._tasks, "start comes first"
        while True:
            ended, _ = await asyncio.wait(self._tasks, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
            if ended or self._server is None or not self._server.listening:
                fault = next((task.exception() for task in ended if not task.cancelled()), None)
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
        certificates, self.own = await asyncio.to_thread(serving_certificates, options, self._context.metrics)
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
        await asyncio.to_thread(certificates.load)
        config.load()
        await config.look()  # while the front proxy is not known, its requests would be refused
        await server.start()
        building.push_async_callback(server.stop)
        self._server = server
        self._keep(building, config.run(), "authentication config")
        if self.own is not None:
            self._keep(building, self.own.run(), "own certificates")
            await self._publish(connection, self.own, building)

    async def _publish(
        self, connection: ApiConnection, own: OwnCertificates, building: contextlib.AsyncExitStack
    ) -> None:
        """Hand our CAs out; before anybody is sent here, if that can be done in a moment."""
        if not self._options.patch_apiservices:
            return
        publisher = CaPublisher(
            connection, own.service, own.bundle, trusted=own.trust, told=self._context.metrics.apiservice
        )
        first = asyncio.create_task(publisher.publish())
        building.push_async_callback(_cancelled, first)
        await asyncio.wait({first}, timeout=PUBLISH_S)
        self._keep(building, publisher.run(own.changed, first), "CA bundles")

    def _keep(self, building: contextlib.AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
        """Have something done for as long as the server serves."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        building.push_async_callback(_cancelled, task)


def serving_certificates(options: Options, metrics: SelfMetrics) -> tuple[ServingCertificates, OwnCertificates | None]:
    """The pairs that the flags name, and our own where they name none. Nothing is read yet but what is in --cert-dir.

    Raises StartError and UsageError.
    """
    certificate, key = options.tls_cert_file, options.tls_private_key_file
    flags = ("--tls-cert-file", "--tls-private-key-file")
    if bool(certificate) != bool(key):
        given, missing = flags if certificate else flags[::-1]
        raise UsageError(f"{given} is given without {missing}: HTTPS takes a certificate and its key")
    others = [sni_pair(text, ask_client=True) for text in options.tls_sni_cert_key]
    if options.tls_ca_file:
        ca_files("--tls-ca-file", options.tls_ca_file).load()  # Heapster, too, only made sure that it can be read
    if not certificate:
        service = _service(options)
        found = certdir.given_pair(options.cert_dir, service.mark)
        if found is None:
            keyring = Keyring(service, _addresses(options.bind_address))
            own = OwnCertificates(keyring, options.cert_dir, metrics, published=options.patch_apiservices)
            return ServingCertificates(own, others), own
        (certificate, key), flags = found, ("--cert-dir", "--cert-dir")
    pair = NamedFile(flags[0], certificate), NamedFile(flags[1], key)
    return ServingCertificates(PairFiles(*pair, ask_client=True), others), None


def _service(options: Options) -> Service:
    """Raises UsageError for what cannot be a name in Kubernetes."""
    namespace = options.service_namespace or own_namespace()
    for flag, name in (("--service-name", options.service_name), ("--service-namespace", namespace)):
        if not _LABEL.fullmatch(name):
            raise UsageError(f"{flag} is {name!r}: give a name of at most 63 small letters, digits and dashes")
    return Service(options.service_name, namespace)


def own_namespace(environ: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT) -> str:
    """The namespace this process runs in; Heapster's where nothing says."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return environ.get("POD_NAMESPACE") or (service_account / "namespace").read_text().strip() or NAMESPACE
    return NAMESPACE


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


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _addresses(bind_address: str) -> list[str]:
    """The IP addresses our own certificate is for."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(bind_address)
        return [*_LOOPBACK] if address.is_unspecified or address.is_loopback else [*_LOOPBACK, str(address)]
    return [*_LOOPBACK]


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
