"""One connection to a kubelet, plain or TLS, without asyncio's transports: OpenSSL reads from the socket itself.

A transport would copy what arrives four times (into its buffer, into OpenSSL's queue, out of it, and into one piece)
and would keep a queue for each idle connection. Here SSL_read takes a record from the socket and decrypts it to where
it stays; between two answers a connection holds its TLS state and nothing else. Handshake, verification and encryption
are OpenSSL's, through the standard library's SSLSocket; this module says when.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from collector.sources.addresses import is_ip
from collector.sources.http1 import RECORD, Reading
from collector.sources.pace import Pace
from collector.sources.tls import KubeletIdentity, Peer

_READS_A_TURN: Final = 64
"""Most records read before others on the event loop get their turn: 1 MB."""
_MOST: Final = 1 << 30
"""To SSL_read: as much as there is room for. It gives one record at a time."""
OWN_LIMITS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Errors of connecting that say something of this process, and nothing of the other side."""


class NotConnectedError(Exception):
    """No connection could be made; its cause is the OSError (of which ssl.SSLError is one)."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause: Final = cause


class NoRouteError(Exception):
    """A kubelet takes connections at none of its addresses; `faults` says why, one by one."""

    def __init__(self, faults: dict[str, OSError | None]) -> None:
        super().__init__(", ".join(faults))
        self.faults: Final = faults
        """address -> the error; None: no connection in its share of the time"""


class DisconnectedError(Exception):
    """The connection ended before the whole answer had come; `untouched`: before the first byte of it."""

    def __init__(self, text: str, *, untouched: bool) -> None:
        super().__init__(text)
        self.untouched: Final = untouched


async def connect(peer: Peer, identity: KubeletIdentity | None, pace: Pace) -> "Link":
    """A link to `peer`; with `identity` it is TLS, and the other side is who it should be. Raises NotConnectedError.

    Handshakes keep to `pace`.
    """
    if is_ip(peer.address):
        family = socket.AF_INET6 if ":" in peer.address else socket.AF_INET
        return await _connect(family, (peer.address, peer.port), peer, identity, pace)
    error: NotConnectedError | None = None
    for family, place in await _resolved(peer):
        try:
            return await _connect(family, place, peer, identity, pace)
        except NotConnectedError as fault:
            error = fault
    raise error or NotConnectedError(socket.gaierror(socket.EAI_NONAME, "the name has no address"))


async def _resolved(peer: Peer) -> list[tuple[socket.AddressFamily, Any]]:
    """The addresses of a name, as pairs of family and socket address. Raises NotConnectedError."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(peer.address, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotConnectedError(error) from error
    return [(family, place) for family, _, _, _, place in found]


async def _connect(
    family: socket.AddressFamily, place: Any, peer: Peer, identity: KubeletIdentity | None, pace: Pace
) -> "Link":
    sock: socket.socket | None = None
    try:
        sock = await pace.run(partial(_begun, family, place))
        await _ready(sock.fileno(), to_write=True)
        _raise_fault(sock)
        if identity is not None:
            sock = tls = identity.wrap(sock, peer)
            await _handshake(tls, pace)
            identity.admit(tls, peer)
        return Link(sock, pace)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, OSError):
            raise NotConnectedError(error) from error
        raise


def _begun(family: socket.AddressFamily, place: Any) -> socket.socket:
    """A socket that is about to be connected."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock


def _raise_fault(sock: socket.socket) -> None:
    """Raise what connecting came to, if that was no connection."""
    fault = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if fault:
        raise OSError(fault, os.strerror(fault))


async def _ready(descriptor: int, *, to_write: bool = False) -> None:
    """Wait until there is something to read, or room to write."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    if to_write:
        loop.add_writer(descriptor, wake)
    else:
        loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        if to_write:
            loop.remove_writer(descriptor)
        else:
            loop.remove_reader(descriptor)


async def _handshake(tls: ssl.SSLSocket, pace: Pace) -> None:
    while True:
        try:
            await pace.run(tls.do_handshake)
        except ssl.SSLWantReadError:
            await _ready(tls.fileno())
        except ssl.SSLWantWriteError:
            await _ready(tls.fileno(), to_write=True)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise ConnectionResetError("connection closed during the TLS handshake") from None
        else:
            return


class Link:
    """An open connection: one request and its answer at a time."""

    __slots__ = (
        "_answered",
        "_descriptor",
        "_listens",
        "_loop",
        "_pace",
        "_read",
        "_reading",
        "_socket",
        "closed",
        "idle_since",
        "room",
    )

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        """`sock` is connected, without blocking and, if TLS, verified. The link closes it.

        What happens while it is idle may happen to all links at once, and is seen to at that `pace`.
        """
        self._socket = sock
        self._pace = pace
        self._descriptor = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._reading: Reading | None = None
        self._answered: asyncio.Future[None] | None = None
        # Given a buffer, SSLSocket.read returns a count: the stub knows only the other form.
        self._read = (
            cast("Callable[[int, memoryview], int]", sock.read)
            if isinstance(sock, ssl.SSLSocket)
            else lambda _most, into: sock.recv_into(into)
        )
        self.closed = False
        self.idle_since = 0.0
        """The event loop's time when it was given back to the pool; 0 before the first answer."""
        self.room = 4 * RECORD
        """What the last answer took of its buffer: the next of this kubelet will be about as large."""
        self._listens = False
        self._listen()

    async def exchange(self, request: bytes, reading: Reading) -> None:
        """Send `request`, read its answer into `reading`; unless that ends well, the link is closed.

        Raises DisconnectedError, MalformedAnswerError, TooLargeError, ssl.SSLError.
        """
        self._reading, self._answered = reading, self._loop.create_future()
        try:
            self._listen()
            self._write(request)
            await self._answered
        except BaseException:
            self._answered = None  # nobody waits any more
            self.abort()
            raise
        finally:
            self._reading = self._answered = None
        self.room = reading.filled + 2 * RECORD
        if not reading.reusable:
            self.close()

    def close(self) -> None:
        """Say goodbye in TLS and close; the peer's goodbye is not waited for."""
        if not self.closed and isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # it would like to wait
                self._socket.unwrap()
        self.abort()

    def abort(self) -> None:
        """Close without a word; an exchange under way fails."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._socket.close()
        self._end(DisconnectedError("the connection was closed", untouched=False))

    def _write(self, data: bytes) -> None:
        """Send; what the socket does not take now is sent when it does."""
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        except ssl.SSLError:
            raise
        except OSError as error:
            raise DisconnectedError(str(error), untouched=True) from error
        if sent < len(data):
            self._loop.add_writer(self._descriptor, self._write_rest, data[sent:])

    def _write_rest(self, data: bytes) -> None:
        self._loop.remove_writer(self._descriptor)
        try:
            self._write(data)
        except (DisconnectedError, ssl.SSLError) as error:
            self._end(error)

    def _readable(self) -> None:
        reading = self._reading
        if reading is None:
            self._listens = False
            self._loop.remove_reader(self._descriptor)
            self._pace.later(self._look)
            return
        answered = self._answered
        assert answered is not None
        if answered.done():  # the answer is there, or the exchange was given up: its task has not run yet
            return
        pace = self._pace
        if not pace.may_read():  # what there is to read is there in the next turn too, and said again
            return
        began = time.perf_counter()
        try:
            self._read_on(reading, answered)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (ssl.SSLEOFError, ConnectionError) as error:
            self._cut(reading, error)
        except Exception as error:  # noqa: BLE001  whatever it is, the exchange ends with it
            self._end(error)
        finally:
            pace.has_read(time.perf_counter() - began)

    def _read_on(self, reading: Reading, answered: asyncio.Future[None]) -> None:
        """Read until the answer is there, nothing more is, or others are to have their turn."""
        read, view, filled = self._read, reading.view, reading.filled
        for _ in range(_READS_A_TURN):
            if len(view) - filled < RECORD:
                reading.grow()
                view, filled = reading.view, reading.filled
            count = read(_MOST, view[filled:])
            if not count:
                self._cut(reading)
                return
            filled = reading.filled = filled + count
            if filled >= reading.due and reading.advance():
                answered.set_result(None)
                return

    def _cut(self, reading: Reading, error: OSError | None = None) -> None:
        text = "the kubelet closed the connection before the answer was whole" if error is None else str(error)
        self._end(DisconnectedError(text, untouched=not reading.filled))

    def _end(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)

    def _listen(self) -> None:
        """Be told of what there is to read."""
        if not self._listens and not self.closed:
            self._listens = True
            self._loop.add_reader(self._descriptor, self._readable)

    def _look(self) -> None:
        """Something happened to an idle link: its end, or what nobody asked for; TLS's own messages are neither."""
        if self.closed or self._listens:  # or it is in use again
            return
        try:
            self._read(1, memoryview(bytearray(1)))
        except (ssl.SSLWantReadError, BlockingIOError):
            self._listen()
            return
        except OSError:
            pass
        self.abort()
