"""TLS to a kubelet that costs little memory between two scrapes and little time during one.

Event loops give every TLS connection a read buffer of 256 KiB and an OpenSSL input queue that grows to the largest read
and never shrinks. Connections stay open from one scrape to the next, so 5,000 nodes answering 200 KB each would hold
3 GB for nothing. Here all links of one client share one pair of buffers, and a link keeps only its TLS state and a
queue of some 50 KB. Sharing is safe because a loop asks for the buffer, fills it and reports it without a pause, and
because a link has emptied both buffers before it returns.

Handshake, verification and encryption are OpenSSL's, through the standard library's SSLObject; this module moves bytes.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, cast

from collector.errors import StartError

Verify = Literal["verify", "insecure"]
"""`verify` accepts a certificate that a given CA signed for the asked name; `insecure` accepts anything."""

_WIRE: Final = 256 * 1024
"""Bytes taken from the socket in one go: most summaries arrive in one or two."""
_PIECE: Final = 32 * 1024
"""Bytes handed to OpenSSL in one go: its queue grows to this and what was left over of a record."""
_RECORD: Final = 16 * 1024
"""Most plaintext in one TLS record (RFC 8446, 5.1)."""


def client_context(
    verify: Verify, ca_files: Sequence[str], certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """What is accepted of a kubelet and shown to it. Reads the files. Raises StartError.

    Trust is what Go's verifier trusts, since that is what cluster certificates are made for: any given certificate is a
    root, self-signed or not. (From Python 3.13 on create_default_context would refuse CAs without a key identifier.)
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if verify == "insecure":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if not ca_files:
            raise StartError(
                "kubelets are asked over https, but no CA is known to check their certificates with: "
                "name its file with --kubelet-ca-file, or accept any certificate with --kubelet-insecure-tls"
            )
        for path in ca_files:
            _load_ca(context, path)
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise StartError(
                f"client certificate {certificate} (key {key or certificate}) for the kubelets cannot be used: {error}"
            ) from error
    return context


def _load_ca(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise StartError(
            f"CA file {path} for kubelet certificates cannot be used: {error}; it must hold PEM certificates"
        ) from error


class SharedBuffers:
    """The two buffers all links of one client use in turn; empty whenever no link is running."""

    __slots__ = ("plain", "wire")

    def __init__(self) -> None:
        self.wire: Final = memoryview(bytearray(_WIRE))
        # A record begun in an earlier read may end in this one, so a little more can come out than goes in.
        self.plain: Final = memoryview(bytearray(_WIRE + 2 * _RECORD))


class TlsLink(asyncio.BufferedProtocol, asyncio.Transport):
    """One TLS connection: the protocol of a TCP transport below, the transport of an HTTP protocol above."""

    def __init__(
        self, application: asyncio.Protocol, context: ssl.SSLContext, server_hostname: str, buffers: SharedBuffers
    ) -> None:
        """`server_hostname` is the name or IP address that the certificate must be for."""
        super().__init__()
        self._application = application
        self._buffers = buffers
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._below: asyncio.Transport | None = None
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._established = False
        self._ended = False
        self._fault: Exception | None = None

    async def wait_secured(self) -> None:
        """Return once the handshake has succeeded. Raises OSError, of which ssl.SSLError is one."""
        await self._settled
        if not self._established:
            raise self._fault or ConnectionResetError("connection closed during the TLS handshake")

    # From below: the TCP transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected: begin the handshake."""
        self._below = cast("asyncio.Transport", transport)  # uvloop's is one by shape, not by inheritance
        self._handshake()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it reads."""
        del sizehint
        return self._buffers.wire

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt what arrived and pass it up in one piece."""
        wire, filled = self._buffers.wire, 0
        try:
            for start in range(0, nbytes, _PIECE):
                self._incoming.write(wire[start : min(start + _PIECE, nbytes)])
                if not self._established and not self._handshake():
                    continue
                filled = self._decrypt(filled)
        except ssl.SSLError as error:
            self._fail(error)
            return
        if filled:
            self._application.data_received(bytes(self._buffers.plain[:filled]))
        if self._ended and self._below is not None:
            self._below.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of both connections."""
        self._below = None
        self._fault = self._fault or exc
        if self._established:
            self._application.connection_lost(self._fault)
        self._settle()

    def pause_writing(self) -> None:
        """Too much is waiting to be sent."""
        if self._established:
            self._application.pause_writing()

    def resume_writing(self) -> None:
        """Enough has been sent."""
        if self._established:
            self._application.resume_writing()

    # From above: the HTTP protocol.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        self._tls.write(data)
        self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send, joined."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Say goodbye in TLS and close; nothing more is read, so the peer's goodbye is not waited for."""
        if self._below is None or self._below.is_closing():
            return
        self._ended = True
        with contextlib.suppress(ssl.SSLError):  # it would like to wait for the peer's
            self._tls.unwrap()
        self._flush()
        self._below.close()

    def abort(self) -> None:
        """Close without a word."""
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Whether this is no connection any more."""
        return self._below is None or self._below.is_closing()

    def pause_reading(self) -> None:
        """Let the peer wait."""
        if self._below is not None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on after pause_reading."""
        if self._below is not None:
            self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes not yet sent."""
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """TLS objects of this link, everything else of the TCP transport."""
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return default if self._below is None else self._below.get_extra_info(name, default)

    # Between the two.

    def _handshake(self) -> bool:
        """Go as far as the bytes at hand allow; whether that was to the end."""
        if self._fault is not None:
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self._flush()
        self._established = True
        self._application.connection_made(self)
        self._settle()
        return True

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    def _decrypt(self, filled: int) -> int:
        """Append all whole records at hand to the plain buffer, which holds `filled` bytes; how many it holds then."""
        plain, read = self._buffers.plain, self._tls.read
        try:
            # Given a buffer, read returns a count: the stub knows only the other form.
            while count := cast("int", read(_RECORD, plain[filled:])):
                filled += count
            self._ended = True  # a read of nothing is the peer's close_notify
        except ssl.SSLWantReadError:
            pass
        if self._outgoing.pending:
            self._flush()  # TLS 1.3 answers a key update
        return filled

    def _flush(self) -> None:
        if self._below is not None and self._outgoing.pending:
            self._below.write(self._outgoing.read())

    def _fail(self, error: Exception) -> None:
        """End the connection for `error`, telling the peer where TLS has an alert for it."""
        self._fault = error
        self._flush()
        if self._below is not None:
            self._below.close()
