"""Connections kept between scrapes, and the one limit on what is under way."""

import asyncio
import contextlib
import os
import ssl

import pytest

from collector.errors import FetchError
from collector.sources import pool
from collector.sources.kubelet import KubeletClient, KubeletOptions
from collector.sources.timelimit import TimeLimit, Turn
from tests.sources.conftest import Authority
from tests.sources.fake_kubelet import Asked, FakeKubelet, LoopbackServer, head, response, serving

pytestmark = pytest.mark.usefixtures("nothing_left")

BODY = b'{"node":{}}'


def options(authority: Authority, **changed: object) -> KubeletOptions:
    return KubeletOptions(ca_files=(authority.file,), **changed)  # type: ignore[arg-type]


async def test_an_idle_connection_is_closed_in_time_also_when_nobody_asks_again(
    authority: Authority, kubelet_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE_LIMIT", 0.05)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response("200 OK", BODY))
        assert await reader.read() == b""  # its goodbye, as TLS says it
        ended.set()

    async with LoopbackServer(serve, kubelet_tls) as server, KubeletClient(options(authority)) as client:
        assert await client.fetch(server.target()) == BODY
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_connection_idle_for_too_long_is_not_used(
    authority: Authority, kubelet_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeKubelet(serving(BODY), kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        await client.fetch(kubelet.target())
        monkeypatch.setattr(pool, "IDLE_LIMIT", -1.0)
        await client.fetch(kubelet.target())
    assert kubelet.connections == 2


async def test_bytes_nobody_asked_for_end_an_idle_connection(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    said = asyncio.Event()

    async def talking(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response("200 OK", BODY))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(response("200 OK", b"forged"))
        await writer.drain()
        said.set()

    async with FakeKubelet(talking, kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        assert await client.fetch(kubelet.target()) == BODY
        await said.wait()
        await asyncio.sleep(0.02)
        assert await client.fetch(kubelet.target()) == BODY
    assert kubelet.connections == 2


async def test_a_kept_connection_cut_by_the_request_is_replaced_once(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    """The kubelet closed it in the very moment: seen only when the request is out already."""
    answered = 0

    async def once(asked: Asked, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        if answered == 2:
            writer.transport.abort()
        else:
            writer.write(response("200 OK", BODY))

    async with FakeKubelet(once, kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        for _ in range(2):
            assert await client.fetch(kubelet.target()) == BODY
    assert len(kubelet.asked) == 3
    assert kubelet.connections == 2


async def test_an_answer_begun_and_cut_is_not_asked_for_again(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    async def half(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if len(kubelet.asked) == 1:
            writer.write(response("200 OK", BODY))
            return
        writer.write(head("200 OK", content_length="100") + BODY)
        await writer.drain()
        writer.close()

    async with FakeKubelet(half, kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        await client.fetch(kubelet.target())
        with pytest.raises(FetchError, match="broke the answer off"):
            await client.fetch(kubelet.target())
    assert len(kubelet.asked) == 2


async def test_a_question_larger_than_the_socket_takes_is_sent_whole(
    authority: Authority, kubelet_tls: ssl.SSLContext
) -> None:
    question = os.urandom(8_000_000)
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)  # until the client's socket is full
        got.append(await reader.readexactly(len(question)))
        writer.write(response("200 OK", BODY))
        await reader.read()

    for context in (kubelet_tls, None):
        async with (
            LoopbackServer(serve, context) as server,
            KubeletClient(options(authority, https=context is not None)) as client,
        ):
            assert await client.fetch(server.target(), "/stats/container/", question) == BODY
    assert got == [question, question]


async def test_a_body_is_whole_as_long_as_it_is_kept(authority: Authority, kubelet_tls: ssl.SSLContext) -> None:
    bodies = [b"{" + os.urandom(100_000) for _ in range(20)]

    async def numbered(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response("200 OK", bodies[int(asked.path[1:])]))

    async with FakeKubelet(numbered, kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        kept = []
        for number in range(20):
            kept.append(await client.fetch(kubelet.target(), f"/{number}"))
            if number % 3 == 0:
                kept.pop(0)  # its memory is another's from now on
        assert all(bytes(body) in bodies for body in kept)
        assert len({bytes(body[:9]) for body in kept}) == len(kept)


@pytest.mark.parametrize("path", ["/stats\r\nX-Injected: b", "/a b", "stats", "/ä", ""])
async def test_a_path_that_is_none_is_not_asked_for(
    authority: Authority, kubelet_tls: ssl.SSLContext, path: str
) -> None:
    async with FakeKubelet(serving(BODY), kubelet_tls) as kubelet, KubeletClient(options(authority)) as client:
        with pytest.raises(FetchError, match="no path"):
            await client.fetch(kubelet.target(), path)
    assert kubelet.asked == []


# The limit.


async def test_each_turn_ends_at_its_own_time_and_the_others_go_on() -> None:
    limit, ends = TimeLimit(0.05), {}
    loop = asyncio.get_running_loop()

    async def wait(name: str, before: float, seconds: float) -> None:
        await asyncio.sleep(before)
        began = loop.time()
        try:
            with Turn(limit):
                await asyncio.sleep(seconds)
        except TimeoutError:
            ends[name] = loop.time() - began

    await asyncio.gather(wait("first", 0, 9), wait("quick", 0, 0.01), wait("late", 0.03, 9), wait("fine", 0.09, 0.02))
    limit.close()
    assert sorted(ends) == ["first", "late"]
    assert all(0.045 <= seconds < 1 for seconds in ends.values())
    assert not limit.due


async def test_a_cancellation_from_elsewhere_is_none_of_the_limits() -> None:
    limit = TimeLimit(10)

    async def wait() -> None:
        with Turn(limit):
            await asyncio.sleep(9)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    limit.close()


async def test_an_error_that_comes_with_the_end_of_the_time_is_not_hidden() -> None:
    limit = TimeLimit(0.01)

    async def wait() -> None:
        with Turn(limit):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(9)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  any
        await asyncio.create_task(wait())
    limit.close()
