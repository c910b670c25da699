"""The cursor file: which records are settled, so that they are not delivered again after a restart.

One line of JSON behind its CRC-32: `{"version": 1, "settled": {"<segment id>": [[first, last], ...]}}`. What it does
not name is delivered, perhaps once more; so an old, a lost or a damaged cursor costs repeats, never a point.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence

from sinks.spool.index import Segment

VERSION = 1

Ranges = Sequence[tuple[int, int]]


def written(segments: Iterable[Segment]) -> bytes:
    """The cursor of these segments."""
    settled = {segment.id.hex(): ranges for segment in segments if (ranges := _ranges(segment))}
    text = json.dumps({"version": VERSION, "settled": settled}, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _ranges(segment: Segment) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for position, record in enumerate(segment.records):
        if record is not None:
            continue
        if found and found[-1][1] == position - 1:
            found[-1] = (found[-1][0], position)
        else:
            found.append((position, position))
    return found


def read(text: bytes) -> Mapping[bytes, Ranges] | None:
    """Segment id -> settled records; None when the cursor is damaged or of another version."""
    crc, _, document = text.rstrip(b"\n").partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(document):
            return None
        found = json.loads(document)
        if found["version"] != VERSION:
            return None
        return {bytes.fromhex(name): [(a, b) for a, b in ranges] for name, ranges in found["settled"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def is_settled(ranges: Ranges, position: int) -> bool:
    """Whether the record at `position` of a segment is among its settled `ranges`."""
    return any(first <= position <= last for first, last in ranges)
