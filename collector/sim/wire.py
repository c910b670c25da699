"""A listening socket and its connections, without asyncio's transports: OpenSSL writes to the socket itself.

Half of what an answer cost the simulator was moving its bytes through a transport's queues. Here SSL_write takes an
answer as it lies, and the kernel is asked to send it in large segments. It is pyOpenSSL's: the OpenSSL that comes with
it is newer than the one below Python's ssl module, and encrypts in half the time.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from OpenSSL import SSL

_READ_BYTES = 16_384
_ACCEPTED_AT_ONCE = 16
_GONE = (OSError, SSL.Error)
"""What a broken connection raises; SSL.WantReadError and SSL.WantWriteError are caught before."""
Bytes = bytes | memoryview


class Receiver(Protocol):
    """Who answers on a connection."""

    def connection_made(self, wire: "Wire") -> None:
        """The connection is there, its handshake included."""

    def connection_lost(self) -> None:
        """It is there no more."""

    def data_received(self, data: bytes) -> None:
        """What came."""


class Listener:
    """Accepts connections on `listening`, which it owns; `receiver` makes who answers on each."""

    def __init__(self, listening: socket.socket, context: SSL.Context | None, receiver: Callable[[], Receiver]) -> None:
        self._listening = listening
        self._context = context
        self._receiver = receiver
        asyncio.get_running_loop().add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening; connections stay."""
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listening.fileno())
            self._listening.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _peer = self._listening.accept()
            except OSError:  # nobody is there, or has gone again; without a free descriptor the next turn tries anew
                return
            Wire(accepted, self._context, self._receiver())


class Wire:
    """One accepted connection."""

    __slots__ = (
        "_closing",
        "_descriptor",
        "_loop",
        "_open",
        "_receiver",
        "_recv",
        "_socket",
        "_take",
        "_tls",
        "_unsent",
    )

    def __init__(self, accepted: socket.socket, context: SSL.Context | None, receiver: Receiver) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[Bytes] = deque()
        self._open = True
        self._closing = False
        self._socket = accepted
        self._descriptor = accepted.fileno()
        self._tls: SSL.Connection | None = None
        self._recv: Callable[[int], bytes] = accepted.recv
        self._take: Callable[[Bytes], int] = accepted.send
        if context is None:
            self._ready()
            return
        self._tls = SSL.Connection(context, accepted)
        self._tls.set_accept_state()
        self._recv, self._take = self._tls.recv, self._tls.send
        self._loop.add_reader(self._descriptor, self._handshake)

    def write(self, *pieces: Bytes) -> None:
        """Send these, one after another; what the socket does not take now is copied, and sent when it does."""
        if not self._open:
            return
        if self._unsent:
            self._unsent.extend(bytes(piece) for piece in pieces)
        else:
            self._unsent.extend(pieces)
            self._send()

    def close(self) -> None:
        """Say goodbye and close, once all is sent."""
        self._closing = True
        if self._unsent or not self._open:
            return
        if self._tls is not None:
            with contextlib.suppress(*_GONE):
                self._tls.shutdown()
        self.abort()

    def abort(self) -> None:
        """Close without a word."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._socket.close()
        self._receiver.connection_lost()

    def _ready(self) -> None:
        self._loop.add_reader(self._descriptor, self._readable)
        self._receiver.connection_made(self)

    def _handshake(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return
        except _GONE:  # the certificate is not liked, or the client has gone
            self.abort()
            return
        self._loop.remove_reader(self._descriptor)
        self._ready()

    def _readable(self) -> None:
        try:
            data = self._recv(_READ_BYTES)
        except (SSL.WantReadError, BlockingIOError):
            return
        except _GONE:
            data = b""
        if data:
            self._receiver.data_received(data)
        else:
            self.abort()

    def _send(self) -> None:
        """Send what there is, in large segments: the kernel holds back small ones until the cork is out."""
        unsent, sock, take = self._unsent, self._socket, self._take
        several = len(unsent) > 1 or len(unsent[0]) > _READ_BYTES
        try:
            if several:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            while unsent:
                piece = unsent[0]
                sent = take(piece)
                if sent < len(piece):
                    unsent[0] = memoryview(piece)[sent:]
                else:
                    unsent.popleft()
            if several:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        except (SSL.WantWriteError, BlockingIOError):
            self._unsent = deque(bytes(piece) for piece in unsent)
            self._loop.add_writer(self._descriptor, self._send_on)
        except _GONE:
            self.abort()

    def _send_on(self) -> None:
        self._loop.remove_writer(self._descriptor)
        self._send()
        if self._closing:
            self.close()
