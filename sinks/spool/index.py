"""What is in the spool, in memory: ticks and their records, and the ledger of both. No I/O; threads may share it.

A record is pending (waits), taken (a sender has it) or settled (delivered or dropped: the spool need not keep it).
Apart from that it is kept, in a segment or compressed in memory, or only on offer to the senders as it came.
"""

import threading
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from sinks.spool.account import Account, Balance

OLDEST_EVERY = 4
"""Of so many records taken while there is a backlog, one is of the oldest tick, the others of the newest."""


class State(Enum):
    """What becomes of a record."""

    PENDING = "pending"
    TAKEN = "taken"
    SETTLED = "settled"


@dataclass(slots=True, eq=False)
class Segment:
    """One file: records in the order they were written, the settled ones None."""

    number: int
    id: bytes
    bytes: int
    records: "list[Record | None]" = field(default_factory=list)
    left: int = 0
    """Records not settled."""


@dataclass(slots=True, eq=False)
class Tick:
    """One tick of one sink."""

    timestamp: int
    open: bool = True
    """Whether records may still come."""
    counted: bool = False
    """Whether the ledger of ticks has it."""
    pending: "deque[Record]" = field(default_factory=deque)
    left: int = 0
    """Records not settled."""
    points: int = 0
    """Their points."""
    lost: str | None = None
    """Why the first of its points to be dropped was dropped."""


@dataclass(slots=True, eq=False)
class Record:
    """One write. It lies in a segment, or in memory while the disk takes none or before it is kept."""

    tick: Tick
    points: int
    length: int
    """Bytes when it is kept; before, an estimate."""
    segment: Segment | None = None
    offset: int = 0
    position: int = 0
    """Its place among the segment's records."""
    held: bytes | None = None
    fresh: bytes | None = None
    """Its body as it came, for a sender that takes it at once: nothing is read back and unpacked then. All there is of
    a record that is not kept."""
    state: State = State.PENDING
    unread: int = 0
    """How often the disk failed to give it."""
    doomed: str | None = None
    """Why it cannot be kept any longer, while a sender still has it."""

    @property
    def kept(self) -> bool:
        """Whether it would outlast its body in memory."""
        return self.segment is not None or self.held is not None


class Index:
    """Ticks in the order they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ticks: dict[Tick, None] = {}
        self._turn = 0
        self._points, self._tick_account = Account(), Account()
        self.bytes = 0
        """Of records not settled."""
        self.fresh_bytes = 0
        """Of the fresh bodies of pending records."""
        self.held_bytes = 0
        """Of those kept in memory."""
        self.dirty = False
        """Whether something was settled since the cursor was written."""

    # Filling.

    def add(self, record: Record, *, recovered: bool = False) -> None:
        """A record came, from the encoder or, `recovered`, from an earlier process."""
        with self._lock:
            tick = record.tick
            self._ticks[tick] = None
            tick.pending.append(record)
            tick.left += 1
            tick.points += record.points
            self.bytes += record.length
            self.fresh_bytes += len(record.fresh or b"")
            if record.kept:
                self._place(record)
            if recovered:
                self._points.recovered += record.points
            else:
                self._points.scraped += record.points

    def commit(self, tick: Tick, *, recovered: bool = False) -> None:
        """No more records of `tick`: from here on it counts."""
        with self._lock:
            self._ticks[tick] = None
            if recovered:
                self._tick_account.recovered += 1
            else:
                self._tick_account.scraped += 1
            tick.open, tick.counted = False, True
            self._conclude(tick)

    def abort(self, tick: Tick) -> None:
        """No more records of `tick`, which somebody else counts as lost; those that came are delivered."""
        with self._lock:
            tick.open = False
            self._conclude(tick)

    def placed(self, record: Record, length: int, segment: Segment, offset: int) -> None:
        """A record has come to lie in a segment, which was held in memory, or on offer."""
        with self._lock:
            if record.state is State.SETTLED:
                segment.records.append(None)
                self.dirty = True
                return
            if record.held is not None:
                self.held_bytes -= record.length
                record.held = None
            self._weigh(record, length)
            record.segment, record.offset = segment, offset
            self._place(record)

    def hold(self, record: Record, frame: bytes) -> None:
        """A record that was on offer is kept in memory."""
        with self._lock:
            if record.state is not State.SETTLED:
                self._weigh(record, len(frame))
                record.held = frame
                self._place(record)

    def _weigh(self, record: Record, length: int) -> None:
        self.bytes += length - record.length
        record.length = length

    def _place(self, record: Record) -> None:
        if record.segment is None:
            self.held_bytes += record.length
            return
        record.position = len(record.segment.records)
        record.segment.records.append(record)
        record.segment.left += 1

    # Taking.

    @property
    def waits(self) -> bool:
        """Whether there is a record to take."""
        with self._lock:
            return any(tick.pending for tick in reversed(self._ticks))

    def take(self) -> Record | None:
        """The next record to deliver, None when none waits: the newest tick's, now and then the oldest's."""
        with self._lock:
            oldest = (self._turn + 1) % OLDEST_EVERY == 0
            for tick in self._ticks if oldest else reversed(self._ticks):
                if tick.pending:
                    self._turn += 1
                    record = tick.pending.popleft()
                    self.fresh_bytes -= len(record.fresh or b"")
                    record.state = State.TAKEN
                    return record
            return None

    def release(self, record: Record) -> None:
        """It could not be delivered now: it waits again, behind the others of its tick."""
        with self._lock:
            if record.state is not State.TAKEN:
                return
            if record.kept:
                record.fresh = None
            self.fresh_bytes += len(record.fresh or b"")
            if record.doomed is not None:
                self._drop(record, record.doomed)
            else:
                record.state = State.PENDING
                record.tick.pending.append(record)

    def settle(self, record: Record, refused: int = 0, reason: str = "refused") -> None:
        """It was delivered but for `refused` of its points, which are dropped for `reason`."""
        with self._lock:
            self._points.delivered += record.points - refused
            if refused:
                self._points.dropped[reason] += refused
                record.tick.lost = record.tick.lost or reason
            self._settle(record)

    # Dropping.

    def leave_out(self, points: int, reason: str) -> None:
        """So many points were never to be written: counted, and no loss of their tick."""
        with self._lock:
            if points:
                self._points.scraped += points
                self._points.dropped[reason] += points

    def drop_segment(self, segment: Segment, reason: str) -> None:
        """All of a segment goes; what a sender has, unless it delivers it."""
        with self._lock:
            for record in [one for one in segment.records if one is not None]:
                self._give_up(record, reason)

    def drop_tick(self, tick: Tick, reason: str) -> None:
        """All of a tick goes; what a sender has, unless it delivers it."""
        with self._lock:
            for record in list(tick.pending):
                self._give_up(record, reason)

    def held(self) -> list[Record]:
        """The records in memory, oldest first."""
        with self._lock:
            if not self.held_bytes:
                return []
            every = [record for tick in self._ticks for record in tick.pending]
            return [record for record in every if record.held is not None]

    def older_than(self, timestamp: int) -> list[Tick]:
        """The ticks before a time that still hold pending records."""
        with self._lock:
            return [tick for tick in self._ticks if tick.timestamp < timestamp and tick.pending]

    def _give_up(self, record: Record, reason: str) -> None:
        if record.state is State.TAKEN:
            record.doomed = reason
        elif record.state is State.PENDING:
            record.tick.pending.remove(record)
            self._drop(record, reason)

    def _drop(self, record: Record, reason: str) -> None:
        self._points.dropped[reason] += record.points
        self.fresh_bytes -= len(record.fresh or b"")
        record.tick.lost = record.tick.lost or reason
        self._settle(record)

    def _settle(self, record: Record) -> None:
        record.state, record.fresh = State.SETTLED, None
        self.bytes -= record.length
        if record.held is not None:
            self.held_bytes -= record.length
            record.held = None
        if record.segment is not None:
            record.segment.records[record.position] = None
            record.segment.left -= 1
            self.dirty = True
        tick = record.tick
        tick.left -= 1
        tick.points -= record.points
        self._conclude(tick)

    def _conclude(self, tick: Tick) -> None:
        if tick.open or tick.left:
            return
        self._ticks.pop(tick, None)
        if not tick.counted:
            return
        if tick.lost is not None:
            self._tick_account.dropped[tick.lost] += 1
        else:
            self._tick_account.delivered += 1

    # The ledger.

    def balances(self) -> tuple[Balance, Balance]:
        """Ticks and points. Ticks count from `commit` on, points from `add` on."""
        with self._lock:
            counted = sum(tick.counted for tick in self._ticks)
            points = sum(tick.points for tick in self._ticks)
            return self._tick_account.balance(counted), self._points.balance(points)
