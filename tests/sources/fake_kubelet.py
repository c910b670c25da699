"""A kubelet's HTTP server on loopback that says exactly what a test wants said, byte by byte."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from collector.sources.target import KubeletTarget


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    """names in lower case"""
    method: str = "GET"
    body: bytes = b""


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def response(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A response with a true Content-Length."""
    return head(status, content_length=str(len(body)), **headers) + body


def head(status: str, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])


def saying(*wire: bytes) -> Script:
    """Answers every request with these bytes, then waits for the next one."""

    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(wire))
        await writer.drain()

    return script


def saying_and_closing(*wire: bytes) -> Script:
    async def script(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(wire))
        await writer.drain()
        writer.close()

    return script


def serving(body: bytes, **headers: str) -> Script:
    return saying(response("200 OK", body, **headers))


async def hanging(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.Event().wait()


class LoopbackServer:
    """Runs `serve` for each connection, and ends them all when left."""

    def __init__(
        self, serve: Serve, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.connections = 0
        self.port = port
        self._serve = serve
        self._context = context
        self._host = host
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, self.port, ssl=self._context)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def target(self, node: str = "node-1") -> KubeletTarget:
        return KubeletTarget(node, self._host, self.port)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.add(asyncio.ensure_future(self._served(reader, writer)))

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client is gone
        finally:
            if not writer.is_closing():
                writer.transport.abort()


class FakeKubelet(LoopbackServer):
    """`async with FakeKubelet(script) as kubelet: ... kubelet.target()`."""

    def __init__(
        self, script: Script, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__(self._answer, context, host, port)
        self.script = script
        self.asked: list[Asked] = []

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            request = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (line.split(": ", 1) for line in request[1:] if line)
            headers = {name.lower(): value for name, value in fields}
            method, path, _ = request[0].split()
            asked = Asked(path, headers, method, await reader.readexactly(int(headers.get("content-length", 0))))
            self.asked.append(asked)
            await self.script(asked, writer)
