"""TLS below the HTTP server: the protocol of a TCP transport below, the transport of an HTTP protocol above.

Why not the event loop's own TLS: Python's ssl module cannot ask a client for a certificate without also refusing the
connection for a certificate that it cannot verify (docs/decisions/0006). Handshake and encryption are OpenSSL's,
through pyOpenSSL; this module moves bytes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from aiohttp import web
from OpenSSL import SSL

from collector.api.tls import ServingCertificates
from collector.kube.certificates import Peer

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
"""A client that has not finished its handshake by then is cut off."""

_PIECE: Final = 64 * 1024
"""Bytes taken from the socket, or from OpenSSL, in one go."""
_RECORD: Final = 16 * 1024
"""Most plaintext in one TLS record (RFC 8446, 5.1)."""


class TlsListener(web.BaseSite):
    """Listens on one address and puts a TlsLink below each HTTP protocol."""

    def __init__(
        self, runner: web.ServerRunner, host: str | None, port: int, certificates: ServingCertificates
    ) -> None:
        super().__init__(runner)
        self._host = host
        self._port = port
        self._certificates = certificates
        self._links: set[TlsLink] = set()

    @property
    def name(self) -> str:
        """Where it listens."""
        return f"https://{self._host or '0.0.0.0'}:{self._port}"  # noqa: S104  # a name, nothing is bound here

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        application = self._runner.server
        assert application is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: TlsLink(application, self._certificates.connection, self._links), self._host, self._port
        )

    async def stop(self) -> None:
        """Stop listening and end the handshakes under way; the runner closes the connections in use."""
        await super().stop()
        for link in list(self._links):
            link.abort()


class TlsLink(asyncio.Protocol, asyncio.Transport):
    """One TLS connection; `application` makes the protocol above once the handshake has succeeded."""

    def __init__(
        self,
        application: Callable[[], asyncio.BaseProtocol],
        connect: Callable[[], SSL.Connection],
        handshakes: "set[TlsLink]",
    ) -> None:
        super().__init__()
        self._make_application = application
        self._application: asyncio.Protocol | None = None
        self._tls = connect()
        self._handshakes = handshakes
        self._below: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._peer: Peer | None = None
        self._ended = False

    # From below: the TCP transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected: the client begins the handshake."""
        self._below = cast("asyncio.Transport", transport)  # uvloop's is one by shape, not by inheritance
        self._handshakes.add(self)
        self._limit = asyncio.get_running_loop().call_later(HANDSHAKE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Decrypt what arrived and pass it up in one piece."""
        if self._ended:
            return
        try:
            for begin in range(0, len(data), _PIECE):
                self._tls.bio_write(data[begin : begin + _PIECE])
                if self._application is None and not self._handshake():
                    continue
                self._decrypt()
        except (SSL.Error, ValueError) as error:  # the second: a certificate that cannot be read
            log.debug("TLS with %s failed: %s", self.get_extra_info("peername"), error)
            self._ended = True
            self._flush()  # the alert that tells the client why
            self._close_below()

    def eof_received(self) -> bool:
        """The client closed its side: so do we."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of both connections."""
        self._below = None
        self._settle()
        if self._application is not None:
            self._application.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much is waiting to be sent."""
        if self._application is not None:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        """Enough has been sent."""
        if self._application is not None:
            self._application.resume_writing()

    # From above: the HTTP protocol.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._below is None or self._ended:
            return
        pieces: list[bytes] = []
        view = memoryview(data)
        for begin in range(0, len(view), _RECORD):
            self._tls.send(bytes(view[begin : begin + _RECORD]))  # more than a record is taken in part only
            pieces += self._encrypted()
        self._below.write(b"".join(pieces))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send, joined."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Not in TLS; this is how asyncio's transports say so."""
        raise NotImplementedError

    def can_write_eof(self) -> bool:
        """TLS ends both directions or none."""
        return False

    def close(self) -> None:
        """Say goodbye in TLS and close once everything is sent; the client's goodbye is not waited for."""
        if self._below is None or self._below.is_closing():
            return
        if not self._ended:
            self._ended = True
            with contextlib.suppress(SSL.Error):
                self._tls.shutdown()
            self._flush()
        self._close_below()

    def abort(self) -> None:
        """Close without a word."""
        self._ended = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Whether this is no connection any more."""
        return self._below is None or self._below.is_closing()

    def pause_reading(self) -> None:
        """Let the client wait."""
        if self._below is not None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on after pause_reading."""
        if self._below is not None:
            self._below.resume_reading()

    def is_reading(self) -> bool:
        """Whether bytes of the client are taken."""
        return self._below is not None and self._below.is_reading()

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes not yet sent."""
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol above is asked to pause."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peer`: the client's certificates, if it showed any; everything else is the TCP transport's."""
        if name == "peer":
            return self._peer
        if name == "sslcontext":  # aiohttp asks for it to know that this is https
            return self._tls.get_context()
        return default if self._below is None else self._below.get_extra_info(name, default)

    # Between the two.

    def _handshake(self) -> bool:
        """Go as far as the bytes at hand allow; whether that was to the end. Raises SSL.Error."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        self._flush()
        self._peer = _peer(self._tls)
        self._settle()
        self._application = cast("asyncio.Protocol", self._make_application())
        self._application.connection_made(self)
        return True

    def _settle(self) -> None:
        self._handshakes.discard(self)
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _decrypt(self) -> None:
        """Pass up all whole records at hand. Raises SSL.Error."""
        received: list[bytes] = []
        try:
            while True:
                received.append(self._tls.recv(_PIECE))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._ended = True  # the client's goodbye
        self._flush()  # TLS 1.3 answers a key update
        if received and self._application is not None:
            self._application.data_received(b"".join(received))
        if self._ended:
            self._close_below()

    def _encrypted(self) -> list[bytes]:
        pieces: list[bytes] = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                pieces.append(self._tls.bio_read(2 * _PIECE))
        return pieces

    def _flush(self) -> None:
        pieces = self._encrypted()
        if pieces and self._below is not None:
            self._below.write(b"".join(pieces))

    def _close_below(self) -> None:
        if self._below is not None:
            self._below.close()


def _peer(tls: SSL.Connection) -> Peer | None:
    """What the client showed; OpenSSL keeps its own certificate apart from those it sent along."""
    own = tls.get_peer_certificate(as_cryptography=True)
    if own is None:
        return None
    others = tls.get_peer_cert_chain(as_cryptography=True) or []
    return Peer([own, *(other for other in others if other != own)])
