"""The spool against a model: any order of ticks, deliveries, failures, deaths and losses of power."""

import errno
import os
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinks.spool.index import Record, Tick
from sinks.spool.spool import RETRY_S, Spool, SpoolLimits
from tests.spool.faulty import FaultyDisk

DIRECTORY = Path("/spool")
FAILING = ("append", "open", "sync", "rename", "remove", "truncate", "sync_directory", "read")


class SpoolMachine(RuleBasedStateMachine):
    """What must hold: no body comes back changed; what was synced and neither delivered nor dropped is never lost."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultyDisk()
        self.now = 1_000.0
        self.number = self.fresh = 0
        self.written: dict[bytes, int] = {}
        """Every body ever appended -> its points."""
        self.settled: set[bytes] = set()
        """Delivered or dropped, by this or an earlier process: may be forgotten, may come again."""
        self.safe: set[bytes] = set()
        """On the disk for sure."""
        self.taken: list[Record] = []
        self.bodies: dict[Record, bytes] = {}
        self.start()

    def start(self) -> None:
        limits = SpoolLimits(max_bytes=3_000, memory_bytes=600, sync="each", fresh_bytes=self.fresh)
        self.spool = Spool(DIRECTORY, self.disk, limits, clock=lambda: self.now, monotonic=lambda: self.now)
        self.spool.open()
        self.taken.clear()
        self.bodies.clear()
        self.dropped = 0

    @rule(parts=st.integers(1, 4), noise=st.integers(0, 200))
    def tick(self, parts: int, noise: int) -> None:
        self.number += 1
        self.now += 60
        tick = Tick(int(self.now) * 10**9)
        for part in range(parts):
            body = f"{self.number}.{part} ".encode() + os.urandom(noise) + b"\n"
            self.written[body] = part + 1
            self.spool.append(tick, body, part + 1)
        self.spool.seal()
        self.spool.index.commit(tick)
        self.note_what_is_safe()

    def note_what_is_safe(self) -> None:
        """A sync that was told to have worked is believed: of all that is queued on disk then."""
        if self.spool.trouble is None and not self.spool.held_bytes:
            queued = self.queued_bodies()
            self.settled |= self.safe - queued  # dropped at the cap
            self.safe |= queued

    def queued_bodies(self) -> set[bytes]:
        """What the spool has, looked up behind its back and without faults."""
        fail, self.disk.fail = self.disk.fail, lambda _: None
        found = set()
        for tick in list(self.spool.index._ticks):
            for record in tick.pending:
                fresh = record.fresh
                record.fresh = None  # what counts is what the disk has
                body = self.spool.read(record)
                assert body is not None
                assert fresh in {None, body}
                record.fresh = fresh
                found.add(body)
        self.disk.fail = fail
        return found | set(self.bodies.values())

    @rule()
    def take(self) -> None:
        record = self.spool.index.take()
        if record is None:
            return
        try:
            body = self.spool.read(record)
        except OSError:
            self.spool.index.release(record)
            return
        if body is not None:
            assert self.written[body] == record.points
            self.taken.append(record)
            self.bodies[record] = body

    @precondition(lambda self: self.taken)
    @rule(delivered=st.booleans())
    def end(self, *, delivered: bool) -> None:
        record = self.taken.pop(0)
        body = self.bodies.pop(record)
        if delivered:
            self.spool.index.settle(record)
            self.settled.add(body)
        else:
            if record.doomed is not None:
                self.settled.add(body)
            self.spool.index.release(record)

    @rule()
    def flush(self) -> None:
        self.spool.flush()

    @rule(operations=st.sets(st.sampled_from(FAILING), min_size=1), code=st.sampled_from([errno.EIO, errno.ENOSPC]))
    def begin_to_fail(self, operations: set[str], code: int) -> None:
        def fail(operation: str) -> None:
            if operation in operations:
                raise OSError(code, os.strerror(code))

        self.disk.fail = fail

    @rule(fresh=st.sampled_from([0, 200]))
    def keep_fresh_bodies(self, fresh: int) -> None:
        """From the next start on."""
        self.fresh = fresh

    @rule()
    def stop_failing(self) -> None:
        self.disk.fail = lambda _: None
        self.disk.room = None
        self.now += RETRY_S

    @rule(room=st.integers(0, 500))
    def fill_the_disk(self, room: int) -> None:
        self.disk.room = room

    @rule(most=st.integers(1, 50))
    def write_short(self, most: int) -> None:
        self.disk.most = most

    @rule()
    def die(self) -> None:
        """SIGKILL: what was written stays, only memory goes."""
        on_disk = {one for one in self.safe if one not in self.settled}
        self.disk.fail = lambda _: None
        self.disk.kill()
        self.restart(on_disk)

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        on_disk = {one for one in self.safe if one not in self.settled}
        self.disk.crash(
            lambda: data.draw(st.booleans(), "this name changed"),
            lambda n: data.draw(st.integers(0, n), "unsynced bytes kept"),
            zeros=lambda: data.draw(st.booleans(), "zeros behind"),
        )
        self.restart(on_disk)

    @rule()
    def stop(self) -> None:
        on_disk = {one for one in self.safe if one not in self.settled}
        for record in self.taken:
            self.spool.index.release(record)
        self.spool.close()
        self.disk.kill()
        self.disk.fail = lambda _: None
        self.restart(on_disk)

    def restart(self, promised: set[bytes]) -> None:
        # What the cap dropped since is no loss: the books had it under `full`.
        dropped = sum(self.spool.index.balances()[1].dropped.values())
        self.start()
        found = self.queued_bodies()
        assert found <= set(self.written), "a body came back changed"
        missing = promised - found
        points = sum(self.written[one] for one in missing)
        now_dropped = sum(self.spool.index.balances()[1].dropped.values())
        assert points <= dropped + now_dropped, f"{missing} lost, and only {dropped} points were counted"
        self.safe = set(found)

    @invariant()
    def the_ledger_balances(self) -> None:
        ticks, points = self.spool.index.balances()
        assert ticks.balanced, ticks
        assert points.balanced, points

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.spool.held_bytes <= 600


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
