"""Spool: the index and the segments together, within a budget.

Oldest goes first: at the cap of bytes a whole segment, so whole ticks; beyond the age single ticks. When the disk takes
nothing, records wait in memory, within a bound of its own, until it does again.

    dropped["full"]      the cap of bytes, or of files
    dropped["age"]       older than may be kept
    dropped["memory"]    the disk took none, and memory was full
    dropped["damaged"]   what was read back is not what was written
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sinks.spool.disk import Disk
from sinks.spool.index import Index, Record, Segment, Tick
from sinks.spool.records import DamagedError, Payload, packed, unpacked
from sinks.spool.segments import Found, Segments
from sinks.spool.size import FLOOR_BYTES, Sizing, SpoolSize

SEGMENTS = 32
"""A full spool has about so many files: what the cap removes at a time is a small part."""

MAXIMUM_SEGMENT_BYTES = 32 << 20

MINIMUM_BYTES = 1 << 16
"""Of a budget, however little the disk has free."""

MAXIMUM_SEGMENTS = 1024
"""Most files, however small: each start begins a new one."""

MEMORY_BYTES = 64 << 20
"""Most compressed bytes in memory while the disk takes none."""

RETRY_S = 5.0
"""Seconds between two tries of a disk that takes nothing."""

FRESH_BYTES = 16 << 20
"""Most bytes of bodies kept as they came for senders that keep up."""

READS = 5
"""Times the disk may fail to give a record before it counts as damaged."""

AGE_S = 60.0
"""Most seconds between two looks for what is too old."""

SYNC_S = 1.0
"""Seconds between two syncs with `interval`, and between two writes of the cursor."""

Sync = Literal["each", "interval"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """How much is kept, and how surely."""

    max_bytes: int = 1 << 30
    """The budget on disk, exceeded by a tick at most; what is used of it goes by the rate: `size`."""
    free_share: float = 0.0
    """The budget is no more than this share of what the disk has free at the start; 0: whatever that is."""
    floor_bytes: int = FLOOR_BYTES
    """Of the budget, what is used at any rate."""
    max_age_ns: int = 24 * 3_600_000_000_000
    sync: Sync = "interval"
    """`each`: a tick is on the disk before it counts as spooled; `interval`: within SYNC_S."""
    memory_bytes: int = MEMORY_BYTES
    fresh_bytes: int = FRESH_BYTES

    def segment_bytes(self, limit: int) -> int:
        """A segment of a spool that may have `limit` bytes ends with the tick that fills it."""
        return max(1, min(limit // SEGMENTS, MAXIMUM_SEGMENT_BYTES))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an earlier process left."""

    ticks: int = 0
    points: int = 0
    lost_bytes: int = 0
    """In damaged records, whose points nobody knows."""


class Spool:
    """The spool of one sink; `directory` None for memory alone.

    `open`, `append`, `keep`, `seal`, `read`, `flush` and `close` may wait for the disk and are called one at a time;
    the index only touches memory and may be asked from another thread meanwhile. So does `offer`, while nothing is
    appended or kept, and `read` of what is fresh. Errors of the disk do not come out of here, except from `open`.
    """

    def __init__(
        self,
        directory: Path | None,
        disk: Disk,
        limits: SpoolLimits,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self._limits = limits
        self._segments = None if directory is None else Segments(directory, disk)
        self._clock, self._monotonic = clock, monotonic
        self.index = Index()
        """Ticks, records and the ledger."""
        self._sizing = self._sized(limits.memory_bytes if directory is None else limits.max_bytes)
        self._sample: tuple[int, int] | None = None
        """Bytes of the latest record, and of its body: by them the others of a tick are estimated."""
        self._retry_at = 0.0
        self._aged_at = monotonic()
        self.trouble: str | None = None
        """What the disk said last, None while it takes what it is given."""
        self.recovered = Recovered()

    @property
    def queued_bytes(self) -> int:
        """What is still to be delivered, compressed."""
        return self.index.bytes

    @property
    def size(self) -> SpoolSize:
        """What may be kept, and how long an outage that covers."""
        return self._sizing.size

    def _sized(self, budget: int) -> Sizing:
        if self.directory is None:
            return Sizing("", budget, self._limits.max_age_ns, budget)
        return Sizing(str(self.directory), budget, self._limits.max_age_ns, self._limits.floor_bytes)

    @property
    def held_bytes(self) -> int:
        """The part of it that is in memory alone."""
        return self.index.held_bytes

    # The start.

    def open(self) -> Recovered:
        """Take up what an earlier process left. Raises OSError and FormatError."""
        if self._segments is None:
            return self.recovered
        # What waited in memory while the disk took nothing may lie behind the records of later ticks.
        ticks: dict[int, Tick] = {}
        for found in self._segments.recover():
            self._take_up(found, ticks)
        for tick in ticks.values():
            self.index.commit(tick, recovered=True)
        self.recovered = replace(self.recovered, ticks=len(ticks))
        if share := self._limits.free_share:
            ours = self._segments.size
            room = int((self._segments.free + ours) * share)
            self._sizing = self._sized(max(MINIMUM_BYTES, min(self._limits.max_bytes, room)))
        self._enforce(0)
        self._tidy()
        return self.recovered

    def _take_up(self, found: Found, ticks: dict[int, Tick]) -> None:
        """The records of a segment; `ticks` are those found until now, by their timestamps."""
        self.recovered = replace(self.recovered, lost_bytes=self.recovered.lost_bytes + found.lost)
        settled = {
            position for first, last in found.settled for position in range(first, min(last + 1, len(found.places)))
        }
        for position, place in enumerate(found.places):
            if position in settled:
                found.segment.records.append(None)
                continue
            tick = ticks.setdefault(place.timestamp, Tick(place.timestamp))
            record = Record(tick, place.points, place.length, found.segment, place.offset)
            self.index.add(record, recovered=True)
            self.recovered = replace(self.recovered, points=self.recovered.points + place.points)

    # Appending.

    def append(self, tick: Tick, body: bytes, points: int) -> None:
        """Keep one write of `tick`, on disk or, if that fails, in memory."""
        frame = self._packed(tick, body, points)
        record = Record(tick, points, len(frame))
        self._sizing.add(tick.timestamp, len(frame))
        if (place := self._placed(frame)) is None:
            record.held = frame
        else:
            record.segment, record.offset = place
        if self.has_room(len(body)):
            record.fresh = body
        self.index.add(record)
        self._bound_memory()

    def offer(self, tick: Tick, body: bytes, points: int) -> Record | None:
        """Let the senders have a write of `tick` before it is kept, which spares what they deliver in time the disk.

        None where it has to be appended: nothing is `offered`, nothing tells yet what a record takes, or memory has no
        room. The caller gives what is not delivered in time to `keep`.
        """
        if not self.offered or self._sample is None or not self.has_room(len(body)):
            return None
        of_record, of_body = self._sample
        record = Record(tick, points, len(body) * of_record // of_body, fresh=body)
        self._sizing.add(tick.timestamp, record.length)
        self.index.add(record)
        return record

    @property
    def offered(self) -> bool:
        """Whether anything is: not where a tick is on the disk before it counts."""
        return self._limits.sync == "interval"

    def has_room(self, size: int) -> bool:
        """Whether memory has room for so many more bytes as they came."""
        return self.index.fresh_bytes + size <= self._limits.fresh_bytes

    def keep(self, record: Record) -> None:
        """Keep what was offered, on disk or, if that fails, in memory; no effect when it was delivered meanwhile."""
        body = record.fresh
        if body is None or record.kept:
            return
        frame = self._packed(record.tick, body, record.points)
        self._sizing.add(record.tick.timestamp, len(frame) - record.length)
        if (place := self._placed(frame)) is None:
            self.index.hold(record, frame)
        else:
            self.index.placed(record, len(frame), *place)
        self._bound_memory()

    def _packed(self, tick: Tick, body: bytes, points: int) -> bytes:
        frame = packed(Payload(tick.timestamp, points, body))
        if body:
            self._sample = len(frame), len(body)
        return frame

    def _bound_memory(self) -> None:
        while self.index.held_bytes > self._limits.memory_bytes and (held := self.index.held()):
            self.index.drop_tick(held[0].tick, "memory")

    def seal(self) -> None:
        """All of a tick is there: put it on the disk where that is asked for, and end a segment that is full."""
        segments = self._segments
        self._sizing.end(0 if segments is None else segments.size)
        if segments is None:
            return
        if self._limits.sync == "each":
            self._sync()
        if segments.current is not None and segments.current.bytes >= self._limits.segment_bytes(self._sizing.limit):
            segments.roll()

    def _disk_may_work(self) -> bool:
        return self._segments is not None and (self.trouble is None or self._monotonic() >= self._retry_at)

    def _placed(self, frame: bytes) -> tuple[Segment, int] | None:
        """Where a record lies on the disk now, behind all that waited for it; None when the disk does not take it."""
        if not self._disk_may_work() or not self._spill():
            return None
        return self._written(frame)

    def _written(self, frame: bytes) -> tuple[Segment, int] | None:
        assert self._segments is not None
        try:
            self._enforce(len(frame))
            place = self._segments.append(frame)
        except OSError as error:
            self._fail(error)
            return None
        self._recover()
        return place

    def _spill(self) -> bool:
        """Move what waits in memory to the disk, oldest first; whether the disk took all of it."""
        for record in self.index.held():
            frame = record.held
            if frame is None:
                continue
            if (place := self._written(frame)) is None:
                return False
            self.index.placed(record, len(frame), *place)
        return True

    def _fail(self, error: OSError) -> None:
        self._retry_at = self._monotonic() + RETRY_S
        if self.trouble is None:
            _logger.error(
                "spool %s: the disk takes nothing (%s); points wait in memory, %d MiB at most, until it does",
                self.directory,
                error,
                self._limits.memory_bytes >> 20,
            )
        self.trouble = str(error)

    def _recover(self) -> None:
        if self.trouble is not None:
            _logger.info("spool %s: the disk takes points again", self.directory)
        self.trouble = None

    # The budget.

    def _enforce(self, more: int) -> None:
        """Make room for `more` bytes: settled segments first, then the oldest."""
        segments, limit = self._segments, self._sizing.limit
        assert segments is not None
        if segments.size + more <= limit and len(segments.all) < MAXIMUM_SEGMENTS:
            return
        self._remove_settled()
        while segments.all and (segments.size + more > limit or len(segments.all) >= MAXIMUM_SEGMENTS):
            oldest = segments.all[0]
            self.index.drop_segment(oldest, "full")
            segments.remove(oldest)

    def _remove_settled(self) -> None:
        segments = self._segments
        assert segments is not None
        for segment in [one for one in segments.all if not one.left and one is not segments.current]:
            segments.remove(segment)

    # Reading.

    def read(self, record: Record) -> bytes | None:
        """The body of a record that was taken; None when it cannot be had any more, and is accounted for.

        Raises OSError when the disk fails to give it: it may later.
        """
        held = record.held
        if (body := record.fresh) is not None:
            if record.kept:
                record.fresh = None
            return body
        try:
            if held is None:
                assert self._segments is not None
                held = self._segments.read(record)
            return unpacked(held).body
        except FileNotFoundError:
            error = "its file is gone"
        except DamagedError as damage:
            error = str(damage)
        except OSError as failure:
            record.unread += 1
            if record.unread < READS:
                raise
            error = str(failure)
        if record.doomed is None:
            _logger.error("spool %s: %d points cannot be read back: %s", self.directory, record.points, error)
        self.index.settle(record, record.points, record.doomed or "damaged")
        return None

    # Housekeeping.

    @property
    def restless(self) -> bool:
        """Whether `flush` has something to do."""
        busy = self._segments is not None and (self._segments.restless or self.index.dirty)
        return busy or self.index.held_bytes > 0 or self._monotonic() >= self._aged_at + AGE_S

    def flush(self) -> None:
        """Drop what is too old, sync, note what is settled: about once a SYNC_S."""
        self._aged_at = self._monotonic()
        horizon = int(self._clock() * 1e9) - self._limits.max_age_ns
        for tick in self.index.older_than(horizon):
            self.index.drop_tick(tick, "age")
        if self._segments is None:
            return
        if self.index.held_bytes and self._disk_may_work():
            self._spill()
        self._sync()
        self._tidy()

    def _sync(self) -> None:
        assert self._segments is not None
        try:
            self._segments.sync()
        except OSError as error:
            # What the kernel could not write it may have forgotten: nothing more goes into that file.
            self._fail(error)
            self._segments.roll()

    def _tidy(self) -> None:
        segments = self._segments
        assert segments is not None
        self._remove_settled()
        segments.remove_unwanted()
        if not self.index.dirty:
            return
        self.index.dirty = False
        try:
            segments.write_cursor()
        except OSError as error:
            self.index.dirty = True
            _logger.debug("spool %s: the cursor cannot be written: %s", self.directory, error)

    def close(self) -> None:
        """Leave everything for the next start."""
        if self._segments is None:
            return
        if self.index.held_bytes:
            self._spill()
        self._sync()
        self._segments.roll()
        self._tidy()
        if self.index.held_bytes:
            _logger.error(
                "spool %s: %d bytes that the disk did not take are lost with this process: %s",
                self.directory,
                self.index.held_bytes,
                self.trouble,
            )
