"""The spool against a model: any order of ticks, deliveries, failures, deaths and losses of power, to the record."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sinks.spool.index import Record, Tick
from sinks.spool.records import HEADER_BYTES, Payload
from sinks.spool.spool import READS, RETRY_S, Spool, SpoolLimits, Sync
from tests.spool.faulty import FaultyDisk
from tests.spool.model import DAMAGED, Model

DIRECTORY = Path("/spool")
FAILING = ("append", "open", "sync", "rename", "remove", "truncate", "sync_directory", "read")
SECOND = 10**9
BYTES, MEMORY_BYTES, AGE_S = 3_000, 600, 300


class LargeSegments(SpoolLimits):
    """A small budget, and segments of several ticks all the same."""

    def segment_bytes(self, limit: int) -> int:  # noqa: ARG002
        return 700


class SpoolMachine(RuleBasedStateMachine):
    """After every step: the books are the model's, to the integer; what is queued is on the disk or counted as held.

    After every death: what lay on the disk is found, all that was promised among it, in order, once, and nothing that
    a cursor had noted as settled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultyDisk()
        self.wall, self.monotonic = 100_000.0, 0.0
        self.number = 0
        self.taken: dict[bytes, Record] = {}

    @initialize(
        sync=st.sampled_from(["each", "interval"]),
        fresh=st.sampled_from([0, 200, 600]),
        faulty=st.booleans(),
        limits=st.sampled_from([SpoolLimits, LargeSegments]),
        floor=st.sampled_from([BYTES, 400]),
    )
    def first_start(self, sync: Sync, fresh: int, limits: type[SpoolLimits], floor: int, *, faulty: bool) -> None:
        self.sync, self.fresh, self.faulty, self.limits, self.floor = sync, fresh, faulty, limits, floor
        self.model = Model(self.disk, BYTES, MEMORY_BYTES, floor, AGE_S * SECOND)
        self.open()

    def open(self) -> None:
        limits = self.limits(
            max_bytes=BYTES,
            max_age_ns=AGE_S * SECOND,
            memory_bytes=MEMORY_BYTES,
            sync=self.sync,
            fresh_bytes=self.fresh,
            floor_bytes=self.floor,
        )
        self.spool = Spool(DIRECTORY, self.disk, limits, clock=lambda: self.wall, monotonic=lambda: self.monotonic)
        self.spool.open()

    @rule(
        parts=st.lists(st.booleans(), min_size=1, max_size=4),
        noise=st.integers(0, 200),
        delivered=st.integers(0, 4),
        taken=st.integers(0, 2),
        failed=st.integers(0, 2),
        cut_off=st.integers(0, 9),
    )
    def tick(  # what happens meanwhile
        self,
        parts: list[bool],
        noise: int,
        delivered: int = 0,
        taken: int = 0,
        failed: int = 0,
        cut_off: int = 9,
    ) -> None:
        """Some records are appended, others (True) offered; of all there are, some are taken before those are kept."""
        self.number += 1
        self.pass_time(60)
        tick = Tick(int(self.wall) * SECOND)
        kept = self.model.tick(tick.timestamp)
        offered: dict[bytes, Record] = {}
        for part, offer in enumerate(parts):
            rest = os.urandom(noise) if part != 1 else b"as any " * (noise // 7)
            payload = Payload(tick.timestamp, part + 1, f"{self.number}.{part} ".encode() + rest + b"\n")
            record = self.spool.offer(tick, payload.body, payload.points) if offer else None
            if record is not None:
                assert self.sync == "interval"
                offered[payload.body] = record
                self.model.offered(kept, payload)
                self.what_is_queued_is_on_the_disk_or_counted_as_held()
                continue
            self.model.knows(payload)
            self.spool.append(tick, payload.body, payload.points)
            self.model.appended(kept, payload)
        self.deliver(delivered)
        for _ in range(taken):
            self.take()
        for body in list(self.taken)[:failed]:
            self.end_one(body, delivered=False)
        if cut_off == 0:
            self.end_the_process_at_once()
            return
        for body, record in offered.items():
            self.model.knows(self.model.payloads[body])
            self.spool.keep(record)
            self.model.kept(body)
            self.what_is_queued_is_on_the_disk_or_counted_as_held()
        self.model.sync_failed = False
        self.spool.seal()
        self.model.sealed(kept)
        if self.sync == "each":
            self.model.synced()
        self.spool.index.commit(tick)
        self.model.committed(kept)

    @rule(quiet=st.integers(1, 3), ticks=st.integers(1, 12), noise=st.integers(0, 200))
    def outage(self, quiet: int, ticks: int, noise: int) -> None:
        """All is delivered for a while, and then nothing is."""
        for _ in range(quiet):
            self.tick([False], noise)
            self.deliver(100)
            self.flush(0)
        for _ in range(ticks):
            self.tick([False], noise)

    @rule(count=st.integers(1, 8))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.model.entries))):
            before = set(self.taken)
            self.take()
            for body in self.taken.keys() - before:
                self.end_one(body, delivered=True)

    @rule()
    def take(self) -> None:
        expected = self.model.next()
        record = self.spool.index.take()
        assert (record is None) == (expected is None)
        if record is None or expected is None:
            return
        entry = self.model.take(expected)
        try:
            body = self.spool.read(record)
        except OSError:
            entry.unread += 1
            assert entry.unread < READS
            self.spool.index.release(record)
            self.model.release(expected)
            return
        if body is None:
            assert entry.unread == READS - 1, "given up before its time"
            self.model.drop(expected, DAMAGED)
            return
        assert body == expected
        assert record.points == entry.points
        self.taken[body] = record

    @precondition(lambda self: self.taken)
    @rule(delivered=st.booleans(), which=st.integers(0, 9))
    def end(self, *, delivered: bool, which: int) -> None:
        self.end_one(list(self.taken)[which % len(self.taken)], delivered=delivered)

    def end_one(self, body: bytes, *, delivered: bool) -> None:
        record = self.taken.pop(body)
        if delivered:
            self.spool.index.settle(record)
            self.model.deliver(body)
        else:
            self.spool.index.release(record)
            self.model.release(body)

    @rule(step=st.sampled_from([0, 0, 0, 0, -3600, 120, 3600]))
    def flush(self, step: int) -> None:
        """A second later; or the wall clock has been set meanwhile."""
        self.pass_time(1)
        self.wall += step
        self.model.aged(int(self.wall * 1e9) - AGE_S * SECOND)
        self.model.sync_failed = False
        self.spool.flush()
        self.after_a_flush()

    def after_a_flush(self) -> None:
        self.model.synced()
        if not self.spool.index.dirty:
            self.model.noted_down()

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    @precondition(lambda self: self.faulty)
    @rule(
        operations=st.sampled_from(FAILING).map(lambda one: {one}) | st.sets(st.sampled_from(FAILING)),
        code=st.sampled_from([errno.EIO, errno.ENOSPC]),
        after=st.integers(0, 4),
        once=st.booleans(),
        room=st.none() | st.integers(0, 500),
        most=st.integers(1, 50),
    )
    def begin_to_fail(  # all that a disk can do
        self, operations: set[str], code: int, after: int, room: int | None, most: int, *, once: bool
    ) -> None:
        counted = 0

        def fail(operation: str) -> None:
            nonlocal counted
            counted += operation in operations
            if operation in operations and (counted == after + 1 if once else counted > after):
                raise OSError(code, os.strerror(code))

        self.disk.fail, self.disk.room, self.disk.most = fail, room, most

    @precondition(lambda self: self.faulty)
    @rule()
    def stop_failing(self) -> None:
        self.disk.fail = lambda _: None
        self.disk.room = None
        self.monotonic += RETRY_S

    @rule(how=st.sampled_from(["killed", "stopped", "without power", "without power"]), data=st.data())
    def end_the_process(self, how: str, data: st.DataObject) -> None:
        """Killed: what was written stays. Without power: only what was synced, and by chance more."""
        if how == "stopped":
            self.stop()
        power = how == "without power"
        must, may_not = self.model.must_return(power=power), self.model.may_not_return(power=power)
        if power:
            self.disk.crash(
                lambda: data.draw(st.booleans(), "this name changed"),
                lambda n: data.draw(st.integers(0, n), "unsynced bytes kept"),
                zeros=lambda: data.draw(st.booleans(), "zeros behind"),
            )
        self.restart(must, may_not, power=power)

    def end_the_process_at_once(self) -> None:
        """Killed while a tick is being given: what is only on offer dies with the process."""
        self.restart(self.model.must_return(power=False), self.model.may_not_return(power=False), power=False)

    def stop(self) -> None:
        for body in list(self.taken):
            self.end_one(body, delivered=False)
        self.model.sync_failed = False
        self.spool.close()
        self.after_a_flush()

    def restart(self, must: set[bytes], may_not: set[bytes], *, power: bool) -> None:
        self.disk.kill()
        self.taken.clear()
        self.model.start(power=power)
        try:
            self.open()  # with whatever the disk does
            whole = not self.left_unread()
        except OSError:
            whole = False
        if not whole:
            self.disk.fail = lambda _: None
            self.disk.kill()
            self.open()
        found = self.found()
        dropped = self.spool.index.balances()[1].dropped
        missing = must - set(found)
        assert not missing or dropped, f"{missing} lost"
        self.model.started(found, may_not, self.spool.index.balances())

    def left_unread(self) -> bool:
        """Whether a segment could not be read, and waits for a start that can."""
        assert self.spool._segments is not None
        taken_up = {self.spool._segments.path(segment).name for segment in self.spool._segments.all}
        return any(name.endswith(".spool") and name not in taken_up for name in self.disk.files)

    def found(self) -> Sequence[bytes]:
        """What a new process has found, looked up behind its back and without faults."""
        fail, self.disk.fail = self.disk.fail, lambda _: None
        found = [self.spool.read(record) for tick in self.spool.index._ticks for record in tick.pending]
        self.disk.fail = fail
        assert None not in found
        return [body for body in found if body is not None]

    @invariant()
    def the_books_are_the_models(self) -> None:
        self.model.agree(self.spool.index.balances())

    @invariant()
    def what_is_queued_is_on_the_disk_or_counted_as_held(self) -> None:
        held = sum(map(self.model.length, self.model.held()))
        assert self.spool.held_bytes == held <= MEMORY_BYTES
        assert self.spool.queued_bytes == sum(map(self.model.length, self.model.entries))

    @invariant()
    def the_disk_holds_no_more_than_the_rate_asks_for_within_the_budget(self) -> None:
        assert self.spool.size.limit_bytes == self.model.limit <= BYTES
        assert sum(map(self.model.size, self.model.names())) <= self.model.limit + HEADER_BYTES


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
