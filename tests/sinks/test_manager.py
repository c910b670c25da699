"""The hand-off: a slow, dead or failing sink costs nobody else anything, and every batch is accounted for."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.batch import DataBatch
from collector.core.store import MetricStore
from collector.errors import ExportError
from collector.logs import HAND_OFF
from sinks.manager import Outcome, SinkManager, SinkStatistics
from tests.servers import Influxd, free_port
from tests.sinks.batches import MINUTE, TIMESTAMP, Cluster, empty_batch

pytestmark = pytest.mark.looptime

Behaviour = Callable[[DataBatch], Awaitable[None]]


class Recording:
    """A sink that behaves as told and keeps the timestamps it was given."""

    def __init__(self, name: str = "Recording Sink", behave: Behaviour | None = None) -> None:
        self.name = name
        self.behave = behave
        self.seen: list[int] = []
        self.ended: list[int] = []
        self.stops: list[str] | None = None
        self.stopped = 0

    async def export(self, batch: DataBatch) -> None:
        self.seen.append(batch.timestamp)
        timestamp = batch.timestamp
        if self.behave is not None:
            await self.behave(batch)
        self.ended.append(timestamp)

    async def stop(self) -> None:
        self.stopped += 1
        if self.stops is not None:
            self.stops.append(self.name)


def sleeping(seconds: float) -> Behaviour:
    async def behave(_: DataBatch) -> None:
        await asyncio.sleep(seconds)

    return behave


def raising(error: BaseException) -> Behaviour:
    async def behave(_: DataBatch) -> None:
        raise error

    return behave


def batches(count: int) -> list[DataBatch]:
    return [empty_batch(TIMESTAMP + i) for i in range(count)]


def balanced(found: SinkStatistics) -> bool:
    return found.offered == found.delivered + sum(found.dropped.values()) + found.waiting + found.exporting


async def test_an_idle_sink_gets_every_batch() -> None:
    sinks = [Recording("a"), Recording("b")]
    manager = SinkManager(sinks)
    manager.start()
    for batch in batches(3):
        manager.export(batch)
        await asyncio.sleep(60)
    assert [sink.ended for sink in sinks] == [[TIMESTAMP, TIMESTAMP + 1, TIMESTAMP + 2]] * 2
    assert [(one.name, one.offered, one.delivered, one.dropped, one.trouble) for one in manager.statistics()] == [
        ("a", 3, 3, {}, None),
        ("b", 3, 3, {}, None),
    ]
    await manager.stop(1)


async def test_a_slow_sink_delays_neither_the_offer_nor_another_sink() -> None:
    slow, fast = Recording("slow", sleeping(1_000)), Recording("fast")
    manager = SinkManager([slow, fast], export_timeout=2_000)
    manager.start()
    loop = asyncio.get_running_loop()
    for i, batch in enumerate(batches(5)):
        before = loop.time()
        manager.export(batch)
        assert loop.time() == before
        await asyncio.sleep(0.01)
        assert fast.ended[-1] == TIMESTAMP + i
        await asyncio.sleep(59.99)
    assert fast.ended == [TIMESTAMP + i for i in range(5)]
    assert slow.seen == [TIMESTAMP]
    await manager.stop(0)


async def test_an_offer_to_a_busy_sink_stands_for_its_time_and_no_longer() -> None:
    sink = Recording(behave=sleeping(50))
    manager = SinkManager([sink], offer_timeout=20)
    manager.start()
    first, second, third = batches(3)
    manager.export(first)
    await asyncio.sleep(25)
    manager.export(second)
    await asyncio.sleep(19)
    assert manager.statistics()[0].waiting == 1
    await asyncio.sleep(2)
    found = manager.statistics()[0]
    assert (found.waiting, found.exporting, found.dropped) == (0, 1, {Outcome.BUSY: 1})
    manager.export(third)
    await asyncio.sleep(10)
    assert sink.seen == [TIMESTAMP, TIMESTAMP + 2], "the third waited 4 s"
    await asyncio.sleep(100)
    assert sink.ended == [TIMESTAMP, TIMESTAMP + 2]
    await manager.stop(1)


async def test_a_newer_batch_takes_the_place_of_one_that_waits() -> None:
    sink = Recording(behave=sleeping(30))
    manager = SinkManager([sink], offer_timeout=1_000)
    manager.start()
    for batch in batches(4):
        manager.export(batch)
        await asyncio.sleep(1)
    assert manager.statistics()[0].dropped == {Outcome.REPLACED: 2}
    await asyncio.sleep(100)
    assert sink.ended == [TIMESTAMP, TIMESTAMP + 3]
    found = manager.statistics()[0]
    assert (found.offered, found.delivered) == (4, 2)
    await manager.stop(1)


async def test_an_export_has_a_time_limit() -> None:
    sink = Recording(behave=sleeping(1_000))
    seen: list[tuple[str, float, Outcome]] = []
    manager = SinkManager([sink], export_timeout=100, observer=lambda *one: seen.append(one))
    manager.start()
    manager.export(batches(1)[0])
    await asyncio.sleep(101)
    found = manager.statistics()[0]
    assert (found.exporting, found.failed, found.dropped) == (0, 1, {Outcome.TIMEOUT: 1})
    assert found.trouble == "the export took longer than 100 s"
    assert seen == [(sink.name, pytest.approx(100), Outcome.TIMEOUT)]
    sink.behave = None
    manager.export(batches(1)[0])
    await asyncio.sleep(1)
    assert manager.statistics()[0].delivered == 1
    await manager.stop(1)


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (ExportError("no answer"), Outcome.FAILED, "no answer"),
        (ExportError("no such field", retryable=False), Outcome.REFUSED, "no such field"),
        (KeyError("bug"), Outcome.FAILED, "KeyError: 'bug'"),
        (TimeoutError(), Outcome.FAILED, "TimeoutError"),
        (ExceptionGroup("both", [ValueError("x")]), Outcome.FAILED, "ValueError: x"),
        (asyncio.CancelledError(), Outcome.FAILED, "CancelledError"),
    ],
)
async def test_whatever_a_sink_raises_is_counted_and_goes_no_further(
    error: BaseException, outcome: Outcome, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sink, other = Recording("broken", raising(error)), Recording("whole")
    seen: list[Outcome] = []
    manager = SinkManager([sink, other], observer=lambda name, _, how: seen.append(how) if name == "broken" else None)
    manager.start()
    for batch in batches(3):
        manager.export(batch)
        await asyncio.sleep(60)
    found = manager.statistics()[0]
    assert (found.offered, found.delivered, found.failed, found.dropped) == (3, 0, 3, {outcome: 3})
    assert found.trouble == words
    assert len(other.ended) == 3
    sink.behave = None
    manager.export(batches(1)[0])
    await asyncio.sleep(1)
    assert seen == [outcome] * 3 + [Outcome.DELIVERED]
    assert manager.statistics()[0].trouble is None
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"broken lost a batch: {words}; until it delivers again losses are only counted",
        "broken delivers again; batches lost meanwhile: 3",
    ]
    await manager.stop(1)


async def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def observer(*_: object) -> None:
        raise RuntimeError("observer")

    sink = Recording()
    manager = SinkManager([sink], observer=observer)
    manager.start()
    for batch in batches(2):
        manager.export(batch)
        await asyncio.sleep(1)
    assert manager.statistics()[0].delivered == 2
    assert "the observer of Recording Sink raised" in caplog.text
    await manager.stop(1)


async def test_sinks_of_one_name_have_ledgers_of_their_own() -> None:
    manager = SinkManager([Recording("InfluxDB Sink"), Recording("Log Sink"), Recording("InfluxDB Sink")])
    assert [one.name for one in manager.statistics()] == ["InfluxDB Sink", "Log Sink", "InfluxDB Sink 2"]
    manager.start()
    await manager.stop(1)


async def test_statistics_are_a_snapshot_nobody_can_change() -> None:
    manager = SinkManager([Recording(behave=raising(ValueError("x")))])
    manager.start()
    before = manager.statistics()
    manager.export(batches(1)[0])
    await asyncio.sleep(1)
    assert before[0].offered == 0
    assert before[0].dropped == {}
    with pytest.raises(AttributeError):
        before[0].offered = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        manager.statistics()[0].dropped[Outcome.BUSY] = 1  # type: ignore[index]
    await manager.stop(1)


async def test_stop_waits_for_what_is_under_way_and_stops_in_reverse_order() -> None:
    stops: list[str] = []
    sinks = [Recording("a", sleeping(5)), Recording("b"), Recording("c", sleeping(3))]
    for sink in sinks:
        sink.stops = stops
    manager = SinkManager(sinks)
    manager.start()
    first, second = batches(2)
    manager.export(first)
    await asyncio.sleep(1)
    manager.export(second)
    loop = asyncio.get_running_loop()
    before = loop.time()
    await manager.stop(60)
    assert loop.time() - before == pytest.approx(9), "the second batch of the slowest waited behind the first"
    assert [sink.ended for sink in sinks] == [[TIMESTAMP, TIMESTAMP + 1]] * 3
    assert stops == ["c", "b", "a"]
    await manager.stop(60)
    assert stops == ["c", "b", "a"], "a second stop does nothing"


async def test_stop_cancels_what_takes_longer_and_counts_it() -> None:
    sink = Recording(behave=sleeping(1_000))
    manager = SinkManager([sink])
    manager.start()
    first, second, third = batches(3)
    manager.export(first)
    await asyncio.sleep(1)
    manager.export(second)
    before = asyncio.get_running_loop().time()
    await manager.stop(15)
    assert asyncio.get_running_loop().time() - before == pytest.approx(15)
    manager.export(third)
    found = manager.statistics()[0]
    assert (found.delivered, found.dropped, found.waiting, found.exporting) == (0, {Outcome.STOPPED: 3}, 0, 0)
    assert sink.stopped == 1
    assert balanced(found)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith("sink ") for name in names)


async def test_a_sink_that_does_not_stop_keeps_the_others_from_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Recording):
        async def stop(self) -> None:
            await asyncio.sleep(10_000)

    class Broken(Recording):
        async def stop(self) -> None:
            raise ValueError("cannot")

    first = Recording("first")
    manager = SinkManager([first, Stubborn("stubborn"), Broken("broken")])
    manager.start()
    before = asyncio.get_running_loop().time()
    await manager.stop(5)
    assert asyncio.get_running_loop().time() - before == pytest.approx(5)
    assert first.stopped == 1
    assert "stubborn did not stop within 5 s" in caplog.text
    assert "broken could not be stopped" in caplog.text


@pytest.mark.looptime(False)
async def test_a_batch_is_let_go_of_at_once_delivered_or_not() -> None:
    from sinks.base import build

    down = build(f"influxdb:http://127.0.0.1:{free_port()}")
    manager = SinkManager([Recording("a"), Recording("b", raising(ValueError("x"))), down])
    manager.start()
    cluster = Cluster()
    gc.collect()
    gc.disable()
    try:
        batch = cluster.batch()
        seen = weakref.ref(batch)
        manager.export(batch)
        del batch
        async with asyncio.timeout(10):
            while any(one.waiting or one.exporting for one in manager.statistics()):
                await asyncio.sleep(0.01)
        assert [one.failed for one in manager.statistics()] == [0, 1, 1]
        assert seen() is None, "a batch is hundreds of megabytes: it must not wait for a garbage collection"
    finally:
        gc.enable()
    await manager.stop(1)


async def test_the_metric_store_is_driven_like_any_sink() -> None:
    cluster = Cluster()
    store = MetricStore(clock=lambda: TIMESTAMP / 1e9)
    manager = SinkManager([store, Recording("dead", sleeping(10_000))], export_timeout=100_000)
    manager.start()
    for i in range(3):
        manager.export(cluster.batch(TIMESTAMP + i * MINUTE))
        await asyncio.sleep(60)
    latest = store.latest()
    assert latest is not None
    assert latest.timestamp == TIMESTAMP + 2 * MINUTE
    await manager.stop(0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 10.0, 30.0, 100.0, 500.0]),
        st.sampled_from([0.0, 0.5, 15.0, 60.0]),
        st.sampled_from(["ok", "fail", "refuse"]),
    ),
    max_size=15,
)


@pytest.mark.looptime(False)
@given(STEPS, st.sampled_from([0.0, 5.0, 1_000.0]))
@settings(max_examples=60, deadline=None)
def test_the_ledger_balances_at_every_moment(steps: list[tuple[float, float, str]], stop_limit: float) -> None:
    import looptime

    async def run() -> None:
        plan = iter(steps)

        async def behave(_: DataBatch) -> None:
            seconds, _, how = next(plan)
            await asyncio.sleep(seconds)
            if how != "ok":
                raise ExportError(how, retryable=how == "fail")

        sink = Recording(behave=behave)
        observed: list[Outcome] = []
        manager = SinkManager(
            [sink], offer_timeout=20, export_timeout=200, observer=lambda *one: observed.append(one[2])
        )
        manager.start()
        for i, (_, pause, _) in enumerate(steps):
            manager.export(empty_batch(i))
            assert balanced(manager.statistics()[0])
            await asyncio.sleep(pause)
            assert balanced(manager.statistics()[0])
        await manager.stop(stop_limit)
        found = manager.statistics()[0]
        assert found.offered == len(steps)
        assert found.waiting == found.exporting == 0
        assert balanced(found)
        assert found.delivered == len(sink.ended) == observed.count(Outcome.DELIVERED)
        assert sink.seen == sorted(sink.seen)
        assert len(observed) == len(sink.seen)
        assert found.failed == len(observed) - found.delivered

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.looptime(False)
async def test_a_frozen_database_delays_no_other_sink(own_influxd: Influxd) -> None:
    from sinks.base import build

    frozen, other = build(f"influxdb:{own_influxd.url}?timeout=500ms"), Recording()
    seen: list[tuple[str, Outcome]] = []
    manager = SinkManager([frozen, other], observer=lambda name, _, how: seen.append((name, how)))
    manager.start()
    cluster = Cluster()
    own_influxd.freeze()
    manager.export(cluster.batch())
    async with asyncio.timeout(30):
        while not other.ended:
            await asyncio.sleep(0.001)
        assert manager.statistics()[0].exporting == 1, "the frozen one is still at it"
        while not manager.statistics()[0].failed:
            await asyncio.sleep(0.01)
        own_influxd.thaw()
        manager.export(cluster.batch(TIMESTAMP + MINUTE))
        while not manager.statistics()[0].delivered:
            await asyncio.sleep(0.01)
    await manager.stop(5)
    assert seen.count(("Recording Sink", Outcome.DELIVERED)) == 2
    assert [how for name, how in seen if name == "InfluxDB Sink"] == [Outcome.FAILED, Outcome.DELIVERED]


async def test_a_sink_that_is_left_out_is_offered_nothing() -> None:
    kept, left = Recording("kept"), Recording("left")
    manager = SinkManager([kept, left])
    manager.leave_out([left])
    manager.start()
    manager.export(empty_batch())
    await manager.stop(1)
    assert [ledger.name for ledger in manager.statistics()] == ["kept"]


async def test_at_level_2_each_hand_off_is_told(caplog: pytest.LogCaptureFixture) -> None:
    manager = SinkManager([Recording("First Sink")])
    manager.start()
    for level in (logging.INFO, HAND_OFF):
        caplog.set_level(level, "sinks.manager")
        manager.export(empty_batch())
        await asyncio.sleep(0.1)
    await manager.stop(1)
    assert [record.getMessage() for record in caplog.records] == [
        "pushing data to: First Sink",
        "data push completed: First Sink",
    ]
