"""The bytes of a segment: a header, then records. Little-endian throughout.

    segment  magic 8s | version u16 | 0 u16 | id 16s | crc32 u32 of what stands before it      32 bytes
    record   length u32 | crc32 u32 | timestamp i64 | points u32 | size u32 | codec u8, 0 x 3 | body

`length` counts what follows the crc32, which covers `length` and what follows it. `timestamp` is the tick's, ns since
the epoch; `size` is the body's length before compression. Any prefix of a segment is a segment and a torn record, so
reading stops at the first record that is not whole. The id is random: a cursor that names a segment lost with the
power cannot be taken for one about its successor of the same file name.
"""

import secrets
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

MAGIC = b"HPSTSPL\n"
VERSION = 1

_HEADER = struct.Struct("<8sHH16s")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II")
_FIELDS = struct.Struct("<qIIB3x")

HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_OVERHEAD = _FRAME.size + _FIELDS.size

MAXIMUM_BODY = 256 << 20
"""Bytes of a body, before and after compression: a length beyond it is damage, not a reason to take memory."""

PLAIN, ZSTD = 0, 1
_CODEC = pa.Codec("zstd", compression_level=1)
"""A twentieth of the bytes for a quarter of a microsecond a line; checksum, write and sync then cost little."""


class DamagedError(Exception):
    """A record is not what was written."""


class FormatError(Exception):
    """A whole header of another version."""


class Payload(NamedTuple):
    """What a record holds."""

    timestamp: int
    points: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A whole record in a segment."""

    offset: int
    length: int
    """Of the record with its frame."""
    timestamp: int
    points: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment holds, as far as it is whole."""

    id: bytes
    """Empty when not even the header is whole."""
    places: tuple[Place, ...]
    good: int
    """Bytes up to the first that is not part of a whole record."""


def header(identity: bytes | None = None) -> tuple[bytes, bytes]:
    """The header of a new segment, and its id."""
    identity = secrets.token_bytes(16) if identity is None else identity
    head = _HEADER.pack(MAGIC, VERSION, 0, identity)
    return head + _CRC.pack(zlib.crc32(head)), identity


def packed(payload: Payload) -> bytes:
    """One record."""
    body, codec = _CODEC.compress(payload.body, asbytes=True), ZSTD
    if len(body) >= len(payload.body):
        body, codec = payload.body, PLAIN
    fields = _FIELDS.pack(payload.timestamp, payload.points, len(payload.body), codec)
    length = len(fields) + len(body)
    crc = zlib.crc32(body, zlib.crc32(fields, zlib.crc32(_CRC.pack(length))))
    return b"".join((_FRAME.pack(length, crc), fields, body))


def unpacked(record: bytes) -> Payload:
    """What a whole record holds. Raises DamagedError."""
    _check(record)
    timestamp, points, size, codec = _FIELDS.unpack_from(record, _FRAME.size)
    body: bytes = record[RECORD_OVERHEAD:]
    if codec == ZSTD and size <= MAXIMUM_BODY:
        try:
            body = _CODEC.decompress(body, size, asbytes=True)
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"its body cannot be decompressed: {error}") from error
    elif codec != PLAIN:
        raise DamagedError(f"its codec {codec} or size {size} is unknown")
    if len(body) != size:
        raise DamagedError(f"its body has {len(body)} bytes instead of {size}")
    return Payload(timestamp, points, body)


def _check(record: bytes) -> None:
    if len(record) < RECORD_OVERHEAD:
        raise DamagedError("it is cut short")
    length, crc = _FRAME.unpack_from(record)
    if length != len(record) - _FRAME.size:
        raise DamagedError("it is cut short")
    if zlib.crc32(memoryview(record)[_FRAME.size :], zlib.crc32(_CRC.pack(length))) != crc:
        raise DamagedError("its checksum is wrong")


def scan(read: Callable[[int, int], bytes], size: int) -> Scan:
    """Look at a segment of `size` bytes; `read(offset, length)` gives its bytes. One record is held at a time.

    Raises FormatError for a whole header of another version, OSError as `read` does.
    """
    head = read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return Scan(b"", (), 0)
    _, version, _, identity = _HEADER.unpack_from(head)
    if _CRC.unpack_from(head, _HEADER.size)[0] != zlib.crc32(head[: _HEADER.size]):
        return Scan(b"", (), 0)
    if version != VERSION:
        raise FormatError(f"format {version}, this collector reads and writes format {VERSION}")
    places: list[Place] = []
    at = HEADER_BYTES
    while at + RECORD_OVERHEAD <= size:
        length = _FRAME.unpack(read(at, _FRAME.size).ljust(_FRAME.size, b"\0"))[0] + _FRAME.size
        if not RECORD_OVERHEAD <= length <= min(size - at, MAXIMUM_BODY + RECORD_OVERHEAD):
            break
        record = read(at, length)
        try:
            _check(record)
        except DamagedError:
            break
        timestamp, points, _, _ = _FIELDS.unpack_from(record, _FRAME.size)
        places.append(Place(at, length, timestamp, points))
        at += length
    return Scan(identity, tuple(places), at)
