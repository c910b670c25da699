"""Many requests over few connections: HTTP/1.1, kept alive and pipelined. Requests go out as they are."""

import asyncio
import ssl
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONNECTIONS = 6
UNANSWERED = 40
"""Requests sent ahead of their answers, on one connection."""
LIMIT_S = 900.0
"""For all of a connection's requests: a busy machine fails no test."""


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """As it was before compression."""


async def ask(
    port: int,
    requests: Sequence[Request],
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    connections: int = CONNECTIONS,
) -> list[Reply]:
    """The reply to each request, in their order. Every connection carries its share one after another."""
    replies: dict[int, Reply] = {}

    async def share(first: int) -> None:
        mine = list(range(first, len(requests), connections))
        while mine:  # the server may close after an answer; the rest is asked again on a new connection
            before = len(mine)
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                async with asyncio.timeout(LIMIT_S):
                    await _converse(reader, writer, requests, mine, replies)
            finally:
                writer.close()
            assert len(mine) < before, f"no answer to {requests[mine[0]]}"

    await asyncio.gather(*(share(first) for first in range(min(connections, len(requests)))))
    return [replies[number] for number in range(len(requests))]


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    requests: Sequence[Request],
    waiting: list[int],
    replies: dict[int, Reply],
) -> None:
    """Take from `waiting` what is answered on this connection."""
    numbers = list(waiting)
    ahead = asyncio.Semaphore(UNANSWERED)

    async def send() -> None:
        for number in numbers:
            await ahead.acquire()
            writer.write(_text(requests[number]))
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        for number in numbers:
            replies[number], last = await _reply(reader, requests[number].method)
            waiting.remove(number)
            ahead.release()
            if last:
                return
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _text(request: Request) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1", "Host: heapster"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _reply(reader: asyncio.StreamReader, method: str) -> tuple[Reply, bool]:
    """One reply, and whether the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, status, _ = head[0].split(" ", 2)
    assert version == "HTTP/1.1", head[0]
    headers = {}
    for line in filter(None, head[1:]):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = b"" if method == "HEAD" or status == "304" else await _body(reader, headers)
    encoding = headers.get("content-encoding")
    if encoding and body:
        body = zlib.decompress(body, {"gzip": 31, "deflate": 15}[encoding])
    return Reply(int(status), headers, body), headers.get("connection", "").lower() == "close"


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
