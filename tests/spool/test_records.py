"""The bytes of a segment: whole records come back, anything else ends the reading, nothing raises."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.spool import records
from sinks.spool.records import DamagedError, FormatError, Payload, Scan, header, packed, scan, unpacked

payloads = st.builds(Payload, st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=300))


def scanned(content: bytes) -> Scan:
    return scan(lambda offset, length: content[offset : offset + length], len(content))


@given(payloads)
def test_a_record_holds_what_it_was_given(payload: Payload) -> None:
    assert unpacked(packed(payload)) == payload


def test_repetitive_lines_become_small() -> None:
    lines = b"cpu/usage,nodename=node-a,type=node value=1i 1700000040000000000\n" * 1000
    assert len(packed(Payload(1, 1000, lines))) < len(lines) / 20


@given(st.lists(payloads, max_size=5), st.data())
def test_any_prefix_of_a_segment_is_a_segment(written: list[Payload], data: st.DataObject) -> None:
    head, identity = header()
    frames = [packed(payload) for payload in written]
    content = head + b"".join(frames)
    cut = data.draw(st.integers(0, len(content)))
    found = scanned(content[:cut])
    whole = [frame for end, frame in _ends(len(head), frames) if end <= cut]
    assert len(found.places) == len(whole)
    assert found.good == (len(head) + sum(map(len, whole)) if cut >= len(head) else 0)
    assert found.id == (identity if cut >= len(head) else b"")


def _ends(start: int, frames: list[bytes]) -> list[tuple[int, bytes]]:
    ends = []
    for frame in frames:
        start += len(frame)
        ends.append((start, frame))
    return ends


@given(st.lists(payloads, min_size=1, max_size=4), st.data())
def test_a_changed_byte_ends_the_reading_there(written: list[Payload], data: st.DataObject) -> None:
    head, _ = header()
    frames = [packed(payload) for payload in written]
    content = bytearray(head + b"".join(frames))
    at = data.draw(st.integers(len(head), len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    before = sum(end <= at for end, _ in _ends(len(head), frames))
    assert len(scanned(bytes(content)).places) == before


@given(st.binary(max_size=400))
def test_noise_is_no_segment_and_no_error(noise: bytes) -> None:
    assert scanned(noise).places == ()


def test_zeros_behind_the_last_record_are_no_record() -> None:
    content = header()[0] + packed(Payload(1, 2, b"lines")) + bytes(10_000)
    assert len(scanned(content).places) == 1


def test_a_whole_header_of_another_version_is_refused_by_name() -> None:
    head = struct.pack("<8sHH16s", records.MAGIC, 7, 0, bytes(16))
    with pytest.raises(FormatError, match="format 7, this collector reads and writes format 1"):
        scanned(head + struct.pack("<I", zlib.crc32(head)))


@given(payloads, st.data())
def test_reading_back_what_was_damaged_raises_and_nothing_else(payload: Payload, data: st.DataObject) -> None:
    frame = bytearray(packed(payload))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedError):
        unpacked(bytes(frame))
