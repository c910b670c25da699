"""The two ways from cells to lines: each writes what the other writes, to the byte, and none beyond its room."""

import random
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.core.visibility import EVERYTHING, HEAPSTERS
from sinks.influxdb import lines
from sinks.influxdb.encoder import LineEncoder
from sinks.influxdb.lines import Block, Field, Series, Write, write_in_c, write_plainly
from sinks.influxdb.text import float_text
from tests.sinks.batches import Cluster

if not lines.AVAILABLE:
    pytest.fail(
        "sinks/influxdb/_lines was not built: install gcc, libc6-dev and Python's headers (make system), remove "
        ".venv/.ready, run make setup",
        pytrace=False,
    )

TAIL = b" 1795393855000000000\n"
ANY_FLOAT = st.floats() | st.integers(-(2**63), 2**63).map(float) | st.floats(1e-9, 1e9)


def block_of(values: np.ndarray, *, is_float: bool) -> Block:
    cells = np.ascontiguousarray(values).view(np.int64).reshape(1, -1)
    series = (Series(b"m", (Field(b"v=", 0, is_float),)),)
    rows = np.arange(cells.shape[1])
    return Block(series, TAIL, [b""] * rows.size, rows, cells, np.ones(cells.shape, np.bool_))


def all_of(write: Write, block: Block, room: int = 1 << 16, most: int = 1 << 30) -> tuple[bytes, int, int]:
    """The lines, their number and that of the omitted values, written by pieces."""
    text, count, omitted, next_ = b"", 0, 0, 0
    block = replace(block, made=None)
    end = len(block.tags) * len(block.series)
    while True:
        out = bytearray(room)
        at, after, written, left_out = write(block, out, 0, next_, most)
        assert len(out) == room
        assert written <= most
        assert out[:at].count(b"\n") == written
        assert not any(out[at:]) or after < end, "what is behind the last line is nobody's"
        text, count, omitted = text + bytes(out[:at]), count + written, omitted + left_out
        if after == end:
            return text, count, omitted
        assert after > next_ or written == 0
        if not written:
            room *= 2
        next_ = after


def texts(values: list[float]) -> list[str]:
    written = all_of(write_in_c, block_of(np.array(values, np.float64), is_float=True))[0]
    return [line.split(b" ")[1].removeprefix(b"v=").decode() for line in written.split(b"\n")[:-1]]


@settings(deadline=None, max_examples=300)
@given(st.lists(ANY_FLOAT, max_size=30))
@example([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 2.0**53 - 1, -(2.0**53)])
@example([float("nan"), 0.5, float("inf"), -float("inf"), 1e22, 1e23, 9007199254740993.0])
@example([2.0**-68, 2.0**-69, 2.0**-67, 4503599627370495.5, 4503599627370497.5, 0.1, 0.3, 2 / 3, 1e-5])
def test_any_float_is_written_as_python_writes_it(values: list[float]) -> None:
    assert texts(values) == [float_text(value) for value in values if np.isfinite(value)]


def test_two_hundred_thousand_floats_of_everyday_size_are() -> None:
    source = random.Random(7)
    values = [source.random() * 10.0 ** source.randint(-12, 15) for _ in range(60_000)]
    values += [source.randint(0, 10**12) / source.choice([7, 60, 61.003, 59.9, 10, 1000]) for _ in range(60_000)]
    bits = [source.getrandbits(52) | (source.randint(1023 - 70, 1023 + 54) << 52) for _ in range(60_000)]
    bits += [edge + (exponent << 52) for exponent in range(1023 - 70, 1023 + 54) for edge in (0, 1, 2**52 - 1)]
    values += [-found if i % 2 else found for i, (found,) in enumerate(map(_from_bits, bits))]
    values += [round(value, source.randint(0, 6)) for value in values[:60_000]]
    assert texts(values) == [float_text(value) for value in values]


def _from_bits(bits: int) -> tuple[float]:
    found: tuple[float] = struct.unpack("<d", struct.pack("<Q", bits))
    return found


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 19).map(lambda n: 10**n // 10), max_size=30))
@example([0, 9, 10, 99, 100, -1, 2**63 - 1, -(2**63), 999_999_999_999_999_999, 10**18])
def test_any_integer_is(values: list[int]) -> None:
    text, count, _ = all_of(write_in_c, block_of(np.array(values, np.int64), is_float=False))
    assert text == b"".join(b"m v=%di%b" % (value, TAIL) for value in values)
    assert count == len(values)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    columns, width, n = draw(st.integers(1, 5)), draw(st.integers(1, 90)), draw(st.integers(0, 70))
    source = np.random.default_rng(draw(st.integers(0, 2**32)))
    floats = draw(st.lists(st.booleans(), min_size=columns, max_size=columns))
    cells = source.integers(-(2**63), 2**63 - 1, (columns, width))
    for m in np.flatnonzero(floats).tolist():
        choice = source.choice([0.0, 1.5, -2 / 3, 1e300, 1e-300, np.nan, np.inf, 12345678.9, 3e9], width)
        cells[m] = choice.view(np.int64)
    present = source.random((columns + 1, width)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    fields = [Field(b"f%d=" % m, m, floats[m]) for m in range(columns)]
    cut = draw(st.integers(0, columns))
    groups = [group for group in (fields[:cut], fields[cut:], fields[:1]) if group]
    series = tuple(Series(b"series%d" % i, tuple(group)) for i, group in enumerate(groups))
    tags = [b",tag=%b" % (b"x" * int(size)) for size in source.integers(1, 300, n)]
    block = Block(series, TAIL, tags, source.integers(0, width, n), cells, present)
    if draw(st.booleans()):
        block.own = [b",own=%d" % i if i % 3 else b"" for i in range(n)]
        block.places = np.array([source.integers(0, len(tag) + 1) for tag in tags], np.int32).reshape(n)
    return block


@settings(deadline=None, max_examples=200)
@given(blocks(), st.integers(1, 3_000), st.integers(1, 50))
def test_both_ways_write_the_same_whatever_the_room(block: Block, room: int, most: int) -> None:
    whole = all_of(write_plainly, block, 1 << 20)
    assert all_of(write_in_c, block, 1 << 20) == whole
    assert all_of(write_in_c, block, room, most) == whole
    assert all_of(write_plainly, block, room, most) == whole


@pytest.mark.parametrize("with_fields", [False, True])
@pytest.mark.parametrize("visibility", [HEAPSTERS, EVERYTHING])
@pytest.mark.parametrize(("points", "size"), [(10_000, 1_000_000), (10_000, 5_000), (3, 1_000_000)])
def test_whole_batches_are_the_same(points, size, visibility, with_fields) -> None:
    cluster = Cluster(pods=40)
    cluster.entities.set_own_labels(cluster.pods[1], {"labels": "é" * 33_000})
    cluster.entities.set_own_labels(cluster.pods[2], {"labels": "x" * 9_000, "resource_id": "stored"})
    batch = cluster.batch()

    def encoded(write: Write) -> Iterator[bytes]:
        encoder = LineEncoder(
            with_fields=with_fields, visibility=visibility, chunk_points=points, chunk_bytes=size, write=write
        )
        for chunk in encoder.encode(batch):
            assert chunk.points == chunk.body.count(b"\n") <= points
            assert len(chunk.body) <= size or chunk.points == 1
            yield chunk.body
        assert encoder.omitted > 0

    assert b"".join(encoded(write_in_c)) == b"".join(encoded(write_plainly))


def test_what_does_not_fit_together_is_refused() -> None:
    good = block_of(np.arange(4), is_float=False)
    for bad in (
        replace(good, rows=np.array([0, 1, 2, 4])),
        replace(good, rows=np.array([0, 1, 2, -1])),
        replace(good, rows=np.arange(3)),
        replace(good, rows=np.arange(4, dtype=np.int32)),
        replace(good, cells=good.cells.astype(np.int32)),
        replace(good, present=good.present[:, :3].copy()),
        replace(good, present=np.ones((0, 4), np.bool_)),
        replace(good, cells=good.cells[0]),
        replace(good, own=[b""] * 4, places=np.array([0, 0, 0, 1], np.int32)),
        replace(good, own=[b""] * 4, places=np.array([0, 0, 0, -1], np.int32)),
        replace(good, own=[b""] * 3, places=np.zeros(4, np.int32)),
        replace(good, own=[b""] * 4),
        replace(good, tags=[b""] * 5),
        replace(good, series=(Series(b"m", (Field(b"v=", 1, False),)),)),
        replace(good, series=(Series(b"m", (Field(b"v=", -1, False),)),)),
        replace(good, series=(b"m",)),
        replace(good, tags=["", "", "", ""]),
    ):
        with pytest.raises((IndexError, ValueError, TypeError, SystemError, BufferError)):
            write_in_c(bad, bytearray(1_000), 0, 0, 9)
    for at, next_, most in ((1_001, 0, 9), (-1, 0, 9), (0, -1, 9), (0, 0, -1)):
        with pytest.raises(ValueError, match="out of bounds"):
            write_in_c(good, bytearray(1_000), at, next_, most)
    assert write_in_c(good, bytearray(1_000), 1_000, 0, 9) == (1_000, 0, 0, 0)
    assert write_in_c(good, bytearray(1_000), 0, 99, 9) == (0, 4, 0, 0)
    assert all_of(write_in_c, good)[1] == 4


def test_no_reference_is_kept_or_lost() -> None:
    import sys

    block = block_of(np.array([1e300, 1.5]), is_float=True)
    tail, tags = block.tail, block.tags
    before = sys.getrefcount(tail), sys.getrefcount(tags), sys.getrefcount(block.cells)
    for _ in range(1_000):
        write_in_c(block, bytearray(1_000), 0, 0, 9)
        with pytest.raises(ValueError, match="out of bounds"):
            write_in_c(block, bytearray(1_000), 0, 0, -1)
    assert (sys.getrefcount(tail), sys.getrefcount(tags), sys.getrefcount(block.cells)) == before
