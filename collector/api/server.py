"""The HTTP server: aiohttp around the dispatcher. Listening, compression, streaming, and the HTTP metrics."""

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from collector.api import offered
from collector.api.dispatch import Dispatcher, Outcome
from collector.api.gate import REFUSED, Ask, Gate
from collector.api.negotiation import Compressor, heapster_encoding, standard_encoding
from collector.api.route import Answer, Context, Viewing
from collector.api.tls import ServingCertificates
from collector.api.tlslink import TlsListener
from collector.errors import StartError

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 1 << 20
"""Length of a request line and of a header: as in Go, since a pod-list names its pods in the path."""

WHOLE_BYTES = 1 << 16
"""An answer that stays below is sent whole, with its length; a longer one is streamed."""

SHORT_BYTES = 1_024
"""An answer below that is not worth compressing."""

ANSWER_DEADLINE_S = 120.0
"""A client that takes longer to read its answer is cut off: as long as it reads, a batch cannot be let go."""

LIVE_DEADLINE_S = 60.0
"""A client of a live answer that does not read for so long is cut off."""

STOP_DEADLINE_S = 5.0
"""What answers under way have left when the server stops."""

IDLE_S = 180.0
"""An idle connection is kept for so long: longer than the 90 s of Kubernetes' own clients, so that it is they who close
it and no request meets a connection that is just being closed."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class Answering(Protocol):
    """What a server serves; `Dispatcher` is one."""

    async def answer(
        self, method: str, target: str, headers: Mapping[str, str], viewer: Viewing | None = None
    ) -> Outcome:
        """The answer to one request; `target` is as it stood in the request line. Never raises."""


class ApiServer:
    """Serves on one address. `start` listens, `stop` ends it; the constructor does neither.

    With `tls` it speaks HTTPS only; a `gate` is asked about every request first. Without a `dispatcher` it answers what
    the main port offers. `flag` and `host_flag` are what to turn when the address cannot be had.
    """

    def __init__(
        self,
        context: Context,
        *,
        host: str = "",
        port: int = 8082,
        flag: str = "--heapster-port",
        host_flag: str = "--listen-ip",
        dispatcher: Answering | None = None,
        tls: ServingCertificates | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._context = context
        self._host = host
        self._port = port
        self._flag = flag
        self._host_flag = host_flag
        self._tls = tls
        self._gate = gate
        self._dispatcher: Answering = dispatcher or Dispatcher(context, *offered(context))
        self._runner: web.ServerRunner | None = None
        self._live: set[asyncio.Task[int]] = set()

    @property
    def port(self) -> int:
        """The port it listens on; when 0 was asked for, the one it was given."""
        addresses = self._runner.addresses if self._runner else []
        return int(addresses[0][1]) if addresses else self._port

    @property
    def listening(self) -> bool:
        """Whether new connections are taken."""
        return self._runner is not None and bool(self._runner.addresses)

    async def start(self) -> None:
        """Listen; StartError when the address cannot be had or a certificate cannot be used."""
        if self._tls is not None:
            self._tls.load()
        if self._gate is not None:
            self._gate.load()
        server = web.Server(
            self._serve,
            request_factory=self._arrived,
            access_log=None,
            logger=_http_log(),
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            keepalive_timeout=IDLE_S,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=STOP_DEADLINE_S)
        await runner.setup()
        site: web.BaseSite = (
            TlsListener(runner, self._host or None, self._port, self._tls)
            if self._tls is not None
            else web.TCPSite(runner, self._host or None, self._port)
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise StartError(self._refusal(error)) from error
        self._runner = runner
        scheme = "HTTPS" if self._tls is not None else "HTTP"
        log.info("listening on %s port %d (%s)", self._host or "all addresses", self.port, scheme)

    async def stop(self) -> None:
        """Stop listening, and wait a little for the answers under way."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            for task in self._live:
                task.cancel()
            await runner.cleanup()

    def _refusal(self, error: OSError) -> str:
        where = f"{self._host or 'all addresses'} port {self._port}"
        if error.errno == errno.EADDRINUSE:
            return f"cannot listen on {where}: the port is in use; choose another with {self._flag}"
        if error.errno == errno.EACCES:
            return f"cannot listen on {where}: not permitted; choose a port above 1023 with {self._flag}"
        reason = error.strerror or str(error)
        return f"cannot listen on {where}: {reason}; the address is {self._host_flag}, the port {self._flag}"

    def _arrived(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """A request, before its handler's turn."""
        self._context.turns.asked()
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        outcome = await self._outcome(request)
        made = time.perf_counter()
        response, sent = await (self._send_live if outcome.answer.live else self._send)(request, outcome)
        self._context.turns.served()
        self._context.metrics.http_request(
            outcome.handler,
            request.method if request.method in METHODS else "other",
            response.status,
            (made if outcome.answer.live else time.perf_counter()) - began,  # how long a client listens is no latency
            len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers),
            sent,
        )
        return response

    async def _outcome(self, request: web.BaseRequest) -> Outcome:
        target = _target(request)
        viewer: Viewing | None = None
        if self._gate is not None:
            ask = Ask(request.method, target, request.headers.items(), request.get_extra_info("peer"))
            admitted = await self._gate.admit(ask)
            if isinstance(admitted, Answer):
                return Outcome(admitted, REFUSED, api=False)
            viewer = admitted
        return await self._dispatcher.answer(request.method, target, request.headers, viewer)

    async def _send_live(self, request: web.BaseRequest, outcome: Outcome) -> tuple[web.StreamResponse, int]:
        """Send a live answer piece by piece, until it ends, the client goes or the server stops."""
        answer = outcome.answer
        assert not isinstance(answer.body, bytes), "a live answer comes in pieces"
        headers = {"Content-Type": answer.content_type, "Server": "heapster", **answer.headers}
        response = web.StreamResponse(status=answer.status, headers=headers)
        task = asyncio.create_task(_pump(request, response, answer.body), name=f"live {request.path}")
        self._live.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._live.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await answer.body.aclose()  # type: ignore[attr-defined]  # it may never have been begun
        sent = 0 if task.cancelled() else task.result()
        if response.prepared:
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
        return response, sent

    async def _send(self, request: web.BaseRequest, outcome: Outcome) -> tuple[web.StreamResponse, int]:
        """Send an answer, or make it ready to be sent; how many bytes its body takes."""
        answer = outcome.answer
        headers = {"Content-Type": answer.content_type, "Server": "heapster", **answer.headers}
        accepted = request.headers.get("Accept-Encoding", "")
        encoding = _encoding(outcome, accepted)
        if encoding:
            headers["Content-Encoding"] = encoding
        compressor = Compressor(encoding)
        if isinstance(answer.body, bytes):
            return _whole(answer.status, compressor, answer.body, headers)
        async with aclosing(answer.body) as chunks:  # type: ignore[type-var]  # every one of ours is a generator
            start, ended = await _beginning(chunks)
            if ended:
                return _whole(answer.status, compressor, start, headers)
            response = web.StreamResponse(status=answer.status, headers=headers)
            return response, await self._stream(request, response, compressor, start, chunks)

    async def _stream(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        compressor: Compressor,
        start: bytes,
        chunks: AsyncIterator[bytes],
    ) -> int:
        sent = 0

        async def put(piece: bytes) -> None:
            nonlocal sent
            if piece:
                await response.write(piece)
                self._context.turns.served()
                sent += len(piece)

        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                await response.prepare(request)
                if request.method != "HEAD":
                    await put(compressor.compress(start))
                    async for chunk in chunks:
                        await put(compressor.compress(chunk))
                    await put(compressor.flush())
                await response.write_eof()
        except TimeoutError:
            log.warning(
                "%s %s cut off: the client took over %.0f s to read", request.method, request.path, ANSWER_DEADLINE_S
            )
            _cut(request)
        except ConnectionError:
            log.debug("%s %s: the client went away", request.method, request.path)
        return sent


async def _pump(request: web.BaseRequest, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> int:
    sent = 0
    async with aclosing(chunks):  # type: ignore[type-var]  # every one of ours is a generator
        async for chunk in chunks:
            if request.transport is None or request.transport.is_closing():
                break
            try:
                async with asyncio.timeout(LIVE_DEADLINE_S):
                    if not response.prepared:
                        await response.prepare(request)
                    if chunk:
                        await response.write(chunk)
                        sent += len(chunk)
            except TimeoutError:
                log.warning("%s %s cut off: the client does not read", request.method, request.path)
                _cut(request)
                break
            except ConnectionError:
                break
    return sent


def _encoding(outcome: Outcome, accepted: str) -> str | None:
    """How an answer is compressed where the client takes it: of Heapster's API any, of others those that are long.

    So `/healthz` and what is not found are plain text for everybody, as they were.
    """
    answer = outcome.answer
    if answer.status == HTTPStatus.MOVED_PERMANENTLY:
        return None
    if outcome.api:
        return heapster_encoding(accepted)
    return None if isinstance(answer.body, bytes) and len(answer.body) < SHORT_BYTES else standard_encoding(accepted)


def _whole(status: int, compressor: Compressor, body: bytes, headers: dict[str, str]) -> tuple[web.Response, int]:
    sent = compressor.compress(body) + compressor.flush()
    return web.Response(status=status, body=sent, headers=headers), len(sent)


async def _beginning(chunks: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The first bytes, and whether they are all."""
    taken: list[bytes] = []
    size = 0
    async for chunk in chunks:
        taken.append(chunk)
        size += len(chunk)
        if size >= WHOLE_BYTES:
            return b"".join(taken), False
    return b"".join(taken), True


def _http_log() -> logging.Logger:
    """For aiohttp: what is no HTTP is the sender's fault, and a scanner of ports must not fill the log."""
    http_log = logging.getLogger(f"{__name__}.http")
    if not http_log.filters:
        http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
    return http_log


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _target(request: web.BaseRequest) -> str:
    """The request target from its path on; a client may have sent the whole URL."""
    target = request.raw_path
    return target if target.startswith("/") else request.rel_url.raw_path_qs or "/"
