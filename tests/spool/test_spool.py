"""The spool: order, budget, damage, full and failing disks, and a ledger that balances all the while."""

import errno
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.lock import DirectoryLock
from sinks.spool.disk import Disk
from sinks.spool.index import OLDEST_EVERY, Record, State, Tick
from sinks.spool.records import HEADER_BYTES, FormatError
from sinks.spool.spool import READS, RETRY_S, Spool, SpoolLimits
from tests.spool.faulty import FaultyDisk

SECOND = 1_000_000_000
DIRECTORY = Path("/spool")


class Bench:
    """A spool over a disk, with a clock to turn."""

    def __init__(self, disk: Disk, directory: Path | None = DIRECTORY, **limits: int | str) -> None:
        self.disk, self.directory = disk, directory
        self.limits = SpoolLimits(**{"fresh_bytes": 0, **limits})  # type: ignore[arg-type]  # keyword by keyword
        self.now = 1000.0
        self.start()

    def start(self) -> None:
        self.spool = Spool(self.directory, self.disk, self.limits, clock=lambda: self.now, monotonic=lambda: self.now)
        self.spool.open()
        self.check()

    def add(self, second: int, *bodies: bytes) -> None:
        tick = Tick(second * SECOND)
        for body in bodies:
            self.spool.append(tick, body, body.count(b"\n"))
            self.check()
        self.spool.seal()
        self.spool.index.commit(tick)
        self.check()

    def check(self) -> None:
        ticks, points = self.spool.index.balances()
        assert ticks.balanced, ticks
        assert points.balanced, points

    def deliver(self) -> Iterator[bytes]:
        while (record := self.spool.index.take()) is not None:
            body = self.spool.read(record)
            if body is not None:
                yield body
                self.spool.index.settle(record)
            self.check()

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.spool.index.balances()[1].dropped)


def body(name: str, points: int = 3, size: int = 0) -> bytes:
    """Lines that compress badly when `size` is given."""
    noise = "".join(f"{zlib.crc32(f'{name}{i}'.encode()):08x}" for i in range(size // 8))
    return b"".join(f"{name}-{i}{noise} value=1i\n".encode() for i in range(points))


@pytest.fixture(params=["real", "in memory"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return Disk() if request.param == "real" else FaultyDisk()


def test_what_is_appended_is_delivered_and_its_file_goes(disk: Disk, tmp_path: Path) -> None:
    bench = Bench(disk, tmp_path)
    bench.add(1, body("a"), body("b"))
    assert list(bench.deliver()) == [body("a"), body("b")]
    ticks, points = bench.spool.index.balances()
    assert (ticks.scraped, ticks.delivered, points.scraped, points.delivered) == (1, 1, 6, 6)
    bench.spool.close()
    assert [name for name in disk.list(tmp_path) if name.endswith(".spool")] == []


def test_what_is_taken_at_once_is_not_read_back() -> None:
    disk = FaultyDisk()
    bench = Bench(disk, fresh_bytes=2 * len(body("a")))
    bench.add(1, body("a"), body("b"), body("c"))

    def fail(operation: str) -> None:
        assert operation != "read"

    disk.fail = fail
    delivered = bench.deliver()
    assert [next(delivered), next(delivered)] == [body("a"), body("b")]
    disk.fail = lambda _: None
    assert list(delivered) == [body("c")]
    assert bench.spool.index.fresh_bytes == 0


def offer(bench: Bench, second: int, first: bytes, *bodies: bytes) -> tuple[Tick, list[Record]]:
    """A tick whose first body is appended and the others on offer."""
    tick = Tick(second * SECOND)
    bench.spool.append(tick, first, first.count(b"\n"))
    offered = [bench.spool.offer(tick, body, body.count(b"\n")) for body in bodies]
    bench.check()
    return tick, [record for record in offered if record is not None]


def test_what_is_delivered_before_it_is_kept_never_comes_to_the_disk() -> None:
    disk = FaultyDisk()
    bench = Bench(disk, fresh_bytes=1000)
    tick, offered = offer(bench, 1, body("a"), body("b"), body("c"))
    assert len(offered) == 2
    on_disk, queued = dict(disk.list(DIRECTORY)), bench.spool.queued_bytes
    assert list(bench.deliver()) == [body("a"), body("b"), body("c")]
    for record in offered:
        bench.spool.keep(record)
    assert disk.list(DIRECTORY) == on_disk
    assert queued > 2 * on_disk["00000001.spool"] - 2 * HEADER_BYTES
    bench.spool.seal()
    bench.spool.index.commit(tick)
    bench.check()
    assert (bench.spool.queued_bytes, bench.spool.held_bytes, bench.spool.index.fresh_bytes) == (0, 0, 0)
    assert bench.spool.index.balances()[0].delivered == 1


def test_what_is_offered_and_kept_is_there_at_the_next_start() -> None:
    bench = Bench(FaultyDisk(), fresh_bytes=1000)
    tick, offered = offer(bench, 1, body("a"), body("b"), body("c"))
    taken = [bench.spool.index.take() for _ in range(2)]
    for record in offered:
        bench.spool.keep(record)
    bench.spool.seal()
    bench.spool.index.commit(tick)
    assert taken[1] is offered[0]
    assert bench.spool.read(offered[0]) == body("b")
    bench.spool.index.release(offered[0])
    assert offered[0].fresh is None, "it is on the disk"
    bench.start()
    assert list(bench.deliver()) == [body("a"), body("b"), body("c")]


@pytest.mark.parametrize("limits", [{"fresh_bytes": 0}, {"fresh_bytes": 1000, "sync": "each"}], ids=str)
def test_nothing_is_offered_without_room_nor_where_a_tick_is_on_the_disk_before_it_counts(limits: Any) -> None:
    assert offer(Bench(FaultyDisk(), **limits), 1, body("a"), body("b"))[1] == []


def test_nothing_is_offered_before_it_is_known_what_a_record_takes() -> None:
    bench = Bench(FaultyDisk(), fresh_bytes=1000)
    assert bench.spool.offer(Tick(SECOND), body("a"), 3) is None


@pytest.mark.parametrize("fails", [False, True], ids=["the disk takes it", "the disk fails"])
def test_what_is_delivered_while_it_is_written_is_settled(fails: bool) -> None:
    disk = FaultyDisk()
    bench = Bench(disk, fresh_bytes=1000)
    tick, (record,) = offer(bench, 1, body("a"), body("b"))
    for _ in range(2):
        bench.spool.index.take()

    def delivered_meanwhile(operation: str) -> None:
        if operation == "append" and record.state is State.TAKEN:
            bench.spool.index.settle(record)
            if fails:
                raise OSError(errno.EIO, "it fails")

    disk.fail = delivered_meanwhile
    bench.spool.keep(record)
    assert record.state is State.SETTLED
    bench.spool.seal()
    bench.spool.index.commit(tick)
    bench.check()
    assert bench.spool.held_bytes == 0
    bench.spool.flush()
    bench.start()
    assert list(bench.deliver()) == [body("a")]


def test_what_is_offered_waits_in_memory_while_the_disk_takes_nothing() -> None:
    disk = FaultyDisk()
    bench = Bench(disk, fresh_bytes=1000)
    tick, (record,) = offer(bench, 1, body("a"), body("b"))

    def fail(operation: str) -> None:
        if operation == "append":
            raise OSError(errno.ENOSPC, "full")

    disk.fail = fail
    bench.spool.keep(record)
    bench.spool.index.commit(tick)
    assert bench.spool.held_bytes == record.length > 0
    disk.fail = lambda _: None
    bench.now += RETRY_S
    bench.spool.flush()
    assert bench.spool.held_bytes == 0
    bench.start()
    assert list(bench.deliver()) == [body("a"), body("b")]


def test_what_is_not_delivered_is_there_at_the_next_start_and_what_is_is_not(disk: Disk, tmp_path: Path) -> None:
    bench = Bench(disk, tmp_path)
    bench.add(1, body("a"), body("b"))
    bench.add(2, body("c"))
    delivered = bench.deliver()
    assert next(delivered) == body("c")
    assert next(delivered) == body("a")
    delivered.close()  # `a` was read and not acknowledged
    bench.spool.close()
    bench.start()
    ticks, points = bench.spool.index.balances()
    assert (ticks.recovered, points.recovered) == (1, 6)
    assert sorted(bench.deliver()) == [body("a"), body("b")]


def test_the_newest_comes_first_and_the_oldest_does_not_starve() -> None:
    bench = Bench(FaultyDisk())
    for second in range(8):
        bench.add(second, body(f"{second}"))
    order = [int(found[:1]) for found in bench.deliver()]
    assert order[: OLDEST_EVERY - 1] == [7, 6, 5]
    assert order[OLDEST_EVERY - 1] == 0
    assert order == [7, 6, 5, 0, 4, 3, 2, 1]


def test_at_the_cap_the_oldest_ticks_go_whole_and_are_counted() -> None:
    bench = Bench(FaultyDisk(), max_bytes=64 << 10)
    for second in range(40):
        bench.add(second, body(f"{second:02}a", 1, 4000), body(f"{second:02}b", 1, 4000))
    ticks, points = bench.spool.index.balances()
    assert ticks.dropped["full"] * 2 == points.dropped["full"] > 0
    kept = list(bench.deliver())
    assert len(kept) == 2 * ticks.queued
    assert {found[:2] for found in kept} == {f"{second:02}".encode() for second in range(40 - ticks.queued, 40)}
    assert sum(bench.disk.list(DIRECTORY).values()) <= (64 << 10) + bench.limits.segment_bytes(64 << 10) + 20_000


def test_a_tick_larger_than_the_budget_takes_it_all_and_no_more() -> None:
    bench = Bench(FaultyDisk(), max_bytes=4096)
    bench.add(1, body("small"))
    bench.add(2, *(body(f"{i}", 1, 3000) for i in range(10)))
    assert bench.dropped["full"] > 0
    assert sum(bench.disk.list(DIRECTORY).values()) <= 4096 + 3500


def test_what_is_too_old_goes() -> None:
    bench = Bench(FaultyDisk(), max_age_ns=60 * SECOND)
    bench.add(950, body("old"))
    bench.add(990, body("young"))
    bench.now = 1020.0
    bench.spool.flush()
    bench.check()
    assert bench.dropped == {"age": 3}
    assert list(bench.deliver()) == [body("young")]


def test_a_sender_that_has_a_record_whose_segment_goes_may_still_deliver_it_or_lose_it() -> None:
    bench = Bench(FaultyDisk(), max_bytes=1024)
    bench.add(1, body("a"))
    bench.add(2, body("b"))
    index = bench.spool.index
    first, second = index.take(), index.take()
    assert first is not None
    assert second is not None
    bench.add(3, body("large", 1, 2000))
    bench.check()
    index.settle(first)
    index.release(second)
    bench.check()
    assert bench.dropped == {"full": 3}
    assert index.balances()[1].delivered == 3


def test_a_full_disk_is_survived_in_memory_and_left_again(caplog: pytest.LogCaptureFixture) -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("before"))
    disk.room = 10
    bench.add(2, body("during"), body("during, too"))
    assert bench.spool.held_bytes > 0
    assert "the disk takes nothing" in caplog.text
    disk.room = None
    bench.add(3, body("still waiting to try again"))
    bench.now += RETRY_S
    caplog.set_level(logging.INFO)
    bench.add(4, body("after"))
    assert bench.spool.held_bytes == 0
    assert "takes points again" in caplog.text
    disk.kill()
    bench.start()
    assert len(list(bench.deliver())) == 5


def failing(disk: FaultyDisk, operation: str, *, times: int, after: int = 0) -> Callable[[], int]:
    """Let `disk` fail `operation` so many times, `after` so many that succeed; how often it has been asked."""
    asked = 0

    def fail(found: str) -> None:
        nonlocal asked
        asked += found == operation
        if found == operation and after < asked <= after + times:
            raise OSError(errno.EIO, "input/output error")

    disk.fail = fail
    return lambda: asked


def test_of_a_record_that_was_written_in_part_nothing_stays() -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("before"))
    whole = disk.list(DIRECTORY)
    disk.most = 10
    asked = failing(disk, "append", times=1, after=3)
    bench.add(2, body("torn"))
    assert asked() == 4, "three pieces were taken, the fourth was not"
    assert bench.spool.held_bytes > 0
    assert disk.list(DIRECTORY) == whole


@pytest.mark.parametrize("operation", ["truncate", ""], ids=["it cannot be cut off", "it is cut off"])
def test_nothing_is_written_behind_a_torn_record(operation: str) -> None:
    """Reading ends at a torn record, so that what follows it in its file would be lost with the process."""
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("before"))
    torn = next(iter(disk.files))
    disk.most, disk.room = 10, 30

    def fail(found: str) -> None:
        if found == operation:
            raise OSError(errno.EIO, "input/output error")

    disk.fail = fail
    bench.add(2, body("torn"))
    disk.fail, disk.room = lambda _: None, None
    size = len(disk.files[torn].content)
    bench.now += RETRY_S
    bench.add(3, body("after"), body("after that"))
    assert bench.spool.held_bytes == 0
    assert len(disk.files[torn].content) == size
    disk.kill()
    bench.start()
    assert list(bench.deliver()) == [body("after"), body("after that"), body("torn"), body("before")]


def test_after_a_failed_spill_nothing_newer_is_written_until_the_next_try() -> None:
    """What waits in memory is older than what comes: written later it would lie behind it, and no longer be oldest."""
    disk = FaultyDisk()
    bench = Bench(disk)
    disk.room = 0
    bench.add(1, body("one"))
    disk.room = None
    bench.now += RETRY_S
    asked = failing(disk, "append", times=1, after=1)  # the header is taken, the record is not
    bench.add(2, body("two"), body("and two"))
    assert asked() == 2
    assert bench.spool.index.held_bytes == bench.spool.queued_bytes
    bench.now += RETRY_S
    bench.add(3, body("three"))
    assert bench.spool.held_bytes == 0
    disk.kill()
    bench.start()
    assert list(bench.deliver()) == [body("three"), body("two"), body("and two"), body("one")]


def test_nothing_is_added_to_a_file_whose_sync_has_failed() -> None:
    disk = FaultyDisk()
    bench = Bench(disk, sync="each")
    bench.add(1, body("before"))

    def fail(operation: str) -> None:
        if operation == "sync":
            raise OSError(errno.EIO, "input/output error")

    disk.fail = fail
    bench.add(2, body("doubtful"))
    assert bench.spool.trouble is not None
    disk.fail = lambda _: None
    bench.now += RETRY_S
    bench.add(3, body("after"))
    assert bench.spool.trouble is None
    disk.crash(lambda: False, lambda _: 0)
    bench.start()
    assert list(bench.deliver()) == [body("after"), body("before")]


def test_what_waited_in_memory_is_written_first_and_a_tick_in_two_places_is_one() -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    disk.room = 0
    bench.add(1, body("one"), body("two"))
    taken = bench.spool.index.take()  # what a sender has is not moved meanwhile
    assert taken is not None
    disk.room = None
    bench.now += RETRY_S
    bench.add(2, body("three"))
    bench.spool.index.release(taken)
    bench.add(3, body("four"))
    assert bench.spool.held_bytes == 0
    disk.kill()
    bench.start()
    ticks, points = bench.spool.index.balances()
    assert (ticks.recovered, points.recovered) == (3, 12)
    assert list(bench.deliver()) == [body("four"), body("three"), body("two"), body("one")]


def test_memory_is_bounded_and_the_oldest_tick_goes() -> None:
    disk = FaultyDisk()
    disk.room = 0
    bench = Bench(disk, memory_bytes=10_000)
    for second in range(5):
        bench.add(second, body(f"{second}", 1, 4000))
    assert bench.spool.held_bytes <= 10_000
    assert bench.dropped["memory"] == 5 - len(list(bench.deliver()))


def test_without_a_directory_memory_does() -> None:
    bench = Bench(FaultyDisk(), None)
    bench.add(1, body("a"))
    bench.spool.flush()
    assert list(bench.deliver()) == [body("a")]
    bench.spool.close()


def test_a_disk_that_fails_to_read_is_asked_again_a_few_times() -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"))

    def fail(operation: str) -> None:
        if operation == "read":
            raise OSError(errno.EIO, "input/output error")

    disk.fail = fail
    record = bench.spool.index.take()
    assert record is not None
    for _ in range(READS - 1):
        with pytest.raises(OSError, match="input/output"):
            bench.spool.read(record)
    assert bench.spool.read(record) is None
    bench.check()
    assert bench.dropped == {"damaged": 3}


def test_damage_under_our_hands_is_noticed_and_counted() -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"), body("b"))
    name = next(iter(disk.files))
    disk.files[name].content[-1] ^= 1
    assert list(bench.deliver()) == [body("a")]
    assert bench.dropped == {"damaged": 3}


def test_at_the_start_damage_is_cut_off_and_told(caplog: pytest.LogCaptureFixture) -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"), body("b"))
    name = next(iter(disk.files))
    disk.files[name].content[-1] ^= 1
    disk.kill()
    bench.start()
    assert "is damaged after 1 whole records" in caplog.text
    assert bench.spool.recovered.lost_bytes > 0
    assert list(bench.deliver()) == [body("a")]
    assert bench.spool.index.balances()[1].recovered == 3


@pytest.mark.parametrize("content", [b"", b"x", bytes(100), b"HPSTSPL\n" + bytes(40)])
def test_a_file_that_is_no_segment_stops_no_start(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "00000003.spool").write_bytes(content)
    (tmp_path / "notes.txt").write_text("not ours")
    bench = Bench(Disk(), tmp_path)
    bench.add(1, body("a"))
    assert list(bench.deliver()) == [body("a")]
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize(
    "name", ["000000001.spool", "\u0660" * 7 + "\u0661.spool", f"{'9' * 200}.spool", "1.spool", ".spool"]
)
def test_a_file_of_a_name_that_we_would_not_give_stops_no_start(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not ours")
    bench = Bench(Disk(), tmp_path)
    bench.add(1, body("a"))
    assert list(bench.deliver()) == [body("a")]
    assert (tmp_path / name).read_bytes() == b"not ours"


def test_a_segment_that_the_disk_cannot_read_stops_no_start_and_is_left_for_one_that_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"))
    disk.kill()
    bench.start()
    bench.add(2, body("b"))
    disk.kill()

    def fail(operation: str) -> None:
        if operation == "read" and (reads.append(None) or len(reads) == 1):
            raise OSError(errno.EIO, "Input/output error")

    reads: list[None] = []
    disk.fail = fail
    bench.start()
    assert list(bench.deliver()) == [body("b")]
    assert "00000001.spool cannot be read" in caplog.text
    disk.kill()
    bench.start()
    assert body("a") in list(bench.deliver())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE])
def test_one_that_the_disk_could_read_ends_the_start(code: int) -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"))
    disk.kill()

    def fail(operation: str) -> None:
        if operation == "read":
            raise OSError(code, "not now")

    disk.fail = fail
    with pytest.raises(OSError, match="not now"):
        bench.start()


def test_an_other_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    head = struct.pack("<8sHH16s", b"HPSTSPL\n", 9, 0, bytes(16))
    path = tmp_path / "00000001.spool"
    path.write_bytes(head + struct.pack("<I", zlib.crc32(head)))
    with pytest.raises(FormatError, match=r"00000001\.spool is of format 9.*move the file away"):
        Bench(Disk(), tmp_path)
    assert path.exists()


@pytest.mark.parametrize("cursor", [b"", b"noise", b"00000000 {}", bytes(64)])
def test_a_damaged_cursor_costs_repeats_and_no_point(cursor: bytes) -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    bench.add(1, body("a"))
    bench.add(2, body("b"))
    newest = bench.spool.index.take()
    assert newest is not None
    bench.spool.index.settle(newest)
    bench.spool.flush()
    disk.kill()
    disk.files["cursor"].content[:] = cursor
    bench.start()
    assert sorted(bench.deliver()) == [body("a"), body("b")]


def test_many_starts_do_not_make_many_files() -> None:
    disk = FaultyDisk()
    bench = Bench(disk)
    for second in range(1100):
        bench.add(second, body("a", 1))
        disk.kill()
        bench.spool = Spool(DIRECTORY, disk, bench.limits, clock=lambda: bench.now)
        if second % 100 == 0 or second > 1020:
            bench.start()
    assert len(disk.files) <= 1026


def test_one_process_a_directory(tmp_path: Path) -> None:
    first = DirectoryLock(tmp_path)
    with pytest.raises(BlockingIOError, match=r"in use by another collector \(process \d+\)"):
        DirectoryLock(tmp_path)
    first.release()
    DirectoryLock(tmp_path).release()
