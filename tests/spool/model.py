"""What a spool must do, as plainly as it can be said: which record is where, what becomes of it, and the books of it.

The model shares no code with the spool but `packed`, a record's bytes. It finds out what is on the disk by looking at
the disk; it does not ask the spool.
"""

import re
import struct
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from sinks.spool.account import Balance
from sinks.spool.index import OLDEST_EVERY
from sinks.spool.records import HEADER_BYTES, RECORD_OVERHEAD, Payload, packed
from tests.spool.faulty import FaultyDisk, Inode

FULL, AGE, MEMORY, DAMAGED = "full", "age", "memory", "damaged"

_NUMBER = re.compile(r"(\d+)\.spool")


@dataclass(eq=False)
class Kept:
    """One tick."""

    timestamp: int
    waiting: "deque[bytes]" = field(default_factory=deque)
    """Bodies that nobody has taken, in the order they are to be taken in."""
    size: int = 0
    """Bytes of all its records, and of those that were never kept by estimate."""
    left: int = 0
    open: bool = True
    lost: str | None = None


@dataclass(eq=False)
class Entry:
    """One record, known by its body."""

    tick: Kept
    points: int
    offered: int | None = None
    """Estimated bytes, as long as it is not kept."""
    taken: bool = False
    doomed: bool = False
    """Its file is gone while a sender has it."""
    unread: int = 0


@dataclass
class Books:
    """One ledger."""

    scraped: int = 0
    recovered: int = 0
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def agree(self, balance: Balance, queued: int) -> None:
        """Fail unless the spool's books are these, to the integer."""
        ours = (self.scraped, self.recovered, self.delivered, queued, dict(self.dropped))
        theirs = (balance.scraped, balance.recovered, balance.delivered, balance.queued, dict(balance.dropped))
        assert theirs == ours, f"the spool says {theirs}, the model {ours}"
        assert balance.balanced


class Model:
    """One directory, over several processes."""

    def __init__(self, disk: FaultyDisk, max_bytes: int, memory_bytes: int, floor_bytes: int, age_ns: int) -> None:
        self.disk, self.max_bytes, self.memory_bytes = disk, max_bytes, memory_bytes
        self.floor_bytes, self.age_ns = floor_bytes, age_ns
        self.frames: dict[bytes, bytes] = {}
        """Every record ever given to the spool -> its body."""
        self.payloads: dict[bytes, Payload] = {}
        self.promised: set[bytes] = set()
        """What survives a loss of power."""
        self.noted: set[bytes] = set()
        """What was settled before a cursor was written: it does not come again."""
        self.repeated: set[bytes] = set()
        """What came again all the same, to a process that could not read that cursor: the next one may read it."""
        self.removed: set[bytes] = set()
        """Bodies in files that were removed since the directory was last synced: they may come back with the power."""
        self.given_up: set[str] = set()
        """Names whose removal this process asked for; those that are still there were refused by the disk."""
        self.starting = self.no_cursor = False
        """`no_cursor`: the disk did not give it to the process that starts, which repeats what it notes."""
        self.sync_failed = False
        """Since it was last set back."""
        self.appending = 0
        """Bytes of the record that is being appended."""
        disk.told = self._told
        self.begin()

    def begin(self) -> None:
        """A process starts, with nothing in its books."""
        self.entries: dict[bytes, Entry] = {}
        """What is queued: waiting or taken."""
        self.ticks: list[Kept] = []
        self.turn = 0
        self.limit = self.max_bytes
        """Bytes that may be on the disk now."""
        self.latest: list[tuple[int, int]] = []
        """Bytes of the latest ticks, and nanoseconds since those before them."""
        self.before: int | None = None
        """When the tick before was."""
        self.sample: tuple[int, int] | None = None
        """Bytes of the latest record that was made, and of its body."""
        self.points, self.whole_ticks = Books(), Books()
        self.settled: set[bytes] = set()
        """Delivered or dropped by this process or an earlier one, and perhaps still on the disk."""

    # The disk, as everybody can see it.

    def names(self) -> list[str]:
        """The segment files that the spool has not given up, oldest first."""
        found = {int(named[1]): name for name in self.disk.files if (named := _NUMBER.fullmatch(name))}
        return [found[number] for number in sorted(found) if found[number] not in self.given_up]

    def bodies(self, inode: Inode) -> Iterator[tuple[bytes, int]]:
        """The bodies of a segment and where their records end, up to the first that is not what was written."""
        at = HEADER_BYTES
        while len(inode.content) >= at + RECORD_OVERHEAD:
            end = at + struct.unpack_from("<I", inode.content, at)[0] + 8
            body = self.frames.get(bytes(inode.content[at:end]))
            if body is None:
                return
            yield body, end
            at = end

    def on_disk(self) -> dict[bytes, tuple[Inode, int]]:
        """Every body that lies in a file, in order -> the file and where its record ends there."""
        files = {name: self.disk.files[name] for name in self.names()}
        return {body: (inode, end) for inode in files.values() for body, end in self.bodies(inode)}

    def held(self) -> list[bytes]:
        """What is kept and in memory alone."""
        there, queued = self.on_disk(), self.entries.items()
        return [body for body, entry in queued if body not in there and not entry.doomed and entry.offered is None]

    def size(self, name: str) -> int:
        """Bytes of a file, without what is torn at its end."""
        return max((end for _, end in self.bodies(self.disk.files[name])), default=HEADER_BYTES)

    def length(self, body: bytes) -> int:
        """Of its record, or what it would take by estimate."""
        entry = self.entries.get(body)
        return len(packed(self.payloads[body])) if entry is None or entry.offered is None else entry.offered

    def _told(self, operation: str, name: str) -> None:
        match operation:
            case "sync failed":
                self.sync_failed = True
            case "read failed" if name == "cursor":
                self.no_cursor = True
            case "sync_directory":
                self.removed.clear()
            case "remove" if _NUMBER.fullmatch(name) and name in self.disk.files:
                self._removes(name)

    def _removes(self, name: str) -> None:
        """A file goes: of settled records only, or the oldest of all because there is no room."""
        inside = [body for body, _ in self.bodies(self.disk.files[name])]
        self.removed.update(inside)
        lost = [body for body in inside if body in self.entries]
        if name not in self.given_up and lost and not self.starting:
            alive = self.names()
            assert name == alive[0], f"{name} goes before {alive[0]}"
            more = max([self.appending, *map(self.length, self.held())])
            assert sum(map(self.size, alive)) + more > self.limit, "records were dropped while there was room"
            for body in lost:
                if self.entries[body].taken:
                    self.entries[body].doomed = True
                else:
                    self.drop(body, FULL)
        self.given_up.add(name)

    # What is done to the spool.

    def tick(self, timestamp: int) -> Kept:
        """A tick begins."""
        self.ticks.append(Kept(timestamp))
        return self.ticks[-1]

    def knows(self, payload: Payload) -> None:
        """A record is about to be given to the spool."""
        frame = packed(payload)
        self.frames[frame], self.payloads[payload.body] = payload.body, payload
        self.appending = len(frame)

    def appended(self, tick: Kept, payload: Payload) -> None:
        """It was given: it is on the disk or in memory, and for what memory cannot hold the oldest ticks go."""
        self._add(tick, payload)
        self.points.scraped += payload.points
        tick.size += self.length(payload.body)
        self._made(payload.body)

    def offered(self, tick: Kept, payload: Payload) -> None:
        """It was given, to whoever takes it, and is not kept: that takes what the record before took."""
        assert self.sample is not None, "nobody can know what it takes"
        self.payloads[payload.body] = payload
        self._add(tick, payload)
        self.points.scraped += payload.points
        of_record, of_body = self.sample
        self.entries[payload.body].offered = estimate = len(payload.body) * of_record // of_body
        tick.size += estimate

    def kept(self, body: bytes) -> None:
        """It was offered and is kept now, unless it was settled meanwhile."""
        if (entry := self.entries.get(body)) is None:
            self.appending = 0
            return
        assert entry.offered is not None
        estimate, entry.offered = entry.offered, None
        entry.tick.size += self.length(body) - estimate
        self._made(body)

    def _made(self, body: bytes) -> None:
        self.sample = self.length(body), len(body)
        self.appending = 0
        while sum(map(self.length, held := self.held())) > self.memory_bytes:
            oldest = next((one for one in self.ticks if any(body in one.waiting for body in held)), None)
            if oldest is None:
                break
            self.drop_tick(oldest, MEMORY)

    def sealed(self, tick: Kept) -> None:
        """It is whole: the limit follows the rate, and falls only where a whole age at that rate has room."""
        size = tick.size
        if self.before is not None and 0 < tick.timestamp - self.before <= 3600 * 10**9:
            self.latest = [*self.latest, (size, tick.timestamp - self.before)][-15:]
        self.before = tick.timestamp
        if self.latest:
            count = len(self.latest)
            step = sorted(step for _, step in self.latest)[(count - 1) // 2]
            need = sum(size for size, _ in self.latest) * self.age_ns // (count * step)
            wanted = min(max(need * 5 // 4, self.floor_bytes), self.max_bytes)
            if wanted > self.limit or sum(map(self.size, self.names())) + need <= wanted:
                self.limit = wanted

    def committed(self, tick: Kept) -> None:
        """All of it is there."""
        tick.open = False
        self.whole_ticks.scraped += 1
        self._conclude(tick)

    def next(self) -> bytes | None:
        """What is to be taken: the newest tick's, one in OLDEST_EVERY the oldest's, in the order they were given."""
        oldest = self.turn % OLDEST_EVERY == OLDEST_EVERY - 1
        tick = next((one for one in (self.ticks if oldest else reversed(self.ticks)) if one.waiting), None)
        return tick.waiting[0] if tick is not None else None

    def take(self, body: bytes) -> Entry:
        """A sender has it."""
        entry = self.entries[body]
        assert entry.tick.waiting.popleft() == body
        entry.taken, self.turn = True, self.turn + 1
        return entry

    def release(self, body: bytes) -> None:
        """It waits again, behind its tick's others; or is lost, as its file is gone."""
        entry = self.entries[body]
        if entry.doomed:
            self.drop(body, FULL)
        else:
            entry.taken = False
            entry.tick.waiting.append(body)

    def deliver(self, body: bytes) -> None:
        """The other side has it."""
        self.points.delivered += self.entries[body].points
        self._settle(body)

    def drop(self, body: bytes, reason: str) -> None:
        """Nobody will have it."""
        entry = self.entries[body]
        self.points.dropped[reason] += entry.points
        entry.tick.lost = entry.tick.lost or reason
        if not entry.taken:
            entry.tick.waiting.remove(body)
        self._settle(body)

    def drop_tick(self, tick: Kept, reason: str) -> None:
        """All of it that nobody has taken."""
        for body in list(tick.waiting):
            self.drop(body, reason)

    def aged(self, horizon: int) -> None:
        """What is older goes."""
        for tick in list(self.ticks):
            if tick.timestamp < horizon:
                self.drop_tick(tick, AGE)

    def synced(self) -> None:
        """The spool has synced, and if the disk did not fail it: what lies there is safe from now on."""
        there = self.on_disk()
        safe = {body for body in self.entries if body in there and not there[body][0].spoilt(there[body][1])}
        self.promised = self.promised & safe if self.sync_failed else safe

    def noted_down(self) -> None:
        """A cursor was written."""
        self.noted = set(self.settled)

    # A process ends, another one begins.

    def must_return(self, *, power: bool) -> set[bytes]:
        """What the next process has to find."""
        kept = {body for body, entry in self.entries.items() if not entry.doomed}
        return (kept & (self.promised if power else self.on_disk().keys())) - self.repeated

    def may_not_return(self, *, power: bool) -> set[bytes]:
        """What it must not find any more: what a cursor notes, but for files the disk would not let go."""
        refused = {name for name in self.given_up if name in self.disk.files}
        excused = {body for name in refused for body, _ in self.bodies(self.disk.files[name])}
        return self.noted - excused - (self.removed if power else set())

    def start(self, *, power: bool) -> None:
        """A new process is about to take stock."""
        self.starting, self.no_cursor, self.sync_failed = True, False, False
        self.given_up.clear()
        if power:
            self.removed.clear()

    def started(self, found: Sequence[bytes], noted: AbstractSet[bytes], balances: tuple[Balance, Balance]) -> None:
        """It has found these, in the order they are to be delivered in: ticks by their timestamps, as the files lie.

        `noted` may not be among them.
        """
        there, settled = self.on_disk(), self.settled | self.repeated
        assert self.no_cursor or not noted & set(found), "what a cursor noted is delivered once more"
        assert len(found) == len(set(found)), "a record was found twice"
        assert set(found) <= there.keys(), "a record came back changed"
        lost = there.keys() - settled - set(found)
        assert not lost, f"{lost} lies there and is not found"
        self.starting = False
        self.begin()
        ticks: dict[int, Kept] = {}
        for body in (body for body in there if body in set(found)):
            payload = self.payloads[body]
            if payload.timestamp not in ticks:
                ticks[payload.timestamp] = self.tick(payload.timestamp)
            self._add(ticks[payload.timestamp], payload)
            self.points.recovered += payload.points
        for tick in ticks.values():
            tick.open = False
            self.whole_ticks.recovered += 1
        assert found == [body for tick in self.ticks for body in tick.waiting], "the order is another one"
        # Names that came back with the power may be more than there is room for.
        for ours, theirs in zip((self.whole_ticks, self.points), balances, strict=True):
            for reason, count in theirs.dropped.items():
                assert reason == FULL
                ours.recovered += count
                ours.dropped[reason] += count
        self.repeated |= self.noted & set(found)
        self.settled = settled - set(found)
        self.noted &= self.settled
        self.synced()

    def _add(self, tick: Kept, payload: Payload) -> None:
        self.entries[payload.body] = Entry(tick, payload.points)
        tick.waiting.append(payload.body)
        tick.left += 1

    def _settle(self, body: bytes) -> None:
        tick = self.entries.pop(body).tick
        self.settled.add(body)
        tick.left -= 1
        self._conclude(tick)

    def _conclude(self, tick: Kept) -> None:
        if tick.open or tick.left:
            return
        self.ticks.remove(tick)
        if tick.lost is None:
            self.whole_ticks.delivered += 1
        else:
            self.whole_ticks.dropped[tick.lost] += 1

    def agree(self, balances: tuple[Balance, Balance]) -> None:
        """Fail unless both ledgers are the model's."""
        ticks, points = balances
        self.whole_ticks.agree(ticks, sum(not tick.open for tick in self.ticks))
        self.points.agree(points, sum(entry.points for entry in self.entries.values()))
