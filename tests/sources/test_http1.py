"""Answers put together in one buffer, held against aiohttp's parser and cut wherever a network may cut them."""

import asyncio
import itertools
import zlib
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParserPy
from hypothesis import given
from hypothesis import strategies as st

from collector.sources.buffers import Buffers
from collector.sources.head import MalformedAnswerError
from collector.sources.http1 import RECORD, Reading, TooLargeError
from collector.sources.unpack import DamagedError, unpacked
from tests.sources.fake_kubelet import chunked, head, response

LIMIT = 1 << 20
EXCERPT = 4096


def read(*pieces: bytes, limit: int = LIMIT, room: int = 1) -> Reading | None:
    """The answer in `pieces`, each of which is one read; None when more is to come."""
    reading = Reading(Buffers(), room, limit, EXCERPT)
    for piece in pieces:
        for at in range(0, len(piece), RECORD):
            part = piece[at : at + RECORD]
            if len(reading.view) - reading.filled < RECORD:
                reading.grow()
            reading.view[reading.filled : reading.filled + len(part)] = part
            reading.filled += len(part)
            if reading.filled >= reading.due and reading.advance():
                return reading
    return None


def body_of(*pieces: bytes, **kwargs: Any) -> bytes:
    reading = read(*pieces, **kwargs)
    assert reading is not None
    return bytes(reading.body())


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({min(place, len(wire)) for place in places} | {0, len(wire)})
    return [wire[a:b] for a, b in itertools.pairwise(marks)]


bodies = st.binary(max_size=600) | st.integers(0, 200_000).map(lambda n: bytes(range(251)) * (n // 251 + 1))
headers = st.dictionaries(
    st.from_regex(r"x-[a-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    max_size=4,
)


@given(
    body=bodies,
    size=st.none() | st.integers(1, 70_000),
    extra=headers,
    interim=st.booleans(),
    places=st.lists(st.integers(0, 210_000), max_size=12),
)
def test_any_answer_cut_anywhere_is_what_aiohttp_reads(
    body: bytes, size: int | None, extra: dict[str, str], interim: bool, places: list[int]
) -> None:
    if size is not None:
        size = max(size, len(body) // 400 + 1)
    wire = head("100 Continue") if interim else b""
    wire += (
        response("200 OK", body, **extra)
        if size is None
        else head("200 OK", transfer_encoding="chunked", **extra) + chunked(body, size)
    )
    reading = read(*cut(wire, places))
    assert reading is not None
    assert bytes(reading.body()) == body == by_aiohttp(wire[len(head("100 Continue")) :] if interim else wire)
    assert reading.reusable


def by_aiohttp(wire: bytes) -> bytes:
    """The body according to aiohttp's parser in Python. Raises HttpProcessingError."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParserPy(BaseProtocol(loop), loop, 2**24, response_with_body=True, read_until_eof=False)
        messages, _, _ = parser.feed_data(wire)
        ((_, stream),) = messages
        error = stream.exception()
        if error is not None:
            raise error
        return stream.read_nowait() if stream.total_bytes else b""
    finally:
        loop.close()


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        head("200 OK", content_length="-1"),
        head("200 OK", content_length="+1"),
        head("200 OK", content_length="1_0"),
        head("200 OK", content_length="0x10"),
        head("200 OK", transfer_encoding="gzip, chunked"),
        head("200 OK", content_length="3", transfer_encoding="chunked"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\nb: c\r\n\r\n\x00",
        head("101 Switching Protocols"),
        head("200 OK", transfer_encoding="chunked") + b"x\r\n",
        head("200 OK", transfer_encoding="chunked") + b"\r\n",
        head("200 OK", transfer_encoding="chunked") + b"-1\r\n",
        head("200 OK", transfer_encoding="chunked") + b"1_0\r\n",
        head("200 OK", transfer_encoding="chunked") + b"0x1\r\n",
        head("200 OK", transfer_encoding="chunked") + b"3\r\nabcd\r\n",
        head("200 OK", transfer_encoding="chunked") + b"3\r\nabc\r\n0\r\nnot a trailer\r\n\r\n",
        head("200 OK", transfer_encoding="chunked") + b"3;" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 6000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
        head("200 OK", transfer_encoding="chunked") + b"0\r\n" + b"x: y\r\n" * 6000,
    ],
)
def test_what_is_not_to_the_letter_is_no_answer(wire: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        read(wire)


@pytest.mark.parametrize("wire", [head("200 OK", content_length="-1"), head("20 OK")])
def test_aiohttp_refuses_such_answers_too(wire: bytes) -> None:
    with pytest.raises(HttpProcessingError):
        by_aiohttp(wire)


def test_trailers_and_extensions_are_read_over() -> None:
    wire = head("200 OK", transfer_encoding="chunked") + b"3;name=value\r\nabc\r\n2 \r\nde\r\n0\r\nx-sum: 1\r\n\r\n"
    assert body_of(wire) == b"abcde"
    assert body_of(*(wire[at : at + 1] for at in range(len(wire)))) == b"abcde"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_that_has_no_body_has_none_whatever_its_length_says(status: str) -> None:
    reading = read(head(status, content_length="10"))
    assert reading is not None
    assert bytes(reading.body()) == b""
    assert reading.reusable


@pytest.mark.parametrize(
    "wire",
    [
        head("200 OK", connection="keep-alive, Close", content_length="1") + b"x",
        head("200 OK", content_length="1").replace(b"1.1", b"1.0") + b"x",
        head("200 OK"),
        response("200 OK", b"x") + b"more",
        head("500 Internal Server Error", content_length="5000") + b"x" * EXCERPT,
        head("500 Internal Server Error", transfer_encoding="chunked") + b"1388\r\n" + b"x" * EXCERPT,
    ],
)
def test_a_connection_with_something_left_on_it_is_not_used_again(wire: bytes) -> None:
    reading = read(wire)
    assert reading is not None
    assert not reading.reusable


def test_of_a_refusal_only_the_beginning_is_waited_for() -> None:
    for wire in (
        head("500 Internal Server Error", content_length="100000000") + b"x" * EXCERPT,
        head("500 Internal Server Error", transfer_encoding="chunked") + chunked(b"x" * 6000, 1000)[:-900],
    ):
        assert body_of(wire) == b"x" * EXCERPT


def test_a_body_may_have_as_many_bytes_as_allowed_and_not_one_more() -> None:
    for size in (1, 40, 100):
        start = head("200 OK", transfer_encoding="chunked")
        assert body_of(start + chunked(b"x" * 100, size), limit=100) == b"x" * 100
        with pytest.raises(TooLargeError):
            read(start + chunked(b"x" * 101, size), limit=100)
    with pytest.raises(TooLargeError) as caught:
        read(head("200 OK", content_length="101"), limit=100)
    assert caught.value.announced == 101


def test_framing_does_not_fill_the_memory() -> None:
    """A byte a chunk, each with a long extension: what is kept is the body, and not much more."""
    wire = b"1;" + b"x" * 1000 + b"\r\nb\r\n"
    reading = Reading(Buffers(), 1, LIMIT, EXCERPT)
    pieces = [head("200 OK", transfer_encoding="chunked"), *[wire] * 3000, b"0\r\n\r\n"]
    for piece in pieces:
        if len(reading.view) - reading.filled < RECORD:
            reading.grow()
        reading.view[reading.filled : reading.filled + len(piece)] = piece
        reading.filled += len(piece)
        done = reading.filled >= reading.due and reading.advance()
    assert done
    assert bytes(reading.body()) == b"b" * 3000
    assert len(reading.view) <= 256 * 1024


def test_a_length_alone_takes_no_memory() -> None:
    reading = Reading(Buffers(), 1, 1 << 40, EXCERPT)
    reading.grow()
    start = head("200 OK", content_length=str(1 << 39))
    reading.view[: len(start)] = start
    reading.filled = len(start)
    assert not reading.advance()
    reading.filled = len(reading.view)
    reading.grow()
    assert len(reading.view) < 5 << 20


# The buffers below.


def test_a_buffer_is_lent_again_when_no_view_of_it_is_left() -> None:
    buffers = Buffers()
    first = buffers.take(100_000)
    kept = memoryview(first)[10:20]
    second = buffers.take(100_000)
    assert second is not first
    with memoryview(second):
        kept.release()
        assert buffers.take(100_000) is first


def test_a_buffer_too_small_is_not_lent_for_more_and_a_large_one_not_kept() -> None:
    buffers = Buffers()
    small = buffers.take(10_000)
    assert len(buffers.take(200_000)) >= 200_000
    assert all(buffers.take(200_000) is not small for _ in range(8))
    large = buffers.take(5 << 20)
    assert all(buffers.take(10) is not large for _ in range(8))


@given(st.binary(min_size=1, max_size=5000), st.sampled_from(["gzip", "deflate", "x-gzip", "GZIP"]))
def test_packed_bodies_come_out_as_they_went_in(body: bytes, packing: str) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if "gzip" in packing.lower() else 0))
    packed = memoryview(packer.compress(body) + packer.flush())
    assert bytes(unpacked(packed, packing.encode(), len(body))) == body
    with pytest.raises(TooLargeError):
        unpacked(packed, packing.encode(), len(body) - 1)
    with pytest.raises(DamagedError):
        unpacked(packed[:-1], packing.encode(), len(body))


def test_an_unknown_packing_is_named() -> None:
    assert bytes(unpacked(memoryview(b"x"), b"identity", 10)) == b"x"
    with pytest.raises(DamagedError, match="was not asked for"):
        unpacked(memoryview(b"x"), b"br", 10)
