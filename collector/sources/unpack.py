"""Packed bodies: kubelets are asked for none, and understood all the same, up to a size."""

import zlib
from typing import Final

from collector.sources.http1 import TooLargeError

_WINDOWS: Final = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
"""Content-Encoding -> what zlib calls it (RFC 9110, 8.4.1)."""


class DamagedError(Exception):
    """A body that cannot be unpacked."""


def unpacked(body: memoryview, packing: bytes, limit: int) -> memoryview:
    """`body` as it was before `packing`, a Content-Encoding. Raises TooLargeError above `limit` bytes, DamagedError."""
    name = packing.lower()
    if name == b"identity":
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise DamagedError(f"Content-Encoding {packing[:100]!r}, which was not asked for")
    unpacker, plain, packed = zlib.decompressobj(window), bytearray(), bytes(body)
    try:
        while packed and not unpacker.eof:
            plain += unpacker.decompress(packed, limit + 1 - len(plain))
            if len(plain) > limit:
                raise TooLargeError
            packed = unpacker.unconsumed_tail
    except zlib.error as error:
        raise DamagedError(f"the {name.decode()} body is damaged: {error}") from error
    if not unpacker.eof:
        raise DamagedError(f"the {name.decode()} body ends too early")
    return memoryview(plain)
