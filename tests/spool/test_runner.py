"""The runner over a scripted other side, in virtual time: nothing lost, nothing counted twice, nobody held up."""

import asyncio
import itertools
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from collector.core.batch import DataBatch
from collector.core.contracts import Sink
from collector.core.store import MetricStore
from collector.errors import ExportError, StartError
from sinks.influxdb.wire import refusal
from sinks.lock import DirectoryLock
from sinks.manager import HELD, SinkManager
from sinks.runner import SpooledSink, refusals
from sinks.runner.deadletters import LINES_BYTES, MOST_BYTES, DeadLetters
from sinks.runner.ledger import SinkLedger
from sinks.runner.place import directory_name, place, state_directory, with_spools
from sinks.runner.refusals import Refused
from sinks.runner.retry import LONGEST_ASKED_S, LONGEST_S, LOOK_S, REFUSED_S, Backoff
from sinks.runner.sink import PATIENCE_S
from sinks.spool.disk import Disk
from sinks.spool.spool import Spool, SpoolLimits
from tests.sinks.batches import MINUTE, TIMESTAMP, empty_batch
from tests.spool.wires import ScriptedWire, partial, whole

NOW = TIMESTAMP / 1e9
pytestmark = pytest.mark.looptime


class Run:
    """A manager over one spooled sink and, beside it, others."""

    def __init__(
        self,
        directory: Path,
        wire: ScriptedWire,
        *others: Sink,
        disk: Disk | None = None,
        leads: bool = True,
        limits: SpoolLimits | None = None,
        clock: Callable[[], float] = lambda: NOW,
    ) -> None:
        self.wire = wire
        self.sink = SpooledSink(
            wire, directory, limits or SpoolLimits(), disk=disk, clock=clock, backoff=Backoff(lambda: 1.0)
        )
        self.sink.start()
        self.manager = SinkManager([self.sink, *others], leads=leads)
        self.manager.start()
        self.ticks = 0
        self.every = MINUTE

    def tick(self) -> None:
        self.manager.export(empty_batch(TIMESTAMP + self.ticks * self.every))
        self.ticks += 1
        self.check()

    @property
    def exported(self) -> int:
        """Ticks that the sink has taken over."""
        return self.sink.balances()[0].scraped

    def check(self) -> SinkLedger:
        for ledger in self.manager.ledger():
            assert ledger.balanced, ledger
        return self.manager.ledger()[0]

    async def until(self, condition: Callable[[SinkLedger], bool]) -> SinkLedger:
        async with asyncio.timeout(100_000):
            while not condition(self.check()):
                await asyncio.sleep(0.01)
        return self.check()


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(wire: ScriptedWire, *others: Sink, **more: Any) -> Run:
        runs.append(Run(tmp_path / "spool", wire, *others, **more))
        return runs[-1]

    yield make
    for one in runs:
        await one.manager.stop(1)


def unreachable(_: bytes) -> None:
    raise ExportError("cannot be reached")


async def test_every_point_is_delivered_once_when_all_is_well(run: Callable[..., Run]) -> None:
    one = run(ScriptedWire())
    for _ in range(3):
        one.tick()
        await one.until(lambda ledger: not ledger.ticks.queued)
    assert len(one.wire.received) == len(set(one.wire.received)) == 30
    ledger = one.check()
    assert (ledger.ticks.delivered, ledger.points.delivered, ledger.keeps) == (3, 30, "disk")


class Counting(Disk):
    """A disk that knows how many records it was given: headers and cursors are shorter."""

    records = 0

    def append(self, file: int, content: bytes | memoryview) -> int:
        self.records += len(content) > 100
        return super().append(file, content)


async def test_while_the_other_side_keeps_up_the_disk_has_the_first_write_of_a_tick(run: Callable[..., Run]) -> None:
    disk = Counting()
    one = run(ScriptedWire(writes=9, points=100, concurrency=2), disk=disk)
    for tick in range(3):
        one.tick()
        await one.until(lambda ledger, tick=tick: ledger.ticks.delivered == tick + 1)
        assert disk.records == tick + 1
    assert len(one.wire.received) == len(set(one.wire.received)) == 2700


async def test_a_side_that_is_slow_is_waited_for_a_moment_and_the_rest_is_spooled(
    run: Callable[..., Run], tmp_path: Path
) -> None:
    async def slow(_: bytes) -> None:
        await asyncio.sleep(0.4)

    loop = asyncio.get_running_loop()
    room = SpoolLimits(fresh_bytes=20_000)  # three writes
    one = run(ScriptedWire(answer=slow, writes=20, points=200), limits=room)
    began = loop.time()
    one.tick()
    ledger = await one.until(lambda _: one.exported == 1)
    assert PATIENCE_S <= loop.time() - began < PATIENCE_S + 0.1
    assert ledger.points.delivered == 1000
    # As a process that is killed now leaves it: all that is queued lies on the disk.
    shutil.copytree(tmp_path / "spool", tmp_path / "left")
    left = Spool(tmp_path / "left", Disk(), SpoolLimits(), clock=lambda: NOW)
    assert left.open().points >= ledger.points.queued == 3000
    await one.until(lambda ledger: ledger.ticks.delivered == 1)
    assert len(one.wire.received) == len(set(one.wire.received)) == 4000


async def test_a_side_that_fails_is_not_waited_for(run: Callable[..., Run]) -> None:
    loop = asyncio.get_running_loop()
    one = run(ScriptedWire(answer=unreachable, writes=20), limits=SpoolLimits(fresh_bytes=1000))
    for tick in range(2):
        one.tick()
        await one.until(lambda _, tick=tick: one.exported == tick + 1)
        assert loop.time() < 0.1
    assert one.check().points.queued == 200


async def test_where_each_tick_is_forced_to_the_disk_nobody_is_waited_for(run: Callable[..., Run]) -> None:
    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    disk = Counting()
    one = run(ScriptedWire(answer=never, writes=9, points=100), disk=disk, limits=SpoolLimits(sync="each"))
    one.tick()
    await one.until(lambda _: one.exported == 1)
    assert asyncio.get_running_loop().time() < 0.1
    assert disk.records == 9


async def test_a_side_that_has_not_taken_the_tick_before_is_not_waited_for(run: Callable[..., Run]) -> None:
    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    one = run(ScriptedWire(answer=never, writes=5))
    for tick, waited in enumerate([PATIENCE_S, 0.0, 0.0]):
        began = loop.time()
        one.tick()
        await one.until(lambda _, tick=tick: one.exported == tick + 1)
        assert waited <= loop.time() - began < waited + 0.1


async def test_who_is_stopped_while_a_tick_is_on_offer_keeps_what_came_of_it(
    run: Callable[..., Run],
) -> None:
    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    one = run(ScriptedWire(answer=never, writes=3, points=10))
    one.tick()
    await one.until(lambda ledger: ledger.points.queued == 30)
    assert one.exported == 0, "it is still waited for"
    await one.manager.stop(0.1)
    after = run(ScriptedWire(writes=0))
    ledger = await after.until(lambda ledger: not ledger.ticks.queued)
    assert ledger.points.recovered == ledger.points.delivered == len(set(after.wire.received)) == 30


async def test_a_replica_that_stands_by_writes_nothing_and_goes_on_with_the_latest_batches(
    run: Callable[..., Run],
) -> None:
    store = MetricStore(clock=lambda: NOW)
    one = run(ScriptedWire(), store, leads=False)
    for i in range(5):
        one.tick()
        await one.until(lambda _, i=i: len(store.batches) == i + 1)
    assert not one.wire.sent
    assert one.check().ticks.scraped == 0
    one.manager.lead(leads=True)
    ledger = await one.until(lambda ledger: ledger.ticks.delivered == HELD and not ledger.ticks.queued)
    assert {int(line.split()[-1]) for line in one.wire.received} == {TIMESTAMP + i * MINUTE for i in (2, 3, 4)}
    one.tick()
    await one.until(lambda ledger: ledger.ticks.delivered == HELD + 1)
    one.manager.lead(leads=False)
    one.tick()
    await one.until(lambda _: len(store.batches) == 7)
    assert len(one.wire.received) == len(set(one.wire.received)) == 10 * (HELD + 1)
    assert ledger.balanced


async def test_an_outage_costs_nothing_and_the_newest_comes_first(run: Callable[..., Run]) -> None:
    one = run(ScriptedWire(answer=unreachable))
    for i in range(5):
        one.tick()
        await one.until(lambda ledger, i=i: ledger.ticks.queued == i + 1 and ledger.points.queued == 10 * (i + 1))
    assert one.check().trouble == "cannot be reached"
    one.wire.answer, tried = (lambda _: None), len(one.wire.sent)
    await one.until(lambda ledger: not ledger.ticks.queued)
    assert len(set(one.wire.received)) == 50
    assert str(TIMESTAMP + 4 * MINUTE).encode() in one.wire.sent[tried]
    assert one.check().trouble is None


DAY, QUARTER = 96, 15 * MINUTE
"""Ticks of a day, and the time between two of them."""


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (SpoolLimits(), ""),
        (SpoolLimits(max_age_ns=12 * 3600 * 10**9), "age"),
        (SpoolLimits(max_bytes=10_000), "full"),
    ],
    ids=["kept", "too old", "too much"],
)
async def test_a_day_without_the_server_costs_what_the_limits_say(
    limits: SpoolLimits, reason: str, run: Callable[..., Run]
) -> None:
    loop = asyncio.get_running_loop()
    now = NOW - loop.time()
    one = run(ScriptedWire(answer=unreachable, writes=1, points=100), limits=limits, clock=lambda: now + loop.time())
    one.every = QUARTER
    for _ in range(DAY):
        one.tick()
        await asyncio.sleep(QUARTER / 1e9)
    ledger = one.check()
    assert ledger.ticks.scraped == DAY
    dropped = ledger.ticks.dropped.get(reason, 0)
    if reason == "age":
        assert DAY / 2 <= ledger.ticks.queued <= DAY / 2 + 2
    if reason == "full":
        assert limits.max_bytes * 0.8 < ledger.queued_bytes <= limits.max_bytes
    assert (dropped > DAY / 3) == bool(reason)
    one.wire.answer = lambda _: None
    await asyncio.sleep(60)
    ledger = await one.until(lambda ledger: not ledger.ticks.queued)
    expected = {TIMESTAMP + tick * QUARTER for tick in range(ledger.ticks.dropped.get(reason, 0), DAY)}
    assert {int(line.split()[-1]) for line in one.wire.received} == expected
    assert ledger.points.delivered == len(set(one.wire.received)) == 100 * len(expected)


async def test_tries_are_spaced_out_and_the_servers_wish_is_honoured(run: Callable[..., Run]) -> None:
    times = []

    def busy(_: bytes) -> None:
        times.append(asyncio.get_running_loop().time())
        raise ExportError("429", status=429, retry_after_s=600 if len(times) == 7 else None)

    one = run(ScriptedWire(answer=busy, concurrency=4))
    one.tick()
    await asyncio.sleep(700)
    one.check()
    assert len(times) > 8
    # Four senders may be under way when the first failure is met; from then on one at a time tries.
    waits = [later - earlier for earlier, later in itertools.pairwise(times[3:])]
    assert max(waits) >= 600
    assert all(wait >= 1 for wait in waits)


async def test_a_dead_sink_holds_up_neither_the_ticks_nor_its_neighbour(run: Callable[..., Run]) -> None:
    taken = []

    class Neighbour:
        name = "Neighbour"

        async def export(self, batch: DataBatch) -> None:
            taken.append(batch.timestamp)

        async def stop(self) -> None:
            pass

    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    one = run(ScriptedWire(answer=never, concurrency=3), Neighbour())
    for _ in range(5):
        one.tick()
        await one.until(lambda ledger: ledger.points.scraped == 10 * one.ticks)
        await one.until(lambda _: len(taken) == one.ticks)
    assert one.check().ticks.queued == 5
    assert one.manager.ledger()[1].ticks.delivered == 5


async def test_as_many_writes_are_under_way_as_the_sink_allows(run: Callable[..., Run]) -> None:
    async def slow(_: bytes) -> None:
        await asyncio.sleep(1)

    one = run(ScriptedWire(answer=slow, concurrency=3, writes=12))
    one.tick()
    await one.until(lambda ledger: not ledger.ticks.queued)
    assert one.wire.most_under_way == 3


@pytest.mark.parametrize("server", ["partial", "whole"])
async def test_refused_points_end_in_the_dead_letter_file_and_their_neighbours_arrive(
    server: str, run: Callable[..., Run], tmp_path: Path
) -> None:
    wire = ScriptedWire(writes=1, points=100)
    bad = [b"i=17 ", b"i=64 ", b"i=65 "]
    wire.answer = partial(bad, wire.received) if server == "partial" else whole(bad)
    one = run(wire)
    one.tick()
    ledger = await one.until(lambda ledger: not ledger.ticks.queued)
    assert dict(ledger.points.dropped) == {"refused": 3}
    assert dict(ledger.ticks.dropped) == {"refused": 1}
    assert ledger.points.delivered == len(set(wire.received)) == 97
    await asyncio.sleep(0.1)
    letters = (tmp_path / "spool" / "dead-letters").read_text()
    kept = [line for line in letters.splitlines() if not line.startswith("#")]
    assert [line.split(",")[2].split()[0] for line in kept] == ["i=17", "i=64", "i=65"]
    assert "field type conflict" in letters or "unable to parse" in letters
    assert len(wire.sent) < 50


@pytest.mark.parametrize("max_points", [1, 7, 30, 31, 100])
async def test_no_write_has_more_points_than_it_may_also_of_what_an_earlier_process_spooled(
    max_points: int, run: Callable[..., Run]
) -> None:
    before = run(ScriptedWire(answer=unreachable, writes=2, points=30))
    before.tick()
    await before.until(lambda ledger: ledger.points.queued == 60)
    await before.manager.stop(1)
    wire = ScriptedWire(max_points=max_points, writes=0)
    wire.answer = whole([b"i=17 "])
    after = run(wire)
    ledger = await after.until(lambda ledger: not ledger.ticks.queued)
    assert (ledger.points.delivered, dict(ledger.points.dropped)) == (58, {"refused": 2})
    assert len(wire.received) == len(set(wire.received)) == 58
    assert {line.count(b"\n") <= max_points for line in wire.sent} == {True}
    first = wire.sent[0].count(b"\n")
    assert first == min(max_points, 30), "what fits is one write"


async def test_writes_that_only_a_small_bound_makes_spend_nothing_of_what_telling_apart_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "MOST_WRITES", 4)
    wire = ScriptedWire(answer=whole([b"i=17 "]))
    body = b"".join(b"m,i=%d value=1i 1\n" % i for i in range(100))
    refused = await refusals.deliver(wire.send, body, 100, 10)
    assert sum(one.points for one in refused) + len(wire.received) == 100
    assert sum(one.points for one in refused) < 10
    assert len(wire.sent) == 10 + 4


async def test_a_write_of_which_all_was_refused_is_not_split(run: Callable[..., Run]) -> None:
    wire = ScriptedWire(writes=1, points=1000)
    wire.answer = partial([b"m,"], wire.received)
    one = run(wire)
    one.tick()
    await one.until(lambda ledger: ledger.points.dropped.get("refused") == 1000)
    assert len(wire.sent) == 1


async def test_a_server_that_refuses_everything_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_WRITES", 50)
    wire = ScriptedWire(answer=whole([b"m"]))
    body = b"m value=1i 1\n" * 1000
    refused = await refusals.deliver(wire.send, body, 1000, 1000)
    assert len(wire.sent) == 1 + 50
    assert sum(one.points for one in refused) == 1000
    assert sum(len(one.lines) for one in refused) == len(body)


@pytest.mark.parametrize("status", [401, 408])
async def test_who_is_refused_himself_stops_asking_says_so_and_loses_no_point(
    status: int, run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    times: list[float] = []

    def answer(_: bytes) -> None:
        times.append(asyncio.get_running_loop().time())
        raise ExportError("check the options user and pw", retryable=False, status=status)

    one = run(ScriptedWire(answer=answer, concurrency=4))
    one.tick()
    await one.until(lambda ledger: ledger.refused)
    for _ in range(4):
        await asyncio.sleep(600)
        one.tick()
    await one.until(lambda ledger: ledger.points.scraped == 50)
    ledger = one.check()
    assert (ledger.points.queued, ledger.refused, ledger.trouble) == (50, True, "check the options user and pw")
    # The senders that were under way at first; from then on a look every five minutes, as the jitter is set here.
    assert len(times) <= 4 + 8
    assert all(later - earlier >= REFUSED_S for earlier, later in itertools.pairwise(times[4:]))
    assert [record.levelname for record in caplog.records if "until that is put right" in record.message] == ["ERROR"]
    one.wire.answer = lambda _: None
    await asyncio.sleep(REFUSED_S)
    await one.until(lambda ledger: ledger.points.delivered == 50)
    assert not one.check().refused
    assert len(set(one.wire.received)) == 50


@pytest.mark.parametrize(
    ("status", "retried", "ours"),
    [
        *((status, False, True) for status in (301, 302, 307, 308, 401, 403, 404, 405, 407, 408, 410, 421, 426)),
        *((status, False, False) for status in (400, 413, 422)),
        *((status, True, False) for status in (200, 202, 429, 500, 502, 503, 504)),
    ],
)
def test_what_a_refusal_is_about(status: int, retried: bool, ours: bool) -> None:
    error = refusal("http://h", status, b"")
    assert (error.retryable, error.refuses_us) == (retried, ours)
    assert refusals.is_about_the_points(error) is (not retried and not ours)


async def test_a_changed_configuration_is_tried_at_once(run: Callable[..., Run]) -> None:
    class Following(ScriptedWire):
        token, used = "old", ""

        def is_changed(self) -> bool:
            return self.token != self.used

        async def send(self, body: bytes) -> None:
            self.used = self.token
            if self.token != "right":
                raise ExportError("no", retryable=False, status=401)
            await super().send(body)

    wire = Following()
    one = run(wire)
    one.tick()
    await one.until(lambda ledger: ledger.refused)
    now = asyncio.get_running_loop().time()
    for token in ("wrong, too", "right"):
        wire.token = token
        await one.until(lambda _, token=token: wire.used == token)
    await one.until(lambda ledger: ledger.points.delivered == 10)
    assert asyncio.get_running_loop().time() - now < 2 * LOOK_S + 1


async def test_a_fault_of_the_sink_itself_loses_nothing(run: Callable[..., Run]) -> None:
    def answer(_: bytes) -> None:
        raise KeyError("a bug")

    one = run(ScriptedWire(answer=answer))
    one.tick()
    await asyncio.sleep(10)
    one.wire.answer = lambda _: None
    await one.until(lambda ledger: ledger.points.delivered == 10)


async def test_an_encoder_that_fails_loses_the_tick_and_counts_it(run: Callable[..., Run]) -> None:
    class Broken(ScriptedWire):
        def encode(self, batch: DataBatch):  # as its parent's
            yield from super().encode(batch)
            raise ValueError("no more")

    one = run(Broken())
    one.tick()
    ledger = await one.until(lambda ledger: not ledger.ticks.queued and not ledger.points.queued)
    assert dict(ledger.ticks.dropped) == {"failed": 1}
    assert ledger.points.delivered == 10


async def test_stop_drains_what_can_be_drained(run: Callable[..., Run]) -> None:
    async def slow(_: bytes) -> None:
        await asyncio.sleep(1)

    one = run(ScriptedWire(answer=slow, writes=5))
    one.tick()
    await one.manager.stop(20)
    assert one.check().points.delivered == 25
    assert one.wire.stopped == 1


async def test_what_cannot_be_drained_stays_for_the_next_start(
    run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = run(ScriptedWire(answer=unreachable))
    one.tick()
    await one.until(lambda ledger: ledger.points.queued == 10 and ledger.trouble is not None)
    before = asyncio.get_running_loop().time()
    await one.manager.stop(20)
    assert asyncio.get_running_loop().time() - before < 2, "a dead server is not waited for"
    assert "10 points stay in the spool" in caplog.text
    two = run(ScriptedWire())
    ledger = await two.until(lambda ledger: not ledger.ticks.queued)
    assert (ledger.ticks.recovered, ledger.points.recovered, ledger.points.delivered) == (1, 10, 10)
    assert len(set(two.wire.received)) == 10


async def test_a_directory_that_was_asked_for_is_had_or_there_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = SpooledSink(ScriptedWire(), tmp_path / "file" / "spool", SpoolLimits())
    with pytest.raises(StartError, match="choose another --spool-dir, or --spool-dir=off"):
        sink.start()
    await sink.stop()


async def test_one_that_was_found_and_is_in_use_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = DirectoryLock(tmp_path)
    sink = SpooledSink(ScriptedWire(), tmp_path, SpoolLimits(), required=False)
    sink.start()
    assert "in use by another collector" in caplog.text
    sink.begin()
    await sink.export(empty_batch())
    await sink.drain()
    assert (sink.keeps, sink.balances()[1].delivered) == ("memory", 10)
    await sink.stop()
    lock.release()


def test_the_place_is_what_was_asked_for_or_what_is_there(tmp_path: Path) -> None:
    home, state = tmp_path / "home", tmp_path / "state"
    assert place("/x", {}, home) == (Path("/x"), True)
    assert place("off", {"STATE_DIRECTORY": str(state)}, home) == (None, False)
    assert state_directory({"STATE_DIRECTORY": str(state)}, home) is None
    assert place("auto", {"STATE_DIRECTORY": str(state)}, home) == (None, False)
    home.mkdir()
    assert place("auto", {"STATE_DIRECTORY": str(state)}, home) == (home / "spool", False)
    state.mkdir()
    assert place("auto", {"STATE_DIRECTORY": f"{state}:/other"}, home) == (state / "spool", False)
    assert state_directory({"STATE_DIRECTORY": f"{state}:/other"}, home) == state


@pytest.mark.parametrize("identity", ["../../etc", "a/b\0c", "é" * 300, "", "." * 5, "influxdb http://h:8086 v1 k8s"])
def test_no_identity_leaves_its_directory(identity: str, tmp_path: Path) -> None:
    name = directory_name(identity)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert len(name) < 100
    assert name != directory_name(identity, 2) != directory_name(identity + "x")
    (tmp_path / name).mkdir()


def test_only_sinks_with_a_wire_get_a_spool(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Plain:
        name = "Plain"

        async def export(self, batch: DataBatch) -> None: ...

        async def stop(self) -> None: ...

    plain, wires = Plain(), [ScriptedWire(), ScriptedWire()]
    found = with_spools([plain, *wires], str(tmp_path), SpoolLimits(), clock=lambda: NOW)
    assert found[0] is plain
    assert [type(one) for one in found[1:]] == [SpooledSink, SpooledSink]
    shared = with_spools(wires, str(tmp_path), SpoolLimits(free_share=0.5), clock=lambda: NOW)
    assert [one._limits.free_share for one in shared if isinstance(one, SpooledSink)] == [0.25, 0.25]
    assert with_spools([plain, *wires], "off", SpoolLimits(), clock=lambda: NOW) == [plain, *wires]
    assert caplog.text == ""


def test_without_a_directory_it_is_told_where_one_was_looked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    missing, home = tmp_path / "missing", tmp_path / "home"
    monkeypatch.setenv("STATE_DIRECTORY", str(missing))
    monkeypatch.setattr("sinks.runner.place.HOME", home)
    wire = ScriptedWire()
    assert with_spools([wire], "auto", SpoolLimits(), clock=lambda: NOW) == [wire]
    assert f"no writable directory at {missing} or {home}; what" in caplog.text


def test_delays_double_up_to_a_bound_with_jitter() -> None:
    longest, shortest = Backoff(lambda: 1.0), Backoff(lambda: 0.0)
    assert [longest.failed() for _ in range(7)] == [1, 2, 4, 8, 16, 30, LONGEST_S]
    assert [shortest.failed() for _ in range(3)] == [0.5, 1, 2]
    assert longest.failed(90.0) == 90.0
    assert longest.failed(1e9) == LONGEST_ASKED_S
    assert (longest.failed(refused=True), shortest.failed(refused=True)) == (REFUSED_S, REFUSED_S / 2)
    longest.succeeded()
    assert longest.failed() == 1


def test_the_dead_letter_file_is_bounded(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, Disk())
    for i in range(60):
        letters.write([Refused(f"line{i} value=1i 1\n".encode() * 10_000, 10_000, "too\nlong")], NOW)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"dead-letters", "dead-letters.old"}
    assert max(sizes.values()) <= MOST_BYTES
    assert sizes["dead-letters.old"] > MOST_BYTES - 2 * LINES_BYTES
    text = letters.path.read_text()
    assert "line59 value=1i 1" in text
    assert "# and others, left out here" in text
