"""A listening socket and its connections, without asyncio's transports: OpenSSL writes to the socket itself.

Half of what an answer cost the simulator was moving its bytes through a transport's queues. Here SSL_write takes an
answer as it lies, and the kernel is asked to send it in large segments.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Protocol

_READ_BYTES = 16_384
_ACCEPTED_AT_ONCE = 16
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

    def __init__(
        self, listening: socket.socket, context: ssl.SSLContext | None, receiver: Callable[[], Receiver]
    ) -> None:
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

    __slots__ = ("_closing", "_context", "_descriptor", "_loop", "_open", "_receiver", "_socket", "_unsent")

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext | None, receiver: Receiver) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[Bytes] = deque()
        self._open = True
        self._closing = False
        self._socket = accepted
        if context is not None:
            self._socket = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        self._descriptor = self._socket.fileno()
        if context is None:
            self._ready()
        else:
            self._loop.add_reader(self._descriptor, self._handshake)

    def write(self, *pieces: Bytes) -> None:
        """Send these, one after another; what the socket does not take now is sent when it does."""
        if self._unsent or not self._open:
            self._unsent.extend(pieces)
            return
        self._unsent.extend(pieces)
        self._send()

    def close(self) -> None:
        """Say goodbye and close, once all is sent."""
        self._closing = True
        if self._unsent or not self._open:
            return
        if isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # it would like to wait for the client's goodbye
                self._socket.unwrap()
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
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return
        except OSError:  # the certificate is not liked, or the client has gone
            self.abort()
            return
        self._loop.remove_reader(self._descriptor)
        self._ready()

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except OSError:
            data = b""
        if data:
            self._receiver.data_received(data)
        else:
            self.abort()

    def _send(self) -> None:
        """Send what there is, in large segments: the kernel holds back small ones until the cork is out."""
        unsent, sock = self._unsent, self._socket
        several = len(unsent) > 1 or len(unsent[0]) > _READ_BYTES
        try:
            if several:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            while unsent:
                piece = unsent[0]
                sent = sock.send(piece)
                if sent < len(piece):
                    unsent[0] = memoryview(piece)[sent:]
                else:
                    unsent.popleft()
            if several:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        except (ssl.SSLWantWriteError, BlockingIOError):
            self._loop.add_writer(self._descriptor, self._send_on)
        except OSError:
            self.abort()

    def _send_on(self) -> None:
        self._loop.remove_writer(self._descriptor)
        self._send()
        if self._closing:
            self.close()
